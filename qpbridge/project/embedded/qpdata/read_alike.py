"""Reading many path objects of the same form at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge.ids import IdArray, parse_ids
from qpbridge.javastream.nodes import (
    BASE_HANDLE,
    NULL,
    OBJECT,
    PRIMITIVES,
    REFERENCE,
    STRING,
    Node,
    Run,
)
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import IntArray, read_rows
from qpbridge.javastream.text import decode_text
from qpbridge.objects import FloatArray, ObjectKind, Shapes
from qpbridge.project.colors import unpack_argb
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.object_parts import (
    OBJECT_ID,
    read_color,
    read_list,
    read_locked,
    take_apart,
)
from qpbridge.project.embedded.qpdata.rois import read_rois
from qpbridge.project.embedded.qpdata.shared_parts import SharedParts


class _OneByOneError(Exception):
    """What this form holds can't be read for all at once."""


T = TypeVar("T")

Measured = tuple[IntArray | None, IntArray, npt.NDArray[np.number]]
"""Measurements: of which objects of the run (None: all), their columns, and values (n, k)."""


@dataclass(frozen=True, eq=False)
class RunColumns:
    """What n objects of the same form hold, column by column; None where none of them has it.

    `names`, `colors` and `metadata` are only of those that have one, by their index in the run;
    `missing` are the indices of TMA cores that are marked so.
    """

    kind: ObjectKind
    inside: IntArray
    count_at: IntArray
    shapes: Shapes
    plane: npt.NDArray[np.int32]
    class_index: IntArray
    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]
    metadata: dict[int, dict[str, str]]
    measurements: list[Measured]
    ids: IdArray | None = None
    locked: npt.NDArray[np.bool_] | None = None
    nuclei: Shapes | None = None
    probability: FloatArray | None = None
    missing: IntArray | None = None


def read_run(run: Run, shared: SharedParts) -> RunColumns | None:
    """Read many objects of the same form; None if they have to be read one by one.

    Raises
    ------
    FormatError
        If something that objects refer to is not what it should be.
    """
    try:
        return _read(run, shared)
    except _OneByOneError:
        return None


def _read(run: Run, shared: SharedParts) -> RunColumns:
    stream, node = shared.stream, run.node
    if node.class_name not in java_classes.KINDS:
        raise _OneByOneError
    entry = take_apart(stream, node)
    assert entry.path_class is not None and entry.roi is not None
    if entry.children or run.values(">u4", entry.count.value).any():
        raise _OneByOneError
    kind = java_classes.KINDS[node.class_name]
    ids, metadata = _metadata(stream, run, entry.metadata)
    locked = probability = missing = nuclei = None
    if entry.locked is not None:
        locked = _each(run, entry.locked, lambda item: read_locked(stream, item), bool)
    if entry.numbers is not None:
        probability = run.values(">f8", entry.numbers.value)
        if kind is ObjectKind.TMA_CORE and entry.numbers.end - entry.numbers.value > 8:
            missing = np.flatnonzero(run.values("u1", entry.numbers.value + 8))
    if entry.nucleus is not None and entry.nucleus.tag != NULL:
        nuclei, _ = _needed(read_rois(run, entry.nucleus))
    shapes, plane = _needed(read_rois(run, entry.roi))
    return RunColumns(
        kind=kind,
        inside=run.at(entry.count.end),
        count_at=run.at(entry.count.value),
        shapes=shapes,
        plane=plane,
        class_index=_each(run, entry.path_class, shared.class_index, np.int64),
        names={} if entry.name.tag == NULL else _few(_texts(stream, run, entry.name)),
        colors={} if entry.color.tag == NULL else _few(_colors(stream, run, entry.color)),
        metadata=metadata,
        measurements=_measurements(shared, run, entry.measurements),
        ids=ids,
        locked=locked,
        nuclei=nuclei,
        probability=probability,
        missing=missing,
    )


def _needed(found: T | None) -> T:
    if found is None:
        raise _OneByOneError
    return found


def _few(values: Sequence[T | None]) -> dict[int, T]:
    return {i: value for i, value in enumerate(values) if value is not None}


def _each(
    run: Run, item: Node, read: Callable[[Node], object], dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Read an item of each object that is null or shared: one call for each distinct one."""
    if item.tag == NULL:
        return np.full(len(run), read(item), dtype)
    if item.tag != REFERENCE:
        raise _OneByOneError
    distinct, inverse = _distinct(run, item)
    values = np.empty(len(distinct), dtype)
    for i, handle in enumerate(distinct.tolist()):
        values[i] = read(Node(REFERENCE, item.start, item.end, handle))
    return values[inverse]


def _texts(stream: Stream, run: Run, item: Node) -> list[str | None]:
    """Read a text of each object, shared or not; None where it is null."""
    if item.tag != STRING:
        if item.tag == NULL:
            return [None] * len(run)
        return list(_each(run, item, stream.text, object))
    starts, lengths = run.texts(item)
    bounds = zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
    try:
        return [decode_text(run.data[start:end]) for start, end in bounds]
    except UnicodeDecodeError:
        raise _OneByOneError from None


def _colors(stream: Stream, run: Run, item: Node) -> list[tuple[int, int, int] | None]:
    if item.tag != OBJECT:
        return list(_each(run, item, lambda one: read_color(stream, one), object))
    field = item.desc.fields[0] if item.desc is not None and len(item.desc.fields) == 1 else None
    if item.class_name != "java.lang.Integer" or field is None or field.type != "I":
        raise _OneByOneError
    return [unpack_argb(value) for value in run.values(">i4", item.parts[-1].at).tolist()]


def _metadata(
    stream: Stream, run: Run, item: Node | None
) -> tuple[IdArray | None, dict[int, dict[str, str]]]:
    """Read ids, and what else is in the maps that hold them."""
    if item is None:
        return None, {}
    if item.tag != OBJECT or item.class_name != java_classes.METADATA or len(item.notes) < 3:
        raise _OneByOneError
    keys, values = (_elements(note) for note in item.notes[1:3])
    if len(keys) != len(values):
        raise _OneByOneError
    ids: IdArray | None = None
    others: list[tuple[list[str | None], list[str | None]]] = []
    for key, value in zip(keys, values, strict=True):
        names = _texts(stream, run, key)
        if OBJECT_ID not in set(names):
            others.append((names, _texts(stream, run, value)))
        elif set(names) == {OBJECT_ID} and ids is None:
            if value.tag != STRING or value.end - value.value != 36:
                raise _OneByOneError
            ids = _needed(parse_ids(run.values("V36", value.value)))
        else:
            raise _OneByOneError
    if not others:
        return ids, {}
    return ids, {
        i: {
            name: text
            for names, texts in others
            if (name := names[i]) is not None and (text := texts[i]) is not None
        }
        for i in range(len(run))
    }


def _elements(note: object) -> list[Node]:
    """Return the elements of an array of texts."""
    if not isinstance(note, Node) or note.class_name != "[Ljava.lang.Object;":
        raise _OneByOneError
    return [item for item in note.items[1:] if isinstance(item, Node)]


def _measurements(shared: SharedParts, run: Run, item: Node) -> list[Measured]:
    """Read measurements with shared names."""
    stream = shared.stream
    if item.tag == NULL:
        return []
    if item.class_name == java_classes.MEASUREMENT_LIST:
        return _named(shared, run, item)
    if item.tag != OBJECT or item.class_name not in (
        java_classes.FLOAT_LIST,
        java_classes.DOUBLE_LIST,
    ):
        raise _OneByOneError
    names, values = stream.child(item, "names"), stream.child(item, "values")
    if names.tag != REFERENCE or not values.is_numbers:
        raise _OneByOneError
    distinct, inverse = _distinct(run, names)
    starts, lengths = run.arrays(values)
    dtype = PRIMITIVES[values.class_name[1]]
    out: list[Measured] = []
    for i, handle in enumerate(distinct.tolist()):
        columns = shared.columns_of(handle)
        chosen = None if len(distinct) == 1 else np.flatnonzero(inverse == i)
        if (lengths if chosen is None else lengths[chosen]).min() < len(columns):
            raise _OneByOneError
        begin = starts if chosen is None else starts[chosen]
        rows = read_rows(run.data, begin, len(columns) * dtype.itemsize)
        out.append((chosen, columns, rows.view(dtype)))
    return out


def _named(shared: SharedParts, run: Run, item: Node) -> list[Measured]:
    """Read measurements that each bring their name, which all objects share."""
    stream = shared.stream
    if item.tag != OBJECT or stream.child(item, "list").tag != OBJECT:
        raise _OneByOneError
    names, values = [], []
    for one in read_list(stream, stream.child(item, "list")):
        if one.tag != OBJECT or one.class_name != java_classes.DOUBLE_MEASUREMENT:
            raise _OneByOneError
        name, part = stream.child(one, "name"), one.parts[-1]
        value = next((f for f in part.desc.fields if (f.type, f.name) == ("D", "value")), None)
        if name.tag != REFERENCE or value is None or len(_distinct(run, name)[0]) > 1:
            raise _OneByOneError
        names.append(stream.text(name))
        values.append(run.values(">f8", part.at + value.at))
    return [(None, shared.columns(names), np.stack(values, axis=1))] if names else []


def _distinct(run: Run, item: Node) -> tuple[IntArray, IntArray]:
    """Return the distinct handles that a reference of each object holds, and which each has."""
    handles = run.values(">u4", item.start + 1).astype(np.int64) - BASE_HANDLE
    if (handles == handles[0]).all():
        return handles[:1], np.zeros(len(handles), np.int64)
    distinct, inverse = np.unique(handles, return_inverse=True)
    return distinct, inverse
