"""Glands and vessels in sections, decoded from drawn maps."""

import numpy as np
import pytest
from scipy import ndimage

from qpbridge.decode.glands import decode_glands
from qpbridge.decode.vessels import decode_vessels

SHAPE = (300, 400)


def disc(x, y, radius, shape=SHAPE):
    rows, columns = np.indices(shape) + 0.5
    return np.hypot(columns - x, rows - y) < radius


def draw(objects, lumina=(), noise=0.0, shape=SHAPE):
    """Maps of objects, (H, W) masks each: contours where they end, all a little blurred."""
    maps = np.zeros((3, *shape), np.float32)
    for mask in objects:
        maps[0] = np.maximum(maps[0], mask)
        away = ndimage.distance_transform_edt(mask) + ndimage.distance_transform_edt(~mask)
        maps[1] = np.maximum(maps[1], away <= 3)
    for mask in lumina:
        maps[2] = np.maximum(maps[2], mask)
    maps = ndimage.gaussian_filter(maps, (0, 1, 1))
    if noise:
        rng = np.random.default_rng(1)
        maps = maps + ndimage.gaussian_filter(rng.normal(0, noise, maps.shape), (0, 1.5, 1.5))
    return np.clip(maps, 0, 1).astype(np.float32)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_glands_that_touch_are_parted_and_keep_their_size(noise):
    left, right = disc(120, 150, 70), disc(255, 150, 70) & ~disc(120, 150, 70)
    found = decode_glands(draw([left, right], noise=noise), mpp=1.0)
    assert found.labels.max() == 2 and len(found.probability) == 2
    for mask in (left, right):
        value = np.bincount(found.labels[mask]).argmax()
        same = found.labels == value
        assert (same & mask).sum() / (same | mask).sum() > 0.93
    assert (found.probability > 0.75).all()


def test_a_lumen_is_a_hole_of_its_size():
    gland, lumen = disc(150, 150, 80), disc(160, 150, 30)
    found = decode_glands(draw([gland], [lumen]), mpp=1.0)
    assert found.labels.max() == 1
    assert not found.labels[150, 160]
    filled = ndimage.binary_fill_holes(found.labels > 0)
    hole = filled & (found.labels == 0)
    assert hole.sum() == pytest.approx(lumen.sum(), rel=0.05)
    assert filled.sum() == pytest.approx(gland.sum(), rel=0.03)


def test_small_lumina_are_filled_and_open_ones_are_no_holes():
    gland = disc(150, 150, 80)
    speck = decode_glands(draw([gland], [disc(150, 150, 4)]), mpp=1.0)
    assert speck.labels[150, 150] == 1
    open_one = decode_glands(draw([gland], [disc(228, 150, 20) & gland]), mpp=1.0)
    filled = ndimage.binary_fill_holes(open_one.labels > 0)
    assert (filled == (open_one.labels > 0)).mean() > 0.999 or filled[150, 215]


def test_gaps_are_closed_and_what_is_enclosed_belongs_to_the_gland():
    ring = disc(150, 150, 80) & ~disc(150, 150, 40)
    ring[148:152, 150:] = False
    maps = np.zeros((3, *SHAPE), np.float32)
    maps[0] = ring
    found = decode_glands(maps, mpp=1.0)
    assert found.labels.max() == 1 and found.labels[150, 150] == 1


def test_specks_are_dropped_by_their_size_in_um():
    maps = draw([disc(100, 100, 10), disc(250, 150, 40)])
    assert decode_glands(maps, mpp=1.0).labels.max() == 1
    assert decode_glands(maps, mpp=2.0).labels.max() == 2


def test_a_gland_on_the_edge_is_found():
    found = decode_glands(draw([disc(0, 150, 60)]), mpp=1.0)
    assert found.labels.max() == 1 and found.labels[150, 0] == 1


def test_vessels_from_capillaries_to_collapsed_ones():
    flat = np.zeros(SHAPE, bool)
    flat[200:206, 50:150] = True
    small, large = disc(100, 60, 8), disc(280, 150, 60)
    maps = draw([flat, small, large], [disc(280, 150, 45), disc(100, 60, 5)])
    found = decode_vessels(maps, mpp=0.5)
    assert found.labels.max() == 3
    assert not found.labels[150, 280] and not found.labels[60, 100]
    assert found.labels[203, 100]


@pytest.mark.parametrize("decode", [decode_glands, decode_vessels])
def test_nothing_and_everything(decode):
    assert decode(np.zeros((3, 50, 60), np.float32), mpp=1.0).labels.max() == 0
    full = np.zeros((3, 50, 60), np.float32)
    full[0] = 1
    found = decode(full, mpp=1.0)
    assert (found.labels == 1).all() and found.probability.tolist() == [1]
    with pytest.raises(ValueError, match="Three maps"):
        decode(np.zeros((4, 8, 8), np.float32), mpp=1.0)
