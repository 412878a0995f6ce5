"""Where objects lie densest: the hot spot, a field of a given area that holds the most of them.

Microvessel density is counted in the densest field of view at x200, 0.74 mm^2 [Weidner et al.,
N Engl J Med 1991, 324:1-8]; a person finds it by eye, here every position is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpbridge.measurements.region_names import (
    HOTSPOT_AREA,
    HOTSPOT_COUNT,
    HOTSPOT_DENSITY,
    of_region,
)
from qpbridge.objects import FloatArray, IntArray

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

STEPS = 4
"""Cells of the coarse count in a disc's radius."""

TRIED = 64
"""Cells in whose middle a disc is laid first: the better it is, the fewer points are left."""


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
    best, rolled = _coarse(points, radius)
    near = _Near(points, 2 * radius)
    around = near.counts(rolled)
    rolled = rolled[np.argsort(-around, kind="stable")]
    around = -np.sort(-around)
    start = 0
    while start < len(rolled) and around[start] > best.count:
        stop = start + max(1, int(np.searchsorted(np.cumsum(around[start:]), PAIRS)))
        best = max(best, _roll(near, rolled[start:stop], radius), key=lambda v: v.count)
        start = stop
    return best


def _coarse(points: FloatArray, radius: float) -> tuple[HotSpot, IntArray]:
    """Find a good disc, and the points that may lie on the edge of a better one.

    What a disc with its centre in a cell can hold lies in the cells around it.
    """
    one = HotSpot(1, float(points[0, 0]), float(points[0, 1]))
    step = radius / STEPS
    margin = STEPS + 1
    low = points.min(axis=0) - margin * step
    columns, rows = np.ceil((points.max(axis=0) - low) / step).astype(np.int64) + margin + 1
    if columns * rows > 64 * len(points) + 10**6:  # so far apart that a grid does not pay
        return one, np.arange(len(points))
    x, y = ((points - low) / step).astype(np.int64).T
    counts = np.bincount(y * columns + x, minlength=rows * columns).reshape(rows, columns)
    most = _in_reach(counts)
    tried = np.argsort(-most, axis=None, kind="stable")[:TRIED]
    centres = low + (np.column_stack([tried % columns, tried // columns]) + 0.5) * step
    held = [int((np.square(points - centre).sum(axis=1) <= radius**2).sum()) for centre in centres]
    first = int(np.argmax(held))
    disc = HotSpot(held[first], float(centres[first, 0]), float(centres[first, 1]))
    best = max(one, disc, key=lambda v: v.count)
    return best, np.flatnonzero(_in_reach(most > best.count)[y, x])


def _in_reach(cells: npt.NDArray[np.integer | np.bool_]) -> IntArray:
    """Sum up, for each cell (rows, columns), those that a disc centred in it may touch."""
    rows, columns = cells.shape
    reach = STEPS + 1
    wide = np.pad(cells.astype(np.int64), reach)
    before = np.pad(wide.cumsum(axis=1), ((0, 0), (1, 0)))
    total = np.zeros(cells.shape, np.int64)
    for down in range(-reach, reach + 1):
        up = max(abs(down) - 1, 0)  # cells beside one another touch
        side = int(np.sqrt(STEPS**2 - up**2)) + 1
        line = before[reach + down : reach + down + rows]
        total += line[:, reach + side + 1 :][:, :columns] - line[:, reach - side :][:, :columns]
    return total


class _Near:
    """Finds the points (n, 2) within a distance of some of them, by square cells of that size."""

    def __init__(self, points: FloatArray, distance: float) -> None:
        self.points, self.distance = points, distance
        # a little larger, so that rounding puts none two cells away
        cells = ((points - points.min(axis=0)) / (distance * (1 + 1e-9))).astype(np.int64) + 1
        self._columns = int(cells[:, 0].max()) + 2
        self._cell = cells[:, 1] * self._columns + cells[:, 0]
        self._order = np.argsort(self._cell, kind="stable")
        self._sorted = self._cell[self._order]

    def counts(self, rows: IntArray) -> IntArray:
        """Count the points near each of some, itself included."""
        counts = np.zeros(len(rows), np.int64)
        start = 0
        ends = np.cumsum(np.sum([length for _, length in self._runs(rows)], axis=0))
        while start < len(rows):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + PAIRS)))
            at, _, _ = self.pairs(rows[start:stop])
            counts[start:stop] = np.bincount(at, minlength=stop - start)
            start = stop
        return counts

    def pairs(self, rows: IntArray) -> tuple[IntArray, IntArray, FloatArray]:
        """Find who is near whom: numbers in `rows`, rows of the other points, distances."""
        found = []
        for first, length in self._runs(rows):
            at = np.repeat(np.arange(len(rows)), length)
            inside = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length)
            other = self._order[np.repeat(first, length) + inside]
            squared = np.square(self.points[other] - self.points[rows[at]]).sum(axis=1)
            near = squared <= self.distance**2
            found.append((at[near], other[near], np.sqrt(squared[near])))
        at, other, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return at, other, distance

    def _runs(self, rows: IntArray) -> list[tuple[IntArray, IntArray]]:
        """Find where in the order the cells around points begin, three in a row, and how many."""
        runs = []
        for down in (-1, 0, 1):
            middle = self._cell[rows] + down * self._columns
            first = np.searchsorted(self._sorted, middle - 1, "left")
            runs.append((first, np.searchsorted(self._sorted, middle + 1, "right") - first))
        return runs


def _roll(near: _Near, rolled: IntArray, radius: float) -> HotSpot:
    """Roll a disc around some points, and find where it holds the most."""
    points = near.points
    pivot, other, distance = near.pairs(rolled)
    apart = distance > 0
    # those in the very place of the pivot, itself among them, are on the edge all the way
    same = np.bincount(pivot[~apart], minlength=len(rolled))
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
