"""Setting measurements of objects that are in a file: only their lists are written anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.javastream.alike import Alike, repeated
from qpbridge.javastream.build import Builder, Symbols
from qpbridge.javastream.nodes import BASE_HANDLE, NULL, PRIMITIVES, Run
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import Bytes, IntArray, read_rows
from qpbridge.javastream.write import Changes
from qpbridge.objects import FloatArray
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.object_parts import read_list, read_measurements, take_apart
from qpbridge.project.embedded.qpdata.object_tree import StoredObjects
from qpbridge.project.embedded.qpdata.write_objects import (
    SHARED_LIST_KINDS,
    write_measurements,
    write_names,
)
from qpbridge.project.interface import MeasurementUpdate

_LETTER = {java_classes.FLOAT_LIST: "F", java_classes.DOUBLE_LIST: "D"}


@dataclass(frozen=True, eq=False)
class _Lists:
    """Lists of measurements with the same names, of objects of a file.

    Parameters
    ----------
    rows
        int64 (n,), of the objects in the hierarchy.
    starts, ends
        int64 (n,), where the lists are in the bytes.
    class_name
        Which kind of list.
    names, values
        Names (k), and (n, k).
    """

    rows: IntArray
    starts: IntArray
    ends: IntArray
    class_name: str
    names: tuple[str, ...]
    values: npt.NDArray[Any]


def change_measurements(
    changes: Changes, objects: StoredObjects, updates: Sequence[tuple[IntArray, MeasurementUpdate]]
) -> None:
    """Set measurements of objects, given by their rows in the hierarchy, none of them twice."""
    row_of = np.full(len(objects.parent), -1, np.int64)
    new: list[_Lists] = []
    for rows, update in updates:
        row_of[rows] = np.arange(len(rows))
        wanted = np.zeros(len(row_of), bool)
        wanted[rows] = True
        new += [_updated(lists, row_of, update) for lists in _existing(objects, wanted)]
    if new:
        _write(changes, new)


def _existing(objects: StoredObjects, wanted: npt.NDArray[np.bool_]) -> Iterator[_Lists]:
    """Find the lists of some objects."""
    single = wanted.copy()
    for first, bulk in objects.bulks:
        for run in bulk.runs:
            rows = first + run.order
            chosen = np.flatnonzero(wanted[rows])
            found = list(_of_run(objects.stream, run, chosen)) if len(chosen) else []
            for some, lists in found:
                single[rows[chosen[some]]] = False
                yield replace(lists, rows=rows[chosen[some]])
    for row in np.flatnonzero(single).tolist():
        entry = objects.entry(row)
        item = entry.measurements
        known = read_measurements(objects.stream, item)
        name = objects.stream.follow(item).class_name if item.tag != NULL else ""
        yield _Lists(
            np.array([row]),
            np.array([item.start]),
            np.array([item.end]),
            name or _usual(entry.node.class_name),
            tuple(known),
            np.array([list(known.values())]).reshape(1, len(known)),
        )


def _of_run(stream: Stream, run: Run, chosen: IntArray) -> Iterator[tuple[IntArray, _Lists]]:
    """Read the lists of some objects of the same form, and say which of `chosen` these are."""
    some = replace(run, begins=run.begins[chosen], order=run.order[chosen])
    item = take_apart(stream, run.node).measurements
    starts, ends = some.at(item.start), some.at(item.end)
    all_of_them = np.arange(len(chosen))
    if item.tag == NULL:
        nothing = np.empty((len(chosen), 0), np.float32)
        name = _usual(run.node.class_name)
        yield all_of_them, _Lists(all_of_them, starts, ends, name, (), nothing)
    elif item.class_name in _LETTER:
        at = stream.child(item, "names").start + 1
        handles = some.values(">u4", at).astype(np.int64) - BASE_HANDLE
        begin, _ = some.arrays(stream.child(item, "values"))
        number = PRIMITIVES[_LETTER[item.class_name]]
        for handle in np.unique(handles).tolist():
            names = tuple(stream.text(n) for n in read_list(stream, stream.node(handle)))
            here = np.flatnonzero(handles == handle)
            values = read_rows(run.data, begin[here], len(names) * number.itemsize).view(number)
            yield (
                here,
                _Lists(here, starts[here], ends[here], item.class_name, names, values),
            )


def _usual(object_class: str) -> str:
    """Which kind of list an object without measurements would have."""
    many = java_classes.KINDS[object_class] in SHARED_LIST_KINDS
    return java_classes.FLOAT_LIST if many else java_classes.MEASUREMENT_LIST


def _updated(lists: _Lists, row_of: IntArray, update: MeasurementUpdate) -> _Lists:
    kept = [name for name in dict.fromkeys(lists.names) if name not in update.forget]
    names = (*kept, *(name for name in update.measured if name not in kept))
    values = np.empty((len(lists.rows), len(names)))
    old = {name: i for i, name in enumerate(lists.names)}
    given = update.measured.take(row_of[lists.rows])
    for column, name in enumerate(names):
        values[:, column] = given[name] if name in given else lists.values[:, old[name]]
    return replace(lists, names=names, values=values)


def _write(changes: Changes, new: Sequence[_Lists]) -> None:
    """Put lists in the place of those that are there."""
    templates: dict[tuple[str, tuple[str, ...]], _Template] = {}
    for lists in new:
        key = (lists.class_name, lists.names)
        if key not in templates:
            templates[key] = _Template(changes.symbols, *key)
        fill = partial(templates[key].filled, lists.values)
        changes.replace_alike(Alike(lists.starts, lists.ends, templates[key].piece, fill))


class _Template:
    """One list of a kind and of names, and the places of its values."""

    def __init__(self, symbols: Symbols, class_name: str, names: tuple[str, ...]) -> None:
        builder = Builder(symbols)
        self.number = PRIMITIVES[_LETTER.get(class_name, "D")]
        self.places: list[int] = []
        if not names:
            builder.null()
        elif class_name in _LETTER:
            builder.begin(class_name)
            builder.raw(b"\0")
            builder.null()
            builder.reference(write_names(symbols, names))
            builder.numbers(_LETTER[class_name], np.zeros(len(names)))
            end = len(builder.out)
            size = self.number.itemsize
            self.places = list(range(end - size * len(names), end, size))
        else:
            self.places = write_measurements(builder, dict.fromkeys(names, 0.0))
        self.piece = builder.piece()

    def filled(self, values: FloatArray, some: slice) -> Bytes:
        """Make lists with some of the values (n, k), uint8 (m, size)."""
        with np.errstate(over="ignore"):  # as QuPath, which keeps what is too large as infinite
            numbers = np.ascontiguousarray(values[some].astype(self.number)).view(np.uint8)
        out = repeated(self.piece, len(numbers))
        size = self.number.itemsize
        for i, place in enumerate(self.places):
            out[:, place : place + size] = numbers[:, i * size : (i + 1) * size]
        return out
