"""What every decoder makes of a network's maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Instances(NamedTuple):
    """The objects of one picture.

    Attributes
    ----------
    labels : int32 array, shape (H, W)
        0 is background, 1..n the objects, each in one part (sides touching). A lumen, or any other
        hole that is not part of an object, is 0.
    probability : float32 array, shape (n,)
        Mean foreground probability of each.
    level : float32 array, shape (H, W)
        Foreground probability of each pixel.
    threshold : float
        The level at which objects end.
    classes : int64 array, shape (n,), optional
        Index into the model's classes; -1: none.
    """

    labels: npt.NDArray[np.int32]
    probability: npt.NDArray[np.float32]
    level: npt.NDArray[np.float32]
    threshold: float
    classes: npt.NDArray[np.int64] | None = None


def label_means(
    labels: npt.NDArray[np.int32], level: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Mean of `level` (H, W) over each of the objects 1..n of `labels` (H, W), float32 (n,)."""
    area = np.bincount(labels.ravel())[1:]
    total = np.bincount(labels.ravel(), level.ravel())[1:]
    return (total / np.maximum(area, 1)).astype(np.float32)
