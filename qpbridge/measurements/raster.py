"""Which pixels a shape covers, by the two rules that QuPath measures by.

Intensities are measured where the centre of a pixel lies within (`covered_pixels`). A centre
exactly on an edge belongs to the shape on its left, or below: shapes that share an edge share no
pixel. (QuPath's masks of rectangles and ellipses, unlike those of polygons, are rounded to whole
pixels first; that is not followed here.) Textures are measured where Java 2D fills
(`filled_pixels`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray, IntArray, RoiKind, Shapes, concatenate_shapes, offsets

STEPS = 1024
"""Parts of a pixel that Java 2D tells apart."""

Float32 = npt.NDArray[np.float32]


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
    x, y = (shapes.coords / downsample - np.asarray(origin, np.float64)).T
    first, owner = _edges(shapes)
    row, position, which = _crossings(x[first], y[first], x[first + 1], y[first + 1], height)
    column = np.clip(np.floor(position + 0.5), 0, width).astype(np.int64)
    return _between(owner[which], row, column, size)


def filled_pixels(
    shapes: Shapes,
    size: tuple[int, int],
    origin: tuple[float, float] = (0.0, 0.0),
    downsample: float = 1.0,
) -> tuple[IntArray, IntArray]:
    """Find the pixels that Java 2D fills, as QuPath's *Add intensity features* lets it do.

    By Java's usual stroke control a pixel is filled if its upper left corner lies within, left and
    upper edges included. Vertices are cut to 1/1024 of a pixel, and a line goes by whole steps of
    that from row to row. QuPath fills each shape in a picture of its own, from the whole pixel at
    its upper left on, and lines are cut where they leave that picture; so here, where the window
    has full resolution. In any other, QuPath's picture has a grid of its own for each shape; here
    all lie on that of the window.

    For the parameters and what is returned see `covered_pixels`.
    """
    shapes = _polygons(shapes)
    first, owner = _edges(shapes)
    corner = np.asarray(origin, np.float64)
    drawn = np.flatnonzero(np.diff(shapes.objects))
    low, high = np.zeros((2, len(shapes), 2))
    low[drawn], high[drawn] = (bounds / downsample for bounds in shapes.take(drawn).bounds())
    own = downsample == 1 and bool((corner == np.floor(corner)).all())
    start = np.floor(low) if own else np.tile(corner, (len(shapes), 1))
    end = np.ceil(high - start)
    points = shapes.coords / downsample
    one, other = ((points[i] - start[owner]).astype(np.float32) for i in (first, first + 1))
    lines, which = _within(one, other, end[owner])
    row, column, line = _steps(lines)
    owner = owner[which[line]]
    shift = (start - corner).astype(np.int64)[owner]
    row, column = row + shift[:, 1], np.clip(column + shift[:, 0], 0, size[1])
    seen = (row >= 0) & (row < size[0])
    return _between(owner[seen], row[seen], column[seen], size)


def _edges(shapes: Shapes) -> tuple[IntArray, IntArray]:
    """Find the vertices that are not the last of their ring, and whose they are, (m,) each."""
    ring_owner = np.repeat(np.arange(len(shapes)), np.diff(shapes.parts[shapes.objects]))
    owner = np.repeat(ring_owner, np.maximum(np.diff(shapes.rings) - 1, 0))
    inner = np.ones(len(shapes.coords), bool)
    inner[shapes.rings[1:] - 1] = False
    return np.flatnonzero(inner), owner


def _between(
    owner: IntArray, row: IntArray, column: IntArray, size: tuple[int, int]
) -> tuple[IntArray, IntArray]:
    """Take what lies between the first and the second crossing of a row, and so on (even-odd).

    Parameters
    ----------
    owner, row, column
        (k,) each: of a crossing whose it is, and the first pixel to the right of it.
    size
        Height and width of the window.
    """
    height, width = size
    line = (owner * height + row) * (width + 1) + column
    line, column = np.divmod(np.sort(line), width + 1)
    start, end, line = column[::2], column[1::2], line[::2]
    count = end - start
    total = np.concatenate([[0], np.cumsum(count)])
    pixel = np.arange(total[-1]) + np.repeat(line % height * width + start - total[:-1], count)
    return np.repeat(line // height, count), pixel


def _within(one: Float32, other: Float32, end: FloatArray) -> tuple[IntArray, IntArray]:
    """Cut lines at the right and the lower border of a picture, as Java 2D does.

    Parameters
    ----------
    one, other
        float32 (m, 2), the ends of lines.
    end
        float64 (m, 2), width and height of the picture of each.

    Returns
    -------
    lines
        int64 (k, 4), x and y of both ends in 1/1024 of a pixel; what was cut off on the right goes
        along the border.
    which
        int64 (k,), the line that each is of, or part of.
    """
    border = end - 0.5 - 1 / STEPS
    for axis in (1, 0):
        cut = _cut(one, other, border[:, axis], axis)
        one, other, off = cut, _cut(other, cut, border[:, axis], axis), (one, other)
    past = border[:, 0]
    kept = (off[0][:, 0] <= past) | (off[1][:, 0] <= past)
    parts, which = [np.column_stack([one, other])[kept]], [np.flatnonzero(kept)]
    for begin, stop, some in ((off[0], one, kept), (other, off[1], kept), (*off, ~kept)):
        rows = np.flatnonzero(some & (begin[:, 1] != stop[:, 1]))
        at = end[rows, 0]
        parts.append(np.column_stack([at, begin[rows, 1], at, stop[rows, 1]]))
        which.append(rows)
    return (np.concatenate(parts) * STEPS).astype(np.int64), np.concatenate(which)


def _cut(one: Float32, other: Float32, border: FloatArray, axis: int) -> Float32:
    """Move ends of lines to a border, if they lie beyond it and the other ends do not."""
    beyond = np.flatnonzero((one[:, axis] > border) & (other[:, axis] <= border))
    a, b, limit = one[beyond], other[beyond], border[beyond]
    share = (limit - a[:, axis]) * (b[:, 1 - axis] - a[:, 1 - axis]) / (b[:, axis] - a[:, axis])
    out = one.copy()
    out[beyond, 1 - axis] = a[:, 1 - axis] + share
    out[beyond, axis] = limit
    return out


def _steps(lines: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Go down lines from row to row: row, first pixel to the right, and which line, (k,) each."""
    upward = lines[:, 1] > lines[:, 3]
    x1, y1, x2, y2 = np.where(upward[:, None], lines[:, [2, 3, 0, 1]], lines).T
    first, last = -(-y1 // STEPS), -(-y2 // STEPS)
    count = last - first
    which = np.repeat(np.arange(len(lines)), count)
    down = np.arange(len(which)) - np.repeat(offsets(count)[:-1], count)
    wide, tall = x2 - x1, np.maximum(y2 - y1, 1)

    def towards_zero(number: IntArray) -> IntArray:
        parts: IntArray = np.sign(number) * (np.abs(number) // tall)
        return parts

    begin, step = x1 + towards_zero(wide * (first * STEPS - y1)), towards_zero(wide * STEPS)
    x = begin[which] + down * step[which]
    return first[which] + down, -(-x // STEPS), which


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
