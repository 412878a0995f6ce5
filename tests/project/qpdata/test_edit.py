"""Changing data.qpdata: what was asked happens, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from project.tables import TUMOR, by_id, file_of, many_cells, read

from qpbridge.errors import FormatError, ProjectError
from qpbridge.ids import random_ids
from qpbridge.javastream.stream import parse
from qpbridge.objects import (
    ImageType,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.interface import AnnotationUpdate, Edit, WorkflowStep

# --- tables of all sorts ----------------------------------------------------------------------

coordinate = st.integers(-4000, 4_000_000).map(lambda n: n / 4)  # exact in float32
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def shape_of(draw: st.DrawFn, kind: RoiKind) -> Shapes:
    x, y, w, h = (
        draw(coordinate),
        draw(coordinate),
        draw(st.integers(4, 99)),
        draw(st.integers(4, 99)),
    )
    if kind in (RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.LINE):
        return Shapes.corners(kind, x, y, x + w / 3, y + h / 3)
    if kind is RoiKind.POINTS:
        return Shapes.from_geometries([shapely.MultiPoint([(x, y), (x + w, y)])])
    if kind is RoiKind.POLYLINE:
        return Shapes.from_geometries([shapely.LineString([(x, y), (x + w, y), (x, y + h)])])
    if kind is RoiKind.LINES:
        lines = [[(x, y), (x + w, y)], [(x, y + 1), (x + w, y + 1), (x, y + h)]]
        return Shapes.from_geometries([shapely.MultiLineString(lines)])
    box = shapely.box(x, y, x + w, y + h)
    if kind is RoiKind.GEOMETRY:
        holed = box.difference(shapely.box(x + 1, y + 1, x + 2, y + 2))
        far = shapely.box(x + 200, y, x + 210, y + 10)
        return Shapes.from_geometries([shapely.MultiPolygon([holed, far])])
    n = draw(st.integers(3, 9))
    ring = [(x + i, y + i * i) for i in range(n)]
    return Shapes.from_rings(np.array([*ring, ring[0]], float), np.array([0, n + 1]))


@st.composite
def tables(draw: st.DrawFn) -> ObjectTable:
    n = draw(st.integers(0, 12))
    shape_kinds = st.sampled_from([k for k in RoiKind if k is not RoiKind.EMPTY])
    kinds = [draw(st.sampled_from(ObjectKind)) for _ in range(n)]
    shapes = [draw(shape_kinds.flatmap(shape_of)) for _ in range(n)]
    nuclei = [
        draw(shape_of(RoiKind.POLYGON))
        if kind is ObjectKind.CELL and draw(st.booleans())
        else Shapes.empty(1)
        for kind in kinds
    ]
    names = tuple(draw(st.lists(texts, max_size=4, unique=True)))
    word = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=":\n\r"), min_size=1)
    class_names = st.lists(word, min_size=1, max_size=3).map(tuple)
    classes = tuple(PathClass(c) for c in draw(st.lists(class_names, max_size=3, unique=True)))
    values = st.floats(width=32, allow_nan=True)
    rows = st.integers(0, max(n - 1, 0))
    some = (
        (lambda value: st.dictionaries(rows, value, max_size=3)) if n else (lambda _: st.just({}))
    )
    byte = st.integers(0, 255)
    return ObjectTable(
        kind=np.array(kinds, np.uint8),
        shapes=concatenate_shapes(shapes),
        nuclei=concatenate_shapes(nuclei) if ObjectKind.CELL in kinds else None,
        ids=random_ids(n),
        classes=classes,
        class_index=np.array([draw(st.integers(-1, len(classes) - 1)) for _ in range(n)], np.int32),
        parent=np.array([draw(st.integers(-1, i - 1)) for i in range(n)], np.int64),
        plane=np.array([[-1, draw(st.integers(0, 3)), i % 2] for i in range(n)], np.int32).reshape(
            n, 3
        ),
        measured=MeasurementTable(
            tuple(names),
            np.array([[draw(values) for _ in names] for _ in range(n)]).reshape(n, len(names)),
        ),
        locked=np.array([draw(st.booleans()) for _ in range(n)], bool),
        names=draw(some(texts)),
        colors=draw(some(st.tuples(byte, byte, byte))),
        metadata=draw(
            some(st.dictionaries(texts.filter(lambda t: t != "Object ID"), texts, min_size=1))
        ),
    )


@settings(max_examples=40, deadline=None)
@given(tables())
def test_what_is_written_is_read(table: ObjectTable) -> None:
    data = file_of(table)
    found = read(data)
    assert by_id(found) == by_id(table)
    assert apply_edit(data, Edit()) == data
    # Parents come before children, and siblings keep their order.
    assert (found.parent < np.arange(len(found))).all()
    rows = {found.uuid(i): i for i in range(len(found))}
    for parent in range(-1, len(table)):
        siblings = [rows[table.uuid(int(i))] for i in np.flatnonzero(table.parent == parent)]
        assert siblings == sorted(siblings)


@settings(max_examples=40, deadline=None)
@given(tables(), st.data())
def test_removing_leaves_the_rest(table: ObjectTable, data: st.DataObject) -> None:
    before = read(file_of(table))
    gone = np.array([data.draw(st.booleans()) for _ in range(len(before))], bool)
    after = read(apply_edit(file_of(table), Edit(remove=table.ids[_rows(table, before.ids[gone])])))
    expected = by_id(before)
    removed = {before.uuid(int(i)) for i in np.flatnonzero(gone)}
    for one in expected.values():
        while one["parent"] in removed:
            one["parent"] = expected[one["parent"]]["parent"]
    assert by_id(after) == {k: v for k, v in expected.items() if k not in removed}
    order = [before.uuid(i) for i in range(len(before)) if not gone[i]]
    assert [after.uuid(i) for i in range(len(after))] == order


def _rows(table: ObjectTable, ids: Any) -> list[int]:
    position = {table.ids[i].tobytes(): i for i in range(len(table))}
    return [position[one.tobytes()] for one in ids]


# --- many at once -------------------------------------------------------------------------------


def test_many_objects_of_varied_forms() -> None:
    table = many_cells(400)
    data = file_of(table)
    assert sum(len(bulk) for bulk in parse(data).bulks) > 250
    assert by_id(read(data)) == by_id(table)
    kept = np.arange(len(table)) % 3 > 0
    fewer = apply_edit(data, Edit(remove=table.ids[~kept]))
    assert by_id(read(fewer)) == by_id(table.take(kept))
    assert (read(fewer).ids == table.ids[kept]).all()
    again = apply_edit(fewer, Edit(add=table.take(~kept)))
    assert by_id(read(again)) == by_id(table)


def test_replacing_does_not_make_files_grow() -> None:
    annotation = ObjectTable.new(
        ObjectKind.ANNOTATION, Shapes.from_geometries([shapely.box(0, 0, 9, 9)])
    )
    below = np.tile(annotation.ids, (50, 1))
    data = apply_edit(file_of(annotation), Edit(add=many_cells(50), add_below=below))
    for seed in range(3):
        old = read(data)
        new = many_cells(50)
        ids = old.ids[old.kind == ObjectKind.CELL]
        replaced = apply_edit(data, Edit(remove=ids, add=new, add_below=below))
        assert len(replaced) == len(data), seed
        assert (read(replaced).parent[1:] == 0).all()
        data = replaced


# --- single steps -------------------------------------------------------------------------------


@pytest.fixture
def annotations() -> ObjectTable:
    boxes = [shapely.box(i * 10, 0, i * 10 + 9, 9) for i in range(3)]
    table = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries(boxes),
        path_class=TUMOR,
        measurement_names=["Area"],
        measurements=[[0.1], [0.2], [float("nan")]],
    )
    return replace(table, names={0: "first"}, metadata={1: {"key": "value"}})


def test_objects_go_below_the_one_that_is_named(annotations: ObjectTable) -> None:
    new = many_cells(6)
    below = annotations.ids[[0, 2, 0, 2, 2, 0]].copy()
    below[3] = 0
    found = by_id(read(apply_edit(file_of(annotations), Edit(add=new, add_below=below))))
    for row, parent in enumerate([0, 2, 0, None, 2, 0]):
        wanted = None if parent is None else annotations.uuid(parent)
        assert found[new.uuid(row)]["parent"] == wanted


def test_updates_change_metadata_and_measurements_alone(annotations: ObjectTable) -> None:
    data = file_of(annotations)
    update = AnnotationUpdate(
        metadata={"made by": "qpbridge µ", "key": None},
        measurements={"Count": 7.25},
        forget=["Area"],
    )
    target = annotations.ids[1].tobytes()
    after = apply_edit(data, Edit(update={target: update}))
    expected = by_id(annotations)
    expected[annotations.uuid(1)]["metadata"] = {"made by": "qpbridge µ"}
    expected[annotations.uuid(1)]["measured"] = {"Count": 7.25}
    assert by_id(read(after)) == expected
    assert (
        by_id(read(apply_edit(after, Edit(update={target: AnnotationUpdate(forget=["Count"])}))))[
            annotations.uuid(1)
        ]["measured"]
        == {}
    )


def test_history_grows_and_the_type_is_set_once(annotations: ObjectTable) -> None:
    data = file_of(annotations)
    assert read_image_data(data).image_type is ImageType.UNSET
    step = WorkflowStep("Segment µ", "runScript('a');", {"model": "nuclei_he", "": "x"})
    data = apply_edit(data, Edit(steps=[step, step], image_type=ImageType.BRIGHTFIELD_H_E))
    image = read_image_data(data)
    assert image.workflow == (step, step)
    assert image.image_type is ImageType.BRIGHTFIELD_H_E
    assert image.stains is not None
    assert image.stains.stain_names == ("Hematoxylin", "Eosin")
    again = read_image_data(apply_edit(data, Edit(steps=[step], image_type=ImageType.FLUORESCENCE)))
    assert again.image_type is ImageType.BRIGHTFIELD_H_E
    assert again.workflow == (step,) * 3
    assert by_id(again.objects) == by_id(annotations)


def test_edits_that_name_nothing_are_refused(annotations: ObjectTable) -> None:
    data = file_of(annotations)
    nobody = random_ids(1)
    new = many_cells(1)
    for edit in (
        Edit(remove=nobody),
        Edit(add=new, add_below=nobody),
        Edit(update={nobody.tobytes(): AnnotationUpdate(metadata={"a": "b"})}),
        Edit(add=annotations),
        Edit(remove=annotations.ids[:1], add=new, add_below=annotations.ids[:1]),
        Edit(remove=annotations.ids[:1], update={annotations.ids[0].tobytes(): AnnotationUpdate()}),
        Edit(add=ObjectTable.new(ObjectKind.DETECTION, Shapes.empty(1))),
    ):
        with pytest.raises(ProjectError):
            apply_edit(data, edit)


# --- files of real QuPath versions --------------------------------------------------------------


def golden(shared: Path, *cases: str) -> list[Path]:
    folder = shared / "qupath" / "golden"
    return [
        path
        for version in ("v0.5.1", "v0.6.0")
        for case in cases
        for path in sorted((folder / version / case).glob("project/data/*/data.qpdata"))
    ]


CASES = ("attrs", "basic", "cells", "planes", "stats", "tma", "unnamed", "odd_geometry", "tiny")


def outside_objects(data: bytes) -> Any:
    image = read_image_data(data)
    return image.image_type, image.stains, image.workflow


def test_each_object_can_be_removed_and_the_rest_stays(shared: Path) -> None:
    for path in golden(shared, *CASES):
        data = path.read_bytes()
        table = read(data)
        expected = by_id(table)
        for row in range(0, len(table), max(1, len(table) // 4)):
            uid = table.uuid(row)
            found = apply_edit(data, Edit(remove=table.ids[row : row + 1]))
            wanted = {k: dict(v) for k, v in expected.items() if k != uid}
            for one in wanted.values():
                if one["parent"] == uid:
                    one["parent"] = expected[uid]["parent"]
            assert by_id(read(found)) == wanted
            assert outside_objects(found) == outside_objects(data)
            assert parse(found, bulk=False).handle_count == parse(found).handle_count


def test_all_objects_can_be_removed_and_others_added(shared: Path) -> None:
    for path in golden(shared, *CASES):
        data = path.read_bytes()
        table = read(data)
        bare = apply_edit(data, Edit(remove=table.ids))
        assert len(read(bare)) == 0
        assert outside_objects(bare) == outside_objects(data)
        new = many_cells(5)
        assert by_id(read(apply_edit(bare, Edit(add=new)))) == by_id(new)
        added = apply_edit(data, Edit(add=new))
        assert by_id(read(added)) == by_id(table) | by_id(new)
        assert apply_edit(added, Edit(remove=new.ids)) == data


def test_what_is_not_touched_keeps_its_bytes(shared: Path) -> None:
    """An update of one annotation changes the bytes of its measurements, and handle numbers."""
    for path in golden(shared, "basic", "attrs", "stats"):
        data = path.read_bytes()
        table = read(data)
        row = int(np.flatnonzero(table.kind == ObjectKind.ANNOTATION)[-1])
        there = AnnotationUpdate(measurements={"qpbridge": 1.0}, metadata={"qpbridge": "was here"})
        changed = apply_edit(data, Edit(update={table.ids[row].tobytes(): there}))
        expected = by_id(table)
        expected[table.uuid(row)]["measured"]["qpbridge"] = 1.0
        expected[table.uuid(row)]["metadata"]["qpbridge"] = "was here"
        assert by_id(read(changed)) == expected
        assert outside_objects(changed) == outside_objects(data)


# --- bad files ----------------------------------------------------------------------------------


def test_broken_files_fail_cleanly(shared: Path) -> None:
    generator = random.Random(0)
    for path in golden(shared, "attrs", "stats", "tma", "workflow", "tiny"):
        data = path.read_bytes()
        for end in range(0, len(data), 97):
            read_or_fail(data[:end])
        for _ in range(30):
            broken = bytearray(data)
            for _ in range(generator.randint(1, 3)):
                broken[generator.randrange(len(broken))] = generator.randrange(256)
            read_or_fail(bytes(broken))


def read_or_fail(data: bytes) -> None:
    try:
        table = read_image_data(data).objects
    except FormatError:
        return
    apply_edit(data, Edit(add=many_cells(2)))
    assert len(table.kind) == len(table)


def test_foreign_files_are_refused() -> None:
    for data in (b"", b"PK\x03\x04", b"\xac\xed\x00\x05", b"\xac\xed\x00\x05\x74\x00\x01a"):
        with pytest.raises(FormatError):
            read_image_data(data)
