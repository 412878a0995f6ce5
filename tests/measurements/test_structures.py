"""Glands and vessels: lumina, centre lines, and what they add up to."""

import numpy as np
import pytest
import shapely

from qpbridge.measurements.regions import summarize_structures
from qpbridge.measurements.shape import shape_measurements
from qpbridge.measurements.structures import (
    DEFINITIONS,
    count_nuclei,
    hole_area,
    line_measurements,
    lumen_measurements,
    neighbour_measurements,
    outline_measurements,
)
from qpbridge.objects import Shapes

BOX = shapely.box(0, 0, 20, 10)
RING = shapely.difference(shapely.box(0, 0, 10, 10), shapely.box(2, 2, 4, 7))
TWO = shapely.MultiPolygon([RING, shapely.box(20, 0, 30, 10)])


def measure(shapes):
    square = (1.0, 1.0)
    return shape_measurements(shapes, square) | lumen_measurements("glands", shapes, square)


def test_lumina_by_hand():
    shapes = Shapes.from_geometries([BOX, RING, TWO])
    assert hole_area(shapes.geometries).tolist() == [0, 10, 10]
    values = lumen_measurements("glands", shapes, (0.5, 2.0))
    assert values["Lumen area µm^2"].tolist() == [0, 10, 10]
    assert values["Lumen/gland area ratio"].tolist() == [0, 0.1, 0.05]


def test_a_summary_by_hand():
    shapes = Shapes.from_geometries([BOX, RING])
    values = shape_measurements(shapes, (1.0, 1.0)) | lumen_measurements(
        "glands", shapes, (1.0, 1.0)
    )
    summary = summarize_structures("glands", values, 1000.0)
    assert summary == {
        "Glands: Count": 2,
        "Glands: Density per mm^2": 2000,
        "Glands: Area %": 30,
        "Glands: Area mean µm^2": 150,
        "Glands: Lumen/gland area ratio mean": 0.05,
        "Glands: Lumen area mean µm^2": 5,
        "Glands: Circularity mean": pytest.approx(np.pi * (200 / 900 + 1 / 4) / 2),
        "Glands: Solidity mean": pytest.approx(0.95),
        "Evaluated area µm^2": 1000,
    }


def annulus(outer: float, inner: float, x: float = 0.0) -> shapely.Polygon:
    centre = shapely.Point(x, 0)
    return centre.buffer(outer, quad_segs=64).difference(centre.buffer(inner, quad_segs=64))


def test_walls_and_outlines_by_hand():
    # one even all round, one without lumen, one with two lumina
    two = shapely.box(0, 0, 40, 10)
    for x in (2, 22):
        two = two.difference(shapely.box(x, 2, x + 16, 8))
    shapes = Shapes.from_geometries([annulus(50, 30), BOX, two])
    found = outline_measurements("glands", shapes, (0.5, 0.5))
    assert found["Lumina count"].tolist() == [1, 0, 2]
    wall = [10, np.nan, 2 * (400 - 192) / (100 + 88) / 2]
    np.testing.assert_allclose(found["Epithelial height µm"], wall, rtol=1e-3)
    # QuPath's solidity of a ring is small, that of its outline is not
    np.testing.assert_allclose(found["Outline solidity"], 1)
    compact = [1, np.sqrt(800 / np.pi / 500), np.sqrt(1600 / np.pi / 1700)]
    np.testing.assert_allclose(found["Outline compactness"], compact, rtol=1e-3)
    assert "Wall thickness µm" in outline_measurements("vessels", shapes, (0.5, 0.5))


def test_a_pinhole_is_no_lumen():
    pinhole = annulus(50, 30).difference(shapely.box(39, 0, 42, 3))
    found = outline_measurements("glands", Shapes.from_geometries([pinhole, TWO]), (1.0, 1.0))
    assert found["Lumina count"].tolist() == [1, 1]
    # the second is in two parts, one with a lumen
    wall = [20, 2 * 190 / (40 + 40 + 14)]
    np.testing.assert_allclose(found["Epithelial height µm"], wall, rtol=1e-3)


def test_outlines_where_pixels_are_not_square():
    shape = shapely.transform(annulus(50, 30), lambda xy: xy * (2, 1))
    found = outline_measurements("vessels", Shapes.from_geometries([shape]), (0.25, 0.5))
    assert found["Wall thickness µm"] == pytest.approx([10], rel=1e-3)
    assert found["Outline compactness"] == pytest.approx([1], rel=1e-3)


def test_neighbours_by_hand():
    boxes = [shapely.box(x, 0, x + 10, 10) for x in (0, 12, 30, 100)]
    found = neighbour_measurements("glands", Shapes.from_geometries(boxes), (1.0, 1.0))
    assert found["Distance to nearest gland µm"].tolist() == [2, 2, 8, 60]
    assert found["Touching glands"].tolist() == [1, 1, 0, 0]
    found = neighbour_measurements("vessels", Shapes.from_geometries(boxes), (2.0, 1.0))
    assert found["Distance to nearest vessel µm"].tolist() == [4, 4, 16, 120]
    assert found["Touching vessels"].tolist() == [0, 0, 0, 0]
    alone = neighbour_measurements("glands", Shapes.from_geometries(boxes[:1]), (1.0, 1.0))
    assert np.isnan(alone["Distance to nearest gland µm"][0])
    nobody = neighbour_measurements("glands", Shapes.empty(), (1.0, 1.0))
    assert [len(v) for v in nobody.values()] == [0, 0]


def test_nuclei_in_lumina_are_not_of_the_gland():
    shapes = Shapes.from_geometries([RING, TWO, BOX])
    points = np.array([[1.0, 1.0], [3, 3], [25, 5], [15, 5], [50, 50]])
    assert count_nuclei(shapes, points)["Nuclei count"].tolist() == [1, 2, 3]
    assert count_nuclei(shapes, np.zeros((0, 2)))["Nuclei count"].tolist() == [0, 0, 0]


def test_a_summary_of_all_that_is_measured():
    shapes = Shapes.from_geometries([annulus(50, 30), annulus(50, 40, 101), BOX])
    values = measure(shapes) | outline_measurements("glands", shapes, (1.0, 1.0))
    values |= neighbour_measurements("glands", shapes, (1.0, 1.0))
    values |= count_nuclei(shapes, np.array([[0.0, 40], [1, 5]]))
    summary = summarize_structures("glands", values, 1e4)
    # the box, without lumen, has no height of epithelium; it lies in the lumen of the first
    assert summary["Glands: Epithelial height mean µm"] == pytest.approx(15, rel=1e-3)
    assert summary["Glands: Touching %"] == pytest.approx(200 / 3)
    assert summary["Glands: Several lumina %"] == 0
    assert summary["Glands: Nuclei count mean"] == pytest.approx(2 / 3)
    assert summary["Glands: Lumina count mean"] == pytest.approx(2 / 3)
    assert set(values) - {"Area µm^2", "Length µm", "Circularity", "Solidity"} <= set(
        DEFINITIONS
    ) | {"Max diameter µm", "Min diameter µm"}


def test_widths_count_by_length():
    shapes = Shapes.from_geometries([BOX, RING])
    lines = line_measurements(np.array([30.0, 10.0]), np.array([60.0, 60.0]), 0.5)
    assert lines["Centre line length µm"].tolist() == [15, 5]
    assert lines["Width mean µm"].tolist() == [1, 3]
    summary = summarize_structures(
        "vessels", shape_measurements(shapes, (1.0, 1.0)) | lines, 1000.0
    )
    assert summary["Vessels: Centre line length µm"] == 20
    assert summary["Vessels: Width mean µm"] == pytest.approx(1.5)


def test_nothing_gives_no_number():
    shapes = Shapes.empty()
    values = shape_measurements(shapes, (1.0, 1.0)) | lumen_measurements(
        "glands", shapes, (1.0, 1.0)
    )
    summary = summarize_structures("glands", values, 0.0)
    assert summary["Glands: Count"] == 0
    assert all(np.isnan(summary[f"Glands: {name}"]) for name in ("Area %", "Area mean µm^2"))
    assert np.isnan(line_measurements(np.zeros(1), np.zeros(1), 1.0)["Width mean µm"][0])
