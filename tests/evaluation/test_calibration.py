"""A calibrated probability says how many of such objects are right."""

import numpy as np
import pytest
from evaluation.test_folder import Oracle, discs, shown

from qpbridge.errors import ModelError
from qpbridge.evaluation.calibration import (
    MIN_OBJECTS,
    Judged,
    calibration_error,
    fit_calibration,
    join,
    judge_objects,
    reliability,
)
from qpbridge.evaluation.labelled import Sample
from qpbridge.models import load_bundle
from qpbridge.models.bundle import Bundle


def judged(count, seed=0):
    """Objects of which fewer are right than the network is sure of: the square."""
    rng = np.random.default_rng(seed)
    probability = rng.uniform(0.5, 1, count)
    return Judged(
        probability, rng.random(count) < probability**2, np.full(count, 1 / max(count, 1))
    )


def test_what_is_calibrated_is_right_as_often_as_it_says():
    known = fit_calibration(judged(4000))
    assert (np.diff(known.right) >= 0).all() and (np.diff(known.probability) > 0).all()
    other = judged(4000, seed=1)
    better = other._replace(probability=known(other.probability).astype(float))
    assert calibration_error(other) > 0.15 and calibration_error(better) < 0.03
    assert known(np.array([0.0, 1.0])) == pytest.approx([known.right[0], known.right[-1]])


def test_shares_that_fall_are_pooled_as_isotonic_regression_does():
    isotonic = pytest.importorskip("scipy.optimize").isotonic_regression
    for seed in range(5):
        some = judged(MIN_OBJECTS, seed)
        bins = reliability(some, 16)
        expected = isotonic([b.right for b in bins], weights=[b.weight for b in bins]).x
        assert fit_calibration(some).right == pytest.approx(expected, abs=1e-4)


def test_sets_count_alike_and_few_objects_say_nothing():
    many, few = judged(3000), judged(400, seed=2)._replace(right=np.zeros(400, bool))
    half = fit_calibration(join([many, few]))
    assert half(np.array([0.98]))[0] == pytest.approx(0.98**2 / 2, abs=0.05)
    assert fit_calibration(judged(MIN_OBJECTS - 1)) is None
    certain = judged(400)._replace(probability=np.full(400, 0.9))
    assert len(fit_calibration(certain).probability) == 1
    assert calibration_error(judged(0)) == 0


@pytest.mark.parametrize("known", [None, "left"])
def test_objects_are_judged_by_the_truth(known):
    seen = discs(128, 0.4)
    truth = np.where(seen % 4 == 1, 0, seen)  # the first column is false
    where = None
    if known:
        where = np.zeros(seen.shape, bool)
        where[:, :64] = True
    image = shown(seen)
    bundle = load_bundle("nuclei_he")
    found = judge_objects(bundle, [Sample("a", image, truth, 0.5, known=where)] * 2, Oracle())
    count = 8 if known else 16
    assert len(found.right) == 2 * count and found.weight.sum() == pytest.approx(1)
    assert found.right.sum() == 2 * (count - 4) and (found.probability > 0.5).all()


def with_calibration(section):
    own = dict(load_bundle("nuclei_he").metadata["qpbridge"])
    own.pop("calibration", None)
    own |= {} if section is None else {"calibration": section}
    return Bundle("mine", None, {"qpbridge": own})


def test_a_bundle_translates_what_its_network_says():
    values = np.array([0.5, 0.75, 1.0], np.float32)
    assert with_calibration(None).certainty(values) is values
    section = {"probability": [0.5, 1.0], "right": [0.2, 0.9], "objects": 1000}
    assert with_calibration(section).certainty(values) == pytest.approx([0.2, 0.55, 0.9])


@pytest.mark.parametrize(
    "section",
    [
        {"probability": [0.5]},
        {"probability": [0.5, 0.5], "right": [0.1, 0.2]},
        {"probability": [0.5, 0.6], "right": [0.1]},
        {"probability": [], "right": []},
        {"probability": ["much"], "right": [1]},
        "none",
    ],
)
def test_a_calibration_that_makes_no_sense_is_named(section):
    with pytest.raises(ModelError, match=r"mine: .*calibration"):
        with_calibration(section).certainty(np.zeros(1))
