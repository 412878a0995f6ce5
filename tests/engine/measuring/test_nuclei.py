"""Nuclei that are measured again: their shapes, and how objects call what is measured of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from qpbridge.engine.measuring.nuclei import names_on
from qpbridge.engine.measuring.request import Surroundings
from qpbridge.engine.measuring.shapes import measure_shapes
from qpbridge.errors import RequestError
from qpbridge.measurements.stored import stored_of_nuclei
from qpbridge.objects import ObjectKind, ObjectTable, Shapes, concatenate_shapes


def cells() -> ObjectTable:
    """A cell whose nucleus lies beside its middle, and one without nucleus."""
    whole = [shapely.box(0, 0, 20, 20), shapely.box(30, 0, 40, 10)]
    table = ObjectTable.new(ObjectKind.CELL, Shapes.from_geometries(whole))
    inner = Shapes.from_geometries([shapely.box(0, 0, 4, 4)])
    return replace(table, nuclei=concatenate_shapes([inner, Shapes.empty(1)]))


def test_shapes_of_cells() -> None:
    detection = ObjectTable.new(ObjectKind.DETECTION, cells().shapes)
    found = measure_shapes(cells(), (0.5, 0.5))
    np.testing.assert_allclose(found["Area µm^2"], [4, np.nan])
    np.testing.assert_allclose(found["Cell: Area µm^2"], [100, 25])
    np.testing.assert_allclose(found["Nucleus/Cell area ratio"], [0.04, np.nan])
    assert not any(name.startswith("Cell") for name in measure_shapes(detection, (1.0, 1.0)))


@pytest.mark.parametrize(
    ("name", "of_detection", "of_cell"),
    [
        ("Area µm^2", "Area µm^2", "Nucleus: Area µm^2"),
        ("Cell: Area µm^2", None, "Cell: Area µm^2"),
        ("Nucleus/Cell area ratio", None, "Nucleus/Cell area ratio"),
        ("Delaunay: Num neighbors", "Delaunay: Num neighbors", "Delaunay: Num neighbors"),
        (
            "Smoothed: 25 µm: Area µm^2",
            "Smoothed: 25 µm: Area µm^2",
            "Smoothed: 25 µm: Nucleus: Area µm^2",
        ),
        (
            "Smoothed: 25 µm: Eosin: Mean",
            "Smoothed: 25 µm: Eosin: Mean",
            "Smoothed: 25 µm: Nucleus: Eosin: Mean",
        ),
        ("Cell: Eosin: Mean", None, "Cell: Eosin: Mean"),
        ("Smoothed: 25 µm: Cell: Eosin: Mean", None, "Smoothed: 25 µm: Cell: Eosin: Mean"),
        ("Cluster mean: Area µm^2", "Cluster mean: Area µm^2", "Cluster mean: Nucleus: Area µm^2"),
        ("Cluster size", "Cluster size", "Cluster size"),
        (
            "Smoothed: 25 µm: Nearby detection counts",
            *["Smoothed: 25 µm: Nearby detection counts"] * 2,
        ),
    ],
)
def test_names(name: str, of_detection: str | None, of_cell: str) -> None:
    own = [*measure_shapes(cells(), (0.5, 0.5)), "Eosin: Mean", "Cell: Eosin: Mean"]
    wanted = Surroundings(smooth=(25,))
    assert names_on(ObjectKind.DETECTION, own, wanted).get(name, name) == of_detection
    assert names_on(ObjectKind.CELL, own, wanted).get(name, name) == of_cell


def test_clusters_need_a_limit() -> None:
    with pytest.raises(RequestError, match="delaunay"):
        Surroundings(clusters=True)
    assert Surroundings(delaunay=30, clusters=True).clusters


def test_what_is_stored_of_cells_and_others_is_one_column() -> None:
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries([shapely.box(0, 0, 1, 1)] * 2),
        measurement_names=("Hematoxylin: Mean", "Nucleus: Hematoxylin: Mean", "none"),
        measurements=[[1, np.nan, np.nan], [np.nan, 2, np.nan]],
    )
    assert {k: v.tolist() for k, v in stored_of_nuclei(table.measured).items()} == {
        "Hematoxylin: Mean": [1, 2]
    }
