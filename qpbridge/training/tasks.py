"""What a network can learn to draw: for each decoder the maps, how they are made, and the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qpbridge.errors import ModelError
from qpbridge.evaluation.labelled import Sample
from qpbridge.training.augment import vary_chromatin
from qpbridge.training.losses import OFFSET_UNIT, line_loss, nuclei_loss, profile_loss
from qpbridge.training.truth_maps import instance_maps, line_maps, profile_maps

Loss = Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Task:
    """One kind of network output.

    Attributes
    ----------
    target
        nuclei, glands or vessels.
    channels
        Section ``channels`` of the bundle: names of the maps, their activation and scale.
    draw
        From a sample to float32 maps (C, H, W), at the labels' resolution. They are made before
        any resampling, so that downsampling them keeps the sub-pixel position of every outline.
    loss
        From raw output (N, C, H, W) and targets (N, C + 1, H, W) to scalar tensors, ``total`` among
        them. The last target channel is 1 where the truth is known, 0 elsewhere.
    score
        Name of the score on the validation images that chooses the weights.
    mpp
        µm per pixel that a network works at, unless something else is asked for.
    stained
        Whether images are of stained tissue, whose stains vary.
    vary
        Changes images (N, 3, H, W) in a way that depends on their targets.
    offsets
        The maps x and y of a displacement in pixels, which turns and scales with the image.
    single
        Whether its objects are told apart in the truth, not one mask.
    """

    target: str
    channels: tuple[Mapping[str, Any], ...]
    draw: Callable[[Sample], npt.NDArray[np.float32]]
    loss: Loss
    score: str
    mpp: float
    stained: bool = True
    vary: Callable[[torch.Tensor, torch.Tensor, np.random.Generator], torch.Tensor] | None = None
    offsets: tuple[int, int] | None = None
    single: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps."""
        return tuple(str(channel["name"]) for channel in self.channels)


def _sigmoid(*names: str) -> tuple[Mapping[str, Any], ...]:
    return tuple({"name": name, "activation": "sigmoid"} for name in names)


_OFFSET = {"scale": OFFSET_UNIT, "unit": "pixel"}
_PROFILE = _sigmoid("foreground", "contour", "lumen")

TASKS: Mapping[str, Task] = {
    "nuclei": Task(
        "nuclei",
        (
            *_sigmoid("foreground"),
            {"name": "distance"},
            {"name": "offset_x", **_OFFSET},
            {"name": "offset_y", **_OFFSET},
        ),
        lambda sample: instance_maps(sample.labels),
        nuclei_loss,
        score="aji",
        mpp=0.5,
        vary=vary_chromatin,
        offsets=(2, 3),
    ),
    "glands": Task("glands", _PROFILE, profile_maps, profile_loss, score="pq", mpp=1.0),
    "vessels": Task("vessels", _PROFILE, profile_maps, profile_loss, score="pq", mpp=0.5),
    "lines": Task(
        "vessels",
        _sigmoid("foreground"),
        lambda sample: line_maps(sample.labels),
        line_loss,
        score="auc",
        mpp=9.4,
        stained=False,
        single=False,
    ),
}
"""By the name of the decoder that the maps are for."""


def find_task(decoder: str) -> Task:
    """Return the task of a decoder.

    Raises
    ------
    ModelError
        If no network can be trained for it here.
    """
    if decoder not in TASKS:
        raise ModelError(
            f"Networks for the decoder {decoder!r} can't be trained; there are: {', '.join(TASKS)}."
        )
    return TASKS[decoder]
