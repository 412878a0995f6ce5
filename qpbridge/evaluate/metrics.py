"""Metrics of instance maps, all from one sparse table of overlaps.

Everywhere: `truth` and `prediction` are integer arrays of one shape, 0 is background, every other
value one object, and objects need not be numbered without gaps. A metric for which there is
nothing to measure (neither truth nor prediction has an object) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Overlaps:
    """Sparse contingency table of two instance maps, objects renumbered from 0.

    Attributes
    ----------
    truth_area, predicted_area : int64 arrays, shapes (n,) and (m,)
        Pixels per object.
    truth, predicted, pixels : int64 arrays, shape (k,)
        The pairs that share pixels, and how many they share.
    """

    truth_area: npt.NDArray[np.int64]
    predicted_area: npt.NDArray[np.int64]
    truth: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.int64]

    @property
    def union(self) -> npt.NDArray[np.int64]:
        """Pixels in either object of each pair, (k,)."""
        return self.truth_area[self.truth] + self.predicted_area[self.predicted] - self.pixels

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair, (k,)."""
        return self.pixels / self.union


@dataclass(frozen=True)
class InstanceScores:
    """Scores of one image; see the functions of the same names."""

    aji: float
    aji_plus: float
    pq: float
    dq: float
    sq: float
    f1: float
    dice: float
    truth_count: int
    predicted_count: int


def instance_scores(truth: Labels, prediction: Labels) -> InstanceScores:
    """Return all scores of one image.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    table = overlaps(truth, prediction)
    dq, sq = detection_quality(table), segmentation_quality(table)
    return InstanceScores(
        aji=aji(table),
        aji_plus=aji_plus(table),
        pq=panoptic_quality(table),
        dq=dq,
        sq=sq,
        f1=dq,
        dice=dice(truth, prediction),
        truth_count=len(table.truth_area),
        predicted_count=len(table.predicted_area),
    )


def overlaps(truth: Labels, prediction: Labels) -> Overlaps:
    """Count the pixels that each pair of objects shares."""
    if truth.shape != prediction.shape:
        raise ValueError(f"Shapes differ: truth {truth.shape}, prediction {prediction.shape}.")
    one, truth_dense = _dense(truth)
    two, predicted_dense = _dense(prediction)
    width = two + 1
    pairs, pixels = np.unique(truth_dense * width + predicted_dense, return_counts=True)
    rows, columns = pairs // width, pairs % width
    both = (rows > 0) & (columns > 0)
    return Overlaps(
        truth_area=np.bincount(rows, pixels, one + 1)[1:].astype(np.int64),
        predicted_area=np.bincount(columns, pixels, two + 1)[1:].astype(np.int64),
        truth=rows[both] - 1,
        predicted=columns[both] - 1,
        pixels=pixels[both].astype(np.int64),
    )


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
    pairs: list[npt.NDArray[np.int64]] = []
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


def detection_quality(table: Overlaps) -> float:
    """Return DQ = TP / (TP + FP/2 + FN/2), pairs with IoU > 0.5 being true: F1 at IoU 0.5.

    Such pairs are unique, so nothing has to be assigned. Kirillov et al., CVPR 2019.
    """
    total = len(table.truth_area) + len(table.predicted_area)
    return float(2 * (table.iou > 0.5).sum() / total) if total else float("nan")


def segmentation_quality(table: Overlaps) -> float:
    """Return SQ = mean IoU of pairs with IoU > 0.5 (0 without any). Kirillov et al., CVPR 2019."""
    if not len(table.truth_area) + len(table.predicted_area):
        return float("nan")
    good = table.iou[table.iou > 0.5]
    return float(good.mean()) if len(good) else 0.0


def panoptic_quality(table: Overlaps) -> float:
    """Return PQ = DQ * SQ. Kirillov et al., CVPR 2019."""
    return detection_quality(table) * segmentation_quality(table)


def dice(truth: Labels, prediction: Labels) -> float:
    """Return Dice = 2 |A and B| / (|A| + |B|) of the foregrounds, pixel by pixel."""
    one, two = truth != 0, prediction != 0
    total = np.count_nonzero(one) + np.count_nonzero(two)
    return 2 * np.count_nonzero(one & two) / total if total else float("nan")


def _aggregate(table: Overlaps, pairs: npt.NDArray[np.int64]) -> float:
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


def _dense(labels: Labels) -> tuple[int, npt.NDArray[np.int64]]:
    """Return the number of objects, and labels renumbered 1..n in one dimension."""
    values, dense = np.unique(labels, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    return len(values) - 1 + shift, dense.ravel().astype(np.int64) + shift
