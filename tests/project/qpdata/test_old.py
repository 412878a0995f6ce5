"""Files of QuPath before 0.4, which store no object ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from project.tables import as_dict, many_cells, read

from qpbridge.errors import ProjectError
from qpbridge.objects import ObjectKind, ObjectTable
from qpbridge.project.embedded.qpdata.data_file import apply_edit
from qpbridge.project.interface import AnnotationUpdate, Edit


def old_files(shared: Path) -> list[bytes]:
    """All of them that hold objects."""
    paths = sorted((shared / "qupath" / "golden" / "v0.3.2").glob("*/project/data/*/data.qpdata"))
    files = [data for path in paths if len(read(data := path.read_bytes()))]
    assert len(files) > 10
    return files


def contents(table: ObjectTable) -> list[dict[str, object]]:
    """Everything but the ids."""
    rows = [as_dict(table, row) for row in range(len(table))]
    for row, one in enumerate(rows):
        one["parent"] = int(table.parent[row])
    return rows


def test_every_reading_gives_the_same_ids(shared: Path) -> None:
    for data in old_files(shared):
        table = read(data)
        np.testing.assert_array_equal(read(data).ids, table.ids)
        assert len(np.unique(table.ids, axis=0)) == len(table)


def test_other_bytes_give_other_ids(shared: Path) -> None:
    files = old_files(shared)
    ids = np.concatenate([read(data).ids for data in dict.fromkeys(files)])
    assert len(np.unique(ids, axis=0)) == len(ids)


def test_objects_go_below_annotations_that_are_noted_on(shared: Path) -> None:
    """As a run does: detections below an annotation, and a note on the annotation."""
    met = 0
    for data in old_files(shared):
        table = read(data)
        for row in np.flatnonzero(table.kind == ObjectKind.ANNOTATION)[:2]:
            met += 1
            new, parent = many_cells(20), table.ids[row]
            update = AnnotationUpdate({"qpbridge nuclei": "µ"}, {"Nuclei: Count": 20.0})
            edit = Edit(
                add=new, add_below=np.tile(parent, (20, 1)), update={parent.tobytes(): update}
            )
            after = apply_edit(data, edit)
            found = read(after)
            added = np.isin(found.ids.view("V16"), new.ids.view("V16")).ravel()
            assert added.sum() == 20
            assert (found.ids[found.parent[added]] == parent).all()
            # The annotation is noted on, keeps its id from now on, and nothing else is different.
            here = int(found.parent[added][0])
            rest = contents(found.take(~added))
            expected = contents(table)
            expected[row]["metadata"] |= update.metadata  # type: ignore[operator]
            expected[row]["measured"] |= update.measurements  # type: ignore[operator]
            assert rest == expected
            assert contents(found)[here]["measured"] == expected[row]["measured"]
            removed = apply_edit(after, Edit(remove=new.ids))
            assert (read(removed).ids == parent).all(axis=1).sum() == 1
    assert met > 10


def test_what_is_not_touched_keeps_its_bytes(shared: Path) -> None:
    for data in old_files(shared):
        new = many_cells(3)
        assert apply_edit(apply_edit(data, Edit(add=new)), Edit(remove=new.ids)) == data


def test_each_object_can_be_removed(shared: Path) -> None:
    for data in old_files(shared):
        table = read(data)
        for row in range(0, len(table), max(1, len(table) // 4)):
            found = read(apply_edit(data, Edit(remove=table.ids[row : row + 1])))
            assert len(found) == len(table) - 1
        assert len(read(apply_edit(data, Edit(remove=table.ids)))) == 0


def test_an_edit_planned_on_other_bytes_is_refused(shared: Path) -> None:
    for data in old_files(shared)[:3]:
        table = read(data)
        changed = apply_edit(data, Edit(add=many_cells(1)))
        with pytest.raises(ProjectError, match="since it was read; run again"):
            apply_edit(changed, Edit(remove=table.ids[:1]))
