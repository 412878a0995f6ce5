"""How often objects are right that a model is so and so sure of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from qpbridge.evaluation.labelled import Sample
from qpbridge.evaluation.overlaps import overlaps
from qpbridge.evaluation.predict import predict, ready_network
from qpbridge.models.bundle import Bundle, Calibration

FloatArray = npt.NDArray[np.float64]

RIGHT_IOU = 0.5
"""An object is right if its IoU with one of the truth is higher."""

MIN_OBJECTS = 300
"""With fewer there is nothing to say about how often objects are right."""

KNOTS = 16
"""Objects are taken together in so many groups of equal weight, in order of their probability."""


class Judged(NamedTuple):
    """The objects that a model found in labelled images.

    Attributes
    ----------
    probability : float64 array, shape (n,)
        Mean foreground probability of each.
    right : bool array, shape (n,)
        Whether it is one of the truth.
    weight : float64 array, shape (n,)
        How much it counts.
    """

    probability: FloatArray
    right: npt.NDArray[np.bool_]
    weight: FloatArray


class Bin(NamedTuple):
    """One point of a reliability curve: objects of similar probability."""

    probability: float
    right: float
    weight: float


def judge_objects(bundle: Bundle, samples: Iterable[Sample], network: nn.Module) -> Judged:
    """Segment images, and tell of each object whether it is right.

    Objects of one image after the other; all of them together weigh 1.
    """
    probability, right = [np.zeros(0)], [np.zeros(0, bool)]
    ready = ready_network(bundle.uncalibrated(), network)
    for sample in samples:
        found = predict(ready, sample)
        labels, truth = found.labels, sample.labels
        if sample.known is not None:
            labels, truth = labels * sample.known, truth * sample.known
        table = overlaps(truth, labels)
        good = np.zeros(len(table.predicted_area), bool)
        good[table.predicted[table.iou > RIGHT_IOU]] = True
        probability.append(found.probability[np.setdiff1d(labels, 0) - 1])
        right.append(good)
    count = sum(len(part) for part in right)
    weight = np.full(count, 1 / max(count, 1))
    return Judged(np.concatenate(probability), np.concatenate(right), weight)


def join(parts: Sequence[Judged]) -> Judged:
    """Put objects of several sets together, each set with the weight that it has."""
    return Judged(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def fit_calibration(judged: Judged) -> Calibration | None:
    """Find what to call a probability, so that it says how many of such objects are right.

    The shares of groups of objects, made to rise with the probability (isotonic regression); in
    between it is linear. None where there are too few objects.
    """
    if len(judged.right) < MIN_OBJECTS:
        return None
    bins = reliability(judged, KNOTS)
    return Calibration(
        tuple(round(b.probability, 4) for b in bins), tuple(round(s, 4) for s in _rising(bins))
    )


def reliability(judged: Judged, groups: int = 10) -> list[Bin]:
    """Return the share of right objects in groups of about equal weight, by probability.

    Objects of the same probability are in one group.
    """
    values, index = np.unique(judged.probability, return_inverse=True)
    weight = np.bincount(index, judged.weight)
    right = np.bincount(index, judged.weight * judged.right)
    middle = np.cumsum(weight) - weight / 2
    group = np.minimum(middle / max(weight.sum(), 1e-12) * groups, groups - 1).astype(int)
    total, good, sure = (
        np.bincount(group, part, groups) for part in (weight, right, weight * values)
    )
    return [
        Bin(float(sure[i] / total[i]), float(good[i] / total[i]), float(total[i]))
        for i in np.flatnonzero(total)
    ]


def _rising(bins: Sequence[Bin]) -> list[float]:
    """Shares that never fall, nearest to those of the bins (neighbours that fall are pooled)."""
    pools: list[tuple[float, float, int]] = []  # share, weight, how many bins
    for one in bins:
        share, weight, count = one.right, one.weight, 1
        while pools and pools[-1][0] >= share:
            before, heavy, more = pools.pop()
            share = (share * weight + before * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + more
        pools.append((share, weight, count))
    return [share for share, _, count in pools for _ in range(count)]


def calibration_error(judged: Judged, groups: int = 10) -> float:
    """Return the mean difference of probability and share of right objects, over groups (ECE).

    Guo et al., ICML 2017; groups of equal weight.
    """
    bins = reliability(judged, groups)
    total = sum(b.weight for b in bins)
    return sum(b.weight * abs(b.probability - b.right) for b in bins) / total if total else 0.0
