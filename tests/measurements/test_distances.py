"""Distances to annotations, glands and vessels, against shapely one by one."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from qpbridge import outlines
from qpbridge.measurements import distances
from qpbridge.measurements.distances import (
    DEFINITIONS,
    annotation_distances,
    by_class_name,
    signed_distance,
    structure_relations,
)
from qpbridge.objects import PathClass, RoiKind, Shapes
from qpbridge.outlines import containing


def star(x: float, y: float, vertices: int = 300) -> shapely.Polygon:
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    radius = 20 + 5 * np.sin(7 * angle)
    return shapely.Polygon(
        np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
    )


HOLLOW = star(30, 30).difference(shapely.Point(32, 28).buffer(6))
TWO = shapely.MultiPolygon([star(80, 80, 5), shapely.box(70, 10, 90, 30)])
LINE = shapely.LineString([(0, 0), (20, 90), (25, 80)])
SPOTS = shapely.MultiPoint([(50, 95), (95, 50)])


def by_hand(point: np.ndarray, geometries: list[shapely.Geometry]) -> float:
    """Signed distance of one point."""
    p = shapely.Point(point)
    areas = [g for g in geometries if g.area > 0]
    if any(a.intersects(p) for a in areas):
        return -min(a.boundary.distance(p) for a in areas)
    return min(g.distance(p) for g in geometries)


@pytest.mark.parametrize("chunk", [2**18, 7])
@pytest.mark.parametrize(
    "geometries",
    [[HOLLOW], [TWO], [LINE], [SPOTS], [HOLLOW, TWO, LINE, SPOTS], [star(50, 50), star(55, 52)]],
)
def test_signed_distance_by_hand(
    monkeypatch: pytest.MonkeyPatch, chunk: int, geometries: list[shapely.Geometry]
) -> None:
    monkeypatch.setattr(distances, "CHUNK", chunk)
    monkeypatch.setattr(outlines, "CHUNK", chunk)
    points = np.random.default_rng(0).uniform(0, 100, (60, 2))
    found = signed_distance(points, np.array(geometries, dtype=object))
    np.testing.assert_allclose(found, [by_hand(p, geometries) for p in points], atol=1e-9)


def test_signs() -> None:
    box = shapely.box(0, 0, 10, 20).difference(shapely.box(4, 8, 6, 12))
    points = np.array([[2, 10], [5, 10], [5, 2], [-3, 24], [10, 5], [5, 8], [np.nan, 1]])
    expected = [-2, 1, -2, 5, 0, 0, np.nan]
    np.testing.assert_array_equal(signed_distance(points, np.array([box])), expected)
    # A vertex list that would close itself in the middle of a piece.
    for n in range(3, 12):
        ring = shapely.Point(0, 0).buffer(10, quad_segs=n)
        near = signed_distance(np.array([[10.0, 0], [12, 0], [0, 0]]), np.array([ring]))
        np.testing.assert_allclose(near, [0, 2, ring.boundary.distance(shapely.Point(0, 0)) * -1])


def test_annotations() -> None:
    """Pixels of 0.5 by 1 µm."""
    points = np.array([[10, 10], [50, 10], [np.nan, 0]])
    annotations = {
        "Tumor": np.array([shapely.box(0, 0, 40, 40)]),
        "Stroma": Shapes.corners(RoiKind.RECTANGLE, 120, 0, 160, 20),
        "Vein": Shapes.empty(2),
        "Other": np.zeros(0, object),
    }
    found = annotation_distances(points, annotations, (0.5, 1))
    nan = np.nan
    expected = {"Tumor": [-10, 30, nan], "Stroma": [50, 10, nan], "Vein": [nan] * 3}
    expected["Other"] = [nan] * 3
    assert list(found) == [f"Signed distance to annotation with {name} µm" for name in annotations]
    for values, wanted in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_allclose(values, wanted)
    assert annotation_distances(points, {}, (0.5, 1)).matrix.shape == (3, 0)


def test_annotations_that_cross_themselves() -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    points = np.array([[3.5, 2], [2, 3.5]])
    (values,) = annotation_distances(points, {"A": np.array([bow_tie])}, (1, 1)).values()
    np.testing.assert_allclose(values, [-0.5, 1.5 / 2**0.5])
    assert not bow_tie.is_valid


def test_classes() -> None:
    classes = [PathClass.parse(n) for n in ("Tumor", "Tumor: Positive", "Ignore*", "Unused")]
    geometries = np.array([shapely.Point(i, 0) for i in range(5)], dtype=object)
    found = by_class_name(geometries, classes, np.array([0, 1, 2, -1, 0]))
    rows = {name: shapely.get_x(g).tolist() for name, g in found.items()}
    assert rows == {"Tumor": [0, 1, 4], "Positive": [1]}
    assert by_class_name(geometries[:0], [], np.zeros(0, int)) == {}


def test_smallest_polygon_that_holds_a_point() -> None:
    polygons = np.array(
        [shapely.box(0, 0, 9, 9), shapely.box(1, 1, 3, 3), shapely.box(5, 0, 20, 9)]
    )
    points = np.array([[2, 2], [4, 4], [6, 6], [15, 1], [30, 0], [np.nan, 2], [9, 9]])
    assert containing(points, polygons).tolist() == [1, 0, 0, 2, -1, -1, 0]
    assert containing(points, polygons[:0]).tolist() == [-1] * 7
    assert containing(points[:0], polygons).tolist() == []


def test_glands_and_vessels() -> None:
    gland = shapely.box(0, 0, 20, 20).difference(shapely.box(8, 8, 12, 12))
    inner = shapely.box(9, 9, 11, 11)
    pair = shapely.MultiPolygon([shapely.box(40, 0, 50, 10), shapely.box(60, 0, 70, 10)])
    shapes = Shapes.from_geometries([gland, pair, inner])
    points = np.array([[4, 10], [8.5, 10], [10, 10], [30, 5], [65, 4], [np.nan, 0]])
    row, found = structure_relations("glands", points * 0.5, shapes, (0.5, 0.5))
    assert row.tolist() == [0, 0, 2, -1, 1, -1]
    outline, lumen = found.values()
    np.testing.assert_allclose(outline, np.array([-4, -0.5, -1, 10, -4, np.nan]) / 2)
    np.testing.assert_allclose(
        lumen, np.array([4, -0.5, -2, np.hypot(18, 3), np.hypot(53, 4), np.nan]) / 2
    )
    names = list(found)
    row, found = structure_relations("vessels", points, np.array([inner]), (1, 1))
    assert row.tolist() == [-1, -1, 0, -1, -1, -1]
    assert np.isnan(list(found.values())[1]).all()
    assert [*names, *found] == list(DEFINITIONS)[1:]
    row, found = structure_relations("vessels", points, Shapes.empty(), (1, 1))
    assert row.tolist() == [-1] * 6
    assert all(np.isnan(values).all() for values in found.values())
    row, found = structure_relations("vessels", points[:0], shapes, (1, 1))
    assert row.shape == (0,)
    assert all(values.shape == (0,) for values in found.values())


def test_against_shapely_at_random() -> None:
    rng = np.random.default_rng(3)
    outer = shapely.buffer(shapely.points(rng.uniform(0, 300, (40, 2))), rng.uniform(5, 15, 40))
    glands = shapely.difference(outer, shapely.buffer(shapely.centroid(outer), 3))
    points = rng.uniform(0, 300, (200, 2))
    row, found = structure_relations("glands", points, glands, (1, 1))
    signed, lumen = found.values()
    for i, point in enumerate(shapely.points(points)):
        holds = np.flatnonzero(shapely.intersects(outer, point))
        nearest = shapely.distance(shapely.get_exterior_ring(outer), point).min()
        assert signed[i] == pytest.approx(-nearest if len(holds) else nearest)
        assert row[i] == (holds[np.argmin(shapely.area(outer[holds]))] if len(holds) else -1)
        holes = shapely.get_interior_ring(glands, 0)
        assert abs(lumen[i]) == pytest.approx(shapely.distance(holes, point).min())
