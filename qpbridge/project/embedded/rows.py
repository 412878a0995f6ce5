"""Collecting path objects into columns, one by one or many of the same form at once."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes, concatenate_shapes
from qpbridge.project.embedded import specs
from qpbridge.project.embedded.java_bulk import Bulk, Run
from qpbridge.project.embedded.java_nodes import (
    BASE_HANDLE,
    NULL,
    OBJECT,
    PRIMITIVES,
    REFERENCE,
    STRING,
    Node,
)
from qpbridge.project.embedded.java_stream import Stream
from qpbridge.project.embedded.rois import read_roi, read_rois
from qpbridge.project.embedded.strided import IntArray, read_rows
from qpbridge.project.embedded.values import (
    OBJECT_ID,
    Entry,
    read_class,
    read_color,
    read_list,
    read_measurements,
    read_metadata,
    take_apart,
)

UNKNOWN = 255


@dataclass
class Rows:
    """Columns in the making: chunks of rows, each with a value or an array."""

    stream: Stream
    n: int = 0
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    metadata: dict[int, dict[str, str]] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    classes: dict[PathClass, int] = field(default_factory=dict)
    class_handles: dict[PathClass, int] = field(default_factory=dict)
    class_cache: dict[int, int] = field(default_factory=dict)
    measurement_names: dict[str, int] = field(default_factory=dict)
    measurements: list[tuple[Any, Any, Any]] = field(default_factory=list)
    name_lists: dict[int, IntArray] = field(default_factory=dict)
    shapes: list[tuple[Any, Shapes]] = field(default_factory=list)
    nuclei: list[tuple[Any, Shapes]] = field(default_factory=list)
    columns: dict[str, list[tuple[Any, Any]]] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    bulks: list[tuple[int, Bulk]] = field(default_factory=list)

    def put(self, rows: Any, **values: Any) -> None:
        """Set columns of some rows."""
        for name, value in values.items():
            self.columns.setdefault(name, []).append((rows, value))

    def column(self, name: str, shape: tuple[int, ...], dtype: Any, fill: float = 0) -> Any:
        """Put a column together."""
        out = np.full(shape, fill, dtype)
        for rows, value in self.columns.get(name, ()):
            out[rows] = value
        return out

    def class_index(self, node: Node) -> int:
        """Index of a class; -1 for none."""
        node = self.stream.follow(node)
        if node.tag == NULL:
            return -1
        if node.handle not in self.class_cache:
            found = read_class(self.stream, node)
            index = -1 if found is None else self.classes.setdefault(found, len(self.classes))
            if found is not None:
                self.class_handles.setdefault(found, node.handle)
            self.class_cache[node.handle] = index
        return self.class_cache[node.handle]

    def name_columns(self, names: Sequence[str]) -> IntArray:
        """Columns of measurements, new ones where needed."""
        known = self.measurement_names
        return np.array([known.setdefault(name, len(known)) for name in names], np.int64)

    def add(self, node: Node, parent: int) -> Entry | None:
        """Add one object; returns it taken apart, None if its class is unknown."""
        row, stream = self.n, self.stream
        self.n += 1
        self.nodes[row] = node
        self.put(row, parent=parent, start=node.start, end=node.end)
        if node.class_name not in specs.KINDS:
            self.shapes.append((slice(row, row + 1), Shapes.empty(1)))
            self.put(row, kind=UNKNOWN)
            return None
        entry = take_apart(stream, node)
        inside = entry.inside
        self.put(row, inside_start=inside[0], inside_end=inside[1], count_at=entry.count.value)
        self.put(row, kind=specs.KINDS[node.class_name])
        if entry.name.tag != NULL:
            self.names[row] = stream.text(entry.name)
        color = read_color(stream, entry.color)
        if color is not None:
            self.colors[row] = color
        metadata = read_metadata(stream, entry.metadata)
        text = metadata.pop(OBJECT_ID, None)
        try:
            if text is not None:
                self.put(row, ids=np.frombuffer(uuid.UUID(text).bytes, np.uint8), has_id=True)
        except ValueError:
            pass
        if metadata:
            self.metadata[row] = metadata
        measured = read_measurements(stream, entry.measurements)
        if measured:
            columns = self.name_columns(list(measured))
            self.measurements.append((row, columns, list(measured.values())))
        if entry.locked is not None and entry.locked.tag != NULL:
            self.put(row, locked=bool(self.read_locked(entry.locked)))
        assert entry.path_class is not None and entry.roi is not None
        self.put(row, class_index=self.class_index(entry.path_class))
        shape, plane = read_roi(stream, entry.roi)
        self.shapes.append((slice(row, row + 1), shape))
        self.put(row, plane=plane)
        if entry.numbers is not None:
            numbers = stream.block(entry.numbers)
            self.put_probability(row, np.frombuffer(numbers, ">f8", 1)[0])
            if self.is_missing(node, entry.numbers) and numbers[8]:
                self.missing.add(row)
        if entry.nucleus is not None and entry.nucleus.tag != NULL:
            self.nuclei.append((slice(row, row + 1), read_roi(stream, entry.nucleus)[0]))
        return entry

    def put_probability(self, rows: Any, values: Any) -> None:
        """Set class probabilities; most objects have none, and then no column is made."""
        if not np.isnan(values).all():
            self.put(rows, probability=values)

    def is_missing(self, node: Node, numbers: Node) -> bool:
        """Whether an object says if it is missing: only TMA cores do."""
        is_core = specs.KINDS[node.class_name] is ObjectKind.TMA_CORE
        return is_core and numbers.end - numbers.value > 8

    def add_bulk(self, bulk: Bulk, parent: int) -> bool:
        """Add many objects at once; False if they have to be added one by one."""
        found = []
        for run in bulk.runs:
            try:
                columns = self.read_run(run)
            except FormatError:  # which one is wrong comes out when each is read by itself
                return False
            if columns is None:
                return False
            found.append((run, columns))
        first = self.n
        self.n += len(bulk)
        self.bulks.append((first, bulk))
        rows = slice(first, self.n)
        self.put(rows, parent=parent, start=bulk.starts[:-1], end=bulk.starts[1:])
        for run, columns in found:
            where: Any = rows if len(run) == len(bulk) else first + run.order
            self.shapes.append((where, columns.pop("shapes")))
            nuclei = columns.pop("nuclei", None)
            if nuclei is not None:
                self.nuclei.append((where, nuclei))
            for chosen, names, values in columns.pop("measurements"):
                inside = where if chosen is None else first + run.order[chosen]
                self.measurements.append((inside, names, values))
            self.put_probability(where, columns.pop("probability", np.nan))
            self.missing.update((first + run.order[columns.pop("missing", [])]).tolist())
            self.put(where, **columns)
        return True

    def read_run(self, run: Run) -> dict[str, Any] | None:
        """Read many objects of the same form; None if they have to be read one by one."""
        stream, node = self.stream, run.node
        if node.class_name not in specs.KINDS:
            return None
        entry = take_apart(stream, node)
        assert entry.path_class is not None and entry.roi is not None
        if entry.children or entry.name.tag != NULL or entry.color.tag != NULL:
            return None
        if run.values(">u4", entry.count.value).any():
            return None
        inside = run.at(entry.count.end)
        out: dict[str, Any] = {"kind": specs.KINDS[node.class_name]}
        out |= {"inside_start": inside, "inside_end": inside}
        out["count_at"] = run.at(entry.count.value)
        if entry.metadata is not None:
            ids = self.read_ids(run, entry.metadata)
            if ids is None:
                return None
            out |= {"ids": ids, "has_id": True}
        measurements = self.read_numeric(run, entry.measurements)
        if measurements is None:
            return None
        out["measurements"] = measurements
        if entry.locked is not None:
            locked = self.each(run, entry.locked, self.read_locked)
            if locked is None:
                return None
            out["locked"] = locked.astype(bool)
        index = self.each(run, entry.path_class, self.class_index)
        if index is None:
            return None
        out["class_index"] = index
        shapes = read_rois(run, entry.roi)
        if shapes is None:
            return None
        out["shapes"], out["plane"] = shapes
        if entry.numbers is not None:
            out["probability"] = run.values(">f8", entry.numbers.value)
            if self.is_missing(node, entry.numbers):
                out["missing"] = np.flatnonzero(run.values("u1", entry.numbers.value + 8))
        if entry.nucleus is not None and entry.nucleus.tag != NULL:
            nuclei = read_rois(run, entry.nucleus)
            if nuclei is None:
                return None
            out["nuclei"] = nuclei[0]
        return out

    def each(self, run: Run, item: Node, read: Any) -> npt.NDArray[np.int64] | None:
        """Read an item of each object that is null or shared: one call for each distinct one."""
        if item.tag == NULL:
            return np.full(len(run), read(item), np.int64)
        if item.tag != REFERENCE:
            return None
        distinct, inverse = _distinct(run, item)
        values = [read(Node(REFERENCE, item.start, item.end, int(h))) for h in distinct]
        return np.array(values, np.int64)[inverse]

    def read_locked(self, item: Node) -> int:
        """Read whether an object is locked."""
        found = self.stream.follow(item)
        if found.class_name != specs.BOOLEAN:  # as `take_apart` tells it from a classification
            raise FormatError("expected true or false", offset=item.start)
        return int(bool(self.stream.number(found, "value")))

    def read_ids(self, run: Run, item: Node) -> npt.NDArray[np.uint8] | None:
        """Read ids where they are the only metadata; None otherwise."""
        stream = self.stream
        if item.tag != OBJECT or len(item.notes) < 3:
            return None
        keys, values = item.notes[1:3]
        if not (isinstance(keys, Node) and isinstance(values, Node)):
            return None
        if len(keys.items) != 2 or len(values.items) != 2:
            return None
        key, value = keys.items[1], values.items[1]
        assert isinstance(key, Node) and isinstance(value, Node)
        if key.tag != REFERENCE or value.tag != STRING or value.end - value.value != 36:
            return None
        distinct, _ = _distinct(run, key)
        if [stream.text(stream.node(int(h))) for h in distinct] != [OBJECT_ID]:
            return None
        return _parse_ids(run.values("V36", value.value))

    def read_numeric(self, run: Run, item: Node) -> list[tuple[Any, IntArray, Any]] | None:
        """Read measurements with shared names: (rows or None for all, columns, values)."""
        stream = self.stream
        if item.tag == NULL:
            return []
        if item.class_name == specs.MEASUREMENT_LIST:
            return self.read_named(run, item)
        if item.tag != OBJECT or item.class_name not in (specs.FLOAT_LIST, specs.DOUBLE_LIST):
            return None
        names, values = stream.child(item, "names"), stream.child(item, "values")
        if names.tag != REFERENCE or not values.is_numbers:
            return None
        distinct, inverse = _distinct(run, names)
        starts, lengths = run.arrays(values)
        dtype = PRIMITIVES[values.class_name[1]]
        out: list[tuple[Any, IntArray, Any]] = []
        for i, handle in enumerate(distinct):
            if int(handle) not in self.name_lists:
                items = read_list(stream, stream.node(int(handle)))
                self.name_lists[int(handle)] = self.name_columns([stream.text(n) for n in items])
            columns = self.name_lists[int(handle)]
            chosen = None if len(distinct) == 1 else np.flatnonzero(inverse == i)
            its_lengths = lengths if chosen is None else lengths[chosen]
            if its_lengths.min() < len(columns):
                return None
            begin = starts if chosen is None else starts[chosen]
            rows = read_rows(run.data, begin, len(columns) * dtype.itemsize)
            out.append((chosen, columns, rows.view(dtype)))
        return out

    def read_named(self, run: Run, item: Node) -> list[tuple[Any, IntArray, Any]] | None:
        """Read measurements that each bring their name, which all objects share."""
        stream = self.stream
        if item.tag != OBJECT or stream.child(item, "list").tag != OBJECT:
            return None
        names, values = [], []
        for one in read_list(stream, stream.child(item, "list")):
            if one.tag != OBJECT or one.class_name != specs.DOUBLE_MEASUREMENT:
                return None
            name, part = stream.child(one, "name"), one.parts[-1]
            value = next((f for f in part.desc.fields if (f.type, f.name) == ("D", "value")), None)
            if name.tag != REFERENCE or value is None or len(_distinct(run, name)[0]) > 1:
                return None
            names.append(stream.text(name))
            values.append(run.values(">f8", part.at + value.at))
        return [(None, self.name_columns(names), np.stack(values, axis=1))] if names else []

    def table(self) -> tuple[ObjectTable, dict[str, Any]]:
        """Put the columns together."""
        n = self.n
        kind = self.column("kind", (n,), np.uint8)
        known = np.flatnonzero(kind != UNKNOWN)
        if 8 * n * len(self.measurement_names) > self.stream.allowance:
            raise FormatError("far too many names of measurements", offset=len(self.stream.data))
        matrix = np.full((n, len(self.measurement_names)), np.nan)
        for rows, columns, values in self.measurements:
            if isinstance(rows, np.ndarray):
                matrix[rows[:, None], columns] = values
            else:
                matrix[rows, _as_slice(columns)] = values
        has_id = self.column("has_id", (n,), bool)
        ids = np.zeros((n, 16), np.uint8) if has_id.all() else derived_ids(self.stream.data, n)
        for rows, value in self.columns.get("ids", ()):
            ids[rows] = value
        places = {
            name: self.column(name, (n,), np.int64, -1)
            for name in ("parent", "start", "end", "inside_start", "inside_end", "count_at")
        }
        table = ObjectTable(
            kind=kind,
            shapes=_in_order(self.shapes, n),
            nuclei=_in_order(self.nuclei, n) if (kind == ObjectKind.CELL).any() else None,
            ids=ids,
            classes=tuple(self.classes),
            class_index=self.column("class_index", (n,), np.int32, -1),
            parent=places["parent"],
            plane=self.column("plane", (n, 3), np.int32),
            measurement_names=tuple(self.measurement_names),
            measurements=matrix,
            locked=self.column("locked", (n,), bool),
            names=self.names,
            colors=self.colors,
            metadata=self.metadata,
            missing=frozenset(self.missing),
            probability=(
                self.column("probability", (n,), np.float64, np.nan)
                if "probability" in self.columns
                else None
            ),
        )
        if len(known) < n:
            table = table.take(known)
        return table, places | {"ids": ids}


def derived_ids(data: bytes, n: int) -> npt.NDArray[np.uint8]:
    """Make ids for the objects of a file that stores none, uint8 (n, 16).

    Every reading of the same bytes gives the same ids, so that an edit planned on one finds its
    objects in the next. They are UUIDs of version 8 (RFC 9562), and change with the file.
    """
    text = hashlib.shake_128(hashlib.blake2b(data).digest()).digest(16 * n)
    ids = np.frombuffer(text, np.uint8).reshape(n, 16).copy()
    ids[:, 6] = (ids[:, 6] & 0x0F) | 0x80
    ids[:, 8] = (ids[:, 8] & 0x3F) | 0x80
    return ids


def _distinct(run: Run, item: Node) -> tuple[IntArray, IntArray]:
    handles = run.values(">u4", item.start + 1).astype(np.int64) - BASE_HANDLE
    if (handles == handles[0]).all():
        return handles[:1], np.zeros(len(handles), np.int64)
    distinct, inverse = np.unique(handles, return_inverse=True)
    return distinct, inverse


def _as_slice(columns: IntArray) -> Any:
    """Make a slice of consecutive columns: assigning to it is much faster."""
    first = int(columns[0]) if len(columns) else 0
    if (columns == np.arange(first, first + len(columns))).all():
        return slice(first, first + len(columns))
    return columns


_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789", np.uint8)] = np.arange(10)
_HEX[np.frombuffer(b"abcdef", np.uint8)] = np.arange(10, 16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_DASHES = [8, 13, 18, 23]
_DIGITS = [i for i in range(36) if i not in _DASHES]


def _parse_ids(texts: npt.NDArray[np.void]) -> npt.NDArray[np.uint8] | None:
    """Turn UUID texts (n,) into bytes (n, 16); None if one is no UUID."""
    characters = texts.view(np.uint8).reshape(len(texts), 36)
    digits = _HEX[characters[:, _DIGITS]]
    if (characters[:, _DASHES] != ord("-")).any() or (digits == 255).any():
        return None
    return (digits[:, 0::2] << 4 | digits[:, 1::2]).astype(np.uint8)


def _in_order(chunks: Sequence[tuple[Any, Shapes]], n: int) -> Shapes:
    """Put shapes in the order of their rows; rows without get an empty one."""
    position = np.full(n, -1, np.int64)
    at = 0
    for rows, shapes in chunks:
        position[rows] = np.arange(at, at + len(shapes))
        at += len(shapes)
    joined = concatenate_shapes([shapes for _, shapes in chunks])
    missing = int((position < 0).sum())
    if missing:
        joined = concatenate_shapes([joined, Shapes.empty(missing)])
        position[position < 0] = np.arange(at, at + missing)
    if (position == np.arange(n)).all() and len(joined) == n:
        return joined
    return joined.take(position)
