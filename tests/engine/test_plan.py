from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.engine.plan import plan_tiles
from qpbridge.engine.regions import Region


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
    assert plan.halo % 16 == plan.core % 16 == 0
    assert (plan.origins % plan.core == 0).all()
    low, high = plan.origins * downsample, (plan.origins + plan.core) * downsample
    cores = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    assert shapely.intersects(cores, area).all()
    assert shapely.union_all(cores).buffer(1e-6).covers(area)
    assert len(np.unique(plan.origins, axis=0)) == len(plan)


def test_tiles_between_regions_are_left_out():
    far = [region(shapely.box(0, 0, 10, 10)), region(shapely.box(9000, 9000, 9010, 9010))]
    assert len(plan_tiles(far, 1.0, tile=512, halo=64, stride=16)) == 2


def test_a_tile_smaller_than_its_halo_still_has_a_core():
    plan = plan_tiles([region(shapely.box(0, 0, 10, 10))], 1.0, tile=64, halo=64, stride=16)
    assert plan.core == 16
    assert plan.megapixels == len(plan) * plan.side**2 / 1e6
