"""What an import adds, leaves alone and refuses."""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.engine.importing import plan_import
from qpbridge.hierarchy.provenance import Origin, content_ids, mint_ids, origins
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.interface import WorkflowStep

STEP = WorkflowStep("Import objects", "// qpbridge import")


def squares(kind: ObjectKind, *places: float) -> ObjectTable:
    shapes = [shapely.box(x, 0, x + 10, 10) for x in places]
    return ObjectTable.new(kind, Shapes.from_geometries(shapes))


def test_objects_that_are_there_are_left_alone_and_their_children_find_them():
    existing = squares(ObjectKind.ANNOTATION, 0, 100)
    child = squares(ObjectKind.DETECTION, 102)  # by its place it would go below the second one
    shapes = Shapes.from_geometries([*existing.geometries[:1], *child.geometries])
    found = ObjectTable.new(ObjectKind.ANNOTATION, shapes).replace(
        kind=np.array([0, 1], np.uint8),
        ids=np.concatenate([existing.ids[:1], child.ids]),
        parent=np.array([-1, 0]),
    )
    edit, plan = plan_import(existing, found, STEP)
    assert (plan.added, plan.already_there, plan.at_root) == ({"detection": 1}, 1, 0)
    assert edit is not None
    assert edit.add is not None and edit.add.ids.tolist() == child.ids.tolist()
    assert edit.add_below is not None and edit.add_below.tolist() == existing.ids[:1].tolist()
    assert edit.add.parent.tolist() == [-1]
    assert list(edit.steps) == [STEP]
    assert len(edit.remove) == 0 and not edit.update


def test_nothing_new_is_no_edit():
    existing = squares(ObjectKind.DETECTION, 0, 20)
    edit, plan = plan_import(existing, existing, STEP)
    assert edit is None
    assert (plan.added, plan.already_there) == ({}, 2)
    edit, plan = plan_import(existing, existing.take([]), STEP)
    assert edit is None


def test_an_id_twice_in_the_file():
    found = squares(ObjectKind.DETECTION, 0, 20, 40)
    found = found.replace(ids=found.ids[[0, 0, 1]])
    edit, plan = plan_import(found.take([]), found, STEP)
    assert plan.doubled_ids == 1
    assert edit is not None and edit.add is not None
    assert edit.add.ids[[0, 2]].tolist() == found.ids[[0, 2]].tolist()
    assert len({bytes(i) for i in edit.add.ids}) == 3
    # In the image already, both of them are left alone.
    edit, plan = plan_import(found.take([0]), found, STEP)
    assert (plan.added, plan.already_there, plan.doubled_ids) == ({"detection": 1}, 2, 0)


def test_cores_are_counted_and_what_is_in_them_stays():
    existing = squares(ObjectKind.TMA_CORE, 0)
    found = squares(ObjectKind.ANNOTATION, 100, 101, 2).replace(
        kind=np.array([4, 0, 0], np.uint8), parent=np.array([-1, 0, -1])
    )
    edit, plan = plan_import(existing, found, STEP)
    assert (plan.cores, plan.added, plan.at_root) == (1, {"annotation": 2}, 2)
    assert edit is not None and edit.add is not None
    assert edit.add.parent.tolist() == [-1, -1]


def test_ids_from_the_contents():
    table = squares(ObjectKind.DETECTION, 0, 20, 0)
    ids = content_ids(table)
    assert ids[0].tolist() == ids[2].tolist() != ids[1].tolist()
    assert content_ids(table.replace(ids=ids)).tolist() == ids.tolist()
    other = table.replace(classes=(PathClass(("A",)),), class_index=np.zeros(3, np.int32))
    assert (content_ids(other) != ids).any(axis=1).all()
    assert (ids[:, 6] >> 4 == 8).all()
    assert (ids[:, 8] >> 6 == 2).all()
    assert (origins(table.replace(ids=ids), "nuclei") == Origin.OTHER).all()
    assert (ids != mint_ids(table, "nuclei", ids[:0])).any(axis=1).all()
