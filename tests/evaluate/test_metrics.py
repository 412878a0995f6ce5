"""Every metric against a slow version of its formula that shares no code with the fast one."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from qpbridge.evaluate import instance_scores
from qpbridge.evaluate.metrics import aji_plus, overlaps

PAIRS = st.tuples(*[arrays(np.int32, (6, 7), elements=st.integers(0, 5)) for _ in range(2)])


def objects(labels):
    return [labels == value for value in np.unique(labels) if value]


def iou(one, two):
    return (one & two).sum() / (one | two).sum()


def slow_aji(truth, prediction):
    predicted = objects(prediction)
    used, above, below = set(), 0, 0
    for one in objects(truth):
        values = [iou(one, two) for two in predicted]
        if not values or max(values) == 0:
            below += one.sum()
            continue
        best = int(np.argmax(values))
        used.add(best)
        above += (one & predicted[best]).sum()
        below += (one | predicted[best]).sum()
    below += sum(two.sum() for index, two in enumerate(predicted) if index not in used)
    return above / below if below else math.nan


def slow_best_iou_sum(truth, prediction):
    """Highest sum of IoU of any one-to-one pairing, by trying all."""
    one, two = objects(truth), objects(prediction)
    if len(one) > len(two):
        one, two = two, one
    return max(
        sum(iou(a, two[i]) for a, i in zip(one, chosen, strict=True))
        for chosen in itertools.permutations(range(len(two)), len(one))
    )


@settings(max_examples=150, deadline=None)
@given(PAIRS)
def test_fast_scores_equal_their_formulas(pair):
    truth, prediction = pair
    scores = instance_scores(truth, prediction)
    one, two = objects(truth), objects(prediction)
    hits = [v for a in one for b in two if (v := iou(a, b)) > 0.5]
    if not one and not two:
        assert math.isnan(scores.pq) and math.isnan(scores.aji) and math.isnan(scores.dice)
        return
    false_positive, false_negative = len(two) - len(hits), len(one) - len(hits)
    assert scores.pq == pytest.approx(
        sum(hits) / (len(hits) + false_positive / 2 + false_negative / 2)
    )
    assert scores.f1 == pytest.approx(2 * len(hits) / (len(one) + len(two)))
    union = (truth > 0).sum() + (prediction > 0).sum()
    assert scores.dice == pytest.approx(2 * ((truth > 0) & (prediction > 0)).sum() / union)
    assert (scores.truth_count, scores.predicted_count) == (len(one), len(two))
    # ties between equally good predictions may be broken either way: keep to the clear cases
    if all(
        len({v for b in two if (v := iou(a, b))}) == sum(iou(a, b) > 0 for b in two) for a in one
    ):
        assert scores.aji == pytest.approx(slow_aji(truth, prediction))


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_aji_plus_pairs_one_to_one_with_the_highest_sum(pair):
    truth, prediction = pair
    if not objects(truth) or not objects(prediction):
        return
    # with every pair known, AJI+ of the best pairing must be among those with the highest sum
    one, two = objects(truth), objects(prediction)
    best, values = slow_best_iou_sum(truth, prediction), set()
    swap = len(one) > len(two)
    few, many = (two, one) if swap else (one, two)
    for chosen in itertools.permutations(range(len(many)), len(few)):
        matched = [(a, many[i]) for a, i in zip(few, chosen, strict=True) if iou(a, many[i]) > 0]
        if sum(iou(a, b) for a, b in matched) < best - 1e-9:
            continue
        above = sum((a & b).sum() for a, b in matched)
        below = sum((a | b).sum() for a, b in matched)
        lone = sum(o.sum() for o in (*few, *many)) - sum(a.sum() + b.sum() for a, b in matched)
        values.add(round(above / (below + lone), 9))
    assert round(aji_plus(overlaps(truth, prediction)), 9) in values


def test_perfect_and_disjoint():
    truth = np.zeros((9, 9), int)
    truth[1:4, 1:4], truth[5:8, 5:8] = 7, 300000
    perfect = instance_scores(truth, np.where(truth == 7, 2, truth))
    assert (perfect.aji, perfect.aji_plus, perfect.pq, perfect.dice) == (1, 1, 1, 1)
    missed = instance_scores(truth, np.roll(truth, 4, axis=1)[::-1] * (truth == 0))
    assert missed.aji == missed.pq == missed.dice == 0
    with pytest.raises(ValueError, match="Shapes differ"):
        instance_scores(truth, truth[1:])
