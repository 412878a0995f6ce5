"""Cells grown from nuclei."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.segmentation import expand_labels

from qpbridge.measurements import expansion as module
from qpbridge.measurements.expansion import expand_nuclei
from qpbridge.measurements.raster import rasterize
from qpbridge.objects import Shapes

MPP = (0.25, 0.25)
SLACK = 1.03
"""How far beyond the expansion a cell may reach."""


def ellipse(x: float, y: float, a: float, b: float, angle: float) -> shapely.Polygon:
    round_one = shapely.Point(0, 0).buffer(1, quad_segs=6)
    turned = shapely.affinity.rotate(shapely.affinity.scale(round_one, a, b), angle, origin=(0, 0))
    return shapely.affinity.translate(turned, x, y)


def crowd(seed: int, n: int = 60, side: float = 200.0) -> np.ndarray:
    """Nuclei of all sizes, some of them touching, bent or one upon the other."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        x, y = rng.uniform(0, side, 2)
        shape = ellipse(x, y, rng.uniform(4, 18), rng.uniform(3, 9), rng.uniform(0, 180))
        if rng.random() < 0.3:
            bite = shapely.difference(shape, shapely.Point(x + 3, y).buffer(5))
            shape = max(shapely.get_parts(bite), key=shapely.area, default=shape)
        out.append(shape)
    return np.array(out, dtype=object)


def apart(nuclei: np.ndarray) -> np.ndarray:
    """Leave out what overlaps an earlier one."""
    kept: list[shapely.Geometry] = []
    for nucleus in nuclei:
        if not any(shapely.area(shapely.intersection(nucleus, k)) > 0 for k in kept):
            kept.append(nucleus)
    return np.array(kept, dtype=object)


def shared_area(shapes: np.ndarray) -> np.ndarray:
    one, other = shapely.STRtree(shapes).query(shapes)
    # on a grid: without, GEOS can take two cells that just touch for one (seed 1, 7.5 µm)
    both = shapely.intersection(shapes[one], shapes[other], grid_size=1e-9)
    return np.where(one < other, shapely.area(both), 0)


@settings(max_examples=40, deadline=None)
@example(seed=1, expansion=7.5, bite=True)
@given(seed=st.integers(0, 10**6), expansion=st.floats(0.5, 10), bite=st.booleans())
def test_what_holds_of_any_cells(seed: int, expansion: float, bite: bool) -> None:
    nuclei = crowd(seed)
    nuclei = apart(nuclei) if bite else nuclei
    cells = expand_nuclei(nuclei, MPP, expansion)
    assert shapely.is_valid(cells).all()
    assert (shapely.get_type_id(cells) == shapely.GeometryType.POLYGON).all()
    assert shapely.area(shapely.difference(nuclei, cells)).max() < 1e-6
    grown = shapely.buffer(nuclei, SLACK * expansion / MPP[0], quad_segs=32)
    assert shapely.area(shapely.difference(cells, grown)).max() < 1e-6
    # no overlap but that of the nuclei
    assert shared_area(cells).sum() <= shared_area(nuclei).sum() + 1e-6
    if bite:
        assert shared_area(cells).max() < 1e-6


@pytest.mark.parametrize("expansion", [0.5, 3.0, 5.0, 15.0])
def test_a_nucleus_alone_grows_on_all_sides(expansion: float) -> None:
    nucleus = ellipse(100, 100, 16, 10, 30)
    (cell,) = expand_nuclei(np.array([nucleus], object), MPP, expansion)
    expected = nucleus.buffer(expansion / MPP[0], quad_segs=32)
    assert cell.area == pytest.approx(expected.area, rel=0.03)
    assert shapely.hausdorff_distance(cell, expected) < 0.04 * expansion / MPP[0]


def test_two_equal_nuclei_share_evenly() -> None:
    nuclei = np.array([ellipse(0, 0, 8, 8, 0), ellipse(20, 0, 8, 8, 0)], object)
    left, right = expand_nuclei(nuclei, MPP, 5.0)
    assert left.bounds[2] == pytest.approx(10) and right.bounds[0] == pytest.approx(10)
    assert left.area == pytest.approx(right.area)


def test_cells_are_near_those_of_a_distance_transform() -> None:
    nuclei = apart(crowd(5, n=120, side=300))
    cells = expand_nuclei(nuclei, MPP, 5.0)
    fine, size = 3, (1020, 1020)
    moved = [shapely.transform(g, lambda xy: xy + 20) for g in (nuclei, cells)]
    ours, theirs = (
        rasterize(Shapes.from_geometries(g), size, downsample=1 / fine) for g in moved[::-1]
    )
    theirs = expand_labels(theirs, 20 * fine)
    n = len(nuclei) + 1
    both = np.bincount(ours[ours == theirs], minlength=n)[1:]
    either = np.bincount(ours.ravel(), minlength=n)[1:] + np.bincount(theirs.ravel())[1:] - both
    assert np.mean(both / either) > 0.9
    assert np.percentile(both / either, 5) > 0.75


def test_blocks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nuclei = crowd(1, n=150)
    whole = expand_nuclei(nuclei, MPP, 4.0)
    order = np.random.default_rng(0).permutation(len(nuclei))
    monkeypatch.setattr(module, "BLOCK", 7)
    blocks = expand_nuclei(nuclei[order], MPP, 4.0)
    assert shapely.equals_exact(shapely.normalize(whole[order]), shapely.normalize(blocks), 0).all()


def test_far_away_nuclei_change_nothing() -> None:
    nuclei = crowd(2)
    more = np.concatenate([nuclei, shapely.transform(nuclei, lambda xy: xy + 1000)])
    one, both = expand_nuclei(nuclei, MPP, 6.0), expand_nuclei(more, MPP, 6.0)
    assert shapely.equals_exact(one, both[: len(nuclei)]).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_cells_stay_in_the_region(seed: int) -> None:
    nuclei = apart(crowd(seed))
    region = shapely.difference(shapely.box(30, 30, 160, 170), shapely.box(80, 90, 110, 95))
    cells = expand_nuclei(nuclei, MPP, 5.0, region)
    allowed = shapely.union(nuclei, region)
    assert shapely.area(shapely.difference(cells, allowed)).max() < 1e-6
    assert shapely.area(shapely.difference(nuclei, cells)).max() < 1e-6
    assert shared_area(cells).max() < 1e-6


def test_a_region_does_not_leave_a_second_part() -> None:
    nucleus = ellipse(0, 0, 10, 10, 0)
    wall = shapely.box(-40, 12, 40, 14)
    region = shapely.difference(shapely.box(-100, -100, 100, 100), wall)
    (cell,) = expand_nuclei(np.array([nucleus], object), MPP, 5.0, region)
    assert cell.bounds[3] == 12


def test_micrometres_count_in_both_directions() -> None:
    (cell,) = expand_nuclei(np.array([ellipse(0, 0, 10, 10, 0)], object), (0.5, 1.0), 5.0)
    assert cell.bounds == pytest.approx((-20, -15, 20, 15), abs=0.3)


def test_a_bent_nucleus_keeps_what_lies_around_it() -> None:
    ring = shapely.Point(0, 0).buffer(20).difference(shapely.Point(0, 0).buffer(16))
    bent = shapely.difference(ring, shapely.box(0, -3, 30, 3))
    nuclei = np.array([bent, ellipse(0, 0, 5, 5, 0)], object)
    cells = expand_nuclei(nuclei, MPP, 2.0)
    assert shapely.area(shapely.difference(nuclei, cells)).max() < 1e-6
    assert shared_area(cells).max() < 1e-6


def test_a_nucleus_in_two_parts() -> None:
    two = shapely.MultiPolygon([ellipse(0, 0, 8, 8, 0), ellipse(60, 0, 8, 8, 0)])
    nuclei = np.array([two, ellipse(30, 0, 8, 8, 0), ellipse(30, 40, 8, 8, 0)], object)
    cells = expand_nuclei(nuclei, MPP, 5.0)
    assert shapely.area(shapely.difference(nuclei, cells)).max() < 1e-6
    assert shared_area(cells).max() < 1e-6
    grown = shapely.buffer(nuclei, SLACK * 20, quad_segs=32)
    assert shapely.area(shapely.difference(cells, grown)).max() < 1e-6


def test_nothing_and_no_growth() -> None:
    assert len(expand_nuclei(np.zeros(0, object), MPP, 5.0)) == 0
    nuclei = crowd(3, n=3)
    assert shapely.equals_exact(expand_nuclei(nuclei, MPP, 0.0), nuclei).all()
    shapes = Shapes.from_geometries(nuclei)
    assert shapely.equals(expand_nuclei(shapes, MPP, 2.0), expand_nuclei(nuclei, MPP, 2.0)).all()
    assert expand_nuclei(Shapes.empty(1), MPP, 2.0).tolist() == [None]


@pytest.mark.parametrize("expansion", [-1.0, np.nan])
def test_cells_smaller_than_nuclei(expansion: float) -> None:
    with pytest.raises(ValueError, match="smaller"):
        expand_nuclei(crowd(3, n=3), MPP, expansion)
