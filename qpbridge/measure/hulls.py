"""Largest and smallest diameter of many convex polygons at once."""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.objects import FloatArray, GeometryArray, IntArray

CHUNK = 2**22
"""Numbers in the largest array that is made at a time; bounds the memory."""

NEAR = 1e-11
"""How far, relative to a circle's squared radius, a point may lie outside and still be on it."""

CANDIDATES = ((0, 0, 3), (1, 1, 3), (2, 2, 3), (0, 1, 3), (0, 2, 3), (1, 2, 3))
"""Which of four points may hold a circle; the circle of a pair has it as its diameter."""


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
    coords = shapely.get_coordinates(hulls[polygons])
    counts = shapely.get_num_coordinates(hulls[polygons])
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    for k in np.unique(counts):
        same = np.flatnonzero(counts == k)
        step = max(1, CHUNK // int(k))
        for i in range(0, len(same), step):
            rows = same[i : i + step]
            ring = coords[starts[rows] + np.arange(k)[:, None]]
            ring -= ring[0]
            x, y = np.moveaxis(ring, 2, 0)
            largest[polygons[rows]] = 2 * _enclosing_radius(x[:-1], y[:-1])
            smallest[polygons[rows]] = _width(x, y)
    return largest, smallest


def _width(x: FloatArray, y: FloatArray) -> FloatArray:
    """Smallest width of closed convex rings, float64 (k, m) each -> (m,).

    The narrowest strip lies along an edge: for each edge find the vertex furthest from it; the
    nearest of these wins (Houle and Toussaint, IEEE PAMI 1988).
    """
    along_x, along_y = np.diff(x, axis=0), np.diff(y, axis=0)
    length = np.hypot(along_x, along_y)
    width = np.full(x.shape[1], np.inf)
    for i in range(len(length)):
        across = along_x[i] * (y[:-1] - y[i]) - along_y[i] * (x[:-1] - x[i])
        np.minimum(width, np.abs(across).max(axis=0) / length[i], out=width)
    return width


def _enclosing_radius(x: FloatArray, y: FloatArray) -> FloatArray:
    """Radius of the smallest circle around points, float64 (k, m) each -> (m,).

    Keeps the smallest circle of up to three points. While another point lies outside, the furthest
    one joins: the smallest circle of the four goes through it and one or two of the old points. The
    radius grows each time, so this ends (Elzinga and Hearn, Management Science 1972).
    """
    m = x.shape[1]
    held_x, held_y = np.repeat(x[:1], 4, axis=0), np.repeat(y[:1], 4, axis=0)
    centre_x, centre_y, radius2 = x[0].copy(), y[0].copy(), np.zeros(m)
    active = np.arange(m)
    while len(active):
        apart = np.square(x[:, active] - centre_x[active])
        apart += np.square(y[:, active] - centre_y[active])
        furthest = apart.argmax(axis=0)
        outside = apart[furthest, np.arange(len(active))] > radius2[active] * (1 + NEAR)
        active, furthest = active[outside], furthest[outside]
        held_x[3, active], held_y[3, active] = x[furthest, active], y[furthest, active]
        cx, cy, grown, members = _smallest_of_four(held_x[:, active], held_y[:, active])
        # Points that lie on one circle, up to rounding, would take turns for ever.
        larger = (grown > radius2[active]) & np.isfinite(grown)
        active, members = active[larger], members[:, larger]
        centre_x[active], centre_y[active], radius2[active] = cx[larger], cy[larger], grown[larger]
        held_x[:3, active] = held_x[members, active]
        held_y[:3, active] = held_y[members, active]
    return np.sqrt(radius2)


def _smallest_of_four(
    x: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    """Find the smallest circle around four points that goes through the last, float64 (4, m) each.

    Returns
    -------
    x, y, radius2
        float64 (m,), the circle.
    members
        int64 (3, m), which of the four points hold it.
    """
    m = x.shape[1]
    best_x, best_y, best = np.zeros(m), np.zeros(m), np.full(m, np.inf)
    members = np.zeros((3, m), np.int64)
    for triple in CANDIDATES:
        a, b, c = triple
        if a == b:
            cx, cy = (x[b] + x[c]) / 2, (y[b] + y[c]) / 2
        else:
            cx, cy = _circumcentre(x[list(triple)], y[list(triple)])
        apart = np.square(x - cx) + np.square(y - cy)
        # Three points in a line have no circle in common: not a number, which is never smaller.
        better = (apart.max(axis=0) <= apart[3] * (1 + NEAR / 10)) & (apart[3] < best)
        best_x[better], best_y[better], best[better] = cx[better], cy[better], apart[3, better]
        members[:, better] = np.array(triple)[:, None]
    return best_x, best_y, best, members


def _circumcentre(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centres of the circles through three points, float64 (3, m) each."""
    ux, uy, vx, vy = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    cross = 2 * (ux * vy - uy * vx)
    uu, vv = ux * ux + uy * uy, vx * vx + vy * vy
    with np.errstate(divide="ignore", invalid="ignore"):
        return x[0] + (vy * uu - uy * vv) / cross, y[0] + (ux * vv - vx * uu) / cross
