"""Which objects new ones belong below: by their centroid, or as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import GeometryArray, IntArray, ObjectKind, ObjectTable
from qpbridge.outlines import ENCLOSING, ROUNDING, containing, valid_areas

AT_A_TIME = 1_000
"""Annotations whose parents are looked for at a time: bounds the pairs in memory."""


@dataclass(frozen=True, eq=False)
class Placement:
    """Where new objects go.

    Parameters
    ----------
    parent
        int64 (n,), row of a new object; -1: none.
    below
        int64 (n,), row of an object in the image; -1: the root, where there is no `parent` either.
    """

    parent: IntArray
    below: IntArray


@dataclass(frozen=True, eq=False)
class _Holders:
    """What objects can be put below, from the largest area to the smallest.

    Parameters
    ----------
    geometries
        Valid areas (m,).
    rows
        int64 (m,), in the image; or, from the number of objects there on, of new objects.
    """

    geometries: GeometryArray
    rows: IntArray


def place(new: ObjectTable, existing: ObjectTable) -> Placement:
    """Find the parents of new objects.

    An object that has a parent among the new ones keeps it. Any other detection, cell or tile goes
    below the smallest annotation or TMA core, in the image or new, that holds its centroid; an
    annotation below the smallest one that covers it (but for rounding) and is larger; all in the
    same plane (z, t). Of equal outlines the first one in the image, then among the new ones, is
    taken for the larger.

    Parameters
    ----------
    new
        n objects, with shapes.
    existing
        What the image holds.
    """
    parent = new.parent.copy()
    below = np.full(len(new), -1, np.int64)
    start = len(existing)
    for rows, old_rows in _planes(new, existing):
        holders = _holders(existing, new, old_rows, rows)
        rows = rows[(parent[rows] < 0) & (new.kind[rows] != ObjectKind.TMA_CORE)]
        if not len(holders.rows) or not len(rows):
            continue
        whole = new.kind[rows] == ObjectKind.ANNOTATION
        found = np.full(len(rows), -1, np.int64)
        shapes = new.shapes.take(rows)
        found[~whole] = containing(shapes.take(~whole).centroids(), holders.geometries)
        found[whole] = _smallest_cover(shapes.take(whole).geometries, rows[whole] + start, holders)
        owner = np.where(found < 0, -1, holders.rows[found])
        parent[rows] = np.where(owner >= start, owner - start, -1)
        below[rows] = np.where(owner < start, owner, -1)
    # What is nested in an object can be larger than it, and hold it in turn.
    turning = _in_circles(parent) & (new.parent < 0)
    parent[turning] = -1
    return Placement(parent, below)


def _planes(new: ObjectTable, existing: ObjectTable) -> Iterator[tuple[IntArray, IntArray]]:
    """Group the rows of both by plane, for each plane that has new objects."""
    z, t = np.concatenate([new.plane, existing.plane])[:, 1:].astype(np.int64).T
    _, number = np.unique(z * 2**32 + t, return_inverse=True)
    groups = []
    for part in (number[: len(new)], number[len(new) :]):
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(number.max(initial=-1) + 2))
        groups.append((order, bounds))
    (order, bounds), (old_order, old_bounds) = groups
    for i in range(len(bounds) - 1):
        if bounds[i + 1] > bounds[i]:
            yield (
                order[bounds[i] : bounds[i + 1]],
                old_order[old_bounds[i] : old_bounds[i + 1]],
            )


def _holders(
    existing: ObjectTable, new: ObjectTable, old_rows: IntArray, rows: IntArray
) -> _Holders:
    geometries, numbers = [], []
    for table, chosen, start in ((existing, old_rows, 0), (new, rows, len(existing))):
        holds = np.isin(table.kind[chosen], (ObjectKind.ANNOTATION, ObjectKind.TMA_CORE))
        holds &= np.isin(table.shapes.roi[chosen], ENCLOSING)
        geometries.append(valid_areas(table.shapes.take(chosen[holds]).geometries))
        numbers.append(chosen[holds] + start)
    areas = np.concatenate(geometries)
    order = np.argsort(-shapely.area(areas), kind="stable")
    return _Holders(areas[order], np.concatenate(numbers)[order])


def _smallest_cover(geometries: GeometryArray, rows: IntArray, holders: _Holders) -> IntArray:
    """Find the smallest holder that covers each geometry and comes before it; -1: none.

    Parameters
    ----------
    geometries
        Those of the annotations (k,).
    rows
        int64 (k,), numbered as those of the holders: an annotation is one itself, if it has an
        area.
    """
    # Of itself and what is smaller an annotation can't be a part: everything after it.
    by_row = np.argsort(holders.rows)
    at = by_row[np.minimum(np.searchsorted(holders.rows[by_row], rows), len(by_row) - 1)]
    last = np.where(holders.rows[at] == rows, at, len(by_row))
    low, high = np.split(shapely.bounds(holders.geometries), 2, axis=1)
    tree = shapely.STRtree(holders.geometries)
    grown: dict[int, object] = {}
    out = np.full(len(geometries), -1, np.int64)
    for start in range(0, len(geometries), AT_A_TIME):
        chosen = geometries[start : start + AT_A_TIME]
        child, holder = tree.query(chosen)
        box = shapely.bounds(chosen)[child]
        fits = (low[holder] - ROUNDING <= box[:, :2]) & (box[:, 2:] <= high[holder] + ROUNDING)
        fits = fits.all(axis=1) & (holder < last[start : start + AT_A_TIME][child])
        child, holder = child[fits], holder[fits]
        # The smallest one of each first; who isn't covered by it tries the next one.
        order = np.lexsort((-holder, child))
        child, holder = child[order], holder[order]
        while len(child):
            first = np.concatenate([[True], child[1:] != child[:-1]])
            for i in set(holder[first].tolist()) - grown.keys():
                grown[i] = shapely.buffer(holders.geometries[i], ROUNDING, join_style="mitre")
                shapely.prepare(grown[i])
            areas = np.array([grown[i] for i in holder[first].tolist()], dtype=object)
            covered = shapely.covers(areas, chosen[child[first]])
            out[start + child[first][covered]] = holder[first][covered]
            left = ~first & (out[start + child] < 0)
            child, holder = child[left], holder[left]
    return out


def _in_circles(parent: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Tell which rows don't lead up to the root."""
    above = np.append(np.where(parent < 0, len(parent), parent), len(parent))
    for _ in range(len(parent).bit_length()):
        above = above[above]
    return np.asarray(above[:-1] != len(parent))
