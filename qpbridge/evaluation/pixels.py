"""Metrics of masks, pixel by pixel, whatever the objects in them are.

Everywhere: TP, FP, FN, TN count pixels by truth and prediction. A ratio without a denominator is
NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Confusion(NamedTuple):
    """Numbers of pixels: true positives, false positives, false negatives, true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int


def confusion(truth: Mask, prediction: Mask) -> Confusion:
    """Count pixels of two masks of one shape."""
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Confusion(tp, fp, fn, truth.size - tp - fp - fn)


def sensitivity(counts: Confusion) -> float:
    """Return TP / (TP + FN), also called recall."""
    return _ratio(counts.tp, counts.tp + counts.fn)


def specificity(counts: Confusion) -> float:
    """Return TN / (TN + FP)."""
    return _ratio(counts.tn, counts.tn + counts.fp)


def accuracy(counts: Confusion) -> float:
    """Return (TP + TN) / all."""
    return _ratio(counts.tp + counts.tn, sum(counts))


def dice(counts: Confusion) -> float:
    """Return 2 TP / (2 TP + FP + FN), which is F1 as well. Dice, Ecology 26:297, 1945."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def jaccard(counts: Confusion) -> float:
    """Return TP / (TP + FP + FN), the intersection over union of the foreground."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn)


def mean_iou(counts: Confusion) -> float:
    """Return the mean of the intersections over union of foreground and background.

    NaN counts (an image without one of the two in truth and prediction) are left out.
    """
    foreground = jaccard(counts)
    background = _ratio(counts.tn, counts.tn + counts.fp + counts.fn)
    values = [value for value in (foreground, background) if not np.isnan(value)]
    return float(np.mean(values)) if values else float("nan")


def auc(truth: Mask, level: npt.NDArray[np.floating]) -> float:
    """Return the area under the ROC curve: the chance that a foreground pixel has a higher level.

    Computed by ranks (Mann-Whitney U), equal levels counting one half: Hanley & McNeil, Radiology
    143:29, 1982. NaN where the truth is all foreground or all background.
    """
    above, below = np.sort(level[truth]), np.sort(level[~truth])
    if not len(above) or not len(below):
        return float("nan")
    wins = sum(int(np.searchsorted(below, above, side).sum()) for side in ("left", "right"))
    return wins / 2 / (len(above) * len(below))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
