"""Every metric against a slow version of its formula that shares no code with the fast one."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import hausdorff_distance

from qpbridge.evaluation import boundaries, image_scores
from qpbridge.evaluation.objects import aji_plus, f1_by_iou
from qpbridge.evaluation.overlaps import overlaps
from qpbridge.evaluation.pixels import auc
from qpbridge.evaluation.scores import OF_PIXELS

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
    scores = image_scores(truth, prediction)
    one, two = objects(truth), objects(prediction)
    hits = [v for a in one for b in two if (v := iou(a, b)) > 0.5]
    if not one and not two:
        assert math.isnan(scores["pq"]) and math.isnan(scores["aji"]) and math.isnan(scores["dice"])
        return
    false_positive, false_negative = len(two) - len(hits), len(one) - len(hits)
    assert scores["pq"] == pytest.approx(
        sum(hits) / (len(hits) + false_positive / 2 + false_negative / 2)
    )
    assert scores["f1"] == pytest.approx(2 * len(hits) / (len(one) + len(two)))
    union = (truth > 0).sum() + (prediction > 0).sum()
    assert scores["dice"] == pytest.approx(2 * ((truth > 0) & (prediction > 0)).sum() / union)
    assert (scores["truth_count"], scores["predicted_count"]) == (len(one), len(two))
    # ties between equally good predictions may be broken either way: keep to the clear cases
    if all(
        len({v for b in two if (v := iou(a, b))}) == sum(iou(a, b) > 0 for b in two) for a in one
    ):
        assert scores["aji"] == pytest.approx(slow_aji(truth, prediction))


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
    perfect = image_scores(truth, np.where(truth == 7, 2, truth))
    assert [perfect[k] for k in ("aji", "aji_plus", "pq", "dice")] == [1, 1, 1, 1]
    missed = image_scores(truth, np.roll(truth, 4, axis=1)[::-1] * (truth == 0))
    assert missed["aji"] == missed["pq"] == missed["dice"] == 0
    with pytest.raises(ValueError, match="Shapes differ"):
        image_scores(truth, truth[1:])


def closest(points, others):
    return [min(math.dist(a, b) for b in others) for a in points]


def slow_hausdorff(one, two):
    a, b = np.argwhere(one).tolist(), np.argwhere(two).tolist()
    return max(*closest(a, b), *closest(b, a))


def slow_outline(mask):
    wide = np.pad(mask, 1)
    return [
        (y, x)
        for y, x in np.argwhere(mask).tolist()
        if not (wide[y, x + 1] and wide[y + 2, x + 1] and wide[y + 1, x] and wide[y + 1, x + 2])
    ]


def slow_boundary_distance(one, two):
    a, b = slow_outline(one), slow_outline(two)
    return float(np.mean(closest(a, b) + closest(b, a)))


def slow_partner(one, others):
    """The object that shares most pixels, the first of several; None: none shares any."""
    shared = [(one & two).sum() for two in others]
    return int(np.argmax(shared)) if shared and max(shared) else None


def slow_glas(truth, prediction):
    """Object Dice, object Hausdorff and boundary distance, by the challenge's formulas."""
    sides = []
    for these, those in ((truth, prediction), (prediction, truth)):
        whole = sum(one.sum() for one in these)
        sums = np.zeros(3)
        for one in these:
            partner = slow_partner(one, those)
            if partner is None:
                near = int(np.argmin([slow_hausdorff(one, two) for two in those]))
                two = those[near]
                dice = 0.0
            else:
                two = those[partner]
                dice = 2 * (one & two).sum() / (one.sum() + two.sum())
            values = dice, slow_hausdorff(one, two), slow_boundary_distance(one, two)
            sums += one.sum() / whole * np.array(values)
        sides.append(sums)
    return (sides[0] + sides[1]) / 2


def slow_object_f1(truth, prediction):
    found = set()
    for two in prediction:
        partner = slow_partner(two, truth)
        if partner is not None and (two & truth[partner]).sum() > 0.5 * truth[partner].sum():
            found.add(partner)
    tp = len(found)
    precision, recall = tp / len(prediction), tp / len(truth)
    return 2 * precision * recall / (precision + recall) if tp else 0.0


def slow_rand(truth, prediction):
    """Adjusted Rand index by counting all pairs of pixels."""
    a, b = truth.ravel(), prediction.ravel()
    both = one = two = every = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        same_a, same_b = a[i] == a[j], b[i] == b[j]
        both, one, two = both + (same_a and same_b), one + same_a, two + same_b
        every += 1
    expected = one * two / every
    highest = (one + two) / 2
    return 1.0 if highest == expected else (both - expected) / (highest - expected)


def slow_errors(truth, prediction):
    def share(one, two, of):
        return (one & two).sum() > 0.5 * of.sum()

    def meet(one, two):
        return share(one, two, one) or share(one, two, two)

    return {
        "missed": sum(not any(meet(a, b) for b in prediction) for a in truth),
        "false": sum(not any(meet(a, b) for a in truth) for b in prediction),
        "merged": sum(sum(share(a, b, a) for a in truth) >= 2 for b in prediction),
        "split": sum(sum(share(a, b, b) for b in prediction) >= 2 for a in truth),
    }


@settings(max_examples=80, deadline=None)
@given(PAIRS)
def test_scores_of_objects_equal_their_formulas(pair):
    truth, prediction = pair
    scores = image_scores(truth, prediction)
    one, two = objects(truth), objects(prediction)
    assert {name: scores[name] for name in slow_errors(one, two)} == slow_errors(one, two)
    assert scores["ari"] == pytest.approx(slow_rand(truth, prediction))
    if not one or not two:
        assert math.isnan(scores["object_hausdorff"]) and math.isnan(scores["abd"])
        empty = not one and not two
        for name in ("object_dice", "object_f1"):
            assert math.isnan(scores[name]) if empty else scores[name] == 0
        return
    # where two share equally many pixels, either may be the partner: keep to the clear cases
    shared = [[(a & b).sum() for b in two] for a in one]
    sides = (shared, list(zip(*shared, strict=True)))
    if any(max(row) and list(row).count(max(row)) > 1 for side in sides for row in side):
        return
    assert scores["object_f1"] == pytest.approx(slow_object_f1(one, two))
    dice, hausdorff, distance = slow_glas(one, two)
    assert scores["object_dice"] == pytest.approx(dice)
    assert scores["object_hausdorff"] == pytest.approx(hausdorff)
    lonely = [
        a
        for side, other in ((one, two), (two, one))
        for a in side
        if slow_partner(a, other) is None
    ]
    if not lonely:  # of two that are equally near either may be the partner
        assert scores["abd"] == pytest.approx(distance)


@settings(max_examples=100, deadline=None)
@given(
    arrays(bool, (5, 6)),
    arrays(bool, (5, 6)),
    arrays(np.float32, (5, 6), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])),
)
def test_scores_of_pixels_equal_their_formulas(truth, prediction, level):
    scores = image_scores(truth.astype(int), prediction.astype(int), level)
    pairs = list(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    tp, fp, fn, tn = (
        pairs.count(p) for p in ((True, True), (False, True), (True, False), (False, False))
    )

    def ratio(part, whole):
        return part / whole if whole else math.nan

    expected = {
        "sensitivity": ratio(tp, tp + fn),
        "specificity": ratio(tn, tn + fp),
        "accuracy": (tp + tn) / 30,
        "dice": ratio(tp, tp + (fp + fn) / 2),
        "jaccard": ratio(tp, tp + fp + fn),
        "miou": float(np.nanmean([ratio(tp, tp + fp + fn), ratio(tn, tn + fp + fn)])),
    }
    yes, no = level[truth], level[~truth]
    wins = [(a > b) + (a == b) / 2 for a in yes.tolist() for b in no.tolist()]
    expected["auc"] = float(np.mean(wins)) if wins else math.nan
    assert {k: scores[k] for k in OF_PIXELS} == pytest.approx(expected, nan_ok=True)


def test_f1_falls_with_the_threshold():
    truth = np.zeros((20, 40), int)
    truth[5:15, 5:15], truth[5:15, 25:35] = 1, 2
    prediction = np.zeros_like(truth)
    prediction[5:15, 5:15], prediction[5:11, 25:35] = 1, 2  # IoU 1 and 0.6
    assert f1_by_iou(overlaps(truth, prediction), [0.5, 0.55, 0.65, 0.95]) == [1, 1, 0.5, 0.5]


def boxes(*corners):
    labels = np.zeros((30, 40), int)
    for number, (y, x, y2, x2) in enumerate(corners, 1):
        labels[y:y2, x:x2] = number
    return labels


@pytest.mark.parametrize(
    ("truth", "prediction", "missed", "false", "merged", "split"),
    [
        (boxes((5, 5, 15, 15)), boxes((5, 5, 15, 15)), 0, 0, 0, 0),
        (boxes((5, 5, 15, 15)), boxes(), 1, 0, 0, 0),
        (boxes(), boxes((5, 5, 15, 15)), 0, 1, 0, 0),
        (boxes((5, 5, 15, 15)), boxes((20, 20, 25, 25)), 1, 1, 0, 0),
        (boxes((5, 5, 15, 15), (5, 15, 15, 25)), boxes((5, 5, 15, 25)), 0, 0, 1, 0),
        (boxes((5, 5, 15, 25)), boxes((5, 5, 15, 15), (5, 15, 15, 25)), 0, 0, 0, 1),
        (boxes((0, 0, 30, 40)), boxes((3, 3, 4, 4), (9, 9, 10, 10)), 0, 0, 0, 1),
    ],
)
def test_errors_by_hand(truth, prediction, missed, false, merged, split):
    scores = image_scores(truth, prediction)
    assert [scores[k] for k in ("missed", "false", "merged", "split")] == [
        missed,
        false,
        merged,
        split,
    ]


def test_distances_by_hand():
    truth, prediction = boxes((5, 5, 15, 15)), boxes((5, 8, 15, 18))
    scores = image_scores(truth, prediction)
    assert scores["object_hausdorff"] == 3
    assert scores["object_dice"] == pytest.approx(0.7)
    far = image_scores(boxes((5, 5, 6, 6)), boxes((8, 9, 9, 10)))
    assert far["object_hausdorff"] == far["abd"] == 5 and far["object_dice"] == 0
    # a lonely object is compared with the nearest one, not with the first
    two = image_scores(boxes((5, 5, 6, 6)), boxes((25, 35, 26, 36), (5, 9, 6, 10)))
    assert two["object_hausdorff"] == pytest.approx((4 + (math.hypot(20, 30) + 4) / 2) / 2)


def test_auc_of_chance_and_of_certainty():
    truth = np.arange(1000).reshape(20, 50) % 3 == 0
    assert auc(truth, truth.astype(float)) == 1 and auc(truth, -truth.astype(float)) == 0
    assert auc(truth, np.ones(truth.shape)) == 0.5
    assert math.isnan(auc(np.ones((3, 3), bool), np.ones((3, 3))))


def scattered(seed, count, size=60):
    """Boxes of all sizes, some of one pixel, some at the border, with holes and gaps in numbers."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), int)
    for number in range(count):
        (y, x), (h, w) = rng.integers(0, size, 2), rng.choice([1, 3, 8, 30], 2)
        labels[y : y + h, x : x + w] = 3 * number + 5
    labels[rng.random(labels.shape) < 0.05] = 0
    return labels


@pytest.mark.parametrize("few", [0, boundaries.FEW])
@pytest.mark.parametrize("counts", [(1, 1), (12, 12), (25, 1), (3, 20)])
def test_hausdorff_equals_that_of_scikit_image(monkeypatch, few, counts):
    monkeypatch.setattr(boundaries, "FEW", few)
    truth, prediction = (scattered(seed, count) for seed, count in enumerate(counts))
    one, two = boundaries.ObjectPixels.of(truth), boundaries.ObjectPixels.of(prediction)
    expected = np.array(
        [[hausdorff_distance(a, b) for b in objects(prediction)] for a in objects(truth)]
    )
    for (i, j), distance in np.ndenumerate(expected):
        assert boundaries._hausdorff(one, i, two, j) == pytest.approx(distance), (i, j)
    for i in range(one.count):
        nearest = boundaries._nearest(one, i, two)
        assert expected[i, nearest] == pytest.approx(expected[i].min())


@pytest.mark.parametrize("few", [0, boundaries.FEW])
def test_the_farthest_pixel_may_be_inside(monkeypatch, few):
    monkeypatch.setattr(boundaries, "FEW", few)
    frame = np.zeros((60, 60), int)
    frame[10:51, 10:51] = 1
    frame[11:50, 11:50] = 0
    scores = image_scores(np.ones_like(frame), frame)
    assert scores["object_hausdorff"] == 20  # from the middle; from the corners 14


def test_the_nearest_object_is_not_the_one_of_the_nearest_extent():
    ends, others = np.zeros((2, 20, 30), int)
    ends[5, [0, 20]] = 1
    others[6, :21] = 1  # its extent differs by 1 pixel, but its middle is far from both ends
    others[10, [0, 20]] = 2
    one, two = boundaries.ObjectPixels.of(ends), boundaries.ObjectPixels.of(others)
    assert boundaries._hausdorff(one, 0, two, 0) == math.hypot(10, 1)
    assert boundaries._hausdorff(one, 0, two, 1) == 5
    assert boundaries._nearest(one, 0, two) == 1


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        # one object all over, in both; in the truth only, against a spot
        (np.full((9, 9), 4), np.full((9, 9), 70000), {"ari": 1, "abd": 0, "object_f1": 1}),
        (np.ones((9, 9), int), boxes((0, 0, 1, 1))[:9, :9], {"object_hausdorff": math.hypot(8, 8)}),
        # a spot of one pixel, found; in the corner, found beside it
        (boxes((7, 7, 8, 8)), boxes((7, 7, 8, 8)), {"aji": 1, "object_hausdorff": 0, "ari": 1}),
        (boxes((0, 0, 1, 1)), boxes((0, 1, 1, 2)), {"object_hausdorff": 1, "abd": 1, "pq": 0}),
        # nothing is true, nothing was found, neither
        (boxes(), boxes((1, 1, 4, 4)), {"aji": 0, "pq": 0, "sensitivity": math.nan, "false": 1}),
        (boxes((1, 1, 4, 4)), boxes(), {"aji": 0, "object_dice": 0, "missed": 1, "sq": 0}),
        (boxes(), boxes(), {"aji": math.nan, "object_f1": math.nan, "accuracy": 1, "false": 0}),
        # numbers that don't fit a table of all numbers
        (boxes((1, 1, 4, 4)) * 2**40, boxes((1, 1, 4, 4)) * 2**50, {"aji": 1, "split": 0}),
    ],
)
def test_extremes_by_hand(truth, prediction, expected):
    scores = image_scores(truth, prediction)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_pixels_that_are_not_known_count_nowhere():
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 4, (2, 12, 14))
    level = rng.random(truth.shape)
    known = np.zeros(truth.shape, bool)
    known[2:9, 3:11] = True
    inside = np.s_[2:9, 3:11]
    whole = image_scores(truth, prediction, level, known=known)
    cut = image_scores(truth[inside], prediction[inside], level[inside])
    # the outline of the part is no outline in the whole: there objects end in the same places
    assert whole == pytest.approx(cut)


def test_one_object_over_a_thousand_is_scored_in_time():
    truth = np.kron(np.arange(1, 1025).reshape(32, 32), np.pad(np.ones((20, 20), int), 6))
    began = time.perf_counter()
    scores = image_scores(truth, np.ones_like(truth))
    assert time.perf_counter() - began < 20  # 1 s; minutes, if every pixel is looked at
    assert (scores["merged"], scores["missed"]) == (1, 0)
    assert scores["aji"] == pytest.approx(400 / 1024**2)
