"""Where objects lie densest: the hot spot, a field of a given area that holds the most of them.

Microvessel density is counted in the densest field of view at x200, 0.74 mm^2 [Weidner et al.,
N Engl J Med 1991, 324:1-8]; a person finds it by eye, here every position is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qpbridge.measurements.region_names import (
    HOTSPOT_AREA,
    HOTSPOT_COUNT,
    HOTSPOT_DENSITY,
    of_region,
)
from qpbridge.objects import FloatArray, IntArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

FIELD_AREA = 0.74e6
"""Weidner's field of view at x200, µm^2."""

DEFINITIONS: Mapping[str, str] = {
    of_region("vessels", HOTSPOT_COUNT): (
        "Most vessels (by centroid) that a disc of the hot spot's area holds, wherever it is laid "
        "[Weidner 1991]; NaN where the evaluated area is smaller than the disc."
    ),
    of_region("vessels", HOTSPOT_DENSITY): "Hot spot count over the hot spot's area.",
    of_region("vessels", HOTSPOT_AREA): "Area of the disc, 740000 µm^2 unless told otherwise.",
}
"""What each measurement is, by name."""

PAIRS = 2**20
"""Pairs of points looked at at a time."""


@dataclass(frozen=True)
class HotSpot:
    """A disc, and how many points it holds.

    Parameters
    ----------
    count
        Number of points within, or on the edge.
    x, y
        Its centre; NaN where there is no point.
    """

    count: int
    x: float
    y: float


def densest_disc(points: FloatArray, radius: float) -> HotSpot:
    """Find the disc that holds the most points, over all positions.

    A disc that holds the most can be moved until a point lies on its edge, so it is enough to roll
    a disc around each point: each other point near enough is within for one arc of the way, and the
    most arcs that overlap are the answer. Points that a coarse count rules out are passed over.

    Parameters
    ----------
    points
        float64 (n, 2).
    radius
        In the unit of the points.

    Returns
    -------
    HotSpot
        The count is exact; the disc is one of those that reach it.
    """
    if not len(points):
        return HotSpot(0, np.nan, np.nan)
    from scipy.spatial import cKDTree  # takes long to import, and few runs are of vessels

    tree = cKDTree(points)
    here = tree.query_ball_point(points, radius, return_length=True)
    first = int(np.argmax(here))
    best = HotSpot(int(here[first]), *(float(v) for v in points[first]))
    rolled = _worth_rolling(tree, points, radius, best.count)
    near = tree.query_ball_point(points[rolled], 2 * radius, return_length=True)
    rolled = rolled[np.argsort(-near, kind="stable")]
    near = -np.sort(-near)
    start = 0
    while start < len(rolled) and near[start] > best.count:
        stop = start + max(1, int(np.searchsorted(np.cumsum(near[start:]), PAIRS)))
        best = max(best, _roll(tree, points, rolled[start:stop], radius), key=lambda v: v.count)
        start = stop
    return best


def _worth_rolling(tree: cKDTree, points: FloatArray, radius: float, known: int) -> IntArray:
    """Find the points that may lie on the edge of a disc that holds more than is known."""
    step = radius / 4
    low = points.min(axis=0) - radius
    size = np.ceil((points.max(axis=0) + radius - low) / step).astype(np.int64) + 1
    if size.prod() > 64 * len(points) + 10**6:  # scattered so far apart that a grid does not pay
        return np.arange(len(points))
    rows, columns = np.divmod(np.arange(size.prod()), size[0])
    grid = low + (np.stack([columns, rows], 1) + 0.5) * step
    slack = step / np.sqrt(2)
    could = tree.query_ball_point(grid, radius + slack, return_length=True) > known
    if not could.any():
        return np.zeros(0, np.int64)
    distance, _ = type(tree)(grid[could]).query(points, distance_upper_bound=radius + slack)
    return np.flatnonzero(np.isfinite(distance))


def _roll(tree: cKDTree, points: FloatArray, rolled: IntArray, radius: float) -> HotSpot:
    """Roll a disc around some points, and find where it holds the most."""
    pairs = type(tree)(points[rolled]).sparse_distance_matrix(
        tree, 2 * radius, output_type="coo_matrix"
    )
    pivot, other, distance = pairs.row, pairs.col, pairs.data
    apart = distance > 0
    # those in the very place of the pivot, itself among them, are on the edge all the way
    same = tree.query_ball_point(points[rolled], 0.0, return_length=True)
    pivot, other, distance = pivot[apart], other[apart], distance[apart]
    to = points[other] - points[rolled[pivot]]
    middle = np.arctan2(to[:, 1], to[:, 0])
    half = np.arccos(np.minimum(distance / (2 * radius), 1.0)) + 1e-9
    enter, leave = (middle - half) % (2 * np.pi), (middle + half) % (2 * np.pi)
    at_start = np.bincount(pivot[enter > leave], minlength=len(rolled)) + same
    angle = np.concatenate([enter, leave])
    who = np.concatenate([pivot, pivot])
    change = np.repeat([1, -1], len(pivot))
    order = np.lexsort((-change, angle, who))
    angle, who, change = angle[order], who[order], change[order]
    total = np.cumsum(change)
    before = np.concatenate([[0], total])[np.searchsorted(who, np.arange(len(rolled)))]
    held = total - before[who] + at_start[who]
    if not len(held):
        i = int(np.argmax(same))
        return HotSpot(int(same[i]), *(float(v) for v in points[rolled[i]]))
    i = int(np.argmax(held))
    # half-way to the next change, so that rounding does not put a point outside
    turn = angle[i]
    if i + 1 < len(angle) and who[i + 1] == who[i]:
        turn = (angle[i] + angle[i + 1]) / 2
    x, y = points[rolled[who[i]]] + radius * np.array([np.cos(turn), np.sin(turn)])
    return HotSpot(int(held[i]), float(x), float(y))


def hotspot_measurements(
    target: str,
    points: FloatArray,
    mpp: tuple[float, float],
    evaluated_area: float,
    field_area: float = FIELD_AREA,
) -> tuple[dict[str, float], HotSpot]:
    """Measure the hot spot of one region; for what is defined how, see `DEFINITIONS`.

    Parameters
    ----------
    target
        vessels, or what else is counted.
    points
        float64 (n, 2), centroids, full-resolution pixels.
    mpp
        µm per pixel (x, y).
    evaluated_area
        Of the part of the region that was searched, µm^2.
    field_area
        Of the hot spot, µm^2.

    Returns
    -------
    dict
        Count, density and area of the hot spot. Count and density are NaN where the evaluated area
        is smaller: a smaller field is denser by chance alone.
    hotspot
        The disc, in full-resolution pixels.
    """
    found = densest_disc(points * mpp, np.sqrt(field_area / np.pi))
    spot = HotSpot(found.count, found.x / mpp[0], found.y / mpp[1])
    count = float(found.count) if evaluated_area >= field_area else np.nan
    values = {
        of_region(target, HOTSPOT_COUNT): count,
        of_region(target, HOTSPOT_DENSITY): count / field_area * 1e6,
        of_region(target, HOTSPOT_AREA): float(field_area),
    }
    return values, spot
