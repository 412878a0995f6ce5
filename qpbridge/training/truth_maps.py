"""What networks learn to draw: maps computed from instance labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qpbridge.decode.profiles import closed
from qpbridge.evaluation.labelled import Sample
from qpbridge.evaluation.overlaps import dense

CONTOUR_UM = 3.0  # how far from its outline the contour of a gland or vessel reaches, either way
LUMEN_BRIGHTNESS = 0.8  # of white: where a gland's own picture shows nothing
LUMEN_GAP_UM = 6.0  # half the width of the debris in a lumen that belongs to it
MIN_LUMEN_UM2 = 200.0  # more than a goblet cell's vacuole
WALL_UM = 5.0  # nearer to the outline, what is empty is a gap around the gland


def instance_maps(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return the maps that stand for an instance map of nuclei, at the labels' own resolution.

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
    numbers = _dense(labels)
    foreground = numbers > 0
    inner_edge = _edges(numbers) & foreground
    # half a pixel from the centre of an edge pixel to the boundary itself
    distance = ndimage.distance_transform_edt(~inner_edge) + 0.5 if inner_edge.any() else foreground
    distance = np.where(foreground, distance, 0)

    count = np.bincount(numbers.ravel())
    deepest = ndimage.maximum(distance, numbers, np.arange(len(count)))
    rows, columns = np.indices(labels.shape)
    size = np.maximum(count, 1)
    centre_x = np.bincount(numbers.ravel(), columns.ravel()) / size
    centre_y = np.bincount(numbers.ravel(), rows.ravel()) / size
    maps = np.zeros((4, *labels.shape), np.float32)
    maps[0] = foreground
    maps[1] = distance / np.maximum(deepest, 0.5)[numbers]
    maps[2] = np.where(foreground, centre_x[numbers] - columns, 0)
    maps[3] = np.where(foreground, centre_y[numbers] - rows, 0)
    return maps


def profile_maps(sample: Sample) -> npt.NDArray[np.float32]:
    """Return the maps that stand for glands, or for vessels in a section.

    Returns
    -------
    float32 array, shape (3, H, W)
        ``foreground``, lumen included; ``contour``, 1 up to `CONTOUR_UM` from an outline;
        ``lumen``, as the sample gives it, or else where the picture is empty inside of an object.
    """
    numbers = _dense(sample.labels)
    foreground = numbers > 0
    edges = _edges(numbers)
    away = ndimage.distance_transform_edt(~edges) if edges.any() else np.full(numbers.shape, np.inf)
    contour = away * sample.mpp < CONTOUR_UM
    lumen = sample.lumen
    if lumen is None:
        lumen = find_lumina(sample) & (away * sample.mpp > WALL_UM)
    return np.stack([foreground, contour, lumen & foreground]).astype(np.float32)


def find_lumina(sample: Sample) -> npt.NDArray[np.bool_]:
    """Find the lumina of labelled glands by their brightness, bool (H, W).

    Where the picture, smoothed over 2 µm, is brighter than `LUMEN_BRIGHTNESS` of its own white (the
    99th percentile), with what lies in between within `LUMEN_GAP_UM`, in parts of at least
    `MIN_LUMEN_UM2` inside of a gland.
    """
    grey = ndimage.gaussian_filter(sample.image.min(axis=2).astype(np.float32), 2.0 / sample.mpp)
    white = max(float(np.percentile(grey, 99)), 200.0)
    gland = sample.labels > 0
    bright = closed((grey > LUMEN_BRIGHTNESS * white) & gland, LUMEN_GAP_UM / sample.mpp) & gland
    parts, _ = ndimage.label(bright)
    large = np.bincount(parts.ravel()) * sample.mpp**2 >= MIN_LUMEN_UM2
    large[0] = False
    found: npt.NDArray[np.bool_] = large[parts]
    return found


def line_maps(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float32]:
    """Return the one map of a network for lines, the ``foreground``, float32 (1, H, W)."""
    return (labels > 0)[None].astype(np.float32)


def _dense(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Renumber objects 1..n, background 0."""
    return dense(labels)[1].reshape(labels.shape)


def _edges(dense: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Pixels with a neighbour of another label, on both sides of an outline."""
    edge = np.zeros(dense.shape, bool)
    for axis in (0, 1):
        differs = np.diff(dense, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= differs
        edge[tuple(after)] |= differs
    return edge
