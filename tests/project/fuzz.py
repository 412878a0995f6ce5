"""Files that lie: mutations of data files that know the structure, and what must hold for each.

A mutant is named by its sample and a number, and the same at every run. By hand, for hours::

    PYTHONPATH=.:tests python -m project.fuzz FIRST COUNT [SAMPLE]
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from unittest import mock

import numpy as np
import shapely
from project.processes import Trouble, run_guarded
from project.tables import TUMOR, file_of, many_cells

from qpbridge.errors import FormatError
from qpbridge.ids import random_ids
from qpbridge.javastream.build import Builder, Content, Span, Symbols
from qpbridge.javastream.nodes import (
    BASE_HANDLE,
    CLASSDESC,
    OBJECT,
    PRIMITIVES,
    REFERENCE,
    STRING,
    Node,
    inner_nodes,
)
from qpbridge.javastream.stream import Stream, parse
from qpbridge.javastream.templates import OFTEN
from qpbridge.javastream.text import encode_text
from qpbridge.javastream.write import Changes
from qpbridge.objects import (
    ImageType,
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata import image_level, java_classes
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.embedded.qpdata.object_parts import BLOCKS
from qpbridge.project.embedded.qpdata.write_objects import write_integer, write_list, write_metadata
from qpbridge.project.interface import AnnotationUpdate, Edit, ImageData, WorkflowStep

# --- samples ----------------------------------------------------------------------------------


def _annotations() -> ObjectTable:
    holed = shapely.box(0, 0, 90, 90).difference(shapely.box(10, 10, 20, 20))
    geometries = [
        shapely.box(0, 0, 9, 9),
        holed,
        shapely.MultiPolygon([holed, shapely.box(100, 0, 101, 1)]),
        shapely.MultiLineString([[(0, 0), (1, 2.5)], [(3, 3), (4, 4), (5, 3)]]),
        shapely.MultiPoint([(1, 1), (2, 5)]),
        shapely.LineString([(0, 0), (3, 3), (9, 0)]),
    ]
    corners = [
        Shapes.corners(kind, 1, 2, 30, 40)
        for kind in (RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.LINE)
    ]
    shapes = concatenate_shapes([Shapes.from_geometries(geometries), *corners])
    table = ObjectTable.new(
        ObjectKind.ANNOTATION,
        shapes,
        measurement_names=["Area", "µ"],
        measurements=np.arange(2.0 * len(shapes)).reshape(-1, 2),
    )
    return replace(
        table,
        kind=np.array([0] * 7 + [ObjectKind.TMA_CORE] * 2, np.uint8),
        classes=(TUMOR, PathClass(("Tumor", "Positive"))),
        class_index=np.array([-1, 0, 1] * 3, np.int32),
        parent=np.array([-1, 0, 1, 1, -1, 4, 0, -1, -1]),
        names={0: "first", 3: "", 7: "A-1"},
        colors={2: (1, 2, 3)},
        metadata={1: {"key": "value", "µ": "名"}, 4: {"": "empty"}},
        locked=np.arange(9) % 2 > 0,
    )


def _tiles(n: int) -> ObjectTable:
    boxes = Shapes.from_geometries([shapely.box(i, 0, i + 1, 1) for i in range(n)])
    names = [f"feature {i}" for i in range(5)]
    values = np.arange(5.0 * n).reshape(n, 5)
    return ObjectTable.new(
        ObjectKind.TILE, boxes, measurement_names=names, measurements=values, path_class=TUMOR
    )


@cache
def samples() -> dict[str, bytes]:
    """Small files of all that qpbridge writes, made anew at every run but for their ids."""
    random_state = np.random.default_rng(7)

    def known_ids(table: ObjectTable) -> ObjectTable:
        ids = random_state.integers(0, 256, (len(table), 16)).astype(np.uint8)
        return replace(table, ids=ids)

    annotations, cells = known_ids(_annotations()), known_ids(many_cells(30))
    made = file_of(annotations)
    step = WorkflowStep("Segment µ", "runScript('a');", {"model": "nuclei_he", "": "x"})
    made = apply_edit(made, Edit(steps=[step, step], image_type=ImageType.BRIGHTFIELD_H_E))
    below = np.repeat(annotations.ids[:1], len(cells), axis=0)
    return {
        "annotations": made,
        "cells": apply_edit(made, Edit(add=cells, add_below=below)),
        "forms": file_of(known_ids(many_cells(70, seed=1))),
        "tiles": file_of(known_ids(_tiles(OFTEN + 30))),
        "bare": apply_edit(None, Edit(image_type=ImageType.BRIGHTFIELD_H_DAB), entry_id="p::1"),
    }


def golden_samples(shared: Path) -> dict[str, bytes]:
    """The files of real QuPath versions."""
    folder = shared / "qupath" / "golden"
    paths = sorted(folder.glob("*/*/project/data/*/data.qpdata"))
    names = ["/".join((*p.relative_to(folder).parts[:2], p.parts[-2])) for p in paths]
    return {name: path.read_bytes() for name, path in zip(names, paths, strict=True)}


# --- mutations --------------------------------------------------------------------------------

NUMBERS = (0, 1, 2, 3, 4, 5, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -1, -2, -128)
FLOATS = tuple(map(float, ("nan", "inf", "-inf", "1e308", "-1e308", "-0.0", "5e-324", "1e9", "0")))
TEXTS = (
    *("", "a", "\0", "\ud800", "😀", "x" * 300, "é" * 40_000, "0" * 36, ":", "Tumor", "Object ID"),
    *("e58ed763-928c-4155-bee9-fdbaaadc15f3", "E58ED763-928C-4155-BEE9-FDBAAADC15F3"),
    *("urn:uuid:e58ed763928c4155bee9fdbaaadc15f3", "[" * 3000, '{"a":' * 3000, "\x1b[2J", "NaN"),
    '{"Name" : "H&E", "Values 1" : "nan inf 1", "Background" : "1 2 3"}',
    '{"Name" : "H&E", "Values 1" : "0 0 0", "Background" : "1e999 2 3"}',
    '"' * 50 + '\\"' * 50,
)
CLASSES = (
    *java_classes.SPECS,
    *(
        "java.lang.Integer",
        "java.lang.Double",
        "java.lang.Long",
        "java.util.Collections$SingletonMap",
    ),
    *(
        "java.util.Collections$UnmodifiableRandomAccessList",
        "java.util.CollSer",
        "java.lang.Runtime",
    ),
    *(
        "[I",
        "[Z",
        "[J",
        "[[F",
        "[Q",
        "[",
        "",
        java_classes.AREA,
        java_classes.PLUGIN_STEP,
        java_classes.CLASSIFIER_STEP,
    ),
    *(
        java_classes.DOUBLE_LIST,
        java_classes.FLOAT_MEASUREMENT,
        "org.apache.commons.collections.Transformer",
    ),
)


class Mutator:
    """Makes one mutant of a file."""

    def __init__(self, data: bytes, choose: random.Random) -> None:
        self.data = data
        self.choose = choose
        self.stream: Stream = parse(data, bulk=False)
        self.nodes = [
            node
            for content in self.stream.expand(self.stream.contents)
            for node in inner_nodes(content)
            if isinstance(node, Node)
        ]

    def pick(self, test: Callable[[Node], bool]) -> Node | None:
        """Choose a node."""
        found = [node for node in self.nodes if test(node)]
        return self.choose.choice(found) if found else None

    # Bytes, after which handles and lengths may be wrong.

    def truncate(self) -> bytes:
        return self.data[: self.choose.randrange(len(self.data))]

    def flip(self) -> bytes:
        out = bytearray(self.data)
        for _ in range(self.choose.randint(1, 4)):
            out[self.choose.randrange(len(out))] = self.choose.randrange(256)
        return bytes(out)

    def overwrite(self, at: int, size: int) -> bytes:
        number = self.choose.choice(NUMBERS) & ((1 << 8 * size) - 1)
        return self.data[:at] + number.to_bytes(size, "big") + self.data[at + size :]

    def number_anywhere(self) -> bytes:
        size = self.choose.choice((1, 2, 4, 8))
        return self.overwrite(self.choose.randrange(len(self.data) - size), size)

    def splice(self) -> bytes:
        a, b = sorted(self.choose.choice(self.nodes).start for _ in "ab")
        c = self.choose.choice(self.nodes)
        put = self.data[c.start : c.end] if len(self.data) < 100_000 else b""
        return self.data[:a] + put + self.data[self.choose.choice((a, b)) :]

    def length(self) -> bytes:
        node = self.pick(lambda n: n.tag == STRING or n.is_numbers or n.tag in BLOCKS)
        if node is None:
            return self.flip()
        if node.is_numbers:
            size = PRIMITIVES[node.class_name[1]].itemsize
            return self.overwrite(node.end - node.value * size - 4, 4)
        size = 2 if node.tag == STRING else 1
        return self.overwrite(node.value - size, size)

    def content(self) -> bytes:
        """Change numbers: primitive fields, array contents, blocks (number of children ...)."""
        node = self.pick(
            lambda n: n.tag in BLOCKS or n.is_numbers or any(p.desc.size for p in n.parts)
        )
        if node is None:
            return self.flip()
        places: list[tuple[int, int, bool]] = []
        if node.is_numbers:
            dtype = PRIMITIVES[node.class_name[1]]
            first = node.end - node.value * dtype.itemsize
            places += [
                (at, dtype.itemsize, dtype.kind == "f")
                for at in range(first, node.end, dtype.itemsize)
            ]
        elif node.tag in BLOCKS:
            places += [(at, 4, False) for at in range(node.value, node.end - 3)] or [
                (node.start, 1, False)
            ]
        for part in node.parts:
            for field in part.desc.fields:
                if field.type in PRIMITIVES:
                    dtype = PRIMITIVES[field.type]
                    places.append((part.at + field.at, dtype.itemsize, dtype.kind == "f"))
        at, size, is_float = self.choose.choice(places or [(4, 1, False)])
        if is_float and self.choose.random() < 0.7:
            with np.errstate(over="ignore"):
                raw = np.array(self.choose.choice(FLOATS)).astype(f">f{size}").tobytes()
            return self.data[:at] + raw + self.data[at + size :]
        return self.overwrite(at, size)

    def retarget(self) -> bytes:
        at = self.choose.choice(self.stream.references)
        handle = int.from_bytes(self.data[at : at + 4], "big") - BASE_HANDLE
        ways = (
            handle - 1,
            handle + 1,
            0,
            self.stream.handle_count,
            self.choose.randrange(self.stream.handle_count),
        )
        target = (self.choose.choice(ways) + BASE_HANDLE) & 0xFFFFFFFF
        return self.data[:at] + target.to_bytes(4, "big") + self.data[at + 4 :]

    def retype(self) -> bytes:
        """Change a class: its name, flags, or what it says of its fields."""
        node = self.choose.choice(self.stream.classes)
        out = self.data
        name_size = int.from_bytes(out[node.start + 1 : node.start + 3], "big")
        after = node.start + 3 + name_size
        way = self.choose.randrange(4)
        if way == 0:
            name = encode_text(self.choose.choice(CLASSES))
            return out[: node.start + 1] + struct.pack(">H", len(name)) + name + out[after:]
        if way == 1:
            flags = self.choose.choice((0, 1, 2, 3, 4, 8, 0x0C, 0x12, 0xFF))
            return out[: after + 8] + bytes([flags]) + out[after + 9 :]
        if way == 2:
            return self.overwrite(after + 9, 2)
        letter = self.choose.choice("BCDFIJSZL[Q")
        return out[: after + 11] + letter.encode() + out[after + 12 :]

    # Structure: the result parses, and means something else.

    def rewrite(self) -> bytes:
        """Delete, double, exchange or replace contents; references keep their targets."""
        symbols = Symbols(self.stream, java_classes.SPECS)
        changes = Changes(symbols)

        def whole(node: Node) -> Span:
            return Span(node.start, node.end, node.tag == CLASSDESC)

        wanted = self.choose.choice((OBJECT, None, None, STRING, REFERENCE))
        fit = partial(_is_movable, wanted=wanted)
        node, other = self.pick(fit), self.pick(fit)
        if node is None or other is None:
            return self.flip()
        way = self.choose.randrange(8)
        new: list[Content] = []
        if way == 1:
            new = [whole(node), whole(node)]
        elif way in (2, 3):
            new = [whole(other)]
            if way == 3 and (other.end <= node.start or node.end <= other.start):
                changes.replace(other.start, other.end, [whole(node)])
        elif way > 3:
            builder = Builder(symbols)
            self._write_anything(builder, node)
            new = [builder.piece()]
            if way == 7:
                new.append(whole(node))
        changes.replace(node.start, node.end, new)
        return changes.apply()

    def _write_anything(self, builder: Builder, node: Node) -> None:
        choose = self.choose
        way = choose.randrange(10)
        if way == 0:
            builder.null()
        elif way == 1:
            builder.reference(choose.randrange(self.stream.handle_count))
        elif way == 2:
            builder.text(choose.choice(TEXTS))
        elif way == 3:
            write_integer(builder, choose.choice(NUMBERS))
        elif way == 4:
            write_metadata(builder, {choose.choice(TEXTS): choose.choice(TEXTS) for _ in "abc"})
        elif way == 5:
            builder.numbers(choose.choice("BDF"), [0] * choose.randrange(9))
        elif way == 6:
            for _ in range(depth := choose.choice((1, 2, 70, 2000))):
                write_list(builder, 1)
            builder.null()
            for _ in range(depth):
                builder.end()
        elif way == 7:
            builder.block(bytes(choose.randrange(20)))
        elif way == 8:
            builder.numbers("B", np.frombuffer(hostile_wkb(choose), np.int8))
        else:
            builder.begin(choose.choice([n for n in java_classes.SPECS if n[0] != "["]))

    def text(self) -> bytes:
        """Replace a text, with the right length."""
        node = self.pick(lambda n: n.tag == STRING)
        if node is None:
            return self.flip()
        raw = encode_text(self.choose.choice(TEXTS))[:65535]
        if self.choose.random() < 0.3:
            raw = bytes(self.choose.randrange(128, 256) for _ in range(node.end - node.value))
        return (
            self.data[: node.start + 1] + struct.pack(">H", len(raw)) + raw + self.data[node.end :]
        )

    def wkb(self) -> bytes:
        """Replace a geometry, with the right length."""
        node = self.pick(lambda n: n.class_name == "[B" and n.is_numbers)
        if node is None:
            return self.text()
        old = self.data[node.end - node.value : node.end]
        new = hostile_wkb(self.choose, old)
        at = node.end - node.value - 4
        return self.data[:at] + struct.pack(">i", len(new)) + new + self.data[node.end :]

    def resize(self) -> bytes:
        """Change how many numbers there are, and the length with it."""
        node = self.pick(lambda n: n.is_numbers)
        if node is None:
            return self.flip()
        size = PRIMITIVES[node.class_name[1]].itemsize
        at = node.end - node.value * size
        count = self.choose.choice((0, 1, 2, 3, max(node.value - 1, 0), node.value + 1, 70_000))
        raw = (self.data[at : node.end] + bytes(count * size))[: count * size]
        return self.data[: at - 4] + struct.pack(">i", count) + raw + self.data[node.end :]


def _is_movable(node: Node, wanted: int | None) -> bool:
    return wanted is None or node.tag == wanted


def hostile_wkb(choose: random.Random, good: bytes = b"") -> bytes:
    """Well-known binary that is broken, odd, deep, or of another kind than expected."""
    way = choose.randrange(6)
    order = choose.choice("<>")
    flag = 1 if order == "<" else 0
    if way == 0 and good:
        out = bytearray(good)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(out))
            out[at] = choose.randrange(256)
        return bytes(out)
    if way == 1 and len(good) > 16:
        at = choose.randrange(len(good) - 8)
        return good[:at] + struct.pack(">d", choose.choice(FLOATS)) + good[at + 8 :]
    if way == 2 and len(good) > 16:
        at = choose.choice((1, 5, 9, 10, 13, 14, 18))
        if at + 4 <= len(good):
            return (
                good[:at] + struct.pack(">I", choose.choice(NUMBERS) & 0xFFFFFFFF) + good[at + 4 :]
            )
    if way == 3:
        depth = choose.choice((1, 3, 200, 30_000))
        inner = shapely.to_wkb(shapely.box(0, 0, 1, 1))
        return struct.pack(order + "BII", flag, 7, 1) * depth + inner
    if way == 4:
        kind = choose.choice((*range(1, 18), 1001, 1003, 3006, 0x80000003, 0x20000003))
        count = choose.choice((0, 1, 2, 4, 2**31 - 1, 2**32 - 1))
        return struct.pack(order + "BII", flag, kind, count) + bytes(choose.choice((0, 16, 80)))
    kinds = [
        shapely.Point(),
        shapely.Point(1, 2),
        shapely.MultiPoint(),
        shapely.LineString([(0, 0), (0, 0)]),
        shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]),
        shapely.MultiPolygon([shapely.Polygon(), shapely.box(0, 0, 1, 1)]),
        shapely.MultiLineString(),
        shapely.GeometryCollection([shapely.Point(0, 0), shapely.GeometryCollection()]),
        shapely.GeometryCollection([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)]),
        shapely.GeometryCollection(
            [shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]), shapely.box(1, 1, 3, 3)]
        ),
    ]
    return bytes(shapely.to_wkb(choose.choice(kinds), byte_order=flag))


WAYS: tuple[tuple[Callable[[Mutator], bytes], int], ...] = (
    (Mutator.truncate, 1),
    (Mutator.flip, 2),
    (Mutator.number_anywhere, 2),
    (Mutator.splice, 2),
    (Mutator.length, 2),
    (Mutator.content, 4),
    (Mutator.retarget, 3),
    (Mutator.retype, 2),
    (Mutator.rewrite, 6),
    (Mutator.text, 2),
    (Mutator.wkb, 2),
    (Mutator.resize, 2),
)


def mutant(data: bytes, seed: int | str) -> bytes:
    """Change a file in one to three ways; the same for the same seed."""
    choose = random.Random(seed)
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        try:
            mutator = Mutator(data, choose)
        except FormatError:
            break
        if not mutator.stream.references or not mutator.stream.classes:
            break
        ways, weights = zip(*WAYS, strict=True)
        data = choose.choices(ways, weights)[0](mutator)
    return data


# --- what must hold ---------------------------------------------------------------------------


def check(data: bytes, seed: int = 0) -> bool:
    """Read a file, change it, and read it again; returns whether it was fit to be read.

    Anything but a refusal that says where raises, and so does a contradiction.
    """
    try:
        image = read_image_data(data)
    except FormatError as error:
        _says_where(error, data)
        with mock.patch.object(image_level, "parse", partial(parse, bulk=False)):
            try:
                read_image_data(data)
            except FormatError as other:
                _says_where(other, data)
            else:
                raise AssertionError(f"refused only in bulk: {error}") from error
        return False
    table = image.objects
    _is_consistent(table)
    with mock.patch.object(image_level, "parse", partial(parse, bulk=False)):
        slow = read_image_data(data)
    _are_same(table, slow.objects, "read in bulk, and one by one")
    assert slow.workflow == image.workflow
    _edit(data, image, random.Random(seed))
    return True


def _says_where(error: FormatError, data: bytes) -> None:
    assert error.offset is not None, f"does not say where: {error}"
    assert 0 <= error.offset <= len(data), f"says a wrong place: {error}"
    assert len(str(error)) < 1000, "a message that nobody can read"
    assert str(error).isprintable(), f"characters that nobody can read: {str(error)!r}"


def _is_consistent(table: ObjectTable) -> None:
    n = len(table)
    assert ((table.parent >= -1) & (table.parent < np.arange(n))).all()
    assert ((table.class_index >= -1) & (table.class_index < len(table.classes))).all()
    assert all(c.names and all(isinstance(name, str) for name in c.names) for c in table.classes)
    assert set(table.kind.tolist()) <= set(ObjectKind)
    for shapes in (table.shapes, table.nuclei):
        if shapes is None:
            continue
        assert len(shapes) == n
        assert len(shapes.coords) == shapes.rings[-1]
        assert len(shapes.rings) - 1 == shapes.parts[-1]
        assert len(shapes.parts) - 1 == shapes.objects[-1]
        assert all((np.diff(o) >= 0).all() for o in (shapes.rings, shapes.parts, shapes.objects))
        assert np.isfinite(shapes.coords).all()
        with np.errstate(all="ignore"):
            shapely.area(shapes.geometries)
    if n < 40:
        with np.errstate(all="ignore"):
            assert len(table.to_pandas()) == n


def _are_same(one: ObjectTable, other: ObjectTable, what: str, *, below: bool = True) -> None:
    """Compare all columns but the ids, which a file may not store."""
    for name in ("kind", "plane", "locked", *(["parent"] if below else [])):
        a, b = getattr(one, name), getattr(other, name)
        assert np.array_equal(a, b), f"{what}: {name}"
    for a, b in ((one.shapes, other.shapes), (one.nuclei, other.nuclei)):
        a, b = a or Shapes.empty(len(one)), b or Shapes.empty(len(other))
        for name in ("roi", "coords", "rings", "parts", "objects"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), f"{what}: {name}"
    for name in ("names", "colors", "metadata"):
        assert getattr(one, name) == getattr(other, name), f"{what}: {name}"
    for row in range(len(one)):
        assert one.path_class(row) == other.path_class(row), f"{what}: class"
    missing = np.full(len(one), np.nan)
    for name in {*one.measurement_names, *other.measurement_names}:
        a, b = (
            t.measurement(name) if name in t.measurement_names else missing for t in (one, other)
        )
        assert np.array_equal(a, b, equal_nan=True), f"{what}: {name}"


def _edit(data: bytes, image: ImageData, choose: random.Random) -> None:
    table = image.objects
    keys = [one.tobytes() for one in table.ids]
    once = [row for row, key in enumerate(keys) if keys.count(key) == 1]
    gone = np.zeros(len(table), bool)
    gone[choose.sample(once, len(once) // 3)] = True
    kept = [row for row in once if not gone[row]]
    added = replace(many_cells(2, seed=3), ids=random_ids(2))
    below = np.zeros((2, 16), np.uint8)
    update = {}
    updated = None
    if kept:
        below[1] = table.ids[choose.choice(kept)]
        updated = choose.choice(kept)
        update = {keys[updated]: AnnotationUpdate({"fuzz": "was here"}, {"Fuzz": 1.0})}
    edit = Edit(
        remove=table.ids[gone],
        add=added,
        add_below=below,
        update=update,
        steps=[WorkflowStep("fuzz", "")],
        image_type=ImageType.FLUORESCENCE,
    )
    try:
        edited = apply_edit(data, edit)
    except FormatError as error:
        _says_where(error, data)
        return
    found = read_image_data(edited)
    new = found.objects
    ours = (new.ids[:, None] == added.ids).all(axis=2).any(axis=1)
    assert ours.sum() == 2
    assert len(new) == len(table) - gone.sum() + 2
    expected, theirs = table.take(~gone), new.take(~ours)
    if updated is not None:
        row = int((~gone)[:updated].sum())
        assert theirs.metadata[row]["fuzz"] == "was here"
        assert theirs.measurement("Fuzz")[row] == 1
        forget = np.delete(np.arange(len(expected)), row)
        expected, theirs = expected.take(forget), theirs.take(forget)
    _are_same(expected, theirs, "not touched", below=False)
    assert len(found.workflow) == len(image.workflow) + 1
    assert (
        read_image_data(apply_edit(edited, Edit(remove=added.ids))).objects.kind.size
        == len(new) - 2
    )


# --- many of them -----------------------------------------------------------------------------


def fuzz(files: dict[str, bytes], first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` mutants of each file; returns how many were readable, and the troubles."""

    def one(item: tuple[str, int]) -> bool:
        name, seed = item
        return check(mutant(files[name], f"{name} {seed}"), seed)

    items = [(name, seed) for seed in range(first, first + count) for name in files]
    return run_guarded(one, items)


def main() -> None:
    """Check mutants of the made and golden files, and print those in trouble."""
    first, count, *only = sys.argv[1:]
    files = dict(samples())
    shared = Path(__file__).parents[3] / "shared"
    if shared.is_dir():
        files |= golden_samples(shared)
    if only:
        files = {name: files[name] for name in only}
    readable, troubles = fuzz(files, int(first), int(count))
    for trouble in troubles:
        print(trouble)
    print(f"{int(count) * len(files)} mutants, {readable} readable, {len(troubles)} in trouble")


if __name__ == "__main__":
    main()
