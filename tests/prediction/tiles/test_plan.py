from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.hierarchy.regions import Region
from qpbridge.prediction.tiles.plan import Tile, TilePlan, plan_tiles


def region(geometry):
    return Region(0, bytes(16), "r", None, geometry)


@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.floats(1, 3000),
    st.sampled_from([0.4, 1.0, 2.0, 2.02]),
    st.sampled_from([256, 500, 1024]),
    st.sampled_from([8, 48, 100]),
)
def test_cores_cover_the_region_once_and_keep_the_stride(x, y, radius, downsample, tile, halo):
    area = shapely.Point(x, y).buffer(radius)
    plan = plan_tiles([region(area)], downsample, tile=tile, halo=halo, stride=16)
    assert plan.halo >= halo
    assert plan.halo % 16 == 0
    assert (plan.cores % 16 == 0).all()
    assert (plan.cores[:, 2:] + 2 * plan.halo).max() <= max(tile, 16 + 2 * plan.halo)
    low = plan.cores[:, :2] * downsample
    high = low + plan.cores[:, 2:] * downsample
    cores = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    assert shapely.intersects(cores, area).all()
    assert shapely.union_all(cores).buffer(1e-3).covers(area)
    assert shapely.area(cores).sum() == pytest.approx(shapely.union_all(cores).area)


def test_tiles_between_regions_are_left_out():
    far = [region(shapely.box(0, 0, 10, 10)), region(shapely.box(9000, 9000, 9010, 9010))]
    assert len(plan_tiles(far, 1.0, tile=512, halo=64, stride=16)) == 2


def test_a_tile_smaller_than_its_halo_still_has_a_core():
    plan = plan_tiles([region(shapely.box(0, 0, 10, 10))], 1.0, tile=64, halo=64, stride=16)
    assert plan[0] == Tile(0, 0, 16, 16, 64)
    assert plan.megapixels == 144**2 / 1e6


def test_a_small_region_across_a_border_of_cells_is_not_paid_for_twice():
    corners = [region(shapely.box(x, y, x + 10, y + 10)) for x, y in ((0, 0), (4000, 4000))]
    small = region(shapely.box(1900, 1900, 2100, 2100))
    alone = plan_tiles(corners, 1.0, tile=2048, halo=32, stride=16)
    plan = plan_tiles([*corners, small], 1.0, tile=2048, halo=32, stride=16)
    assert len(plan) <= len(alone) + 4
    assert plan.megapixels < alone.megapixels + 0.2


def test_a_plan_of_one_region_is_divided_evenly():
    plan = plan_tiles([region(shapely.box(0, 0, 2100, 900))], 1.0, tile=1024, halo=0, stride=4)
    assert plan.cores.tolist() == [[0, 0, 700, 900], [700, 0, 700, 900], [1400, 0, 700, 900]]


def test_batches_are_of_tiles_of_one_size_in_order():
    plan = TilePlan(1.0, 0, np.array([[0, 0, 8, 8], [8, 0, 8, 8], [16, 0, 4, 8], [0, 8, 8, 8]]))
    assert list(plan.batches(range(4), 2)) == [(0, 1), (2,), (3,)]
    assert list(plan.batches([1, 2, 3], 1)) == [(1,), (2,), (3,)]


def test_tiles_know_what_of_them_lies_in_the_image():
    whole = region(shapely.box(0, 0, 101, 77))
    plan = plan_tiles([whole], 0.74, tile=2048, halo=32, stride=16, size=(101, 77))
    (tile,) = (plan[i] for i in range(len(plan)))
    assert tile.size == (208, 176)
    window = plan.within(tile)
    assert window == (32, 32, 32 + 137, 32 + 105)  # the last pixels reach beyond the image
    assert tile.around(0) == (32, 32, 176, 144)
    assert window.meet(tile.around(16)) == window
    assert tile.around(16).meet(window).seen_from(tile.around(16)) == (16, 16, 153, 121)
    assert plan.place(np.array([[137.0, 0.0], [1.0, 105.0]])).tolist() == [[101, 0], [0.74, 77]]
    endless = plan_tiles([whole], 0.74, tile=2048, halo=32, stride=16)
    assert endless.within(tile) == (0, 0, 208, 176)
