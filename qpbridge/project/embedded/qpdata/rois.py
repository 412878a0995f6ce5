"""QuPath's regions of interest as they are stored: one Java class per kind of shape."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.errors import FormatError
from qpbridge.javastream.alike import repeated
from qpbridge.javastream.build import Builder, Piece, Symbols
from qpbridge.javastream.nodes import OBJECT, PRIMITIVES, Field, Node, Run
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import Bytes, IntArray, big_endian, read_rows, write_rows
from qpbridge.objects import RoiKind, Shapes, offsets
from qpbridge.outlines import crowded, made_valid, tangled
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.wkb import ShapesBuilder, shape_of, write_wkb

CORNERS = {
    java_classes.RECTANGLE: RoiKind.RECTANGLE,
    java_classes.ELLIPSE: RoiKind.ELLIPSE,
    java_classes.LINE: RoiKind.LINE,
}
VERTICES = {
    java_classes.POLYGON: RoiKind.POLYGON,
    java_classes.POLYLINE: RoiKind.POLYLINE,
    java_classes.POINTS: RoiKind.POINTS,
}
CLASSES = {kind: name for name, kind in (CORNERS | VERTICES).items()}
NO_FIELD = Field("", "", 0)
MIN_RING = 4
LEAST = {RoiKind.POLYGON: MIN_RING - 1, RoiKind.POLYLINE: 2, RoiKind.POINTS: 1}
"""Vertices of a shape that is one."""


def read_roi(stream: Stream, node: Node) -> tuple[Shapes, tuple[int, int, int]]:
    """Read one region: its shape, and its plane (c, z, t).

    Raises
    ------
    FormatError
        If it is of an unknown kind, or broken.
    """
    node = stream.follow(node)
    name = node.class_name
    if node.tag != OBJECT:
        raise FormatError("expected a region of interest", offset=node.start)
    plane = tuple(stream.integer(node, letter) for letter in "czt")
    if name in CORNERS:
        corners = [stream.number(node, field) for field in ("x", "y", "x2", "y2")]
        shape = Shapes.corners(CORNERS[name], *corners)
    elif name in VERTICES:
        x, y = (stream.array(stream.child(node, axis)) for axis in "xy")
        if len(x) != len(y):
            raise FormatError("a region with more x than y, or less", offset=node.start)
        with np.errstate(invalid="ignore"):  # what is no number is refused below
            shape = _one_part(VERTICES[name], np.stack([x, y], axis=1).astype(np.float64))
    elif name == java_classes.GEOMETRY:
        shape = _read_wkb([stream.array(stream.child(node, "wkb")).tobytes()], node.start)
    elif name == java_classes.AREA:
        shape = _read_area(stream, node)
    else:
        raise FormatError(f"unknown region of interest {name!r}", offset=node.start)
    if not np.isfinite(shape.coords).all():
        raise FormatError("a region with coordinates that are no numbers", offset=node.start)
    return shape, plane  # type: ignore[return-value]


def _one_part(kind: RoiKind, xy: npt.NDArray[np.float64]) -> Shapes:
    if len(xy) == 0:
        return Shapes.empty(1)
    # Fewer than three vertices make no ring, one makes no line; repeating it is as good as any.
    missing = max(LEAST[kind] - len(xy), 0) + (kind is RoiKind.POLYGON)
    xy = np.concatenate([xy, np.repeat(xy[:1], missing, axis=0)])
    one = np.array([0, 1], np.int64)
    return Shapes(np.array([kind], np.uint8), xy, offsets([len(xy)]), one, one)


def _read_wkb(wkb: Iterable[bytes], at: int) -> Shapes:
    builder = ShapesBuilder()
    try:
        for one in wkb:
            builder.read(one)
    except ValueError:
        raise FormatError("a region that is not well-known binary", offset=at) from None
    return builder.shapes()


def _read_area(stream: Stream, node: Node) -> Shapes:
    """Read Java's `Area` as QuPath stored it once: rings, the inside by the non-zero rule."""
    xs, ys = (stream.elements(stream.child(node, axis)) for axis in "xy")
    rings = []
    for x_node, y_node in zip(xs, ys, strict=False):
        x, y = stream.array(x_node), stream.array(y_node)
        if len(x) != len(y):
            raise FormatError("a region with more x than y, or less", offset=node.start)
        xy = np.stack([x, y], axis=1).astype(np.float64)
        if len(xy) >= MIN_RING - 1 and np.isfinite(xy).all():
            rings.append(shapely.LinearRing(xy))
    if not rings:
        return Shapes.empty(1)
    outlines = shapely.polygons(rings)
    if crowded(outlines) or tangled(outlines).any():
        raise FormatError("a region whose outlines cross far too often", offset=node.start)
    lines = shapely.union_all(rings)
    faces = shapely.get_parts(shapely.polygonize([lines]))
    tree = shapely.STRtree(made_valid(outlines))
    face, ring = tree.query(shapely.point_on_surface(faces), predicate="within")
    turns = np.where(shapely.is_ccw(rings), 1.0, -1.0)
    winding = np.bincount(face, turns[ring], minlength=len(faces))
    return shape_of(shapely.union_all(faces[winding != 0]))


def read_rois(run: Run, node: Node) -> tuple[Shapes, npt.NDArray[np.int32]] | None:
    """Read the regions of many objects at once.

    Parameters
    ----------
    run
        The objects.
    node
        The region in the object that stands for them.

    Returns
    -------
    tuple or None
        The shapes, and their planes, int32 (n, 3); None if they have to be read one by one.
    """
    found = _read_rois(run, node)
    return found if found is not None and np.isfinite(found[0].coords).all() else None


def _read_rois(run: Run, node: Node) -> tuple[Shapes, npt.NDArray[np.int32]] | None:
    name = node.class_name
    if node.tag != OBJECT or name not in (*CORNERS, *VERTICES, java_classes.GEOMETRY):
        return None
    part = node.parts[-1]
    fields = {field.name: field for field in part.desc.fields}

    letters = (
        {"x": "D", "x2": "D", "y": "D", "y2": "D"} if name in CORNERS else {"x": "[", "y": "["}
    )
    if name == java_classes.GEOMETRY:
        letters = {"wkb": "["}
    letters |= {"c": "I", "z": "I", "t": "I"}
    if any(fields.get(n, NO_FIELD).type != letter for n, letter in letters.items()):
        return None

    def column(name: str, dtype: str) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = run.values(dtype, part.at + fields[name].at)
        return values

    plane = np.stack([column(letter, ">i4") for letter in "czt"], axis=1).astype(np.int32)
    n = len(run)
    if name in CORNERS:
        columns = [column(c, ">f8") for c in ("x", "y", "x2", "y2")]
        count = np.arange(n + 1, dtype=np.int64)
        corners = np.stack(columns, axis=1).astype(np.float64).reshape(-1, 2)
        kinds = np.full(n, CORNERS[name], np.uint8)
        return Shapes(kinds, corners, count * 2, count, count), plane
    if name == java_classes.GEOMETRY:
        wkb = part.fields[fields["wkb"].at]
        if not wkb.is_numbers or wkb.class_name != "[B":
            return None
        starts, sizes = run.arrays(wkb)
        bounds = zip(starts.tolist(), (starts + sizes).tolist(), strict=True)
        return _read_wkb((run.data[a:b] for a, b in bounds), node.start), plane
    x_node, y_node = (part.fields[fields[axis].at] for axis in "xy")
    if not (x_node.is_numbers and y_node.is_numbers):
        return None
    x_at, lengths = run.arrays(x_node)
    y_at, others = run.arrays(y_node)
    kind = VERTICES[name]
    if (lengths != others).any() or lengths.min() < LEAST[kind]:
        return None
    count = np.arange(n + 1, dtype=np.int64)
    kinds = np.full(n, kind, np.uint8)
    closing = 1 if kind is RoiKind.POLYGON else 0
    rings = offsets(lengths + closing)
    xy = np.empty((int(rings[-1]), 2))
    letter = x_node.class_name[1], y_node.class_name[1]
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        ring = np.empty((len(rows), int(length) + closing, 2))
        for axis, at in enumerate((x_at, y_at)):
            dtype = PRIMITIVES[letter[axis]]
            values = read_rows(run.data, at[rows], int(length) * dtype.itemsize)
            with np.errstate(invalid="ignore"):  # what is no number is refused by the caller
                ring[:, :length, axis] = values.view(dtype)
        ring[:, length:] = ring[:, :1] if closing else 0
        write_rows(xy.reshape(-1).view(np.uint8), rings[rows] * 16, ring)
    return Shapes(kinds, xy, rings, count, count), plane


def write_roi(builder: Builder, shapes: Shapes, row: int, plane: npt.ArrayLike) -> None:
    """Write one region.

    Raises
    ------
    ValueError
        If it has no shape.
    """
    kind = RoiKind(shapes.roi[row])
    c, z, t = (int(value) for value in np.asarray(plane))
    if kind is RoiKind.EMPTY:
        raise ValueError("an object without shape can't be stored")
    if kind in (RoiKind.GEOMETRY, RoiKind.LINES):
        builder.begin(java_classes.GEOMETRY)
        builder.raw(struct.pack(">3i", c, t, z))
        builder.null()
        return builder.numbers("B", np.frombuffer(write_wkb(shapes, row), np.int8))
    first = shapes.rings[shapes.parts[shapes.objects[row]]]
    last = shapes.rings[shapes.parts[shapes.objects[row]] + 1]
    xy = shapes.coords[first:last]
    name = CLASSES[kind]
    builder.begin(name)
    if name in CORNERS:
        (x, y), (x2, y2) = xy
        builder.raw(struct.pack(">2i4di", c, t, x, x2, y, y2, z))
        return builder.null()
    builder.raw(struct.pack(">3i", c, t, z))
    if kind is not RoiKind.POLYLINE:
        builder.null()
    if kind is RoiKind.POLYGON:
        builder.null()
        xy = xy[:-1]
    builder.numbers("F", xy[:, 0])
    builder.numbers("F", xy[:, 1])
    return None


def write_rois(
    symbols: Symbols, shapes: Shapes, plane: npt.NDArray[np.int32], rows: IntArray
) -> Iterator[tuple[IntArray, Piece, Callable[[slice], Bytes]]]:
    """Write many regions, one form after the other.

    Parameters
    ----------
    symbols
        What they can refer to.
    shapes, plane
        Shapes, none of them empty, and planes (c, z, t), int32 (n, 3).
    rows
        Which to write.

    Yields
    ------
    some
        int64 (m,), those of `rows` that are of one form.
    piece
        The first of them.
    fill
        From a stretch of the m to their bytes, as of `Alike`.
    """
    text = np.isin(shapes.roi[rows], (RoiKind.GEOMETRY, RoiKind.LINES))
    binary = {row: write_wkb(shapes, row) for row in rows[text].tolist()}
    sizes = np.diff(shapes.rings[shapes.parts[shapes.objects]])[rows]
    sizes[text] = [len(wkb) for wkb in binary.values()]
    forms = np.stack([shapes.roi[rows], sizes], axis=1)
    _, form = np.unique(forms, axis=0, return_inverse=True)
    order = np.argsort(form, kind="stable")
    for some in np.split(rows[order], np.flatnonzero(np.diff(form[order])) + 1):
        if not len(some):
            continue
        builder = Builder(symbols)
        write_roi(builder, shapes, int(some[0]), plane[some[0]])
        piece = builder.piece()
        yield some, piece, partial(_filled, piece, shapes, plane, binary, some)


def _filled(
    piece: Piece,
    shapes: Shapes,
    plane: npt.NDArray[np.int32],
    binary: Mapping[int, bytes],
    rows: IntArray,
    some: slice,
) -> Bytes:
    """Make regions of one form, as `write_roi` does, uint8 (m, size)."""
    rows = rows[some]
    out = repeated(piece, len(rows))
    planes = big_endian(plane[rows][:, [0, 2, 1]], ">i4")
    first = shapes.rings[shapes.parts[shapes.objects[rows]]]
    kind = RoiKind(shapes.roi[rows[0]])
    # The numbers come behind tag and class, which are six bytes.
    if kind in CORNERS.values():
        corners = shapes.coords[first[:, None] + np.arange(2)].transpose(0, 2, 1)
        out[:, 6:50] = np.hstack([planes[:, :8], big_endian(corners, ">f8"), planes[:, 8:]])
        return out
    out[:, 6:18] = planes
    if kind in VERTICES.values():
        ring = int(shapes.rings[shapes.parts[shapes.objects[rows[0]]] + 1] - first[0])
        index = np.arange(ring - 1 if kind is RoiKind.POLYGON else ring)
        fill_vertices(out, shapes.coords[first[:, None] + index])
    else:
        wkb = np.frombuffer(b"".join(binary[row] for row in rows.tolist()), np.uint8)
        wkb = wkb.reshape(len(rows), -1)
        out[:, -wkb.shape[1] :] = wkb
    return out


def fill_vertices(matrix: Bytes, xy: npt.NDArray[np.float64]) -> None:
    """Set the vertices (n, k, 2) of regions that rows of bytes (n, size) end with."""
    size = 4 * xy.shape[1]
    matrix[:, -size:] = big_endian(xy[:, :, 1], ">f4")
    end = matrix.shape[1] - size - 10  # before y are its class, and how many there are
    matrix[:, end - size : end] = big_endian(xy[:, :, 0], ">f4")
