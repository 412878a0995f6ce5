"""Changing the objects of a file: which stretches of its bytes go, and what comes instead."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.errors import ProjectError
from qpbridge.ids import id_keys, id_text
from qpbridge.javastream.build import Builder, Span
from qpbridge.javastream.write import Changes
from qpbridge.objects import RoiKind
from qpbridge.project.embedded.qpdata.edit_by_hand import change_by_hand
from qpbridge.project.embedded.qpdata.edit_measurements import change_measurements
from qpbridge.project.embedded.qpdata.object_parts import (
    OBJECT_ID,
    read_measurements,
    read_metadata,
)
from qpbridge.project.embedded.qpdata.object_tree import StoredObjects
from qpbridge.project.embedded.qpdata.write_objects import (
    RecordWriter,
    root_rows,
    write_measurements,
    write_metadata,
)
from qpbridge.project.interface import AnnotationUpdate, Edit


def change_objects(changes: Changes, objects: StoredObjects, edit: Edit) -> None:
    """Remove, add and update objects.

    Raises
    ------
    ProjectError
        If the edit names an object that isn't there, or adds one that is.
    """
    find = _RowIndex(objects)
    removed = np.zeros(len(objects.parent), bool)
    removed[find.rows(edit.remove, "remove")] = True
    count_change = np.zeros(len(removed) + 1, np.int64)
    _remove(changes, objects, removed, count_change)
    if edit.add is not None and len(edit.add):
        _add(changes, objects, find, removed, edit, count_change)
    for row in np.flatnonzero(count_change):
        is_root = row == len(removed)
        at = objects.root.count.value if is_root else int(objects.count_at[row])
        count = int.from_bytes(objects.stream.data[at : at + 4], "big")
        changes.set_number(at, count + int(count_change[row]))
    touched = removed.copy()
    for uid, update in edit.update.items():
        (row,) = find.rows(np.frombuffer(uid, np.uint8).reshape(1, 16), "update")
        if touched[row]:
            raise ProjectError("an object can't be removed and updated at once")
        touched[row] = True
        _update(changes, objects, int(row), update)
    ids = np.frombuffer(b"".join(edit.change), np.uint8).reshape(-1, 16)
    changed = find.rows(ids, "change")
    if touched[changed].any():
        raise ProjectError("an object can't be changed and updated or removed at once")
    touched[changed] = True
    change_by_hand(changes, objects, changed, list(edit.change.values()))
    measured = [(find.rows(update.ids, "measure"), update) for update in edit.measure]
    for rows, _ in measured:
        if touched[rows].any() or len(np.unique(rows)) < len(rows):
            raise ProjectError("an object can't be measured and updated or removed at once")
        touched[rows] = True
    change_measurements(changes, objects, measured)


class _RowIndex:
    """Finds the rows of ids, among the objects of known classes."""

    def __init__(self, objects: StoredObjects) -> None:
        self.candidates = np.flatnonzero(objects.count_at >= 0)
        keys = id_keys(objects.ids[self.candidates])
        order = np.argsort(keys, kind="stable")
        self.candidates = self.candidates[order]
        self.keys = keys[order]

    def rows(self, ids: npt.NDArray[np.uint8], what: str) -> npt.NDArray[np.int64]:
        """Return the rows of `ids` (k, 16)."""
        rows, found = self.search(ids)
        if not found.all():
            missing = id_text(ids[~found][0])
            raise ProjectError(
                f"no object {missing} to {what}: the image was changed since it was read; run again"
            )
        return rows

    def search(
        self, ids: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the rows of `ids`, and whether each was found."""
        if not len(self.keys):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        keys = id_keys(ids)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.candidates[at], self.keys[at] == keys


def _remove(
    changes: Changes,
    objects: StoredObjects,
    removed: npt.NDArray[np.bool_],
    count_change: npt.NDArray[np.int64],
) -> None:
    """Take away objects; what they held moves up in their place."""
    if not removed.any():
        return
    heir = _heirs(objects.parent, removed)
    rows = np.arange(len(removed))
    np.subtract.at(count_change, objects.parent[removed & (objects.parent == heir)], 1)
    moved_up = ~removed & (objects.parent != heir)
    np.add.at(count_change, heir[moved_up], 1)
    gone = rows[removed]
    starts = np.concatenate([objects.start[gone], objects.inside_end[gone]])
    ends = np.concatenate([objects.inside_start[gone], objects.end[gone]])
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    first = np.flatnonzero(np.concatenate([[True], starts[1:] != ends[:-1]]))
    last = np.concatenate([first[1:], [len(starts)]]) - 1
    for start, end in zip(starts[first].tolist(), ends[last].tolist(), strict=True):
        changes.replace(start, end)
    builder = Builder(changes.symbols)
    builder.raw(bytes(4))
    no_children = builder.piece()
    for row in gone[objects.inside_end[gone] > objects.inside_start[gone]]:
        # Should anything else refer to it, it goes there without its children, which stay.
        at = int(objects.count_at[row])
        changes.symbols.moved[objects.nodes[int(row)].handle] = [
            Span(int(objects.start[row]), at),
            no_children,
            Span(at + 4, int(objects.inside_start[row])),
            Span(int(objects.inside_end[row]), int(objects.end[row])),
        ]


def _heirs(parent: npt.NDArray[np.int64], removed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Find the nearest ancestor of each row that stays; -1: the root."""
    heir = parent.copy()
    while True:
        lost = np.flatnonzero((heir >= 0) & removed[heir])
        if not len(lost):
            return heir
        heir[lost] = heir[heir[lost]]


def _add(
    changes: Changes,
    objects: StoredObjects,
    find: _RowIndex,
    removed: npt.NDArray[np.bool_],
    edit: Edit,
    count_change: npt.NDArray[np.int64],
) -> None:
    table = edit.add
    assert table is not None
    if (table.shapes.roi == RoiKind.EMPTY).any():
        row = int(np.argmax(table.shapes.roi == RoiKind.EMPTY))
        raise ProjectError(f"object {table.uuid(row)} has no shape, and can't be stored")
    rows, found = find.search(table.ids)
    doubled = np.flatnonzero(found)[~removed[rows[found]]]
    if len(doubled):
        row = int(doubled[0])
        raise ProjectError(f"object {table.uuid(row)} is in the image already")
    tops = root_rows(table)
    below = np.zeros((len(table), 16), np.uint8) if edit.add_below is None else edit.add_below
    target = np.full(len(tops), -1, np.int64)
    named = below[tops].any(axis=1)
    target[named] = find.rows(below[tops][named], "add to")
    if removed[target[named]].any():
        raise ProjectError("objects can't be added below one that is removed")
    writer = RecordWriter(changes.symbols, table, objects.classes)
    for parent in np.unique(target):
        chosen = tops[target == parent]
        at = objects.root.inside[1] if parent < 0 else int(objects.inside_end[parent])
        changes.replace(at, at, writer.write(chosen))
        count_change[parent] += len(chosen)


def _update(changes: Changes, objects: StoredObjects, row: int, update: AnnotationUpdate) -> None:
    entry, stream = objects.entry(row), objects.stream
    if update.metadata:
        metadata: dict[str, str | None] = {**read_metadata(stream, entry.metadata)}
        metadata |= {k: v for k, v in update.metadata.items() if k != OBJECT_ID}
        # From now on it is known again, where the file had no id for it.
        metadata.setdefault(OBJECT_ID, id_text(objects.ids[row]))
        builder = Builder(changes.symbols)
        write_metadata(builder, {k: v for k, v in metadata.items() if v is not None})
        if entry.metadata is None:
            changes.replace(entry.color.end, entry.color.end, [builder.piece()])
        else:
            changes.replace(entry.metadata.start, entry.metadata.end, [builder.piece()])
    if update.measurements or update.forget:
        measurements = read_measurements(stream, entry.measurements)
        for name in update.forget:
            measurements.pop(name, None)
        builder = Builder(changes.symbols)
        write_measurements(builder, measurements | dict(update.measurements))
        item = entry.measurements
        changes.replace(item.start, item.end, [builder.piece()])
