"""What holds for glands whatever the maps are, and how the settings act."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from qpbridge.decode.decoders import decode
from qpbridge.decode.glands import decode_glands
from qpbridge.decode.profiles import hollowed
from qpbridge.errors import ModelError

SETTINGS = {"min_core_um2": 30.0, "min_area_um2": 60.0, "min_probability": 0.55}


def random_maps(seed, shape=(96, 120), grain=5.0):
    """Smooth blobs of all kinds in three maps, from 0 to 1."""
    noise = np.random.default_rng(seed).normal(size=(3, *shape))
    maps = ndimage.gaussian_filter(noise, (0, grain, grain))
    maps /= maps.std((1, 2), keepdims=True)
    return (1 / (1 + np.exp(-3 * maps))).astype(np.float32)


def bars(gap_contour, width=10):
    """Two bars side by side, with contour between them."""
    maps = np.zeros((3, 80, 100), np.float32)
    maps[0, 20:60, 10:90] = 1
    maps[1, 20:60, 50 - width // 2 : 50 + width // 2] = gap_contour
    return maps


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1.0, 2.0]))
def test_each_gland_is_one_part_and_good_enough(seed, mpp):
    maps = random_maps(seed)
    found = decode_glands(maps, mpp=mpp, **SETTINGS)
    count = int(found.labels.max())
    assert found.labels.dtype == np.int32
    assert found.probability.shape == (count,) and (found.level == maps[0]).all()
    for value in range(1, count + 1):
        mask = found.labels == value
        assert ndimage.label(mask)[1] == 1
        assert found.probability[value - 1] == pytest.approx(maps[0][mask].mean(), abs=1e-4)
    maps[2] = 0  # without lumina
    solid = decode_glands(maps, mpp=mpp, **SETTINGS).labels
    assert (solid[found.labels > 0] == found.labels[found.labels > 0]).all()
    area = np.bincount(solid.ravel())[1:] * mpp**2
    assert len(area) == count and (area >= SETTINGS["min_area_um2"]).all()


def test_a_lumen_on_the_edge_of_the_map_is_closed_there():
    maps = np.zeros((3, 120, 100), np.float32)
    maps[0, :, 20:80] = 1
    maps[2, :, 40:60] = 1  # from edge to edge
    found = decode_glands(maps, mpp=1.0)
    assert found.labels.max() == 1
    assert (found.labels[1:-1, 40:60] == 0).all() and (found.labels[:, 20:40] == 1).all()
    filled = ndimage.binary_fill_holes(found.labels)
    assert (filled == (maps[0] > 0)).all()


def test_a_lumen_that_would_cut_a_gland_in_two_is_no_hole():
    ring = np.zeros((120, 120), np.int32)
    ring[10:110, 10:110] = 1
    ring[50:70, 50:70] = 2  # it encloses another
    lumen = np.zeros(ring.shape, bool)
    lumen[20:100, 20:100] = True
    assert (hollowed(ring, lumen, 10) == np.where(ring == 2, hollowed(ring, lumen, 10), ring)).all()
    lumen[:, 40:80] = False
    assert not hollowed(ring, lumen, 10)[60, 30]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.booleans())
def test_turning_the_maps_turns_the_glands(seed, turns, flip):
    """But for the ties that a watershed breaks by order."""
    maps = random_maps(seed, (96, 96))
    turned = np.rot90(maps, turns, (1, 2))
    turned = np.ascontiguousarray(turned[:, :, ::-1] if flip else turned)
    one = decode_glands(maps, mpp=1.0, **SETTINGS).labels > 0
    two = decode_glands(turned, mpp=1.0, **SETTINGS).labels > 0
    two = np.rot90(two[:, ::-1] if flip else two, -turns)
    assert (one == two).mean() > 0.99


@pytest.mark.parametrize(
    ("contour", "core_threshold", "count"), [(0.9, 0.3, 2), (0.5, 0.3, 1), (0.5, 0.6, 2)]
)
def test_how_much_contour_parts_two_glands_is_a_setting(contour, core_threshold, count):
    found = decode_glands(bars(contour), mpp=1.0, core_threshold=core_threshold)
    assert found.labels.max() == count
    assert (found.labels[40, 12:88] > 0).all()  # they meet without a gap


def test_the_same_glands_at_another_scale():
    maps = random_maps(3, (120, 120), grain=9.0)
    fine = np.ascontiguousarray(maps.repeat(2, 1).repeat(2, 2))
    coarse = decode_glands(maps, mpp=1.0, **SETTINGS).labels > 0
    other = decode_glands(fine, mpp=0.5, **SETTINGS).labels > 0
    assert (coarse.repeat(2, 0).repeat(2, 1) == other).mean() > 0.95


def test_glands_far_away_change_nothing():
    maps = random_maps(11, (160, 160))
    alone = maps.copy()
    alone[:, :, 100:] = 0
    one = decode_glands(maps, mpp=1.0, **SETTINGS).labels[:, :40] > 0
    two = decode_glands(alone, mpp=1.0, **SETTINGS).labels[:, :40] > 0
    whole = decode_glands(maps, mpp=1.0, **SETTINGS).labels
    crossing = np.intersect1d(whole[:, :40], whole[:, 95:])
    left = whole[:, :40]
    untouched = ~np.isin(left, crossing[crossing > 0])
    assert (one == two)[untouched].mean() > 0.99


def test_by_name_with_settings_that_it_has():
    maps = bars(0.9)
    assert decode("glands", maps, mpp=1.0).labels.max() == 2
    with pytest.raises(ModelError, match="glands"):
        decode("glands", maps, mpp=1.0, vote_sigma_um=1.0)
