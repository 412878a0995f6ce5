"""Two versions of the objects of an image: what was added, lost, moved and reclassified."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.evaluation.overlaps import Overlaps, outline_overlaps
from qpbridge.ids import id_keys
from qpbridge.objects import GeometryArray, IntArray, ObjectTable
from qpbridge.outlines import ROUNDING, valid_areas

SAME = 0.5
"""IoU above which two objects without a common id are the same, as in the panoptic quality."""


@dataclass(frozen=True, eq=False)
class Changes:
    """What became of the objects of one version in another one.

    Attributes
    ----------
    pairs
        int64 (k, 2), rows in the first and the second version of what is one and the same object:
        by its id, or else by outlines with an IoU above 0.5.
    moved
        bool (k,), the same id with another outline.
    reclassified
        bool (k,), another class.
    lost, added
        int64, rows in the first version, and in the second one, of objects that the other lacks.
    overlaps
        Of their outlines, the second version being the truth.
    """

    pairs: IntArray
    moved: npt.NDArray[np.bool_]
    reclassified: npt.NDArray[np.bool_]
    lost: IntArray
    added: IntArray
    overlaps: Overlaps


def compare_versions(first: ObjectTable, second: ObjectTable) -> Changes:
    """Find out what became of objects; of cells their nuclei are compared."""
    one, other = (valid_areas(table.inner_shapes.geometries) for table in (first, second))
    table = outline_overlaps(other, one)
    by_id = _by_id(first, second)
    pairs = np.concatenate([by_id, _by_outline(table, by_id)])
    moved = np.zeros(len(pairs), bool)
    moved[: len(by_id)] = _differ(one[by_id[:, 0]], other[by_id[:, 1]])
    names = [
        np.array([*map(str, objects.classes), ""], object)[objects.class_index[rows]]
        for objects, rows in zip((first, second), pairs.T, strict=True)
    ]
    return Changes(
        pairs,
        moved,
        names[0] != names[1],
        np.setdiff1d(np.arange(len(first)), pairs[:, 0]),
        np.setdiff1d(np.arange(len(second)), pairs[:, 1]),
        table,
    )


def class_changes(first: ObjectTable, second: ObjectTable, changes: Changes) -> dict[str, int]:
    """Count the objects of another class, by both: ``Nucleus -> Tumor``."""
    counts: Counter[str] = Counter()
    for row, row_2 in changes.pairs[changes.reclassified].tolist():
        names = (first.path_class(row), second.path_class(row_2))
        counts[" -> ".join("no class" if c is None else str(c) for c in names)] += 1
    return dict(counts.most_common())


def _by_id(first: ObjectTable, second: ObjectTable) -> IntArray:
    _, one, other = np.intersect1d(id_keys(first.ids), id_keys(second.ids), return_indices=True)
    return np.column_stack([one, other]).astype(np.int64)


def _by_outline(table: Overlaps, known: IntArray) -> IntArray:
    """Pair what is not known to be one object; the best pairs first, each object once."""
    good = table.iou > SAME
    good &= ~np.isin(table.predicted, known[:, 0]) & ~np.isin(table.truth, known[:, 1])
    chosen = np.flatnonzero(good)
    chosen = chosen[np.argsort(-table.iou[chosen], kind="stable")]
    for side in (table.truth, table.predicted):
        _, firsts = np.unique(side[chosen], return_index=True)
        chosen = chosen[np.sort(firsts)]
    return np.column_stack([table.predicted[chosen], table.truth[chosen]])


def _differ(one: GeometryArray, other: GeometryArray) -> npt.NDArray[np.bool_]:
    """Tell which outlines differ by more than rounding does, wherever their rings begin."""
    differ: npt.NDArray[np.bool_] = ~shapely.equals_exact(one, other, ROUNDING)
    rows = np.flatnonzero(differ)
    apart = shapely.area(shapely.symmetric_difference(one[rows], other[rows]))
    differ[rows] = apart > ROUNDING * shapely.length(one[rows])
    return differ
