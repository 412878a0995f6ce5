"""What a person changes by hand: names, locks, classes and places of objects, of many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from qpbridge.javastream.alike import Alike
from qpbridge.javastream.build import Builder
from qpbridge.javastream.nodes import NULL, Node, Run
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import IntArray
from qpbridge.javastream.write import Changes
from qpbridge.objects import PathClass, RoiKind, Shapes
from qpbridge.project.embedded.qpdata.object_parts import Entry, take_apart
from qpbridge.project.embedded.qpdata.object_tree import StoredObjects
from qpbridge.project.embedded.qpdata.rois import read_roi, read_rois, write_rois
from qpbridge.project.embedded.qpdata.write_objects import write_boolean, write_class
from qpbridge.project.interface import Keep, ObjectChange


@dataclass(frozen=True, eq=False)
class _Stored:
    """Objects of one form in a file: where their parts are, and how their regions are read.

    Parameters
    ----------
    entry
        The object that stands for all.
    at
        From a place in that object to the places in all, int64 (n,).
    read
        From its region, or nucleus, to all their shapes, and planes (n, 3).
    """

    entry: Entry
    at: Callable[[int], IntArray]
    read: Callable[[Node], tuple[Shapes, npt.NDArray[np.int32]]]


def change_by_hand(
    changes: Changes, objects: StoredObjects, rows: IntArray, wanted: Sequence[ObjectChange]
) -> None:
    """Change objects, given by their rows in the hierarchy, none of them twice."""
    numbers: dict[ObjectChange, int] = {}
    number_of = np.full(len(objects.parent), -1, np.int64)
    number_of[rows] = [numbers.setdefault(change, len(numbers)) for change in wanted]
    distinct = list(numbers)
    for number, stored in _stored(objects, number_of):
        _change(changes, stored, distinct[number], objects.classes, objects.stream)


def _stored(objects: StoredObjects, number_of: IntArray) -> Iterator[tuple[int, _Stored]]:
    """Find objects by what is done to them (-1: nothing) and by form; many at once if possible."""
    single = number_of >= 0
    for first, bulk in objects.bulks:
        single[first : first + len(bulk)] = False
        for run in bulk.runs:
            numbers = number_of[first + run.order]
            order = np.argsort(numbers, kind="stable")
            order = order[np.searchsorted(numbers[order], 0) :]
            if not len(order):
                continue
            entry = take_apart(objects.stream, run.node)
            for chosen in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
                some = replace(run, begins=run.begins[chosen], order=run.order[chosen])
                yield int(numbers[chosen[0]]), _Stored(entry, some.at, partial(_read_many, some))
    for row in np.flatnonzero(single).tolist():
        read = partial(_read_one, objects.stream)
        yield int(number_of[row]), _Stored(objects.entry(row), lambda at: np.array([at]), read)


def _read_many(run: Run, node: Node) -> tuple[Shapes, npt.NDArray[np.int32]]:
    found = read_rois(run, node)
    assert found is not None  # as they were when the file was read, or they were in no bulk
    return found


def _read_one(stream: Stream, node: Node) -> tuple[Shapes, npt.NDArray[np.int32]]:
    shape, plane = read_roi(stream, node)
    return shape, np.array([plane], np.int32)


def _change(
    changes: Changes,
    stored: _Stored,
    change: ObjectChange,
    classes: Mapping[PathClass, int],
    stream: Stream,
) -> None:
    """Put new parts in the place of those of objects of one form."""
    entry, at = stored.entry, stored.at
    assert entry.path_class is not None  # only the root has none

    def put(start: int, end: int, write: Callable[[Builder], None]) -> None:
        builder = Builder(changes.symbols)
        write(builder)
        changes.replace_alike(Alike(at(start), at(end), builder.piece()))

    if not isinstance(change.name, Keep):
        name = change.name
        put(entry.name.start, entry.name.end, lambda builder: builder.text(name))
    if change.locked is not None:
        locked, before = change.locked, entry.path_class.start
        old = (before, before) if entry.locked is None else (entry.locked.start, entry.locked.end)
        put(*old, lambda builder: write_boolean(builder, locked))
    if not isinstance(change.path_class, Keep):
        new, there = change.path_class, entry.path_class
        put(there.start, there.end, lambda builder: write_class(builder, new, classes))
    for roi in (entry.roi, entry.nucleus) if change.shift is not None else ():
        if roi is None or stream.follow(roi).tag == NULL:
            continue
        shapes, plane = stored.read(roi)
        moved = replace(shapes, coords=shapes.coords + np.array(change.shift))
        rows = np.flatnonzero(shapes.roi != RoiKind.EMPTY)
        for some, piece, fill in write_rois(changes.symbols, moved, plane, rows):
            changes.replace_alike(Alike(at(roi.start)[some], at(roi.end)[some], piece, fill))
