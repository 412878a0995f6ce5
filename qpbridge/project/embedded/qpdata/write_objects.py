"""Writing path objects: a template for each form, and numpy for the many that share one."""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.ids import id_text
from qpbridge.javastream.build import Builder, Content, Piece, Symbols
from qpbridge.javastream.strided import Bytes, IntArray, big_endian, write_rows
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, RoiKind, Shapes, offsets
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.object_parts import OBJECT_ID
from qpbridge.project.embedded.qpdata.rois import fill_vertices, write_roi

SHARED_LIST_KINDS = (ObjectKind.DETECTION, ObjectKind.CELL, ObjectKind.TILE)


def write_integer(builder: Builder, value: int) -> None:
    """Write a new ``java.lang.Integer``."""
    builder.begin("java.lang.Integer")
    builder.raw(struct.pack(">I", value & 0xFFFFFFFF))


def write_boolean(builder: Builder, value: bool) -> None:
    """Write a reference to the one ``java.lang.Boolean`` of that value."""

    def build(one: Builder) -> None:
        one.begin("java.lang.Boolean")
        one.raw(bytes([value]))

    builder.reference(builder.symbols.shared(("Boolean", value), build))


def write_color(builder: Builder, color: tuple[int, int, int] | None) -> None:
    """Write a colour as QuPath packs it, opaque; or null."""
    if color is None:
        return builder.null()
    red, green, blue = color
    return write_integer(builder, 0xFF000000 | red << 16 | green << 8 | blue)


def write_metadata(builder: Builder, metadata: Mapping[str, str]) -> int:
    """Write a metadata map; returns where the last value's characters begin."""
    symbols = builder.symbols
    builder.begin(java_classes.METADATA)
    builder.reference(symbols.shared(("Integer", 1), lambda one: write_integer(one, 1)))
    builder.begin_array("[Ljava.lang.Object;", len(metadata))
    for key in metadata:
        if key == OBJECT_ID:
            builder.reference(symbols.text(OBJECT_ID))
        else:
            builder.text(key)
    builder.begin_array("[Ljava.lang.Object;", len(metadata))
    at = 0
    for value in metadata.values():
        at = len(builder.out) + 3
        builder.text(value)
    builder.end()
    return at


def write_list(builder: Builder, length: int) -> None:
    """Begin an ``ArrayList``; its elements and `Builder.end` follow."""
    builder.begin("java.util.ArrayList")
    builder.raw(struct.pack(">i", length))
    builder.block(struct.pack(">i", length))


def write_measurements(builder: Builder, measurements: Mapping[str, float]) -> list[int]:
    """Write the measurement list of an annotation, in double precision; null if it is empty.

    Returns
    -------
    places
        Where the values are.
    """
    if not measurements:
        builder.null()
        return []
    places = []
    builder.begin(java_classes.MEASUREMENT_LIST)
    write_list(builder, len(measurements))
    for name, value in measurements.items():
        builder.begin(java_classes.DOUBLE_MEASUREMENT)
        places.append(len(builder.out))
        builder.raw(struct.pack(">d", value))
        builder.reference(builder.symbols.text(name))
    builder.end()
    return places


def write_class(
    builder: Builder, path_class: PathClass | None, known: Mapping[PathClass, int]
) -> None:
    """Write a reference to a class, or null; `known` has handles of those in the stream."""
    if path_class is None:
        return builder.null()
    return builder.reference(_class_symbol(builder.symbols, path_class, known))


def _class_symbol(symbols: Symbols, path_class: PathClass, known: Mapping[PathClass, int]) -> int:
    if path_class in known:
        return known[path_class]

    def build(builder: Builder) -> None:
        builder.begin(java_classes.PATH_CLASS)
        write_color(builder, path_class.color)
        builder.text(path_class.names[-1])
        above = path_class.names[:-1]
        write_class(builder, PathClass(above) if above else None, known)

    return symbols.shared(("PathClass", path_class), build)


def write_names(symbols: Symbols, names: tuple[str, ...]) -> int:
    """Return the symbol of a list of names that many objects share."""

    def build(builder: Builder) -> None:
        write_list(builder, len(names))
        for name in names:
            builder.reference(builder.symbols.text(name))
        builder.end()

    return symbols.shared(("names", names), build)


class RecordWriter:
    """Writes the objects of a table.

    Parameters
    ----------
    symbols
        What the new objects can refer to.
    table
        The objects.
    classes
        Handles of classes that are in the stream already.
    """

    def __init__(
        self, symbols: Symbols, table: ObjectTable, classes: Mapping[PathClass, int]
    ) -> None:
        self.symbols = symbols
        self.table = table
        self.known_classes = classes
        order = np.argsort(table.parent, kind="stable")
        self._by_parent = order
        self._parents = table.parent[order]
        self._columns = table.carried()
        self._simple = self._is_simple()
        self._templates: dict[tuple[int, ...], _Template] = {}

    def children(self, row: int) -> IntArray:
        """Rows of the children of an object, in order."""
        first, last = np.searchsorted(self._parents, (row, row + 1))
        return self._by_parent[first:last]

    def write(self, rows: IntArray) -> list[Content]:
        """Write objects that are siblings, each with all below it."""
        simple = self._simple
        out: list[Content] = []
        builder = Builder(self.symbols)
        # What is left to write, last first: sibling rows, or the tail of an object by its row.
        stack: list[IntArray | int] = [rows]
        while stack:
            item = stack.pop()
            if isinstance(item, int):
                self._tail(builder, item)
            elif len(item) and simple[item[0]]:
                split = int(np.argmin(simple[item])) or len(item)
                out += [builder.piece(), self._many(item[:split])]
                builder = Builder(self.symbols)
                stack.append(item[split:])
            elif len(item):
                row = int(item[0])
                children = self.children(row)
                self._head(builder, row, len(children))
                stack += [item[1:], row, children]
        return [*out, builder.piece()]

    def _is_simple(self) -> npt.NDArray[np.bool_]:
        """Whether an object is a leaf of a form that many may share."""
        table = self.table
        simple: npt.NDArray[np.bool_] = np.isin(table.kind, SHARED_LIST_KINDS) & (
            table.shapes.roi == RoiKind.POLYGON
        )
        simple[table.parent[table.parent >= 0]] = False
        for column in (table.names, table.colors, table.metadata):
            simple[list(column)] = False
        if table.nuclei is not None:
            simple &= np.isin(table.nuclei.roi, (RoiKind.POLYGON, RoiKind.EMPTY))
        return simple

    def _names(self, kind: ObjectKind) -> int:
        names = tuple(self.table.measurement_names[i] for i in self._columns[kind])
        return write_names(self.symbols, names)

    def _head(self, builder: Builder, row: int, n_children: int) -> tuple[int, int]:
        """Write what comes before the children; returns the places of the id and the values."""
        table = self.table
        kind = ObjectKind(table.kind[row])
        builder.begin(java_classes.CLASS_OF_KIND[kind])
        builder.text(table.names.get(row))
        write_color(builder, table.colors.get(row))
        id_at = write_metadata(
            builder,
            {**table.metadata.get(row, {}), OBJECT_ID: id_text(table.ids[row])},
        )
        values_at = -1
        columns = self._columns[kind]
        values = table.measurements[row, columns]
        if kind in SHARED_LIST_KINDS and len(values):
            builder.begin(java_classes.FLOAT_LIST)
            builder.raw(b"\0")
            builder.null()
            builder.reference(self._names(kind))
            builder.numbers("F", values)
            values_at = len(builder.out) - 4 * len(values)
        elif kind in SHARED_LIST_KINDS:
            builder.null()
        else:
            present = columns[~np.isnan(values)]
            write_measurements(
                builder,
                {table.measurement_names[i]: float(table.measurements[row, i]) for i in present},
            )
        builder.block(struct.pack(">i", n_children))
        return id_at, values_at

    def _tail(self, builder: Builder, row: int) -> tuple[int, int]:
        """Write what comes behind the children; returns where the region and nucleus begin."""
        table = self.table
        kind = ObjectKind(table.kind[row])
        write_boolean(builder, bool(table.locked[row]))
        write_class(builder, table.path_class(row), self.known_classes)
        roi_at = len(builder.out)
        write_roi(builder, table.shapes, row, table.plane[row])
        probability = np.nan if table.probability is None else table.probability[row]
        is_core = kind is ObjectKind.TMA_CORE
        builder.block(
            struct.pack(">d", probability) + (bytes([row in table.missing]) if is_core else b"")
        )
        nucleus_at = len(builder.out)
        if kind is ObjectKind.CELL:
            if table.nuclei is None or table.nuclei.roi[row] == RoiKind.EMPTY:
                builder.null()
            else:
                write_roi(builder, table.nuclei, row, table.plane[row])
        builder.end()
        return roi_at, nucleus_at

    def _template(self, key: tuple[int, ...], row: int) -> _Template:
        if key not in self._templates:
            self._templates[key] = _Template(self, row)
        return self._templates[key]

    def _many(self, rows: IntArray) -> Piece:
        """Write many simple objects at once."""
        table = self.table
        first, vertices = _rings(table.shapes, rows)
        nucleus_first, nucleus_vertices = np.zeros_like(first), np.zeros_like(vertices)
        if table.nuclei is not None:
            nucleus_first, nucleus_vertices = _rings(table.nuclei, rows)
        columns = (table.kind, table.class_index, table.locked)
        keys = [*(c[rows].astype(np.int64) for c in columns), vertices, nucleus_vertices]
        forms, form = _distinct_rows(*keys)
        templates = [
            self._template(tuple(int(key[i]) for key in keys), int(rows[i])) for i in forms
        ]
        sizes = np.array([len(t.piece.data) for t in templates])[form]
        references = np.array([len(t.piece.references) for t in templates])[form]
        handles = np.array([len(t.piece.handle_places) for t in templates])[form]
        starts, reference_starts, handle_starts = map(offsets, (sizes, references, handles))
        out = np.empty(int(starts[-1]), np.uint8)
        reference_places = np.empty(int(reference_starts[-1]), np.int64)
        targets = np.empty(len(reference_places), np.int64)
        handle_places = np.empty(int(handle_starts[-1]), np.int64)
        ids = format_ids(table.ids[rows])
        planes = big_endian(table.plane[rows][:, [0, 2, 1]], ">i4")
        order = np.argsort(form, kind="stable")
        for i, chosen in enumerate(np.split(order, np.cumsum(np.bincount(form))[:-1])):
            template = templates[i]
            piece = template.piece
            where = starts[chosen]
            matrix = np.tile(np.frombuffer(piece.data, np.uint8), (len(chosen), 1))
            carried = self._columns[int(table.kind[rows[chosen[0]]])]
            block = table.measurements[rows[chosen]]
            if len(carried) < block.shape[1]:
                block = block[:, carried]
            values = big_endian(block, ">f4")
            template.fill(matrix, ids[chosen], values, planes[chosen])
            if table.probability is not None:
                sure = big_endian(table.probability[rows[chosen], None], ">f8")
                matrix[:, template.probability_at : template.probability_at + 8] = sure
            template.fill_roi(matrix, template.roi_at, table.shapes, first[chosen])
            if template.nucleus_at >= 0 and table.nuclei is not None:
                template.fill_roi(matrix, template.nucleus_at, table.nuclei, nucleus_first[chosen])
                matrix[:, template.nucleus_at + 6 : template.nucleus_at + 18] = planes[chosen]
            write_rows(out, where, matrix)
            for column, begin, values_of_piece in (
                (reference_places, reference_starts, where[:, None] + piece.reference_places),
                (targets, reference_starts, np.tile(piece.references, (len(chosen), 1))),
                (handle_places, handle_starts, where[:, None] + piece.handle_places),
            ):
                write_rows(column.view(np.uint8), begin[chosen] * 8, values_of_piece)
        return Piece(
            out,
            reference_places,
            targets,
            handle_places,
            self.symbols.allocate(len(handle_places)),
        )


class _Template:
    """One object of a form, and the places of its values."""

    def __init__(self, writer: RecordWriter, row: int) -> None:
        builder = Builder(writer.symbols)
        self.id_at, self.values_at = writer._head(builder, row, 0)
        self.roi_at, self.nucleus_at = writer._tail(builder, row)
        self.probability_at = self.nucleus_at - 8
        if builder.out[self.nucleus_at] != ord("s"):
            self.nucleus_at = -1
        self.piece = builder.piece()

    def fill(self, matrix: Bytes, ids: Bytes, values: Bytes, planes: Bytes) -> None:
        """Set ids, measurements and planes; a row for each object."""
        matrix[:, self.id_at : self.id_at + 36] = ids
        if self.values_at >= 0:
            matrix[:, self.values_at : self.values_at + values.shape[1]] = values
        matrix[:, self.roi_at + 6 : self.roi_at + 18] = planes

    def fill_roi(self, matrix: Bytes, at: int, shapes: Shapes, first: IntArray) -> None:
        """Set the vertices of a polygon that begins at `at`."""
        # class (6), plane (12), name and stats (2); then for x and y: class (6), length (4), values
        n = int.from_bytes(matrix[0, at + 26 : at + 30].tobytes(), "big")
        end = at + 20 + 2 * (10 + 4 * n)
        fill_vertices(matrix[:, :end], shapes.coords[first[:, None] + np.arange(n)])


def _rings(shapes: Shapes, rows: IntArray) -> tuple[IntArray, IntArray]:
    """First vertex and number of vertices (the first not repeated) of simple polygons."""
    if not len(shapes.rings) - 1:
        return np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    parts = shapes.objects[rows]
    filled = shapes.objects[rows + 1] > parts
    ring = shapes.parts[np.where(filled, parts, 0)]
    first = shapes.rings[ring]
    return first, np.where(filled, shapes.rings[ring + 1] - first - 1, 0)


def _distinct_rows(*columns: IntArray) -> tuple[IntArray, IntArray]:
    """First index of each distinct combination of small numbers, and which one each row has."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        _, code = np.unique(column, return_inverse=True)
        key = key * (int(code.max()) + 1) + code
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return first, inverse


_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_GROUPS = (8, 4, 4, 4, 12)


def format_ids(ids: npt.NDArray[np.uint8]) -> Bytes:
    """Turn UUIDs (n, 16) into their texts, uint8 (n, 36)."""
    digits = np.empty((len(ids), 32), np.uint8)
    digits[:, 0::2] = _HEX[ids >> 4]
    digits[:, 1::2] = _HEX[ids & 15]
    out = np.full((len(ids), 36), ord("-"), np.uint8)
    source = target = 0
    for size in _GROUPS:
        out[:, target : target + size] = digits[:, source : source + size]
        source += size
        target += size + 1
    return out


def root_rows(table: ObjectTable) -> IntArray:
    """Rows without parent in the table."""
    return np.flatnonzero(table.parent < 0)
