"""Score a model on a folder of labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from skimage.draw import polygon
from torch import nn

from qpbridge.decode.nuclei import decode_nuclei
from qpbridge.decode.polygons import Rings, instances_to_polygons
from qpbridge.evaluate.labelled import DataSource, Sample, load_source
from qpbridge.evaluate.metrics import instance_scores
from qpbridge.models.bundle import Bundle


def score_folder(
    bundle: Bundle, folder: Path, mpp: float | None = None, pattern: str = "*"
) -> dict[str, Any]:
    """Score a model on a folder with ``images/`` and ``labels/``; see `score_samples`.

    Parameters
    ----------
    bundle
        The model.
    folder
        Images and labels with the same stems.
    mpp
        µm per pixel of the images; None estimates it from the size of their nuclei.
    pattern
        Which stems belong; several patterns joined by ``|``.

    Raises
    ------
    QpbridgeError
        If the folder lacks images or labels, or they don't fit.
    """
    return score_samples(bundle, load_source(DataSource(folder, mpp, pattern)))


def score_samples(
    bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module | None = None
) -> dict[str, Any]:
    """Segment images and compare with their labels, at the labels' own resolution.

    Images are resampled to the model's µm per pixel; outlines are what is compared, drawn at the
    resolution of the labels, so that everything up to the polygons is part of the score.

    Parameters
    ----------
    bundle
        The model.
    samples
        Images with labels and µm per pixel.
    network
        Instead of the bundle's own weights (during training).

    Returns
    -------
    dict
        ``images``, ``objects``, ``predicted``, the mean over images of ``aji``, ``aji_plus``,
        ``pq``, ``dq``, ``sq``, ``f1``, ``dice``, and ``per_image`` (scores by name).
    """
    network = network or bundle.network()
    scores = {}
    for sample in samples:
        rings = find_outlines(network, sample.image, sample.mpp, bundle)
        prediction = draw(rings, sample.labels.shape, bundle.mpp / sample.mpp)
        scores[sample.name] = asdict(instance_scores(sample.labels, prediction))
    return summarise(scores)


def summarise(per_image: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Mean over images of each score, NaN left out, with counts and the scores by image."""
    names = ("aji", "aji_plus", "pq", "dq", "sq", "f1", "dice")
    values = list(per_image.values())
    means = {name: float(np.nanmean([v[name] for v in values])) for name in names} if values else {}
    return {
        "images": len(values),
        "objects": int(sum(v["truth_count"] for v in values)),
        "predicted": int(sum(v["predicted_count"] for v in values)),
        **means,
        "per_image": {name: dict(v) for name, v in per_image.items()},
    }


def find_outlines(
    network: nn.Module, image: npt.NDArray[np.uint8], mpp: float, bundle: Bundle
) -> Rings:
    """Outline the nuclei of one RGB image (H, W, 3), in pixels at the model's resolution."""
    maps = predict(network, resample(image, mpp / bundle.mpp), bundle.stride, bundle.halo)
    labels, _ = decode_nuclei(maps, **bundle.decode)
    return instances_to_polygons(labels, maps[0], bundle.decode["threshold"])


def resample(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Make an image `factor` times as large; by area where it becomes smaller."""
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def predict(
    network: nn.Module, image: npt.NDArray[np.uint8], stride: int, margin: int
) -> npt.NDArray[np.float32]:
    """Draw the maps (C, H, W) of one RGB image (H, W, 3), mirrored at its edges for context."""
    height, width = image.shape[:2]
    pad = [(margin, margin + -length % stride) for length in (height, width)]
    wide = np.pad(image, [*pad, (0, 0)], mode="symmetric")
    device = next(network.parameters()).device
    with torch.inference_mode():
        maps = network(torch.from_numpy(wide).permute(2, 0, 1)[None].to(device))[0]
    inner: npt.NDArray[np.float32] = maps.cpu().numpy()
    return inner[:, margin : margin + height, margin : margin + width]


def draw(rings: Rings, shape: tuple[int, ...], scale: float) -> npt.NDArray[np.int32]:
    """Instance map of outlines that are enlarged by `scale`; a pixel counts by its centre."""
    labels = np.zeros(shape, np.int32)
    for number, (start, end) in enumerate(
        zip(rings.offsets[:-1], rings.offsets[1:], strict=True), 1
    ):
        x, y = rings.coords[start:end].T * scale - 0.5
        labels[polygon(y, x, shape)] = number  # type: ignore[no-untyped-call]
    return labels
