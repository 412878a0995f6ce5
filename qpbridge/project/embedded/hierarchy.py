"""Reading QuPath's object hierarchy out of a Java stream, and where in the bytes everything is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    Shapes,
    concatenate_shapes,
    random_ids,
)
from qpbridge.project.embedded import specs
from qpbridge.project.embedded.java_bulk import Bulk, Run
from qpbridge.project.embedded.java_nodes import (
    BLOCKDATA,
    BLOCKDATALONG,
    NULL,
    OBJECT,
    REFERENCE,
    STRING,
    Node,
)
from qpbridge.project.embedded.java_stream import Stream
from qpbridge.project.embedded.rois import read_roi, read_rois

IntArray = npt.NDArray[np.int64]
OBJECT_ID = "Object ID"
UNKNOWN = 255
MAX_CLASS_DEPTH = 64
BLOCKS = (BLOCKDATA, BLOCKDATALONG)


@dataclass
class Entry:
    """One path object, taken apart; items are None where the object has none."""

    node: Node
    name: Node
    color: Node
    metadata: Node | None
    measurements: Node
    count: Node
    children: list[Node | Bulk]
    locked: Node | None = None
    path_class: Node | None = None
    roi: Node | None = None
    nucleus: Node | None = None

    @property
    def inside(self) -> tuple[int, int]:
        """Where the children begin and end."""
        if not self.children:
            return self.count.end, self.count.end
        return self.children[0].start, self.children[-1].end


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The objects below the root, parents before children, and where they are in the bytes.

    Rows are the known objects first to last, and in between those of unknown classes, which the
    table leaves out (`known`).

    Parameters
    ----------
    table
        The known objects.
    known
        int64 (k,), the row of each object of the table.
    root
        The root object.
    parent, start, end, inside_start, inside_end, count_at
        int64 (n,): row of the parent (-1: root); extent of the object, and of its children within;
        place of the number of children.
    ids, has_id
        uint8 (n, 16), and whether the file says so (else it is random).
    classes
        The handle of each class that was met.
    stream
        The bytes and their structure.
    """

    table: ObjectTable
    known: IntArray
    root: Entry
    parent: IntArray
    start: IntArray
    end: IntArray
    inside_start: IntArray
    inside_end: IntArray
    count_at: IntArray
    ids: npt.NDArray[np.uint8]
    has_id: npt.NDArray[np.bool_]
    nodes: dict[int, Node]
    bulks: list[tuple[int, Bulk]]
    classes: dict[PathClass, int]
    stream: Stream

    def entry(self, row: int) -> Entry:
        """Take one object apart."""
        node = self.nodes.get(row)
        if node is None:
            first, bulk = next((f, b) for f, b in reversed(self.bulks) if f <= row)
            node = bulk.object(row - first)
        return take_apart(self.stream, node)


def take_apart(stream: Stream, node: Node) -> Entry:
    """Find the items of a path object.

    Raises
    ------
    FormatError
        If they are not those of a path object.
    """

    def broken(what: str) -> FormatError:
        return FormatError(f"a path object {what}", offset=node.start)

    notes = node.notes
    split = next((i for i, note in enumerate(notes) if note_is_block(note)), None)
    if split is None:
        raise broken("that ends too early")
    head = [note for note in notes[:split] if isinstance(note, Node)]
    if len(head) != split or not 3 <= split <= 4:
        raise broken("in a form that no known QuPath writes")
    metadata = head[2] if split == 4 else None
    if metadata is not None and stream.follow(metadata).class_name != specs.METADATA:
        raise broken("whose metadata is none")
    count = notes[split]
    assert isinstance(count, Node)
    if count.end - count.value != 4:
        raise broken("without number of children")
    wanted = int.from_bytes(stream.block(count), "big", signed=True)
    children: list[Node | Bulk] = []
    at = split + 1
    while wanted > 0 and at < len(notes):
        child = notes[at]
        if isinstance(child, Node) and child.tag != OBJECT:
            raise FormatError("a child that is not a new path object", offset=child.start)
        children.append(child)
        wanted -= 1 if isinstance(child, Node) else len(child)
        at += 1
    if wanted != 0:
        raise broken("with a wrong number of children")
    entry = Entry(node, head[0], head[1], metadata, head[-1], count, children)
    tail = [n for n in stream.expand(notes[at:]) if n.tag not in BLOCKS]
    if node.class_name == specs.ROOT:
        return entry
    if tail and stream.follow(tail[0]).class_name == "java.lang.Boolean":
        entry.locked = tail.pop(0)
    if len(tail) < 2:
        raise broken("without region of interest")
    entry.path_class, entry.roi = tail[:2]
    if node.class_name in specs.KINDS and specs.KINDS[node.class_name] is ObjectKind.CELL:
        entry.nucleus = tail[2] if len(tail) > 2 else None
    return entry


def note_is_block(note: Node | Bulk) -> bool:
    """Whether a content is block data."""
    return isinstance(note, Node) and note.tag in BLOCKS


def read_metadata(stream: Stream, node: Node | None) -> dict[str, str]:
    """Read a metadata map, with the object id in it."""
    if node is None or node.tag == NULL:
        return {}
    node = stream.follow(node)
    items = stream.expand(node.notes)
    if len(items) < 3:
        raise FormatError("broken metadata", offset=node.start)
    keys, values = (stream.elements(item) for item in items[1:3])
    if len(keys) != len(values):
        raise FormatError("metadata with more keys than values, or less", offset=node.start)
    return {
        stream.text(k): stream.text(v)
        for k, v in zip(keys, values, strict=True)
        if k.tag != NULL and v.tag != NULL
    }


def read_list(stream: Stream, node: Node) -> list[Node]:
    """Read the elements of a list: ArrayList, CollSer, or an unmodifiable list around one.

    Raises
    ------
    FormatError
        If it is another class.
    """
    for _ in range(4):
        node = stream.follow(node)
        if node.class_name in ("java.util.ArrayList", "java.util.CollSer"):
            return [n for n in stream.expand(node.notes) if n.tag not in BLOCKS]
        if not node.class_name.startswith("java.util.Collections$Unmodifiable"):
            break
        node = stream.child(node, "c")
    raise FormatError("expected a list", offset=node.start)


def read_measurements(stream: Stream, node: Node) -> dict[str, float]:
    """Read a measurement list of any kind."""
    node = stream.follow(node)
    if node.tag == NULL:
        return {}
    if node.class_name in (specs.FLOAT_LIST, specs.DOUBLE_LIST):
        names = [stream.text(n) for n in read_list(stream, stream.child(node, "names"))]
        values = stream.array(stream.child(node, "values"))
        if len(values) < len(names):
            raise FormatError("fewer measurements than names", offset=node.start)
        return dict(zip(names, values.tolist(), strict=False))
    if node.class_name == specs.MEASUREMENT_LIST:
        items = [stream.follow(n) for n in read_list(stream, stream.child(node, "list"))]
        for item in items:
            if item.class_name not in (specs.DOUBLE_MEASUREMENT, specs.FLOAT_MEASUREMENT):
                raise FormatError(f"unknown measurement {item.class_name!r}", offset=item.start)
        return {stream.text(stream.child(i, "name")): stream.number(i, "value") for i in items}
    raise FormatError(f"unknown list of measurements {node.class_name!r}", offset=node.start)


def read_class(stream: Stream, node: Node | None) -> PathClass | None:
    """Read a classification; None if it is null or without name."""
    names: list[str] = []
    color = None
    while node is not None and (node := stream.follow(node)).tag != NULL:
        if node.class_name != specs.PATH_CLASS or len(names) == MAX_CLASS_DEPTH:
            raise FormatError("expected a classification", offset=node.start)
        name = stream.follow(stream.child(node, "name"))
        if name.tag == NULL:
            break
        if not names:
            color = read_color(stream, stream.child(node, "colorRGB"))
        names.append(stream.text(name))
        node = stream.child(node, "parentClass")
    return PathClass(tuple(reversed(names)), color) if names else None


def read_color(stream: Stream, node: Node) -> tuple[int, int, int] | None:
    """Read a colour (0xAARRGGBB as a signed number), None if there is none."""
    node = stream.follow(node)
    if node.tag == NULL:
        return None
    value = int(stream.number(node, "value"))
    return value >> 16 & 255, value >> 8 & 255, value & 255


@dataclass
class _Rows:
    """Columns in the making: chunks of rows, each with a value or an array."""

    stream: Stream
    n: int = 0
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    metadata: dict[int, dict[str, str]] = field(default_factory=dict)
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
        for name, value in values.items():
            self.columns.setdefault(name, []).append((rows, value))

    def column(self, name: str, shape: tuple[int, ...], dtype: Any, fill: int = 0) -> Any:
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
        if stream.follow(entry.name).tag != NULL:
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
        if entry.locked is not None and stream.follow(entry.locked).tag != NULL:
            self.put(row, locked=bool(stream.number(stream.follow(entry.locked), "value")))
        assert entry.path_class is not None and entry.roi is not None
        self.put(row, class_index=self.class_index(entry.path_class))
        shape, plane = read_roi(stream, entry.roi)
        self.shapes.append((slice(row, row + 1), shape))
        self.put(row, plane=plane)
        if entry.nucleus is not None and stream.follow(entry.nucleus).tag != NULL:
            self.nuclei.append((slice(row, row + 1), read_roi(stream, entry.nucleus)[0]))
        return entry

    def add_bulk(self, bulk: Bulk, parent: int) -> bool:
        """Add many objects at once; False if they have to be added one by one."""
        found = []
        for run in bulk.runs:
            columns = self.read_run(run)
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
            raise FormatError("a path object with a wrong number of children", offset=node.start)
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
            locked = self.each(
                run,
                entry.locked,
                lambda n: int(bool(stream.number(stream.follow(n), "value"))),
            )
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
        if item.tag != OBJECT or item.class_name not in (specs.FLOAT_LIST, specs.DOUBLE_LIST):
            return None
        names, values = stream.child(item, "names"), stream.child(item, "values")
        if names.tag != REFERENCE or not values.is_numbers:
            return None
        distinct, inverse = _distinct(run, names)
        flat, lengths = run.arrays(values)
        starts = np.cumsum(lengths) - lengths
        out: list[tuple[Any, IntArray, Any]] = []
        for i, handle in enumerate(distinct):
            if int(handle) not in self.name_lists:
                items = read_list(stream, stream.node(int(handle)))
                self.name_lists[int(handle)] = self.name_columns([stream.text(n) for n in items])
            columns = self.name_lists[int(handle)]
            chosen = None if len(distinct) == 1 else np.flatnonzero(inverse == i)
            its_lengths = lengths if chosen is None else lengths[chosen]
            if its_lengths.min() < len(columns):
                raise FormatError("fewer measurements than names", offset=run.node.start)
            if chosen is None and (lengths == lengths[0]).all():
                matrix = flat.reshape(len(run), -1)[:, : len(columns)]
            else:
                begin = starts if chosen is None else starts[chosen]
                matrix = flat[begin[:, None] + np.arange(len(columns))]
            out.append((chosen, columns, matrix))
        return out

    def table(self) -> tuple[ObjectTable, IntArray, dict[str, Any]]:
        """Put the columns together."""
        n = self.n
        kind = self.column("kind", (n,), np.uint8)
        known = np.flatnonzero(kind != UNKNOWN)
        matrix = np.full((n, len(self.measurement_names)), np.nan)
        for rows, columns, values in self.measurements:
            if isinstance(rows, np.ndarray):
                matrix[rows[:, None], columns] = values
            else:
                matrix[rows, _as_slice(columns)] = values
        has_id = self.column("has_id", (n,), bool)
        ids = random_ids(n)
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
        )
        if len(known) < n:
            table = table.take(known)
        return table, known, places | {"ids": ids, "has_id": has_id}


def _distinct(run: Run, item: Node) -> tuple[IntArray, IntArray]:
    handles = run.values(">u4", item.start + 1).astype(np.int64) - 0x7E0000
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


def read_hierarchy(stream: Stream, node: Node) -> Hierarchy:
    """Read all objects below the root.

    Parameters
    ----------
    stream
        The whole file.
    node
        The hierarchy in it.

    Raises
    ------
    FormatError
        If an object is not what it should be.
    """
    root = stream.child(node, "rootObject")
    if root.tag != OBJECT or root.class_name != specs.ROOT:
        raise FormatError("a hierarchy without root", offset=node.start)
    entry = take_apart(stream, root)
    rows = _Rows(stream)
    stack: list[tuple[Iterator[Node | Bulk], int]] = [(iter(entry.children), -1)]
    while stack:
        children, parent = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
        elif isinstance(child, Node):
            row = rows.n
            added = rows.add(child, parent)
            if added is not None and added.children:
                stack.append((iter(added.children), row))
        elif not rows.add_bulk(child, parent):
            stack.append((iter(stream.expand([child])), parent))
    table, known, places = rows.table()
    return Hierarchy(
        table=table,
        known=known,
        root=entry,
        nodes=rows.nodes,
        bulks=rows.bulks,
        classes=rows.class_handles,
        stream=stream,
        **places,
    )
