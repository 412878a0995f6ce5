"""Maps of classes, one for each pixel, to objects: what touches is one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.measure import label as label_parts

from qpbridge.decode.hover import most_frequent
from qpbridge.decode.instances import Instances, label_means
from qpbridge.decode.profiles import drop_small


def decode_semantic(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float = 0.5,
    min_area_um2: float = 8.0,
) -> Instances:
    """Find connected parts of one class.

    Parameters
    ----------
    maps : float32 array, shape (C, H, W)
        One map of the foreground's probability; or those of background and of each class.
    mpp
        Pixel size of the maps in µm.
    threshold
        Probability, of all classes together, from which a pixel is foreground.
    min_area_um2
        Smaller parts are dropped, in µm².

    Returns
    -------
    Instances
        With holes as they are; `classes` where there are at least two besides the background.

    Raises
    ------
    ValueError
        If there are no maps.
    """
    if maps.ndim != 3 or not len(maps):
        raise ValueError(f"Maps (C, H, W) were expected, not {maps.shape}.")
    level = maps[0] if len(maps) == 1 else 1 - maps[0]
    several = len(maps) > 2
    kind = maps[1:].argmax(axis=0) + 1 if several else np.ones(level.shape, np.int64)
    types = np.where(level > threshold, kind, 0)
    parts = label_parts(types, connectivity=1)  # type: ignore[no-untyped-call]
    labels = drop_small(parts, min_area_um2 / mpp**2)
    classes = most_frequent(labels, types) if several else None
    return Instances(labels, label_means(labels, level), level, threshold, classes)
