"""Nuclei grown into cells, as QuPath's cell expansion does: no overlap, no further than told.

Every pair of neighbours is parted by one straight line, half-way between the two convex hulls and
at right angles to the direction in which they are furthest apart; a cell is its nucleus grown on
all sides, cut at these lines. A line depends on its pair alone, so cells don't depend on what else
is there, nor on the order, nor on the blocks that they are made in. QuPath itself parts cells by a
watershed on pixels, or by the Voronoi faces of points along the outlines; both are close to this,
but leave no gap where three cells meet.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import shapely

from qpbridge.objects import FloatArray, GeometryArray, IntArray, Shapes, offsets
from qpbridge.outlines import repaired

T = TypeVar("T")

BLOCK = 4096
"""Cells made at a time, so that memory is bounded."""

ANGLES = np.arange(16) * (np.pi / 16)
DIRECTIONS: FloatArray = np.stack([np.cos(ANGLES), np.sin(ANGLES)])
"""The directions that neighbours can be parted along, (2, 16); each stands for its opposite too."""

SLACK = 0.03
"""Share of the expansion that cells may be off by: growing rough outlines takes far longer."""


def expand_nuclei(
    nuclei: Shapes | GeometryArray,
    mpp: tuple[float, float],
    expansion: float,
    region: shapely.Geometry | GeometryArray | None = None,
    *,
    which: IntArray | None = None,
    rows: IntArray | None = None,
) -> GeometryArray:
    """Grow nuclei into cells.

    Parameters
    ----------
    nuclei
        Polygons (n,), full-resolution pixels.
    mpp
        µm per pixel (x, y).
    expansion
        How far a cell reaches beyond its nucleus at most, µm; kept to within 3 %.
    region
        What cells grow within, full-resolution pixels; what of a nucleus lies outside of it stays.
        An array of several together with `which`.
    which
        int64 (n,), in which of the regions each nucleus grows; -1: anywhere.
    rows
        int64 (k,), the nuclei that grow; the others only limit them.  [default: all]

    Returns
    -------
    cells
        Polygons (n,), or (k,), in the order of the nuclei, or of `rows`. Each contains its nucleus;
        two overlap only where their nuclei do.

    Raises
    ------
    ValueError
        If the expansion is negative.
    """
    if not expansion >= 0:
        raise ValueError(f"cells can't be smaller than nuclei: expansion {expansion}")
    given = nuclei.geometries if isinstance(nuclei, Shapes) else np.asarray(nuclei, dtype=object)
    stretch = mpp[1] / mpp[0]
    inner = repaired(_stretched(given, stretch))
    cells = inner.copy()
    regions = np.zeros(0, object)
    if region is not None:
        regions = np.atleast_1d(_stretched(region, stretch))
        shapely.prepare(regions)
    nowhere_last = np.array([*regions, None], object)
    if which is None:
        which = np.full(len(inner), min(len(regions), 1) - 1)
    distance = expansion / mpp[0]
    bounds = shapely.bounds(inner)
    tree = shapely.STRtree(inner)
    rows = np.arange(len(inner)) if rows is None else rows
    there = rows[~np.isnan(bounds[rows, 0])] if distance > 0 else rows[:0]
    # neighbours in the same block, so that few nuclei are looked at twice
    corner = np.floor(bounds[there, :2] / (32 * distance)).T if len(there) else np.zeros((2, 0))
    there = there[np.lexsort(corner)]
    for start in range(0, len(there), BLOCK):
        block = there[start : start + BLOCK]
        within = nowhere_last[which[block]]
        cells[block] = _expand(inner, block, bounds, tree, distance, within)
    return _stretched(cells[rows], 1 / stretch)


def _stretched(geometry: T, factor: float) -> T:
    if factor == 1:
        return geometry
    stretched: T = shapely.transform(geometry, lambda xy: xy * (1.0, factor))
    return stretched


def _expand(
    inner: GeometryArray,
    rows: IntArray,
    bounds: FloatArray,
    tree: shapely.STRtree,
    distance: float,
    within: GeometryArray,
) -> GeometryArray:
    """Make the cells of some rows, each within a region or None; lengths in pixels."""
    reach = distance * np.array([-1.0, -1.0, 1.0, 1.0])
    near = shapely.box(*(bounds[rows] + 2 * (1 + SLACK) * reach).T)
    which, other = tree.query(near)
    pair = rows[which] != other
    which, other = which[pair], other[pair]
    normal, offset, gap = _partings(inner, rows[which], other)
    order = np.lexsort((offset, gap, which))  # not by row: that would depend on the numbering
    order = order[gap[order] < 2 * (1 + SLACK) * distance]
    which, other = which[order], other[order]
    normal, offset, gap = normal[order], offset[order], gap[order]

    nuclei = inner[rows]
    cells = _grow(nuclei, distance)
    faces = _cut_at(cells, which, normal, offset)
    # what a line cuts into several parts, or has holes, is no single ring
    odd = ~shapely.is_valid(faces) | (shapely.get_num_interior_rings(cells) > 0)
    odd |= shapely.get_type_id(cells) != shapely.GeometryType.POLYGON
    if odd.any():
        line = odd[which]
        box = shapely.box(*shapely.bounds(cells[odd]).T)
        row = (np.cumsum(odd) - 1)[which[line]]
        faces[odd] = shapely.intersection(cells[odd], _cut_at(box, row, normal[line], offset[line]))
    cells = faces

    # where a line had to go through nuclei, each keeps what is its own
    through = np.flatnonzero(gap < 0)
    rank = _rank(which[through])
    for i in range(rank.max(initial=-1) + 1):
        mine = through[rank == i]
        cells[which[mine]] = shapely.difference(cells[which[mine]], inner[other[mine]])
    mend = np.zeros(len(rows), bool)
    mend[which[through]] = True
    outside = ~shapely.is_missing(within) & ~shapely.covers(within, cells)
    cells[outside] = shapely.intersection(cells[outside], within[outside])
    mend |= outside
    cells[mend] = shapely.union(cells[mend], nuclei[mend])
    parted = shapely.get_type_id(cells) != shapely.GeometryType.POLYGON
    cells[parted] = _parts_at(cells[parted], nuclei[parted])
    return cells


def _grow(nuclei: GeometryArray, distance: float) -> GeometryArray:
    """Grow on all sides by a distance, to within `SLACK` of it."""
    simple = shapely.simplify(nuclei, SLACK * distance, preserve_topology=False)
    good = shapely.is_valid(simple) & ~shapely.is_empty(simple)
    return np.asarray(shapely.buffer(np.where(good, simple, nuclei), distance, quad_segs=4))


def _partings(
    inner: GeometryArray, one: IntArray, other: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Find the lines that part pairs of nuclei.

    Parameters
    ----------
    inner
        All nuclei.
    one, other
        Rows of the nuclei of each pair, (k,).

    Returns
    -------
    normal
        float64 (k, 2), towards the other.
    offset
        float64 (k,): points x of the one have ``normal @ x <= offset``.
    gap
        float64 (k,), how far the hulls are apart along the normal; negative: they overlap.
    """
    member, index = np.unique(np.concatenate([one, other]), return_inverse=True)
    xy, owner = shapely.get_coordinates(inner[member], return_index=True)
    start = np.searchsorted(owner, np.arange(len(member)))
    along = xy @ DIRECTIONS
    if len(member):
        low, high = np.minimum.reduceat(along, start), np.maximum.reduceat(along, start)
    else:
        low = high = np.zeros((0, len(ANGLES)))
    # the same sum for both orders of a pair, so that both get the same line to the last bit
    swap = one > other
    first, second = np.where(swap, index.reshape(2, -1)[::-1], index.reshape(2, -1))
    ahead, behind = low[second] - high[first], low[first] - high[second]
    best = np.argmax(np.maximum(ahead, behind), axis=1)
    k = np.arange(len(best))
    forward = ahead[k, best] >= behind[k, best]
    gap = np.where(forward, ahead[k, best], behind[k, best])
    middle = np.where(
        forward,
        low[second, best] + high[first, best],
        low[first, best] + high[second, best],
    )
    sign = np.where(forward != swap, 1.0, -1.0)
    return DIRECTIONS.T[best] * sign[:, None], middle / 2 * sign, gap


def _cut_at(
    polygons: GeometryArray, which: IntArray, normal: FloatArray, offset: FloatArray
) -> GeometryArray:
    """Cut the outer rings of polygons (n,) at lines, `which` one each cuts, ascending.

    Sutherland and Hodgman's way, one line of every polygon at a time; those with most lines first,
    so that what is done lies behind. Parts of one polygon stay joined along the line.
    """
    lines = np.bincount(which, minlength=len(polygons))
    order = np.argsort(-lines, kind="stable")
    first = (np.cumsum(lines) - lines)[order]
    corners, owner = shapely.get_coordinates(
        shapely.get_exterior_ring(polygons[order]), return_index=True
    )
    count = np.bincount(owner, minlength=len(polygons))
    repeated = np.cumsum(count)[count > 0] - 1
    corners, count = np.delete(corners, repeated, axis=0), count - (count > 0)
    done = []
    for i in range(lines.max(initial=0)):
        left = int((lines > i).sum())
        split = count[:left].sum()
        done.append((corners[split:], count[left:]))
        line = (first[:left] + i).repeat(count[:left])
        corners, count = _cut(corners[:split], count[:left], normal[line], offset[line])
    done.append((corners, count))
    corners = np.concatenate([c for c, _ in done[::-1]])
    count = np.concatenate([c for _, c in done[::-1]])

    out = np.full(len(polygons), shapely.Polygon(), object)
    solid = count > 2
    start = np.cumsum(count) - count
    closed = offsets(count[solid] + 1)
    within = np.arange(closed[-1]) - closed[:-1].repeat(count[solid] + 1)
    index = start[solid].repeat(count[solid] + 1) + within % count[solid].repeat(count[solid] + 1)
    out[order[solid]] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, corners[index], (closed, np.arange(len(closed)))
    )
    return out


def _cut(
    corners: FloatArray, count: IntArray, normal: FloatArray, offset: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Cut open rings, one behind the other, each at a line; the lines by vertex."""
    depth = offset - (normal * corners).sum(axis=1)
    after = np.arange(1, len(corners) + 1)
    after[np.cumsum(count)[count > 0] - 1] -= count[count > 0]
    inside = depth >= 0
    crossing = inside != inside[after]
    share = np.divide(depth, depth - depth[after], out=np.zeros_like(depth), where=crossing)
    met = corners + share[:, None] * (corners[after] - corners)
    kept = np.stack([inside, crossing], 1)
    out = np.stack([corners, met], 1)[kept]
    owner = np.arange(len(count)).repeat(count)
    return out, np.bincount(owner, kept.sum(axis=1), len(count)).astype(np.int64)


def _rank(owner: IntArray) -> IntArray:
    """Count the members of each run of equal values from 0, int64 (n,)."""
    start = np.flatnonzero(np.r_[True, np.diff(owner) > 0])[: len(owner)]
    return np.arange(len(owner)) - start.repeat(np.diff(np.r_[start, len(owner)]))


def _parts_at(cells: GeometryArray, nuclei: GeometryArray) -> GeometryArray:
    """Keep of each cell the parts that its nucleus is in."""
    parts, owner = shapely.get_parts(cells, return_index=True)
    kept = (shapely.get_dimensions(parts) == 2) & shapely.intersects(parts, nuclei[owner])
    out = nuclei.copy()
    for i in np.unique(owner[kept]):
        mine = parts[kept & (owner == i)]
        out[i] = mine[0] if len(mine) == 1 else shapely.union_all(mine)
    return out
