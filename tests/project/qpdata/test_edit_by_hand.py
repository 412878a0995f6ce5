"""Changing many objects by hand at once: as one by one, to the byte, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from project.tables import TUMOR, by_id, file_of, many_cells, read

from qpbridge.javastream import write
from qpbridge.javastream.stream import parse
from qpbridge.objects import (
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata import image_level
from qpbridge.project.embedded.qpdata.data_file import apply_edit
from qpbridge.project.interface import KEEP, Edit, MeasurementUpdate, ObjectChange

MINE = PathClass(("Mine", "New"), (1, 2, 3))
CHANGES = [
    ObjectChange(shift=(3.5, -2.25)),
    ObjectChange(path_class=MINE),
    ObjectChange(path_class=TUMOR),
    ObjectChange(path_class=None),
    ObjectChange(name="née"),
    ObjectChange(name=None),
    ObjectChange(locked=True),
    ObjectChange(locked=False),
    ObjectChange(shift=(-1, 1), path_class=MINE, name="x", locked=True),
]


def shapes_of_all_kinds(n: int) -> Shapes:
    """Some shapes of every kind, n of each."""
    holed = shapely.box(0, 0, 9, 9).difference(shapely.box(1, 1, 2, 2))
    geometries = [
        shapely.Polygon([(0, 0), (5, 0), (5, 4), (2, 6)]),
        shapely.LineString([(0, 0), (4, 2), (4, 8)]),
        shapely.MultiPoint([(0, 0), (3, 3), (7, 1)]),
        shapely.MultiPolygon([holed, shapely.box(20, 0, 25, 5)]),
        shapely.MultiLineString([[(0, 0), (1, 1)], [(3, 0), (3, 1), (5, 5)]]),
        holed,
    ]
    at = range(0, 32 * n, 32)
    moved = [
        shapely.transform(g, lambda xy, x=x: np.add(xy, (x, 0))) for g in geometries for x in at
    ]
    corners = [
        Shapes.corners(kind, x, 1, x + 4, 7)
        for kind in (RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.LINE)
        for x in at
    ]
    return concatenate_shapes([Shapes.from_geometries(moved), *corners])


def mixed(n: int = 30) -> bytes:
    """A file of cells and annotations of all sorts."""
    shapes = shapes_of_all_kinds(n)
    many = np.arange(len(shapes))
    annotations = replace(
        ObjectTable.new(
            ObjectKind.ANNOTATION,
            shapes,
            measurement_names=["Own"],
            measurements=np.where(many % 2, np.nan, many)[:, None],
        ),
        names={int(row): f"name {row}" for row in many[::3]},
        locked=many % 4 == 0,
        classes=(TUMOR,),
        class_index=np.where(many % 5, -1, 0).astype(np.int32),
    )
    return apply_edit(file_of(many_cells(200)), Edit(add=annotations))


def expected(table: ObjectTable, change: Mapping[bytes, ObjectChange]) -> dict[Any, Any]:
    """What the objects of a table are after a change, one by one."""
    found = by_id(table)
    for row, uid in enumerate(table.ids):
        one, wanted = change.get(uid.tobytes()), found[table.uuid(row)]
        if one is None:
            continue
        if one.name is not KEEP:
            wanted["name"] = one.name
        if one.locked is not None:
            wanted["locked"] = one.locked
        if one.path_class is not KEEP:
            wanted["class"] = one.path_class and one.path_class.names
        for part in ("shape", "nucleus"):
            if one.shift is not None and wanted[part] is not None:
                *form, xy = wanted[part]
                single = wanted[part][0] not in (0, 1, 2, 5, 6, 7)
                moved = np.add(xy, one.shift)
                moved = moved.astype(np.float32) if single else moved
                wanted[part] = (*form, moved.astype(float).tolist())
    return found


def changes_of(table: ObjectTable, share: float, seed: int = 0) -> dict[bytes, ObjectChange]:
    """Some change for some of the objects."""
    generator = np.random.default_rng(seed)
    return {
        uid.tobytes(): CHANGES[generator.integers(len(CHANGES))]
        for uid in table.ids[generator.random(len(table)) < share]
    }


def one_by_one(monkeypatch: pytest.MonkeyPatch, data: bytes, edit: Edit) -> bytes:
    """Carry out a change with no objects read as being alike."""
    with monkeypatch.context() as patch:
        patch.setattr(image_level, "parse", partial(parse, bulk=False))
        return apply_edit(data, edit)


@pytest.mark.parametrize("patches", [1 << 16, 5])
@pytest.mark.parametrize("share", [1.0, 0.4, 0.02])
def test_many_of_all_sorts(patches: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "PATCHES", patches)
    data = mixed()
    table = read(data)
    change = changes_of(table, share)
    after = apply_edit(data, Edit(change=change))
    assert by_id(read(after)) == expected(table, change)
    assert (read(after).ids == table.ids).all()
    assert after == one_by_one(monkeypatch, data, Edit(change=change))


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_all_alike(change: ObjectChange, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mixed()
    table = read(data)
    edit = Edit(change={uid.tobytes(): change for uid in table.ids})
    after = apply_edit(data, edit)
    assert by_id(read(after)) == expected(table, edit.change)
    assert after == one_by_one(monkeypatch, data, edit)


def test_together_with_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    data, more = mixed(), many_cells(20, seed=1)
    table = read(data)
    part = np.arange(len(table)) % 4
    measured = table.ids[part == 0]
    change = changes_of(table.take(part == 1), 1)
    # The new objects go below changed ones, which hold none: nothing lies between two places then.
    below = np.array([np.frombuffer(uid, np.uint8) for uid in list(change)[:20]])
    edit = Edit(
        remove=table.ids[part == 2],
        add=more,
        add_below=below,
        change=change,
        measure=[MeasurementUpdate(measured, MeasurementTable.of({"n": np.arange(len(measured))}))],
    )
    after = apply_edit(data, edit)
    found = by_id(read(after))
    kept = table.take(part == 1)
    wanted = expected(kept, change)
    assert {key: found[key] for key in wanted} == wanted
    news = {more.uuid(row) for row in range(20)}
    assert len(found) == len(table) - (part == 2).sum() + 20 and news <= set(found)
    assert after == one_by_one(monkeypatch, data, edit)


def test_files_of_qupath(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((shared / "qupath" / "golden").glob("*/*/project/data/*/data.qpdata"))
    assert len(paths) > 50
    for path in paths:
        data = path.read_bytes()
        table = read(data)
        for change in (changes_of(table, 0.7), dict.fromkeys(changes_of(table, 1), CHANGES[-1])):
            edit = Edit(change=change)
            after = apply_edit(data, edit)
            assert after == one_by_one(monkeypatch, data, edit)
            found, wanted = (
                list(t.values()) for t in (by_id(read(after)), expected(table, change))
            )
            for name in ("kind", "class", "name", "locked", "plane", "metadata", "measured"):
                assert [one[name] for one in found] == [one[name] for one in wanted], path
