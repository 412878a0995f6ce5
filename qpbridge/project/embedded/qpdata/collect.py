"""Collecting path objects into columns, one by one or many of the same form at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.ids import IdArray, as_version, parse_id
from qpbridge.javastream.nodes import NULL, Bulk, Node
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import IntArray
from qpbridge.objects import (
    FloatArray,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.object_parts import (
    OBJECT_ID,
    Entry,
    read_color,
    read_locked,
    read_measurements,
    read_metadata,
    take_apart,
)
from qpbridge.project.embedded.qpdata.read_alike import RunColumns, read_run
from qpbridge.project.embedded.qpdata.rois import read_roi
from qpbridge.project.embedded.qpdata.shared_parts import SharedParts

T = TypeVar("T")

UNKNOWN = 255

RowIndex = int | slice | IntArray
"""One row, consecutive ones, or some."""


@dataclass
class Rows:
    """Columns in the making: chunks of rows, each with a value or an array."""

    shared: SharedParts
    n: int = 0
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    metadata: dict[int, dict[str, str]] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    measurements: list[tuple[RowIndex, IntArray, npt.ArrayLike]] = field(default_factory=list)
    shapes: list[tuple[RowIndex, Shapes]] = field(default_factory=list)
    nuclei: list[tuple[RowIndex, Shapes]] = field(default_factory=list)
    columns: dict[str, list[tuple[RowIndex, npt.ArrayLike]]] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)
    bulks: list[tuple[int, Bulk]] = field(default_factory=list)

    @property
    def stream(self) -> Stream:
        """The file."""
        return self.shared.stream

    def put(self, rows: RowIndex, **values: npt.ArrayLike) -> None:
        """Set columns of some rows."""
        for name, value in values.items():
            self.columns.setdefault(name, []).append((rows, value))

    def column(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, fill: float = 0
    ) -> npt.NDArray[Any]:
        """Put a column together."""
        out = np.full(shape, fill, dtype)
        for rows, value in self.columns.get(name, ()):
            out[rows] = value
        return out

    def add(self, node: Node, parent: int) -> Entry | None:
        """Add one object; returns it taken apart, None if its class is unknown."""
        row, stream = self.n, self.stream
        self.n += 1
        self.nodes[row] = node
        self.put(row, parent=parent, start=node.start, end=node.end)
        if node.class_name not in java_classes.KINDS:
            self.shapes.append((slice(row, row + 1), Shapes.empty(1)))
            self.put(row, kind=UNKNOWN)
            return None
        entry = take_apart(stream, node)
        inside = entry.inside
        self.put(row, inside_start=inside[0], inside_end=inside[1], count_at=entry.count.value)
        self.put(row, kind=java_classes.KINDS[node.class_name])
        if entry.name.tag != NULL:
            self.names[row] = stream.text(entry.name)
        color = read_color(stream, entry.color)
        if color is not None:
            self.colors[row] = color
        metadata = read_metadata(stream, entry.metadata)
        text = metadata.pop(OBJECT_ID, None)
        uid = None if text is None else parse_id(text)
        if uid is not None:
            self.put(row, ids=np.frombuffer(uid, np.uint8), has_id=True)
        if metadata:
            self.metadata[row] = metadata
        measured = read_measurements(stream, entry.measurements)
        if measured:
            columns = self.shared.columns(list(measured))
            self.measurements.append((row, columns, list(measured.values())))
        if entry.locked is not None:
            self.put(row, locked=read_locked(stream, entry.locked))
        assert entry.path_class is not None and entry.roi is not None
        self.put(row, class_index=self.shared.class_index(entry.path_class))
        shape, plane = read_roi(stream, entry.roi)
        self.shapes.append((slice(row, row + 1), shape))
        self.put(row, plane=plane)
        if entry.numbers is not None:
            numbers = stream.block(entry.numbers)
            self.put_probability(row, np.frombuffer(numbers, ">f8", 1)[0])
            if java_classes.KINDS[node.class_name] is ObjectKind.TMA_CORE and any(numbers[8:9]):
                self.missing.add(row)
        if entry.nucleus is not None and entry.nucleus.tag != NULL:
            self.nuclei.append((slice(row, row + 1), read_roi(stream, entry.nucleus)[0]))
        return entry

    def put_probability(self, rows: RowIndex, values: FloatArray | float) -> None:
        """Set class probabilities; most objects have none, and then no column is made."""
        if not np.isnan(values).all():
            self.put(rows, probability=values)

    def add_bulk(self, bulk: Bulk, parent: int) -> bool:
        """Add many objects at once; False if they have to be added one by one."""
        found = []
        for run in bulk.runs:
            try:
                columns = read_run(run, self.shared)
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
            row_of = first + run.order
            self._add_run(columns, rows if len(run) == len(bulk) else row_of, row_of)
        return True

    def _add_run(self, columns: RunColumns, where: RowIndex, row_of: IntArray) -> None:
        """Add what objects of the same form hold, given with their rows, and each one's row."""
        self.put(where, kind=columns.kind, class_index=columns.class_index, plane=columns.plane)
        self.put(where, inside_start=columns.inside, inside_end=columns.inside)
        self.put(where, count_at=columns.count_at)
        self.shapes.append((where, columns.shapes))
        if columns.nuclei is not None:
            self.nuclei.append((where, columns.nuclei))
        if columns.ids is not None:
            self.put(where, ids=columns.ids, has_id=True)
        if columns.locked is not None:
            self.put(where, locked=columns.locked)
        if columns.probability is not None:
            self.put_probability(where, columns.probability)
        if columns.missing is not None:
            self.missing.update(row_of[columns.missing].tolist())
        for chosen, names, values in columns.measurements:
            self.measurements.append((where if chosen is None else row_of[chosen], names, values))
        self.names.update(_by_row(columns.names, row_of))
        self.colors.update(_by_row(columns.colors, row_of))
        self.metadata.update(_by_row(columns.metadata, row_of))

    def table(self) -> tuple[ObjectTable, dict[str, IntArray], IdArray]:
        """Put the columns together."""
        n = self.n
        kind = self.column("kind", (n,), np.uint8)
        known = np.flatnonzero(kind != UNKNOWN)
        if 8 * n * len(self.shared.measurement_names) > self.stream.allowance:
            raise FormatError("far too many names of measurements", offset=len(self.stream.data))
        matrix = np.full((n, len(self.shared.measurement_names)), np.nan)
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
            classes=tuple(self.shared.classes),
            class_index=self.column("class_index", (n,), np.int32, -1),
            parent=places["parent"],
            plane=self.column("plane", (n, 3), np.int32),
            measured=MeasurementTable(tuple(self.shared.measurement_names), matrix),
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
        return table, places, ids


def derived_ids(data: bytes, n: int) -> npt.NDArray[np.uint8]:
    """Make ids for the objects of a file that stores none, uint8 (n, 16).

    Every reading of the same bytes gives the same ids, so that an edit planned on one finds its
    objects in the next. They are UUIDs of version 8 (RFC 9562), and change with the file.
    """
    text = hashlib.shake_128(hashlib.blake2b(data).digest()).digest(16 * n)
    return as_version(np.frombuffer(text, np.uint8).reshape(n, 16), 8)


def _by_row(few: Mapping[int, T], row_of: IntArray) -> dict[int, T]:
    """Change the keys from the index in a run to the row."""
    return dict(zip(row_of[list(few)].tolist(), few.values(), strict=True))


def _as_slice(columns: IntArray) -> slice | IntArray:
    """Make a slice of consecutive columns: assigning to it is much faster."""
    first = int(columns[0]) if len(columns) else 0
    if (columns == np.arange(first, first + len(columns))).all():
        return slice(first, first + len(columns))
    return columns


def _in_order(chunks: Sequence[tuple[RowIndex, Shapes]], n: int) -> Shapes:
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
