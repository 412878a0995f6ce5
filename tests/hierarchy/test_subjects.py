"""What counts as a nucleus, a gland or a vessel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely

from qpbridge.hierarchy.provenance import mint_ids
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.subjects import find_subjects, hollow, locate
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


def test_a_cell_is_where_its_outline_is() -> None:
    table = cells()
    assert hollow(table).tolist() == [False, True]
    assert not hollow(one(D)).any()
    small, large, apart = (
        Region(-1, bytes(16), "", None, shapely.box(*bounds))
        for bounds in ((0, 0, 5, 5), (0, 0, 50, 50), (8, 8, 12, 12))
    )
    found = locate("nuclei", table, np.arange(2), [small, large, apart])
    assert found.points.tolist() == [[2, 2], [35, 5]]
    assert [rows.tolist() for rows in found.members] == [[], [0, 1], [0]]
    assert found.outermost.tolist() == [1, 1]
    alone = locate("nuclei", table, np.arange(2), [apart])
    assert alone.rows.tolist() == [0] and len(alone.table) == 1
