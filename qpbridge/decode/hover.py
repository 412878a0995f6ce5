"""Maps of a HoVer-Net to single nuclei, with their types.

Inside a nucleus the horizontal map rises from -1 on its left to 1 on its right, the vertical one
from its top to its bottom; where a nucleus ends, they fall. Graham et al., Med Image Anal
58:101563, 2019. Their published code stretches the slopes of each picture to 0..1 before it
compares them with a threshold; here they are taken as they are, so that a nucleus comes out the
same whatever else is in the picture.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_parts
from skimage.segmentation import watershed

from qpbridge.decode.instances import Instances, label_means
from qpbridge.decode.profiles import drop_small, fill_holes, largest_parts

SIGMA = 1.0
"""Smoothing before slopes are taken, in pixels."""

FALL = 1 / np.sqrt(2 * np.pi)
"""Slope of a step of 1 after that smoothing: the end of a nucleus towards background."""


def decode_hover(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float = 0.5,
    edge: float = 0.15,
    min_core_um2: float = 1.5,
    min_area_um2: float = 6.0,
) -> Instances:
    """Find nuclei in maps.

    Parameters
    ----------
    maps : float32 array, shape (3 + T, H, W)
        Probability of being in a nucleus, horizontal and vertical distance; where there are types,
        the probability of none, and of each type.
    mpp
        Pixel size of the maps in µm.
    threshold
        Probability from which a pixel is in a nucleus.
    edge
        How steep a fall of the distances parts nuclei; 1 is that at the end of a single nucleus,
        2 that between two which touch.
    min_core_um2
        Smaller cores make no nucleus of their own, in µm².
    min_area_um2
        Smaller nuclei are dropped, in µm².

    Returns
    -------
    Instances
        With `classes`, the type of most pixels of each (0 the first that is not background), if
        there are types.

    Raises
    ------
    ValueError
        If there are fewer than three maps, or just one type.
    """
    if maps.ndim != 3 or maps.shape[0] < 3 or maps.shape[0] == 4:
        raise ValueError(f"Three maps and those of types were expected, not {maps.shape}.")
    level = maps[0]
    mask = level > threshold
    slopes = [
        ndimage.gaussian_filter(maps[1], SIGMA, order=(0, 1), mode="nearest"),
        ndimage.gaussian_filter(maps[2], SIGMA, order=(1, 0), mode="nearest"),
    ]
    fall = np.maximum(-slopes[0], -slopes[1]) / FALL
    core = ndimage.binary_fill_holes(mask & (fall < edge))
    core = ndimage.binary_opening(core, iterations=1)
    seeds = drop_small(label_parts(core, connectivity=1), min_core_um2 / mpp**2)  # type: ignore[no-untyped-call]
    hills = ndimage.gaussian_filter(np.clip(fall, 0, 2), SIGMA)
    grown = watershed(hills, seeds, mask=mask)  # type: ignore[no-untyped-call]
    labels = drop_small(largest_parts(fill_holes(grown)), min_area_um2 / mpp**2)
    types = most_frequent(labels, maps[3:].argmax(axis=0)) if len(maps) > 3 else None
    return Instances(labels, label_means(labels, level), level, threshold, types)


def most_frequent(
    labels: npt.NDArray[np.int32], types: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Find the type that most pixels of each object have, but for 0, background.

    Parameters
    ----------
    labels : int32 array, shape (H, W)
        Objects 1..n.
    types : int array, shape (H, W)
        0 is background.

    Returns
    -------
    types : int64 array, shape (n,)
        Less one; -1 where all is background.
    """
    count, kinds = int(labels.max(initial=0)), int(types.max(initial=0)) + 1
    inside = labels > 0
    votes = np.bincount(
        (labels[inside].astype(np.int64) - 1) * kinds + types[inside], minlength=count * kinds
    ).reshape(count, kinds)
    votes[:, 0] = 0
    found: npt.NDArray[np.int64] = np.where(votes.any(axis=1), votes.argmax(axis=1), 0) - 1
    return found
