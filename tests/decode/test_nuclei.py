"""Decoding maps that are known to be of certain nuclei."""

import numpy as np
import pytest
from scipy import ndimage

from qpbridge.decode.nuclei import _heights, _parts, decode_nuclei
from qpbridge.evaluation import image_scores
from qpbridge.training.truth_maps import instance_maps


def ellipses(shape, count, seed):
    """Instance map of ellipses that touch and cover each other."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for number in range(1, count + 1):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        a, b, turn = *rng.uniform(6, 11, 2), rng.uniform(0, np.pi)
        u = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
        v = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
        labels[((u / a) ** 2 + (v / b) ** 2 < 1) & (labels == 0)] = number
    return labels


def noisy_maps(labels, seed):
    rng = np.random.default_rng(seed)
    maps = instance_maps(labels)
    maps[0] = np.clip(maps[0] * 0.9 + rng.normal(0.05, 0.05, labels.shape), 0, 1)
    maps[2:] += rng.normal(0, 1.0, maps[2:].shape)
    return maps


def test_touching_nuclei_are_told_apart_in_noise():
    labels = ellipses((300, 320), 180, 1)
    found, probability, *_ = decode_nuclei(noisy_maps(labels, 2), mpp=0.5)
    scores = image_scores(labels, found)
    assert scores["f1"] > 0.85 and scores["aji"] > 0.8
    assert len(probability) == found.max() and found.dtype == np.int32
    assert probability.dtype == np.float32 and (np.abs(probability - 0.95) < 0.05).all()


def test_a_nucleus_does_not_depend_on_what_is_far_from_it():
    maps = noisy_maps(ellipses((256, 256), 120, 3), 4)
    whole, *_ = decode_nuclei(maps, mpp=0.5)
    part, *_ = decode_nuclei(maps[:, 48:208, 32:224], mpp=0.5)
    window = whole[48:208, 32:224]
    inner = np.zeros(part.shape, bool)
    inner[48:-48, 48:-48] = True
    seen = [value for value in np.unique(window[inner]) if value]
    assert len(seen) > 10
    for value in seen:
        other = np.unique(part[window == value])
        assert len(other) == 1 and other[0] > 0
        assert ((part == other[0]) == (window == value)).all()


def test_small_and_doubtful_nuclei_are_dropped():
    labels = np.zeros((60, 60), np.int32)
    labels[10:30, 10:30], labels[40:43, 40:43] = 1, 2
    maps = instance_maps(labels)
    assert decode_nuclei(maps, mpp=0.5, min_area_um2=10)[0].max() == 1
    assert decode_nuclei(maps, mpp=0.5, min_area_um2=1, min_votes=0.1)[0].max() == 2
    maps[0] *= 0.6
    found, probability, *_ = decode_nuclei(maps, mpp=0.5, min_probability=0.7)
    assert found.max() == 0 and probability.shape == (0,)


def test_thin_tails_are_cut():
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30] = 1
    maps = instance_maps(labels)
    maps[0, 20, 30:45], maps[2, 20, 30:45] = 1, np.arange(-10, -25, -1)  # votes for the square
    found, *_ = decode_nuclei(maps, mpp=0.5)
    assert found.max() == 1 and not found[:, 31:].any()
    assert (found[11:29, 11:29] == 1).all()


@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 40, 17)])
def test_empty_maps(shape):
    found, probability, *_ = decode_nuclei(np.zeros(shape, np.float32), mpp=0.5)
    assert found.shape == shape[1:] and not found.any() and len(probability) == 0


def test_other_maps_are_refused():
    with pytest.raises(ValueError, match="Four maps"):
        decode_nuclei(np.zeros((3, 8, 8), np.float32), mpp=0.5)


def test_votes_are_spread_as_by_a_gaussian_of_the_whole_map():
    rng = np.random.default_rng(5)
    votes = rng.poisson(0.002, (70, 90))
    votes[[0, 0, -1, -1], [0, -1, 0, -1]] = 3
    y, x = (np.repeat(i, votes[votes > 0]) for i in np.nonzero(votes))
    for sigma, reach in ((0.6, 1), (1.5, 3), (4.0, 2)):
        expected = ndimage.gaussian_filter(
            votes.astype(np.float32), sigma, mode="constant", truncate=3
        )
        heights, start = _heights(x, y, votes.shape, sigma, reach)
        top, left = divmod(start, heights.shape[1])
        assert min(top, left) >= reach
        inside = (slice(top, top + 70), slice(left, left + 90))
        assert (heights[inside] == expected).all()
        heights[inside] = 0
        assert not heights.any()


def test_parts_are_those_of_each_label():
    labels = np.random.default_rng(6).integers(0, 3, (60, 50)).astype(np.int32)
    pixel, part = _parts(labels)
    assert (pixel == np.flatnonzero(labels)).all()
    expected = np.zeros(labels.shape, int)
    for value in (1, 2):
        parts = ndimage.label(labels == value)[0]
        expected[parts > 0] = parts[parts > 0] + expected.max()
    pairs = np.unique([part, expected.ravel()[pixel]], axis=1)
    assert pairs.shape[1] == expected.max() == part.max() + 1
