"""Glands and vessels: lumina, centre lines, and what they add up to."""

import numpy as np
import pytest
import shapely

from qpbridge.measure.areas import (
    area_measurements,
    hole_area,
    line_measurements,
    lumen_measurements,
    summarize_areas,
)
from qpbridge.objects import Shapes

BOX = shapely.box(0, 0, 20, 10)
RING = shapely.difference(shapely.box(0, 0, 10, 10), shapely.box(2, 2, 4, 7))
TWO = shapely.MultiPolygon([RING, shapely.box(20, 0, 30, 10)])


def measure(shapes):
    square = (1.0, 1.0)
    return area_measurements(shapes, square) | lumen_measurements("glands", shapes, square)


def test_lumina_by_hand():
    shapes = Shapes.from_geometries([BOX, RING, TWO])
    assert hole_area(shapes.geometries).tolist() == [0, 10, 10]
    values = lumen_measurements("glands", shapes, (0.5, 2.0))
    assert values["Lumen area µm^2"].tolist() == [0, 10, 10]
    assert values["Lumen/gland area ratio"].tolist() == [0, 0.1, 0.05]


def test_a_summary_by_hand():
    shapes = Shapes.from_geometries([BOX, RING])
    values = area_measurements(shapes, (1.0, 1.0)) | lumen_measurements(
        "glands", shapes, (1.0, 1.0)
    )
    summary = summarize_areas("glands", values, 1000.0)
    assert summary == {
        "Glands: Count": 2,
        "Glands: Density per mm^2": 2000,
        "Glands: Area %": 30,
        "Glands: Area mean µm^2": 150,
        "Glands: Lumen/gland area ratio mean": 0.05,
        "Evaluated area µm^2": 1000,
    }


def test_widths_count_by_length():
    shapes = Shapes.from_geometries([BOX, RING])
    lines = line_measurements(np.array([30.0, 10.0]), np.array([60.0, 60.0]), 0.5)
    assert lines["Centre line length µm"].tolist() == [15, 5]
    assert lines["Width mean µm"].tolist() == [1, 3]
    summary = summarize_areas("vessels", area_measurements(shapes, (1.0, 1.0)) | lines, 1000.0)
    assert summary["Vessels: Centre line length µm"] == 20
    assert summary["Vessels: Width mean µm"] == pytest.approx(1.5)


def test_nothing_gives_no_number():
    shapes = Shapes.empty()
    values = area_measurements(shapes, (1.0, 1.0)) | lumen_measurements(
        "glands", shapes, (1.0, 1.0)
    )
    summary = summarize_areas("glands", values, 0.0)
    assert summary["Glands: Count"] == 0
    assert all(np.isnan(summary[f"Glands: {name}"]) for name in ("Area %", "Area mean µm^2"))
    assert np.isnan(line_measurements(np.zeros(1), np.zeros(1), 1.0)["Width mean µm"][0])
