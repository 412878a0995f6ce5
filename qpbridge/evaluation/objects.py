"""Metrics of instance maps that need areas and overlaps only.

A metric for which there is nothing to measure (neither truth nor prediction has an object) is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qpbridge.evaluation.overlaps import IntArray, Overlaps, best_partners


def aji(table: Overlaps) -> float:
    """Return the aggregated Jaccard index.

    Each true object is paired with the prediction of highest IoU (a prediction may serve twice);
    sum of intersections / (sum of unions + area of predictions that were never paired), a true
    object without any overlap adding its area to the unions.
    Kumar et al., IEEE Trans Med Imaging 36:1550, 2017.
    """
    best = np.lexsort((-table.iou, table.truth))
    first = np.r_[True, np.diff(table.truth[best]) > 0] if len(best) else np.zeros(0, bool)
    return _aggregate(table, best[first])


def aji_plus(table: Overlaps) -> float:
    """Return AJI with one-to-one pairing, chosen to maximise the sum of IoU.

    Graham et al., Medical Image Analysis 58:101563, 2019 (in their published code).
    """
    if not len(table.pixels):
        return _aggregate(table, np.zeros(0, np.int64))
    n, m = len(table.truth_area), len(table.predicted_area)
    graph = coo_array(
        (np.ones(len(table.pixels)), (table.truth, n + table.predicted)), (n + m,) * 2
    )
    _, group = connected_components(graph, directed=False)
    order = np.argsort(group[table.truth], kind="stable")
    starts = np.flatnonzero(np.diff(group[table.truth][order], prepend=-1))
    pairs: list[IntArray] = []
    for part in np.split(order, starts[1:]):
        if len(part) == 1:
            pairs.append(part)
            continue
        rows, row = np.unique(table.truth[part], return_inverse=True)
        columns, column = np.unique(table.predicted[part], return_inverse=True)
        iou = np.zeros((len(rows), len(columns)))
        which = np.full(iou.shape, -1)
        iou[row, column] = table.iou[part]
        which[row, column] = part
        chosen = which[linear_sum_assignment(iou, maximize=True)]
        pairs.append(chosen[chosen >= 0])
    return _aggregate(table, np.concatenate(pairs))


def detection_quality(table: Overlaps, threshold: float = 0.5) -> float:
    """Return DQ = TP / (TP + FP/2 + FN/2), pairs with IoU > `threshold` being true: F1 there.

    From 0.5 on such pairs are unique, so nothing has to be assigned. Kirillov et al., CVPR 2019.
    """
    total = len(table.truth_area) + len(table.predicted_area)
    return float(2 * (table.iou > threshold).sum() / total) if total else float("nan")


def f1_by_iou(table: Overlaps, thresholds: Sequence[float]) -> list[float]:
    """Return the F1 of objects at each IoU threshold from 0.5 on; see `detection_quality`.

    Caicedo et al., Nature Methods 16:1247, 2019, plot it from 0.5 to 0.95.
    """
    return [detection_quality(table, threshold) for threshold in thresholds]


def segmentation_quality(table: Overlaps) -> float:
    """Return SQ = mean IoU of pairs with IoU > 0.5 (0 without any). Kirillov et al., CVPR 2019."""
    if not len(table.truth_area) + len(table.predicted_area):
        return float("nan")
    good = table.iou[table.iou > 0.5]
    return float(good.mean()) if len(good) else 0.0


def panoptic_quality(table: Overlaps) -> float:
    """Return PQ = DQ * SQ. Kirillov et al., CVPR 2019."""
    return detection_quality(table) * segmentation_quality(table)


def object_f1(table: Overlaps) -> float:
    """Return the F1 of the GlaS challenge.

    A predicted object is true if it covers more than half of the true object that it overlaps most,
    and each true object is found once at most.
    Sirinukunwattana et al., Med Image Anal 35:489, 2017, section 5.1.
    """
    total = len(table.truth_area) + len(table.predicted_area)
    if not total:
        return float("nan")
    pair = best_partners(table.mirrored)
    pair = pair[pair >= 0]
    good = table.pixels[pair] > 0.5 * table.truth_area[table.truth[pair]]
    return 2 * len(np.unique(table.truth[pair[good]])) / total


def object_dice(table: Overlaps) -> float:
    """Return the object-level Dice of the GlaS challenge.

    The mean of two sums: over true objects, weighted by area, of the Dice with the prediction that
    overlaps most; and the same over predictions. An object without partner has 0.
    Sirinukunwattana et al., Med Image Anal 35:489, 2017, section 5.2. 0 where only one side has
    objects.
    """
    if not len(table.truth_area) + len(table.predicted_area):
        return float("nan")
    return (_dice_of_partners(table) + _dice_of_partners(table.mirrored)) / 2


def adjusted_rand(table: Overlaps) -> float:
    """Return the adjusted Rand index of the pixels, background being one more object on each side.

    Hubert & Arabie, J Classification 2:193, 1985. 1 where both sides are one object, or background
    alone.
    """
    shared = table.pixels.astype(np.float64)
    truth = table.truth_area.astype(np.float64)
    predicted = table.predicted_area.astype(np.float64)
    truth_alone = truth - np.bincount(table.truth, shared, len(truth))
    predicted_alone = predicted - np.bincount(table.predicted, shared, len(predicted))
    neither = table.size - truth.sum() - predicted_alone.sum()
    cells = np.concatenate([shared, truth_alone, predicted_alone, [neither]])
    rows = np.append(truth, table.size - truth.sum())
    columns = np.append(predicted, table.size - predicted.sum())
    index, row, column, every = (
        float((v * (v - 1) / 2).sum()) for v in (cells, rows, columns, np.array([table.size]))
    )
    expected = row * column / every if every else 0.0
    highest = (row + column) / 2
    return 1.0 if highest == expected else (index - expected) / (highest - expected)


class ErrorCounts(NamedTuple):
    """Numbers of objects by what is wrong; see `count_errors`."""

    missed: int
    false: int
    merged: int
    split: int


def count_errors(table: Overlaps) -> ErrorCounts:
    """Count the four errors that a metric of instances should punish.

    A true object is *missed* if no prediction shares more than half of the smaller one of the two,
    and a prediction is *false* if it shares that with no true object. A prediction is *merged* if
    it covers more than half of each of at least two true objects; a true object is *split* if
    more than half of each of at least two predictions lies in it.
    """
    n, m = len(table.truth_area), len(table.predicted_area)
    truth_area = table.truth_area[table.truth]
    predicted_area = table.predicted_area[table.predicted]
    covers = table.pixels > 0.5 * truth_area
    inside = table.pixels > 0.5 * predicted_area
    touched = covers | inside
    return ErrorCounts(
        missed=n - len(np.unique(table.truth[touched])),
        false=m - len(np.unique(table.predicted[touched])),
        merged=int((np.bincount(table.predicted[covers], minlength=m) >= 2).sum()),
        split=int((np.bincount(table.truth[inside], minlength=n) >= 2).sum()),
    )


def _dice_of_partners(table: Overlaps) -> float:
    if not len(table.truth_area):
        return 0.0
    pair = best_partners(table)
    have = pair >= 0
    pair = pair[have]
    area = table.truth_area[have]
    value = 2 * table.pixels[pair] / (area + table.predicted_area[table.predicted[pair]])
    return float((area * value).sum() / table.truth_area.sum())


def _aggregate(table: Overlaps, pairs: npt.NDArray[np.integer]) -> float:
    alone_truth = np.ones(len(table.truth_area), bool)
    alone_truth[table.truth[pairs]] = False
    alone_predicted = np.ones(len(table.predicted_area), bool)
    alone_predicted[table.predicted[pairs]] = False
    union = (
        table.union[pairs].sum()
        + table.truth_area[alone_truth].sum()
        + table.predicted_area[alone_predicted].sum()
    )
    return float(table.pixels[pairs].sum() / union) if union else float("nan")
