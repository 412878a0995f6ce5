from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import shapely

from qpbridge.engine.edit import (
    find_existing,
    plan_edit,
    without_twins,
)
from qpbridge.engine.remove import plan_removal
from qpbridge.engine.runs import RunRecord, brief, provenance_key
from qpbridge.hierarchy.provenance import Origin, mint_ids, origins
from qpbridge.hierarchy.regions import Region
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, PathClass, Shapes

NUCLEUS = PathClass(("Nucleus",))
RECORD = RunRecord(
    target="nuclei",
    model="some_model",
    model_version="1.2",
    mpp=0.5,
    when=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    command="qpbridge segment p.qpproj",
)


def test_what_is_noted_on_a_region_is_shortened_for_tables():
    whole = replace(RECORD, weights="ab12", settings={"features": "all"}, who="ada")
    for record in (RECORD, whole):
        assert brief(record.summary()) == "some_model 1.2 at 0.5 µm/px, 2026-01-02"
    assert brief("some other text") == "some other text"


def nuclei(*centers) -> ObjectTable:
    shapes = Shapes.from_geometries([shapely.box(x, y, x + 4, y + 4) for x, y in centers])
    return ObjectTable.new(ObjectKind.DETECTION, shapes, path_class=NUCLEUS)


def image(*centers, boxes=((0, 0, 50, 50), (50, 0, 100, 50))) -> ObjectTable:
    """Two annotations in rows 0 and 1, then nuclei of ours below the first."""
    shapes = Shapes.from_geometries(
        [*(shapely.box(*b) for b in boxes), *nuclei(*centers).geometries]
    )
    table = ObjectTable.new(ObjectKind.DETECTION, shapes, path_class=NUCLEUS)
    n = len(table)
    table = table.replace(
        kind=np.array([0, 0] + [1] * (n - 2), np.uint8),
        class_index=np.array([-1, -1] + [0] * (n - 2), np.int32),
        parent=np.array([-1, -1] + [0] * (n - 2)),
    )
    ids = mint_ids(table, "nuclei", table.ids)
    ids[:2] = table.ids[:2]
    return table.replace(ids=ids)


def regions_of(table: ObjectTable, *rows: int) -> list[Region]:
    return [Region(r, table.ids[r].tobytes(), f"r{r}", None, table.geometries[r]) for r in rows]


def test_only_objects_in_the_regions_or_below_them_are_replaced():
    table = image((10, 10), (60, 10), (200, 10))
    table.parent[3] = 1
    assert find_existing(table, regions_of(table, 0), "nuclei").replaced.tolist() == [2, 4]
    assert find_existing(table, regions_of(table, 1), "nuclei").replaced.tolist() == [3]
    assert find_existing(table, None, "nuclei").replaced.tolist() == [2, 3, 4]
    assert find_existing(table, None, "glands").replaced.tolist() == []


def test_changed_objects_are_told_apart():
    table = image((10, 10), (20, 10)).replace(names={2: "mitosis"})
    existing = find_existing(table, regions_of(table, 0), "nuclei")
    assert existing.replaced.tolist() == [3]
    assert existing.changed.tolist() == [2]


def test_twins_of_kept_outlines_are_left_out():
    new = nuclei((0, 0), (10, 0), (20, 0), (30, 0)).shapes
    moved, larger, elsewhere = (
        shapely.box(1, 1, 5, 5),
        shapely.box(8, -4, 16, 8),
        shapely.box(23, 3, 27, 7),
    )
    kept = np.array([moved, larger, elsewhere], object)
    assert without_twins(new, kept).tolist() == [False, False, True, True]
    assert without_twins(new, kept[:0]).all()
    assert without_twins(Shapes.empty(), kept).tolist() == []


def test_an_edit_puts_nuclei_below_their_region_and_notes_the_run():
    table = image((10, 10))
    regions = regions_of(table, 0, 1)
    found = nuclei((60, 20), (10, 10))
    existing = find_existing(table, regions, "nuclei")
    summaries = [{"Nuclei: Count": 1.0}, {"Nuclei: Count": 2.0}]
    edit = plan_edit(table, regions, found, RECORD, summaries, table.ids[[1, 0]], existing)
    assert edit.remove.tolist() == table.ids[2:].tolist()
    assert edit.add_below.tolist() == table.ids[[1, 0]].tolist()
    assert (origins(edit.add, "nuclei") == Origin.OURS).all()
    assert edit.add.ids[1].tolist() == table.ids[2].tolist(), "the same nucleus keeps its id"
    update = edit.update[table.ids[1].tobytes()]
    assert update.measurements == {"Nuclei: Count": 2.0}
    assert "some_model 1.2 at 0.5 µm/px" in update.metadata["qpbridge nuclei"]
    assert edit.steps[0].parameters["when"] == "2026-01-02T03:04:05+00:00"
    assert edit.steps[0].script == "// qpbridge segment p.qpproj"


def test_a_nucleus_that_was_moved_away_keeps_its_id_and_the_one_found_again_gets_another():
    table = image((10, 10))
    coords = table.shapes.coords.copy()
    coords[-5:] += 20
    moved = table.replace(shapes=replace(table.shapes, coords=coords))
    regions = regions_of(moved, 0)
    existing = find_existing(moved, regions, "nuclei")
    assert existing.changed.tolist() == [2]
    below = moved.ids[[0]]
    edit = plan_edit(moved, regions, nuclei((10, 10)), RECORD, [{}], below, existing)
    assert edit.add.ids[0].tolist() != moved.ids[2].tolist()
    assert origins(edit.add, "nuclei")[0] == Origin.OURS


def test_the_whole_image_has_no_annotation_to_note_anything_on():
    table = image()
    whole = Region(-1, bytes(16), "whole image", None, shapely.box(0, 0, 100, 100))
    existing = find_existing(table, [whole], "nuclei")
    root = np.zeros((1, 16), np.uint8)
    edit = plan_edit(table, [whole], nuclei((10, 10)), RECORD, [{}], root, existing)
    assert not edit.update
    assert not edit.add_below.any()


def test_a_removal_takes_back_what_was_noted_and_no_more():
    table = image((10, 10)).replace(
        metadata={0: {provenance_key("nuclei"): "x", "mine": "y"}},
        measured=MeasurementTable(("Nuclei: Count", "my score"), np.zeros((3, 2))),
    )
    edit = plan_removal(table, "nuclei")
    assert edit.remove.tolist() == table.ids[2:].tolist()
    ((row, update),) = edit.update.items()
    assert row == table.ids[0].tobytes()
    assert update.metadata == {"qpbridge nuclei": None}
    assert "my score" not in update.forget
    assert "Nuclei: Count" in update.forget
    assert plan_removal(table, "glands") is None
