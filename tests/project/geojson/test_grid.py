"""Shapes on QuPath's grid: valid whatever they were before, and left alone if they were fine."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.objects import RoiKind, Shapes, concatenate_shapes
from qpbridge.project.geojson.grid import GRID, on_grid, smallest_box

position = st.tuples(*[st.floats(-20, 20).map(lambda v: round(v, 3))] * 2)
ENCLOSING = (RoiKind.POLYGON, RoiKind.GEOMETRY, RoiKind.RECTANGLE, RoiKind.ELLIPSE)


@st.composite
def rings(draw: st.DrawFn) -> np.ndarray:
    points = draw(st.lists(position, min_size=1, max_size=7))
    return np.array([*points, points[0]])


@st.composite
def wild(draw: st.DrawFn) -> Shapes:
    """A shape of any kind, its rings crossing, flat, doubled or outside of one another."""
    roi = draw(st.sampled_from([*ENCLOSING, RoiKind.POINTS, RoiKind.POLYLINE, RoiKind.EMPTY]))
    if roi is RoiKind.EMPTY:
        return Shapes.empty(1)
    if roi in (RoiKind.RECTANGLE, RoiKind.ELLIPSE):
        (x, y), (x2, y2) = draw(position), draw(position)
        return Shapes.corners(roi, x, y, x2, y2)
    if roi is RoiKind.GEOMETRY:
        parts = draw(st.lists(st.lists(rings(), min_size=1, max_size=3), min_size=1, max_size=3))
    else:
        parts = [[draw(rings())]]
    flat = [ring for part in parts for ring in part]
    return Shapes(
        np.array([roi], np.uint8),
        np.concatenate(flat),
        np.cumsum([0, *(len(r) for r in flat)]),
        np.cumsum([0, *(len(p) for p in parts)]),
        np.array([0, len(parts)]),
    )


@given(st.lists(wild(), min_size=1, max_size=5))
def test_all_areas_are_valid_and_round(items: list[Shapes]) -> None:
    shapes = concatenate_shapes(items)
    found = on_grid(shapes)
    assert len(found.shapes) == len(shapes)
    np.testing.assert_array_equal(found.shapes.coords, np.round(found.shapes.coords, 2))
    geometries = found.shapes.geometries
    for i, roi in enumerate(shapes.roi):
        if roi not in ENCLOSING:
            assert found.shapes.roi[i] == roi
            assert not found.repaired[i]
            assert not found.flat[i]
            continue
        assert shapely.is_valid(geometries[i])
        assert geometries[i].area > 0
        assert not (found.repaired[i] and found.flat[i])
        if not found.repaired[i] and not found.flat[i]:
            assert found.shapes.roi[i] == roi
            one, before = found.shapes.take([i]), shapes.take([i])
            np.testing.assert_allclose(one.coords, before.coords, atol=0.00501)
        low, high = before_bounds(shapes, i)
        np.testing.assert_array_less(low - 0.0101, shapely.bounds(geometries[i])[:2])
        np.testing.assert_array_less(shapely.bounds(geometries[i])[2:], high + 0.0201)


def before_bounds(shapes: Shapes, i: int) -> tuple[np.ndarray, np.ndarray]:
    coords = shapes.take([i]).coords
    return coords.min(axis=0), coords.max(axis=0)


@pytest.mark.parametrize(
    ("geometry", "area", "repaired"),
    [
        ("POLYGON ((0 0, 10 10, 10 0, 0 10, 0 0))", 50, True),  # a bow tie
        ("POLYGON ((0 0, 10 0, 10 10, 5 0.001, 0 0))", 25, True),  # touches itself once rounded
        ("POLYGON ((0 0, 10 0, 10 0, 10 10, 0 10, 0 0))", 100, False),  # a vertex twice
        ("POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (20 0, 25 0, 25 5, 20 0))", 81 + 12.5, True),
        ("MULTIPOLYGON (((0 0, 9 0, 9 9, 0 9, 0 0)), ((5 0, 14 0, 14 9, 5 9, 5 0)))", 126, True),
        ("POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (2 2, 2.001 2, 2 2.001, 2 2))", 81, True),
    ],
)
def test_repair_keeps_what_is_enclosed(geometry: str, area: float, repaired: bool) -> None:
    found = on_grid(Shapes.from_geometries([shapely.from_wkt(geometry)]))
    assert found.repaired.tolist() == [repaired]
    assert not found.flat.any()
    assert found.shapes.geometries[0].area == pytest.approx(area, abs=0.1)


@pytest.mark.parametrize(
    "shape",
    [
        Shapes.from_rings(np.array([[5, 5], [9, 5], [7, 5], [5, 5.0]]), np.array([0, 4])),
        Shapes.from_rings(np.array([[5, 5], [5.0, 5]]), np.array([0, 2])),
        Shapes.from_rings(np.array([[5, 5], [5.001, 5], [5, 5.001], [5, 5]]), np.array([0, 4])),
        Shapes.corners(RoiKind.RECTANGLE, 5, 5, 5.001, 9),
        Shapes.corners(RoiKind.ELLIPSE, 5, 5, 9, 5),
    ],
)
def test_what_has_no_area_becomes_a_box(shape: Shapes) -> None:
    found = on_grid(shape)
    assert found.flat.tolist() == [True]
    assert found.shapes.geometries[0].area > 0.5 * GRID**2
    box = smallest_box(np.round(shape.coords, 2))
    assert shapely.bounds(found.shapes.geometries[0]) == pytest.approx(shapely.bounds(box))
    if shape.roi[0] in (RoiKind.RECTANGLE, RoiKind.ELLIPSE):
        assert found.shapes.roi[0] == shape.roi[0]
