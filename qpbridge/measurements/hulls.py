"""Largest and smallest diameter of many convex polygons at once.

Vertices of all hulls lie one after the other; `owner` says which hull each belongs to.
"""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.objects import FloatArray, GeometryArray, IntArray

CHUNK = 2**14
"""Hulls that are measured at a time; bounds the memory."""

NEAR = 1e-11
"""How far, relative to a circle's squared radius, a point may lie outside and still be on it."""

PAIRS = np.array([(0, 1), (0, 2), (1, 2)])
"""Two of three points."""

MEMBERS = np.array([(0, 0), (1, 1), (2, 2), *PAIRS])
"""Which of three points may, with a fourth, hold a circle."""


def hull_diameters(hulls: GeometryArray) -> tuple[FloatArray, FloatArray]:
    """Find the smallest enclosing circle and the smallest width of convex hulls.

    Parameters
    ----------
    hulls
        From `shapely.convex_hull`, object array (n,).

    Returns
    -------
    largest
        float64 (n,), diameters of the smallest enclosing circles.
    smallest
        float64 (n,), distances of the nearest two parallel lines with the hull in between; 0 for
        points and lines. Both are NaN where a hull is missing or empty.
    """
    largest = shapely.length(hulls)
    smallest = np.zeros(len(hulls))
    nothing = shapely.is_missing(hulls) | shapely.is_empty(hulls)
    largest[nothing] = smallest[nothing] = np.nan
    polygons = np.flatnonzero(shapely.get_type_id(hulls) == shapely.GeometryType.POLYGON)
    for start in range(0, len(polygons), CHUNK):
        rows = polygons[start : start + CHUNK]
        coords, owner = shapely.get_coordinates(hulls[rows], return_index=True)
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        open_ring = np.delete(np.arange(len(owner)), first)
        x, y = (coords - coords[first][owner])[open_ring].T
        owner = owner[open_ring]
        largest[rows] = 2 * _enclosing_radius(x, y, owner)
        smallest[rows] = _width(x, y, owner)
    return largest, smallest


def _width(x: FloatArray, y: FloatArray, owner: IntArray) -> FloatArray:
    """Smallest width of n convex rings without the closing vertex, float64 (k,) each -> (n,).

    The narrowest strip lies along an edge: for each edge find the vertex furthest from it; the
    nearest of these wins (Houle and Toussaint, IEEE PAMI 1988). The furthest vertex is where the
    ring turns to the opposite direction; rounding of directions may miss it, but by little.
    """
    each = np.arange(len(owner))
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    last = np.append(first[1:], len(owner)) - 1
    after, before = each + 1, each - 1
    after[last], before[first] = first, last
    along_x, along_y = x[after] - x, y[after] - y

    turn = np.arctan2(along_y, along_x) / (2 * np.pi) % 1
    order = np.argsort(2 * owner + turn)
    furthest = np.searchsorted((2 * owner + turn)[order], 2 * owner + (turn + 0.5) % 1)
    furthest = order[np.minimum(furthest, last[owner])]

    def away(edge: IntArray, vertex: IntArray) -> FloatArray:
        across_x, across_y = x[vertex] - x[edge], y[vertex] - y[edge]
        distance: FloatArray = np.abs(along_x[edge] * across_y - along_y[edge] * across_x)
        return distance

    width = away(each, furthest)
    for step in (after, before):
        edge = each
        while len(edge):
            further = away(edge, step[furthest[edge]])
            better = further > width[edge]
            edge = edge[better]
            width[edge], furthest[edge] = further[better], step[furthest[edge]]
    smallest: FloatArray = np.minimum.reduceat(width / np.hypot(along_x, along_y), first)
    return smallest


def _enclosing_radius(x: FloatArray, y: FloatArray, owner: IntArray) -> FloatArray:
    """Radius of the smallest circle around each of n sets of points, float64 (k,) each -> (n,).

    Keeps the smallest circle of up to three points. While another point lies outside, the furthest
    one joins: the smallest circle of the four goes through it and one or two of the old points. The
    radius grows each time, so this ends (Elzinga and Hearn, Management Science 1972).
    """
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    radius2 = np.zeros(len(first))
    centre = np.stack([x[first], y[first]])
    held = np.repeat(centre[:, None], 3, axis=1)
    while len(owner):
        apart = np.square(x - centre[0, owner]) + np.square(y - centre[1, owner])
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        most = np.maximum.reduceat(apart, first)
        furthest = np.flatnonzero(apart == np.repeat(most, np.diff(first, append=len(owner))))
        furthest = furthest[np.diff(owner[furthest], prepend=-1) > 0]
        furthest = furthest[most > radius2[owner[first]] * (1 + NEAR)]
        point, active = np.stack([x[furthest], y[furthest]]), owner[furthest]
        middle, grown, members = _smallest_through_origin(held[:, :, active] - point[:, None])
        # Points that lie on one circle, up to rounding, would take turns for ever.
        larger = np.flatnonzero((grown > radius2[active]) & np.isfinite(grown))
        point, active, members = point[:, larger], active[larger], members[:, larger]
        centre[:, active] = point + middle[:, larger]
        radius2[active] = grown[larger]
        held[:, :2, active] = held[:, members, active]
        held[:, 2, active] = point
        going = np.zeros(len(radius2), bool)
        going[active] = True
        left = going[owner]
        x, y, owner = x[left], y[left], owner[left]
    return np.sqrt(radius2)


def _smallest_through_origin(points: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Find the smallest circle through the origin around three points, float64 (2, 3, m).

    Returns
    -------
    centre
        float64 (2, m).
    radius2
        float64 (m,); not finite where there is no circle.
    members
        int64 (2, m), which of the points hold it; the same twice if one does.
    """
    x, y = points
    square = x * x + y * y
    (ux, vx), (uy, vy), (uu, vv) = (np.moveaxis(v[PAIRS], 1, 0) for v in (x, y, square))
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = 2 * (ux * vy - uy * vx)
        cx = np.concatenate([x / 2, (vy * uu - uy * vv) / cross])
        cy = np.concatenate([y / 2, (ux * vv - vx * uu) / cross])
        radius2 = cx * cx + cy * cy
        # Three points in a line have no circle in common: infinite or not a number.
        apart = np.square(x[:, None] - cx) + np.square(y[:, None] - cy)
        around = (apart <= radius2 * (1 + NEAR / 10)).all(axis=0)
    radius2 = np.where(around, radius2, np.inf)
    best = radius2.argmin(axis=0)
    each = np.arange(len(best))
    centre = np.stack([cx[best, each], cy[best, each]])
    return centre, radius2[best, each], MEMBERS[best].T
