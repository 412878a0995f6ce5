"""Which pixels a shape covers: those whose centre lies within, by the rule of QuPath's masks.

A centre exactly on an edge belongs to the shape on its left, or below: shapes that share an edge
share no pixel. (QuPath's masks of rectangles and ellipses, unlike those of polygons, are rounded to
whole pixels first; that is not followed here.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray, IntArray, RoiKind, Shapes, concatenate_shapes


def covered_pixels(
    shapes: Shapes,
    size: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
    downsample: float = 1.0,
) -> tuple[IntArray, IntArray]:
    """Find the pixels of many shapes by scan lines; overlapping shapes get theirs each.

    Parameters
    ----------
    shapes
        Polygons of any kind, rectangles, ellipses; full-resolution pixels.
    size
        Height and width of the window.
    origin
        x and y of the window's top left corner, in its own pixels.
    downsample
        Full-resolution pixels per pixel of the window.

    Returns
    -------
    owner
        int64 (k,), row of the shape, ascending.
    pixel
        int64 (k,), ``row * width + column`` in the window.
    """
    height, width = size
    shapes = _polygons(shapes)
    points = shapes.coords / downsample - np.asarray(origin, np.float64)
    ring_owner = np.repeat(np.arange(len(shapes)), np.diff(shapes.parts[shapes.objects]))
    lengths = np.diff(shapes.rings)
    first = np.ones(len(points) + 1, bool)
    first[shapes.rings[1:]] = False
    edge = np.flatnonzero(first[1:])
    owner = np.repeat(ring_owner, np.maximum(lengths - 1, 0))
    x, y = points[:, 0], points[:, 1]

    row, position, which = _crossings(x[edge], y[edge], x[edge + 1], y[edge + 1], height)
    column = np.clip(np.floor(position + 0.5), 0, width).astype(np.int64)
    line = owner[which] * height + row
    line, column = np.divmod(np.sort(line * (width + 1) + column), width + 1)
    # Even-odd: between the first and the second crossing of a line is inside, and so on.
    start, end, line = column[::2], column[1::2], line[::2]
    count = end - start
    total = np.concatenate([[0], np.cumsum(count)])
    pixel = np.arange(total[-1]) + np.repeat(line % height * width + start - total[:-1], count)
    return np.repeat(line // height, count), pixel


def _crossings(
    x1: FloatArray, y1: FloatArray, x2: FloatArray, y2: FloatArray, height: int
) -> tuple[IntArray, FloatArray, IntArray]:
    """Cross edges (m,) with the lines through pixel centres: row, x, and which edge, (k,) each."""
    low, high = np.minimum(y1, y2), np.maximum(y1, y2)
    first = np.clip(np.ceil(low - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high - 0.5), 0, height).astype(np.int64)
    count = last - first
    which = np.repeat(np.arange(len(count)), count)
    starts = np.cumsum(count) - count
    row = np.arange(len(which)) - np.repeat(starts - first, count)
    x1, y1, x2, y2 = x1[which], y1[which], x2[which], y2[which]
    position: FloatArray = x1 + (row + 0.5 - y1) * (x2 - x1) / (y2 - y1)
    return row, position, which


def rasterize(
    shapes: Shapes,
    size: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
    downsample: float = 1.0,
) -> npt.NDArray[np.int32]:
    """Draw shapes as labels, int32 (height, width): row + 1, 0 for none; later ones on top.

    For the parameters see `covered_pixels`.
    """
    owner, pixel = covered_pixels(shapes, size, origin, downsample)
    labels = np.zeros(size[0] * size[1], np.int32)
    labels[pixel] = owner + 1
    return labels.reshape(size)


def _polygons(shapes: Shapes) -> Shapes:
    """Spell out rectangles and ellipses as polygons; shapes without area become empty."""
    ready = np.isin(shapes.roi, (RoiKind.POLYGON, RoiKind.GEOMETRY))
    if ready.all():
        return shapes
    spelled = np.isin(shapes.roi, (RoiKind.RECTANGLE, RoiKind.ELLIPSE))
    joined = concatenate_shapes(
        [
            shapes.take(ready),
            Shapes.from_geometries(shapes.take(spelled).geometries),
            Shapes.empty(int((~ready & ~spelled).sum())),
        ]
    )
    order = np.concatenate([np.flatnonzero(v) for v in (ready, spelled, ~ready & ~spelled)])
    return joined.take(np.argsort(order))
