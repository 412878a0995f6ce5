"""Measurements of objects that are in a file: these change, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from project.qpdata.test_edit import CASES, golden, outside_objects, tables
from project.tables import TUMOR, by_id, file_of, many_cells, read

from qpbridge.errors import ProjectError
from qpbridge.javastream import write
from qpbridge.javastream.stream import parse
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.embedded.qpdata.data_file import apply_edit
from qpbridge.project.interface import AnnotationUpdate, Edit, MeasurementUpdate

NAMES = ("Area", "Nearest µm", "odd")


def update_of(table: ObjectTable, rows: Any, seed: int = 0, **more: Any) -> MeasurementUpdate:
    """New values for some objects, exact in single precision."""
    ids = table.ids[rows]
    values = np.random.default_rng(seed).integers(0, 999, (len(ids), len(NAMES))) / 8
    return MeasurementUpdate(ids, MeasurementTable(NAMES, values), **more)


def expected(table: ObjectTable, *updates: MeasurementUpdate) -> dict[Any, dict[str, Any]]:
    """What is there after updates, object by object."""
    objects = by_id(table)
    rows = {table.ids[row].tobytes(): table.uuid(row) for row in range(len(table))}
    for update in updates:
        for uid, values in zip(update.ids, update.measured.matrix.tolist(), strict=True):
            measured = objects[rows[uid.tobytes()]]["measured"]
            for name in update.forget:
                measured.pop(name, None)
            for name, value in zip(update.measured, values, strict=True):
                measured.pop(name, None)
                if not np.isnan(value):
                    measured[name] = value
    return objects


@settings(max_examples=60)
@given(tables(), st.data())
def test_only_what_is_named_changes(table: ObjectTable, data: st.DataObject) -> None:
    names = tuple(dict.fromkeys((*table.measurement_names[:2], "new", "")))
    chosen = np.array([data.draw(st.integers(0, 2)) for _ in range(len(table))], int)
    value = st.floats(width=32, allow_nan=True)
    updates = []
    for which in (1, 2):
        ids = table.ids[chosen == which]
        values = np.array([[data.draw(value) for _ in names] for _ in ids])
        forget = [n for n in table.measurement_names[2:] if n not in names][:1]
        measured = MeasurementTable(names, values.reshape(len(ids), len(names)))
        updates.append(MeasurementUpdate(ids, measured, forget))
    before = file_of(table)
    after = apply_edit(before, Edit(measure=updates))
    assert by_id(read(after)) == expected(table, *updates)
    assert [u.tobytes() for u in read(after).ids] == [u.tobytes() for u in read(before).ids]
    assert parse(after, bulk=False).handle_count == parse(after).handle_count


@pytest.mark.parametrize("patches", [1 << 16, 7])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_many_objects_of_varied_forms(
    patches: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PATCHES", patches)
    table = many_cells(400)
    update = update_of(table, np.random.default_rng(0).random(400) < share, forget=["µ"])
    after = apply_edit(file_of(table), Edit(measure=[update]))
    assert by_id(read(after)) == expected(table, update)
    assert (read(after).ids == table.ids).all()
    # Once there, values are replaced in their places, and the file keeps its size.
    again = replace(update, measured=MeasurementTable(NAMES, update.measured.matrix + 1))
    twice = apply_edit(after, Edit(measure=[again]))
    assert len(twice) == len(after)
    assert by_id(read(twice)) == expected(table, again)
    assert apply_edit(twice, Edit(measure=[update])) == after


def test_together_with_all_else() -> None:
    annotation = ObjectTable.new(
        ObjectKind.ANNOTATION, Shapes.from_geometries([shapely.box(0, 0, 9, 9)]), path_class=TUMOR
    )
    cells, more = many_cells(200), many_cells(30, seed=1)
    below = np.tile(annotation.ids, (200, 1))
    data = apply_edit(file_of(annotation), Edit(add=cells, add_below=below))
    gone = np.arange(200) % 5 == 0
    update = update_of(cells, np.arange(200) % 5 > 1)
    note = AnnotationUpdate({"k": "v"}, {"Count": 3.0})
    edit = Edit(
        remove=cells.ids[gone],
        add=more,
        add_below=np.tile(annotation.ids, (30, 1)),
        update={annotation.ids[0].tobytes(): note},
        measure=[update],
    )
    found = by_id(read(apply_edit(data, edit)))
    wanted = expected(cells.take(~gone), update) | by_id(more)
    parent = annotation.uuid(0)
    assert {k: v for k, v in found.items() if k != parent} == {
        k: {**v, "parent": parent} for k, v in wanted.items()
    }
    assert found[parent]["metadata"] == {"k": "v"}


def test_an_annotation_is_written_as_by_an_update() -> None:
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(40)]
    table = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries(boxes),
        path_class=PathClass(("Gland",)),
        measurement_names=["Area", "kept"],
        measurements=np.arange(80).reshape(40, 2) / 3,
    )
    data = file_of(table)
    measured = MeasurementTable(("new", "Area"), np.arange(80).reshape(40, 2) / 7)
    update = MeasurementUpdate(table.ids, measured)
    one_by_one = {
        uid.tobytes(): AnnotationUpdate(measurements=dict(zip(measured, v, strict=True)))
        for uid, v in zip(update.ids, measured.matrix.tolist(), strict=True)
    }
    found = apply_edit(data, Edit(measure=[update]))
    assert by_id(read(found)) == by_id(read(apply_edit(data, Edit(update=one_by_one))))
    assert read(found).measurement_names == ("Area", "kept", "new")


def test_edits_that_cannot_be_are_refused() -> None:
    table = many_cells(4)
    data = file_of(table)
    one, other = update_of(table, [0]), update_of(many_cells(1, seed=5), [0])
    uid = table.ids[0].tobytes()
    for edit in (
        Edit(measure=[other]),
        Edit(measure=[one, one]),
        Edit(measure=[update_of(table, [1, 1])]),
        Edit(measure=[one], remove=table.ids[:1]),
        Edit(measure=[one], update={uid: AnnotationUpdate({"k": "v"})}),
    ):
        with pytest.raises(ProjectError):
            apply_edit(data, edit)
    with pytest.raises(ValueError, match="shape"):
        MeasurementTable(NAMES, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="4 objects for 3 ids"):
        MeasurementUpdate(table.ids[:3], MeasurementTable(NAMES[:2], np.zeros((4, 2))))
    with pytest.raises(ValueError, match="'a'"):
        MeasurementTable(("a", "a"), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="twice"):
        MeasurementUpdate(table.ids, MeasurementTable(("a",), np.zeros((4, 1))), ["a"])
    assert apply_edit(data, Edit(measure=[update_of(table, [])])) == data


def test_files_of_real_qupath(shared: Path) -> None:
    for path in golden(shared, *CASES):
        data = path.read_bytes()
        table = read(data)
        update = update_of(table, np.arange(len(table)) % 3 > 0)
        changed = apply_edit(data, Edit(measure=[update]))
        assert by_id(read(changed)) == expected(table, update), path
        assert outside_objects(changed) == outside_objects(data)
        assert (read(changed).ids == table.ids).all()
        assert parse(changed, bulk=False).handle_count == parse(changed).handle_count
        nothing = MeasurementUpdate(update.ids, MeasurementTable.empty(len(update.ids)), NAMES)
        names = [n for n in NAMES if n in table.measurement_names]
        if not names:
            assert by_id(read(apply_edit(changed, Edit(measure=[nothing])))) == by_id(table)
