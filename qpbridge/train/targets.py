"""What a nuclei network learns to draw: maps computed from instance labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

CHANNELS = ("foreground", "distance", "offset_x", "offset_y")


def instance_targets(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return the maps that stand for an instance map, at the labels' own resolution.

    Targets are made before any resampling, so that downsampling them keeps the sub-pixel position
    of every outline.

    Parameters
    ----------
    labels : int array, shape (H, W)
        0 is background, every other value one nucleus.

    Returns
    -------
    float32 array, shape (4, H, W)
        ``foreground`` (0 or 1); ``distance`` to the nucleus' own boundary, divided by the
        largest distance in that nucleus (0 outside, 1 at its core); ``offset_x`` and
        ``offset_y``, the way from the pixel to the centroid of its nucleus, in pixels (0 outside).
    """
    _, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape)
    if labels.size and labels.min() > 0:  # no background at all: keep 0 for it
        dense = dense + 1
    foreground = dense > 0
    inner_edge = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        differs = np.diff(dense, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        inner_edge[tuple(before)] |= differs
        inner_edge[tuple(after)] |= differs
    inner_edge &= foreground
    # half a pixel from the centre of an edge pixel to the boundary itself
    distance = ndimage.distance_transform_edt(~inner_edge) + 0.5 if inner_edge.any() else foreground
    distance = np.where(foreground, distance, 0)

    count = np.bincount(dense.ravel())
    deepest = ndimage.maximum(distance, dense, np.arange(len(count)))
    rows, columns = np.indices(labels.shape)
    size = np.maximum(count, 1)
    centre_x = np.bincount(dense.ravel(), columns.ravel()) / size
    centre_y = np.bincount(dense.ravel(), rows.ravel()) / size
    maps = np.zeros((4, *labels.shape), np.float32)
    maps[0] = foreground
    maps[1] = distance / np.maximum(deepest, 0.5)[dense]
    maps[2] = np.where(foreground, centre_x[dense] - columns, 0)
    maps[3] = np.where(foreground, centre_y[dense] - rows, 0)
    return maps
