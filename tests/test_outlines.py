"""Outlines that cross themselves: repaired where that ends, told where it doesn't."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely

from qpbridge import Shapes
from qpbridge.errors import OutlineError
from qpbridge.outlines import repaired, tangled, valid, valid_areas
from qpbridge.project.geojson.grid import on_grid


def one(geometry: shapely.Geometry) -> np.ndarray:
    return np.array([geometry], object)


def at_random(vertices: int) -> shapely.Polygon:
    return shapely.Polygon(np.random.default_rng(0).random((vertices, 2)) * 1000)


def zigzag(vertices: int) -> shapely.Polygon:
    """Closed by a line that crosses all the others."""
    i = np.arange(vertices)
    return shapely.Polygon(np.stack([i, i % 2 * 1000.0], axis=1))


def comb(vertices: int) -> shapely.Polygon:
    """Valid, but its edges lie side by side along the diagonal: each box meets each other."""
    i = np.arange(vertices // 2) / 100
    teeth = np.empty((2 * len(i), 2))
    teeth[0::2] = np.stack([i, -i], axis=1)
    teeth[1::2] = np.stack([1000.005 + i, 999.995 - i], axis=1)
    return shapely.Polygon([*teeth, (5000, 1000), (5000, 5000), (-5000, 5000), (-5000, 0)])


HOPELESS = {
    "at random": at_random(500),
    "thousands at random": at_random(20_000),
    "zigzag": zigzag(12_000),
    "long zigzag": zigzag(50_000),
    "long comb": comb(50_000),
    "many parts": shapely.MultiPolygon([at_random(90), shapely.box(0, 0, 1, 1), at_random(100)]),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_what_no_repair_would_end_is_told_at_once(name: str) -> None:
    outline = one(HOPELESS[name])
    start = time.process_time()
    assert tangled(outline).all() and not valid(outline).any()
    for repair in (repaired, valid_areas):
        with pytest.raises(OutlineError, match=r"from x \S+, y \S+ to x .* crosses itself too"):
            repair(outline)
    found = on_grid(Shapes.from_geometries(outline))
    assert found.tangled.all() and not found.repaired.any() and not found.flat.any()
    assert time.process_time() - start < 15


def test_outlines_as_drawn_by_hand_are_repaired() -> None:
    bow = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    scribble, long_scribble = at_random(25), zigzag(150)
    outlines = np.array([bow, shapely.box(0, 0, 5, 5), None, scribble, long_scribble], object)
    assert not tangled(outlines).any()
    assert valid(outlines).tolist() == [False, True, False, False, False]
    areas = valid_areas(outlines)
    assert areas[0].area == pytest.approx(50) and areas[1] is outlines[1] and areas[2] is None
    assert shapely.is_valid(areas[[0, 1, 3, 4]]).all()
    assert outlines[0] is bow


@pytest.mark.parametrize("vertices", [4, 6, 41])
def test_rings_without_extent_beside_others_are_dropped(vertices: int) -> None:
    """GEOS gives up at such a ring; in the middle of other kinds of faults too."""
    point = np.repeat([[500.0, 500.0]], vertices, axis=0)
    bow = shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)])
    outlines = np.array([shapely.MultiPolygon([shapely.Polygon(point), bow])], object)
    assert shapely.area(valid_areas(outlines)) == pytest.approx(40.5)
    alone = np.array([shapely.MultiPolygon([shapely.Polygon(point)])], object)
    assert shapely.area(valid_areas(alone)) == 0
    found = on_grid(Shapes.from_geometries(alone))
    assert found.flat.all()


def test_an_empty_hole_is_survived() -> None:
    empty = shapely.LinearRing()
    outline = shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)], [empty])
    assert shapely.area(valid_areas(one(outline))) == pytest.approx(40.5)


def test_a_line_may_cross_itself_as_it_likes() -> None:
    line = one(shapely.LineString(at_random(8000).exterior.coords))
    spot = one(shapely.LineString([(1, 1), (1, 1)]))
    assert not tangled(line)[0] and repaired(line) is line
    assert not tangled(spot)[0] and repaired(spot)[0].is_valid
    both = one(shapely.MultiLineString([line[0], spot[0]]))
    assert shapely.length(repaired(both)[0]) == shapely.length(line[0])


def test_a_long_outline_that_touches_itself_is_repaired() -> None:
    """As traced along pixels: ten thousand vertices, hundreds of corners that touch."""
    side = np.arange(0, 3000, 2.0)
    there = np.stack([side, np.zeros_like(side)], axis=1)
    stairs = np.empty((4 * len(side), 2))
    stairs[0::4], stairs[1::4] = there, there + np.array([0, 2])
    stairs[2::4], stairs[3::4] = there + np.array([1, 2]), there + np.array([1, 1])
    touching = np.where(np.arange(len(stairs))[:, None] % 40 == 3, stairs * (1, 0), stairs)
    outline = one(shapely.Polygon([*touching, (3000, -50), (0, -50)]))
    assert not tangled(outline).any()
    (area,) = valid_areas(outline)
    assert area.is_valid and area.area > 140_000


def test_many_outlines_take_time_by_their_number_only() -> None:
    scribbles = np.array([at_random(20)] * 400, object)
    start = time.process_time()
    assert shapely.is_valid(valid_areas(scribbles)).all()
    assert time.process_time() - start < 10
