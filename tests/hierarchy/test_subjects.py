"""What counts as a nucleus, a gland or a vessel, and how its measurements are called."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from qpbridge.engine.measuring.nuclei import name_for, shape_columns
from qpbridge.hierarchy.provenance import mint_ids
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.subjects import find_subjects, hollow, locate
from qpbridge.measurements.cells import stored_columns
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    Plane,
    RoiKind,
    Shapes,
    concatenate_shapes,
)


def one(kind: ObjectKind, path_class: str | None = None, *, target: str = "", z: int = 0):
    shapes = Shapes.from_geometries([shapely.box(0, 0, 10, 10)])
    given = None if path_class is None else PathClass.parse(path_class)
    table = ObjectTable.new(kind, shapes, path_class=given, plane=Plane(-1, z, 0))
    if kind is ObjectKind.CELL:
        table = replace(table, nuclei=Shapes.from_geometries([shapely.box(2, 2, 8, 8)]))
    if target:
        table = replace(table, ids=mint_ids(table, target, np.zeros((0, 16), np.uint8)))
    return table


A, D, C, T = ObjectKind.ANNOTATION, ObjectKind.DETECTION, ObjectKind.CELL, ObjectKind.TILE


@pytest.mark.parametrize(
    ("table", "target"),
    [
        (one(D), "nuclei"),
        (one(D, "Tumor: Positive"), "nuclei"),
        (one(C), "nuclei"),
        (one(D, "Nucleus", target="nuclei"), "nuclei"),
        (one(D, "Ignore*", target="nuclei"), "nuclei"),  # a person can't have meant ours
        (one(D, "Ignore*"), None),
        (one(T), None),
        (one(A), None),
        (one(A, "Tumor"), None),
        (one(D, z=1), None),
        (one(A, "Gland", target="glands"), "glands"),
        (one(D, "Gland", target="glands"), "glands"),
        (one(A, "Tumor", target="glands"), "glands"),
        (one(A, "Gland"), "glands"),
        (one(A, "Gland: Tumor"), "glands"),
        (one(D, "Gland"), "glands"),
        (one(A, "Glandular"), None),
        (one(A, "Vessel"), "vessels"),
        (one(D, "Vessel", target="vessels"), "vessels"),
        (one(C, "Gland"), "nuclei"),
        (replace(one(D), shapes=Shapes.corners(RoiKind.LINE, 0, 0, 1, 1)), None),
        (replace(one(A, "Gland"), shapes=Shapes.corners(RoiKind.ELLIPSE, 0, 0, 1, 2)), "glands"),
    ],
)
def test_what_counts(table: ObjectTable, target: str | None) -> None:
    found = {name: rows.tolist() for name, rows in find_subjects(table).items()}
    assert found == {name: [0] * (name == target) for name in ("nuclei", "glands", "vessels")}


def cells() -> ObjectTable:
    """A cell whose nucleus lies beside its middle, and one without nucleus."""
    whole = [shapely.box(0, 0, 20, 20), shapely.box(30, 0, 40, 10)]
    table = ObjectTable.new(ObjectKind.CELL, Shapes.from_geometries(whole))
    inner = Shapes.from_geometries([shapely.box(0, 0, 4, 4)])
    return replace(table, nuclei=concatenate_shapes([inner, Shapes.empty(1)]))


def test_a_cell_is_where_its_nucleus_is() -> None:
    table = cells()
    assert hollow(table).tolist() == [False, True]
    assert not hollow(one(D)).any()
    small, large, apart = (
        Region(-1, bytes(16), "", None, shapely.box(*bounds))
        for bounds in ((0, 0, 5, 5), (0, 0, 50, 50), (8, 8, 12, 12))
    )
    found = locate("nuclei", table, np.arange(2), [small, large, apart])
    assert found.points.tolist() == [[2, 2], [35, 5]]
    assert [rows.tolist() for rows in found.members] == [[0], [0, 1], []]
    assert found.outermost.tolist() == [1, 1]
    alone = locate("nuclei", table, np.arange(2), [small])
    assert alone.rows.tolist() == [0] and len(alone.table) == 1


def test_shapes_of_cells() -> None:
    found = shape_columns(cells(), (0.5, 0.5))
    np.testing.assert_allclose(found["Area µm^2"], [4, np.nan])
    np.testing.assert_allclose(found["Cell: Area µm^2"], [100, 25])
    np.testing.assert_allclose(found["Nucleus/Cell area ratio"], [0.04, np.nan])
    assert not any(name.startswith("Cell") for name in shape_columns(one(D), (1.0, 1.0)))


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
        (
            "Smoothed: 25 µm: Nearby detection counts",
            *["Smoothed: 25 µm: Nearby detection counts"] * 2,
        ),
    ],
)
def test_names(name: str, of_detection: str | None, of_cell: str) -> None:
    own = shape_columns(cells(), (0.5, 0.5))
    assert name_for(ObjectKind.DETECTION, name, own) == of_detection
    assert name_for(ObjectKind.CELL, name, own) == of_cell


def test_what_is_stored_of_cells_and_others_is_one_column() -> None:
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries([shapely.box(0, 0, 1, 1)] * 2),
        measurement_names=("Hematoxylin: Mean", "Nucleus: Hematoxylin: Mean", "none"),
        measurements=[[1, np.nan, np.nan], [np.nan, 2, np.nan]],
    )
    assert {k: v.tolist() for k, v in stored_columns(table).items()} == {
        "Hematoxylin: Mean": [1, 2]
    }
