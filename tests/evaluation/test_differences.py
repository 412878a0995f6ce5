"""Whether a difference between models is more than chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qpbridge.evaluation.differences import ENOUGH, LEAST, in_tiles, paired_difference
from qpbridge.evaluation.labelled import Sample


def test_a_gain_on_every_image_is_more_than_chance():
    before = np.linspace(0.3, 0.8, 12)
    found = paired_difference(before, before + np.linspace(0.01, 0.05, 12))
    assert found.compared == 12 and found.beyond_chance
    assert found.after - found.before == pytest.approx(0.03)
    assert 0.01 < found.low < 0.03 < found.high < 0.05


def test_noise_is_chance_in_about_19_of_20_cases():
    rng = np.random.default_rng(0)
    pairs = rng.normal(0.6, 0.1, (100, 2, 40))
    beyond = sum(paired_difference(*pair).beyond_chance for pair in pairs)
    assert beyond <= 14  # 5 expected; the percentile interval is a little too narrow


def test_the_interval_is_that_of_a_normal_mean_where_there_is_one():
    rng = np.random.default_rng(1)
    change = rng.normal(0.02, 0.1, 400)
    found = paired_difference(np.zeros(400), change)
    width = 1.96 * change.std(ddof=1) / math.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * width, rel=0.1)


def test_what_has_no_score_is_left_out():
    nan = math.nan
    found = paired_difference([0.5, nan, 0.7, 0.2], [0.6, 0.9, nan, 0.2])
    assert (found.before, found.after, found.compared) == (0.35, 0.4, 2)
    assert paired_difference([nan], [0.1]).compared == 0
    alone = paired_difference([0.5], [0.6])
    assert alone.compared == 1 and math.isnan(alone.low) and not alone.beyond_chance
    few = paired_difference([0.1] * (LEAST - 1), [0.2] * (LEAST - 1))
    assert math.isnan(few.low) and not few.beyond_chance


def sample(height, width, known=None):
    labels = np.arange(height * width, dtype=np.int32).reshape(height, width)
    return Sample("s", np.zeros((height, width, 3), np.uint8), labels, 0.5, known=known)


def test_few_images_are_cut_into_tiles_that_cover_them_once():
    one = sample(410, 590)
    tiles = in_tiles([one])
    assert len(tiles) == 2 * 3
    pixels = np.concatenate([tile.labels.ravel() for tile in tiles])
    assert np.array_equal(np.sort(pixels), one.labels.ravel())
    assert len(in_tiles([sample(100, 90)])) == 1
    assert len(in_tiles([one] * ENOUGH)) == ENOUGH


def test_tiles_of_which_nothing_is_known_are_left_out():
    known = np.zeros((400, 400), bool)
    known[:100, :100] = True
    (tile,) = in_tiles([sample(400, 400, known)])
    assert tile.known.sum() == 100 * 100
