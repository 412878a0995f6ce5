"""Instance maps to sub-pixel outlines, all objects of a map at once.

Coordinates are pixels of the map, x right and y down; pixel (0, 0) covers [0, 1) x [0, 1), so its
centre is at (0.5, 0.5). Outlines are ragged arrays, as shapely has them: the rings one after the
other, closed (first vertex repeated at the end), and the offset at which each one starts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

# up, right, down, left, as (row, column): clockwise as displayed
ROW_STEP = np.array([-1, 0, 1, 0])
COLUMN_STEP = np.array([0, 1, 0, -1])


class Rings(NamedTuple):
    """Closed outlines.

    Attributes
    ----------
    coords : float64 array, shape (m, 2)
        Vertices (x, y) of all rings, one ring after the other.
    offsets : int64 array, shape (n + 1,)
        Ring i is ``coords[offsets[i]:offsets[i + 1]]``.
    owner : int64 array, shape (n,)
        What each ring belongs to: the label of an instance, or the number of the ring before.
    """

    coords: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]

    def polygons(self) -> npt.NDArray[np.object_]:
        """Return the rings as shapely polygons, (n,)."""
        if not len(self.owner):
            return np.empty(0, object)
        parts = np.arange(len(self.owner) + 1)
        made = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.coords, (self.offsets, parts)
        )
        return np.asarray(made)


def instances_to_polygons(
    labels: npt.NDArray[np.integer],
    level: npt.NDArray[np.floating] | None = None,
    threshold: float = 0.5,
    *,
    tolerance: float = 0.1,
) -> Rings:
    """Outline every instance with one ring, without holes.

    Marching squares over the whole map in one pass: every side of a pixel that leaves its instance
    carries one vertex, moved to where `level` crosses `threshold`; the vertices are chained into
    rings by pointer doubling, so the time depends on the length of all outlines, and only with
    the logarithm on the longest.

    Parameters
    ----------
    labels : int array, shape (H, W)
        0 is background. Of an instance in several parts (diagonal neighbours are not connected)
        the largest is outlined.
    level : float array, shape (H, W), optional
        Foreground probability; without it, vertices lie half-way between pixel centres.
    threshold
        The level at which an instance ends, where it ends at background.
    tolerance
        How far simplification may move an outline, in pixels; 0 keeps all vertices.

    Returns
    -------
    Rings
        In order of labels; ``owner`` holds the labels. Clockwise as displayed (y down).
    """
    traced = _trace(labels, level, threshold)
    order = np.lexsort((-traced.area, traced.label))
    best = order[np.r_[True, np.diff(traced.label[order]) > 0]] if len(order) else order
    coords, offsets = _take_rings(traced.points, traced.start, traced.length, best)
    rings = Rings(coords, offsets, traced.label[best])
    return _simplify(rings, tolerance) if tolerance > 0 else rings


def instances_to_areas(
    labels: npt.NDArray[np.integer],
    level: npt.NDArray[np.floating] | None = None,
    threshold: float = 0.5,
    *,
    tolerance: float = 0.1,
) -> npt.NDArray[np.object_]:
    """Outline every instance with its holes.

    Parameters
    ----------
    labels, level, threshold, tolerance
        As for `instances_to_polygons`; instances are 1..n, each in one part.

    Returns
    -------
    polygons
        Valid shapely polygons (n,), in order of labels.
    """
    traced = _trace(labels, level, threshold)
    order = np.lexsort((-traced.area, traced.label))  # the outer ring first, holes are negative
    coords, offsets = _take_rings(traced.points, traced.start, traced.length, order)
    first = np.flatnonzero(np.r_[True, np.diff(traced.label[order]) > 0])[: len(order)]
    parts = np.r_[first, len(order)].astype(np.int64)
    if not len(order):
        return np.empty(0, object)
    made = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coords, (offsets, parts))
    polygons = np.asarray(shapely.simplify(made, tolerance) if tolerance > 0 else made)
    broken = np.flatnonzero(~shapely.is_valid(polygons))
    polygons[broken] = [_largest_polygon(shapely.make_valid(p)) for p in polygons[broken]]
    return polygons


def _largest_polygon(geometry: shapely.Geometry) -> shapely.Geometry:
    parts = shapely.get_parts(geometry)
    flat = shapely.get_parts(parts)
    best: shapely.Geometry = flat[np.argmax(shapely.area(flat))]
    return best


class _Traced(NamedTuple):
    """Open rings around everything, one after the other; holes have negative areas."""

    points: npt.NDArray[np.float64]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    area: npt.NDArray[np.float64]


def _trace(
    labels: npt.NDArray[np.integer], level: npt.NDArray[np.floating] | None, threshold: float
) -> _Traced:
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    flat = padded.ravel()
    steps = ROW_STEP * width + COLUMN_STEP

    inside = np.flatnonzero(flat != 0)
    own = flat[inside]
    leaves = np.flatnonzero(np.stack([flat[inside + step] != own for step in steps], 1))
    which, side = np.divmod(leaves, 4)
    pixel = inside[which]
    if not len(pixel):
        none = np.empty(0, np.int64)
        return _Traced(np.empty((0, 2)), none, none, none, np.empty(0))

    following = _following(flat, steps, inside, leaves)
    root, rank = _chain(following)
    starts = root == np.arange(len(root))
    first, ring = np.flatnonzero(starts), (np.cumsum(starts) - 1)[root]
    length = np.bincount(ring)
    start = np.cumsum(length) - length
    order = np.empty(len(pixel), np.int64)
    order[start[ring] + rank] = np.arange(len(pixel))

    away, exact = _crossing(padded, level, threshold, pixel, side)
    points = np.stack(
        [
            pixel % width - 0.5 + away * COLUMN_STEP[side],  # the padding is one pixel wide
            pixel // width - 0.5 + away * ROW_STEP[side],
        ],
        1,
    )
    points = _smooth(points, following, ~exact)[order]

    label = flat[pixel[first]].astype(np.int64)
    return _Traced(points, start, length, label, _ring_area(points, start))


def round_rings(
    coords: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], decimals: int = 2
) -> Rings:
    """Round vertices, and make valid again what rounding broke.

    Repeated vertices go; a ring that crosses itself is split where it does and its largest part
    kept; a ring without area goes. Rounding the result again changes nothing.

    Parameters
    ----------
    coords, offsets
        Closed rings, see `Rings`.
    decimals
        Digits after the point.

    Returns
    -------
    Rings
        Valid rings; ``owner`` tells which of the given rings each one was, in ascending order.
    """
    points = np.round(coords, decimals) + 0.0  # no negative zeros
    repeated = np.zeros(len(points), bool)
    repeated[1:] = (points[1:] == points[:-1]).all(1)
    repeated[offsets[:-1][offsets[:-1] < len(points)]] = False
    ring = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[~repeated]
    points = points[~repeated]
    length = np.bincount(ring, minlength=len(offsets) - 1)
    start = np.cumsum(length) - length
    whole = np.flatnonzero(length >= 4)
    rings = Rings(*_take_rings(points, start, length - 1, whole), whole)
    polygons = rings.polygons()
    broken = np.flatnonzero(~shapely.is_valid(polygons) | (shapely.area(polygons) == 0))
    if not len(broken):
        return rings
    repaired = _repair(polygons[broken], decimals)
    polygons[broken] = repaired
    kept = np.flatnonzero(~shapely.is_empty(polygons))
    return _from_polygons(polygons[kept], whole[kept])


def _following(
    flat: npt.NDArray[np.integer],
    steps: npt.NDArray[np.int64],
    inside: npt.NDArray[np.int64],
    leaves: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """For each side of a pixel that is part of an outline, the number of the one that follows.

    Sides are numbers in the list `leaves`, which says 4 i + side for pixel ``inside[i]``.

    Clockwise: at the end of its side, the outline turns right around the same pixel, goes straight
    on along the neighbour, or turns left to the pixel diagonally ahead.
    """
    place = np.empty(len(flat), np.int32)  # read only where it's written, as `number`
    place[inside] = np.arange(len(inside))
    number = np.empty(4 * len(inside), np.int64)
    number[leaves] = np.arange(len(leaves))
    which, side = np.divmod(leaves, 4)
    pixel = inside[which]
    right = (side + 1) % 4
    beside = pixel + steps[right]
    ahead = beside + steps[side]
    own = flat[pixel]
    turn_right = flat[beside] != own
    straight = flat[ahead] != own
    goal = np.where(turn_right, pixel, np.where(straight, beside, ahead))
    turned = np.where(turn_right, right, np.where(straight, side, (side + 3) % 4))
    following: npt.NDArray[np.int64] = number[4 * place[goal].astype(np.int64) + turned]
    return following


def _chain(
    following: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Smallest member of each cycle, and the steps from it, for every member of a permutation."""
    count = len(following)
    root, jump = np.arange(count), following
    while True:
        smaller = np.minimum(root, root[jump])
        if np.array_equal(smaller, root):
            break
        root, jump = smaller, jump[jump]
    last = following == root  # the member before the root ends the chain
    jump = np.where(last, np.arange(count), following)
    left = np.where(last, 0, 1)
    while True:
        more = left[jump]
        if not more.any():
            break
        left, jump = left + more, jump[jump]
    return root, left[root] - left


def _crossing(
    padded: npt.NDArray[np.integer],
    level: npt.NDArray[np.floating] | None,
    threshold: float,
    pixel: npt.NDArray[np.int64],
    side: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How far along the way to the next pixel's centre an outline lies, and whether it's known."""
    if level is None:
        return np.full(len(pixel), 0.5), np.ones(len(pixel), bool)
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    if level.shape != (height, width):
        raise ValueError(f"level {level.shape} does not fit labels {height, width}")
    row, column = pixel // (width + 2) - 1, pixel % (width + 2) - 1
    next_row, next_column = row + ROW_STEP[side], column + COLUMN_STEP[side]
    border = (next_row < 0) | (next_row == height) | (next_column < 0) | (next_column == width)
    values = level.ravel()
    here = values[row * width + column].astype(np.float64)
    there = values[np.where(border, 0, next_row * width + next_column)].astype(np.float64)
    empty = padded.ravel()[(next_row + 1) * (width + 2) + next_column + 1] == 0
    exact = ~border & empty & (here > threshold) & (there <= threshold)
    fall = np.where(exact, here - there, 1.0)
    away = np.where(exact, (here - threshold) / fall, 0.5)
    return np.clip(away, 0.02, 0.98), exact | border


def _smooth(
    points: npt.NDArray[np.float64],
    following: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Straighten the stairs where two instances touch: there no level says where they part."""
    if not chosen.any():
        return points
    before = np.empty_like(following)
    before[following] = np.arange(len(following))
    here = np.flatnonzero(chosen)
    for _ in range(2):
        points = points.copy()
        points[here] = points[here] / 2 + points[following[here]] / 4 + points[before[here]] / 4
    return points


def _ring_area(
    points: npt.NDArray[np.float64], start: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Signed area of open rings, one after the other; clockwise as displayed is positive."""
    after = np.arange(1, len(points) + 1)
    after[np.r_[start[1:], len(points)] - 1] = start
    x, y = points.T
    return np.add.reduceat(x * y[after] - x[after] * y, start) / 2


def _take_rings(
    points: npt.NDArray[np.float64],
    start: npt.NDArray[np.int64],
    length: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Copy some of the open rings, closing them."""
    size = length[chosen] + 1
    offsets = np.r_[0, np.cumsum(size)].astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], size)
    take = np.repeat(start[chosen], size) + within % np.repeat(length[chosen], size)
    return points[take], offsets


def _simplify(rings: Rings, tolerance: float) -> Rings:
    polygons = rings.polygons()
    simple = shapely.simplify(polygons, tolerance, preserve_topology=False)
    # a tiny outline may collapse or cross itself: those stay as they were
    lost = shapely.is_empty(simple) | ~shapely.is_valid(simple)
    lost |= shapely.get_type_id(simple) != shapely.GeometryType.POLYGON
    return _from_polygons(np.where(lost, polygons, simple), rings.owner)


def _from_polygons(polygons: npt.NDArray[np.object_], owner: npt.NDArray[np.int64]) -> Rings:
    exterior = shapely.get_exterior_ring(polygons)
    coords = shapely.get_coordinates(exterior)
    offsets = np.r_[0, np.cumsum(shapely.get_num_coordinates(exterior))].astype(np.int64)
    return Rings(coords, offsets, owner)


def _repair(polygons: npt.NDArray[np.object_], decimals: int) -> npt.NDArray[np.object_]:
    """Largest valid part of each polygon, on the grid of the decimals; empty where none is left."""
    # the precision model snaps the new vertices (where a ring crossed itself) to the grid as well
    valid = shapely.set_precision(shapely.make_valid(polygons), 10.0**-decimals)
    parts, owner = shapely.get_parts(valid, return_index=True)
    parts, inner = shapely.get_parts(parts, return_index=True)
    owner = owner[inner]
    area = shapely.area(parts)
    solid = area > 0
    parts, owner, area = parts[solid], owner[solid], area[solid]
    order = np.lexsort((-area, owner))
    best = order[np.r_[True, np.diff(owner[order]) > 0]] if len(order) else order
    repaired = np.full(len(polygons), shapely.Polygon(), object)
    outer = shapely.polygons(shapely.get_exterior_ring(parts[best]))
    coords = np.round(shapely.get_coordinates(outer), decimals) + 0.0
    outer = shapely.set_coordinates(outer, coords)
    usable = shapely.is_valid(outer)
    repaired[owner[best][usable]] = outer[usable]
    return repaired
