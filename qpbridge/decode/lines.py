"""Maps of a network for vessels seen from above, as in the retina: networks of lines."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_parts
from skimage.morphology import skeletonize

from qpbridge.decode.instances import Instances, label_means
from qpbridge.decode.profiles import drop_small, renumber


def decode_lines(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float = 0.5,
    min_area_um2: float = 2000.0,
    min_probability: float = 0.0,
) -> Instances:
    """Find connected vessels in a map.

    Parameters
    ----------
    maps : float32 array, shape (1, H, W)
        Probability of being in a vessel.
    mpp
        Pixel size of the map in µm.
    threshold
        Probability from which a pixel is in one.
    min_area_um2
        Smaller pieces are dropped, in µm².
    min_probability
        Pieces with a lower mean probability are dropped.

    Returns
    -------
    Instances
        What is connected is one object, whatever it encloses.

    Raises
    ------
    ValueError
        If there is not one map.
    """
    if maps.ndim != 3 or maps.shape[0] != 1:
        raise ValueError(f"One map (1, H, W) was expected, not {maps.shape}.")
    level = maps[0]
    parts = label_parts(level > threshold, connectivity=1)  # type: ignore[no-untyped-call]
    labels = drop_small(parts, min_area_um2 / mpp**2)
    labels = renumber(labels, label_means(labels, level) >= min_probability)
    return Instances(labels, label_means(labels, level), level, threshold)


def centre_lines(
    labels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Draw the centre lines of vessels: how much line lies in each pixel, and how wide it is there.

    Parameters
    ----------
    labels : int array, shape (H, W)
        0 is background.

    Returns
    -------
    length : float32 array, shape (H, W)
        Pixels of centre line in each pixel: half the way to each neighbour on the line, 1 or the
        root of 2; 0 off the line. The sum over a vessel is the length of its centre line.
    width : float32 array, shape (H, W)
        On the line, twice the distance to the nearest pixel outside, less the one pixel that the
        line itself is wide; 0 off the line.
    """
    mask = labels > 0
    line = skeletonize(mask)  # type: ignore[no-untyped-call]
    straight = ndimage.convolve(line.astype(np.int8), [[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    # a diagonal step is one only where no straight way round leads there
    padded = np.pad(line, 1)
    diagonal = np.zeros(line.shape, np.int8)
    for down, right in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        there, beside, below = (
            padded[1 + y : padded.shape[0] - 1 + y, 1 + x : padded.shape[1] - 1 + x]
            for y, x in ((down, right), (0, right), (down, 0))
        )
        diagonal += there & ~beside & ~below
    length = np.where(line, straight / 2 + diagonal / np.sqrt(2), 0)
    padded_distance = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
    width = np.where(line, np.maximum(2 * padded_distance - 1, 1), 0)
    return length.astype(np.float32), width.astype(np.float32)
