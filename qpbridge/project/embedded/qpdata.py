"""QuPath's ``data.qpdata``: read everything of an image, and change it without harming the rest."""

from __future__ import annotations

import json
import re
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import RoiKind
from qpbridge.project.embedded import specs
from qpbridge.project.embedded.hierarchy import (
    BLOCKS,
    OBJECT_ID,
    Hierarchy,
    read_hierarchy,
    read_measurements,
    read_metadata,
)
from qpbridge.project.embedded.java_nodes import ENUM, MAGIC, NULL, OBJECT, STRING, Node
from qpbridge.project.embedded.java_stream import Stream, parse
from qpbridge.project.embedded.java_write import (
    EMPTY_STREAM,
    Builder,
    Content,
    Piece,
    Span,
    Symbols,
    assemble,
)
from qpbridge.project.embedded.records import (
    RecordWriter,
    root_rows,
    write_measurements,
    write_metadata,
)
from qpbridge.project.model import (
    AnnotationUpdate,
    Edit,
    ImageData,
    ImageType,
    Stains,
    WorkflowStep,
)

VERSION_PREFIX = b"Data file version"
DEFAULT_STAINS = {
    ImageType.BRIGHTFIELD_H_E: (
        '{"Name" : "H&E default", "Stain 1" : "Hematoxylin", "Values 1" :'
        ' "0.65111 0.70119 0.29049", "Stain 2" : "Eosin", "Values 2" : "0.2159 0.8012 0.5581",'
        ' "Background" : " 255 255 255"}'
    ),
    ImageType.BRIGHTFIELD_H_DAB: (
        '{"Name" : "H-DAB default", "Stain 1" : "Hematoxylin", "Values 1" :'
        ' "0.65111 0.70119 0.29049", "Stain 2" : "DAB", "Values 2" : "0.26917 0.56824 0.77759",'
        ' "Background" : " 255 255 255"}'
    ),
}
"""QuPath's own defaults, in the syntax of its files."""


@dataclass
class _Layout:
    """The top-level contents of a file; None where one is missing."""

    stream: Stream
    image_type: Node | None = None
    stains: Node | None = None
    workflow: Node | None = None
    hierarchy: Node | None = None
    properties: list[Node] = field(default_factory=list)


def read_image_data(data: bytes) -> ImageData:
    """Read a ``data.qpdata`` of any QuPath from 0.2.3 to 0.7.

    Objects without id (QuPath before 0.4) get a random one at every reading.

    Raises
    ------
    FormatError
        If the bytes are truncated, foreign or lie about themselves.
    """
    layout = _read_layout(data)
    stream = layout.stream
    return ImageData(
        objects=_objects(layout).table,
        image_type=_read_type(layout),
        stains=_read_stains(stream, layout.stains),
        workflow=tuple(_read_workflow(stream, layout.workflow)),
    )


def apply_edit(
    data: bytes | None,
    edit: Edit,
    *,
    qupath_version: str = "0.6.0",
    server_builder: Mapping[str, Any] | None = None,
    entry_id: str | None = None,
) -> bytes:
    """Carry out a change; all that it doesn't touch keeps its bytes, but for handle numbers.

    Parameters
    ----------
    data
        The file as it is; None for an image without one.
    edit
        The change.
    qupath_version, server_builder, entry_id
        For a new file: the version of the project, the ``serverBuilder`` of the image in it, and
        ``PROJECT.qpproj::ID``, as QuPath writes them.

    Raises
    ------
    FormatError
        If `data` is broken.
    ProjectError
        If the edit names an object that isn't there, or adds one that is.
    """
    if data is None:
        data = _new_file(qupath_version, server_builder or {}, entry_id)
    layout = _read_layout(data)
    stream = layout.stream
    symbols = Symbols(stream, specs.SPECS)
    changes = _Changes(stream)
    if edit.image_type not in (None, ImageType.UNSET) and _read_type(layout) is ImageType.UNSET:
        _change_type(symbols, changes, layout, edit.image_type)
    if edit.steps:
        _append_steps(symbols, changes, layout, edit.steps)
    if len(edit.remove) or edit.update or (edit.add is not None and len(edit.add)):
        _change_objects(symbols, changes, _objects(layout), edit)
    return assemble(symbols, changes.plan()) if changes.edits else data


def _read_layout(data: bytes) -> _Layout:
    stream = parse(data)
    layout = _Layout(stream)
    contents = stream.expand(stream.contents)
    header = b"".join(stream.block(n) for n in contents[:1] if n.tag in BLOCKS)
    if not header[2:].startswith(VERSION_PREFIX):
        raise FormatError("not a data file of QuPath", offset=len(MAGIC))
    previous: Node | None = None
    for node in contents[1:]:
        if node.tag == ENUM and node.class_name == specs.IMAGE_TYPE:
            layout.image_type = node
        elif node.class_name == specs.STAINS or (
            node.tag == NULL and previous is layout.image_type is not None
        ):
            layout.stains = node
        elif node.class_name == specs.HISTORY:
            layout.workflow = node
        elif node.class_name == specs.HIERARCHY:
            layout.hierarchy = node
        previous = node
    return layout


def _objects(layout: _Layout) -> Hierarchy:
    if layout.hierarchy is None:
        raise FormatError("the file ends before the objects", offset=len(layout.stream.data))
    return read_hierarchy(layout.stream, layout.hierarchy)


def _read_type(layout: _Layout) -> ImageType:
    if layout.image_type is None:
        return ImageType.UNSET
    constant = layout.stream.text(layout.image_type)
    return ImageType[constant] if constant in ImageType.__members__ else ImageType.OTHER


def _read_stains(stream: Stream, node: Node | None) -> Stains | None:
    if node is None or node.tag != OBJECT:
        return None
    text = next((n for n in stream.expand(node.notes) if n.tag not in BLOCKS), None)
    if text is None:
        raise FormatError("broken stains", offset=node.start)
    return parse_stains(stream.text(text), offset=node.start)


def parse_stains(text: str, *, offset: int | None = None) -> Stains:
    """Parse QuPath's text for colour deconvolution stains.

    Raises
    ------
    FormatError
        If it is not of the form ``{"Name" : "...", "Stain 1" : "...", "Values 1" : "r g b", ...}``.
    """
    pairs = re.findall(r'"((?:[^"\\]|\\.)*)"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
    values = dict(pairs)
    names, vectors = [], []
    try:
        for i in range(1, 4):
            if f"Values {i}" in values:
                names.append(values.get(f"Stain {i}", f"Stain {i}"))
                vector = np.array([float(v) for v in values[f"Values {i}"].split()]).reshape(3)
                vectors.append(vector / (np.linalg.norm(vector) or 1.0))
        background = np.array([float(v) for v in values["Background"].split()]).reshape(3)
    except (KeyError, ValueError):
        raise FormatError(
            f"stains that can't be understood: {text[:80]!r}", offset=offset
        ) from None
    return Stains(
        values.get("Name", ""),
        tuple(names),
        tuple((float(r), float(g), float(b)) for r, g, b in vectors),
        (float(background[0]), float(background[1]), float(background[2])),
    )


def _read_workflow(stream: Stream, node: Node | None) -> Iterable[WorkflowStep]:
    for step in stream.expand(node.notes) if node is not None else ():
        if step.tag in BLOCKS or (step := stream.follow(step)).tag != OBJECT:
            continue
        if step.class_name == specs.PLUGIN_STEP:
            items = [n for n in stream.expand(step.notes) if n.tag not in BLOCKS]
            texts = [_text(stream, item) or "" for item in items] + [""] * 5
            script = f"{texts[3]}runPlugin('{texts[1]}', '{texts[2]}'){texts[4]}"
            yield WorkflowStep(texts[0], script, _plugin_parameters(texts[2]))
        elif step.class_name == specs.CLASSIFIER_STEP:
            path = _text(stream, stream.child(step, "classifierPath")) or ""
            name = _text(stream, stream.child(step, "name")) or ""
            yield WorkflowStep(name, f"runClassifier('{path}')", {"Path": path})
        elif step.class_name == specs.SCRIPT_STEP:
            yield WorkflowStep(
                _text(stream, stream.child(step, "name")) or "",
                _text(stream, stream.child(step, "script")) or "",
                _read_map(stream, stream.child(step, "map")),
            )


def _text(stream: Stream, node: Node) -> str | None:
    """Text of a string, enum constant or boxed value; None for anything else."""
    node = stream.follow(node)
    if node.tag in (STRING, ENUM):
        return stream.text(node)
    if node.class_name == "java.lang.Boolean":
        return str(bool(stream.number(node, "value"))).lower()
    if node.class_name.startswith("java.lang.") and node.parts:
        return str(stream.number(node, "value"))
    return None


def _plugin_parameters(argument: str) -> dict[str, str]:
    try:
        parsed = json.loads(argument)
    except ValueError:
        return {}
    if not isinstance(parsed, dict):
        return {}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in parsed.items()}


def _read_map(stream: Stream, node: Node) -> dict[str, str]:
    """Read a map of simple values; what is not simple is left out."""
    node = stream.follow(node)
    if node.class_name == "java.util.Collections$SingletonMap":
        items = [stream.child(node, "k"), stream.child(node, "v")]
    else:
        notes = [note for part in node.parts for note in part.notes]
        items = [n for n in stream.expand(notes) if n.tag not in BLOCKS]
    pairs = (
        (_text(stream, k), _text(stream, v)) for k, v in zip(items[::2], items[1::2], strict=False)
    )
    return {k: v for k, v in pairs if k is not None and v is not None}


class _Changes:
    """Stretches of the file to be replaced."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.edits: list[tuple[int, int, list[Content]]] = []

    def replace(self, start: int, end: int, contents: Iterable[Content]) -> None:
        self.edits.append((start, end, list(contents)))

    def set_number(self, at: int, value: int, symbols: Symbols) -> None:
        """Overwrite a 4-byte number."""
        self.replace(at, at + 4, [_raw(symbols, struct.pack(">i", value))])

    def plan(self) -> Iterable[Content]:
        at = 0
        for start, end, contents in sorted(self.edits, key=lambda edit: edit[:2]):
            if start > at:
                yield Span(at, start)
            yield from contents
            at = end
        yield Span(at, len(self.stream.data))


def _raw(symbols: Symbols, data: bytes) -> Piece:
    builder = Builder(symbols)
    builder.raw(data)
    return builder.piece()


def _change_type(
    symbols: Symbols, changes: _Changes, layout: _Layout, image_type: ImageType | None
) -> None:
    assert image_type is not None
    if layout.image_type is None:
        raise FormatError("a file without image type", offset=len(MAGIC))
    builder = Builder(symbols)
    builder.enum(specs.IMAGE_TYPE, image_type.value)
    changes.replace(layout.image_type.start, layout.image_type.end, [builder.piece()])
    if layout.stains is not None and layout.stains.tag == NULL and image_type in DEFAULT_STAINS:
        builder = Builder(symbols)
        _write_stains(builder, DEFAULT_STAINS[image_type])
        changes.replace(layout.stains.start, layout.stains.end, [builder.piece()])


def _write_stains(builder: Builder, text: str) -> None:
    builder.begin(specs.STAINS)
    builder.block(struct.pack(">i", 1))
    builder.text(text)
    builder.end()


def _append_steps(
    symbols: Symbols, changes: _Changes, layout: _Layout, steps: Iterable[WorkflowStep]
) -> None:
    node = layout.workflow
    if node is None or not node.notes:
        raise FormatError("a file without history", offset=len(MAGIC))
    header = node.notes[0]
    if not isinstance(header, Node) or header.tag not in BLOCKS or header.end - header.value != 8:
        raise FormatError("a history in an unknown form", offset=node.start)
    builder = Builder(symbols)
    steps = list(steps)
    for step in steps:
        builder.begin(specs.SCRIPT_STEP)
        _write_parameters(builder, step.parameters)
        builder.text(step.name)
        builder.text(step.script)
    count = int.from_bytes(layout.stream.data[header.value + 4 : header.end], "big")
    changes.set_number(header.value + 4, count + len(steps), symbols)
    changes.replace(node.end - 1, node.end - 1, [builder.piece()])


def _write_parameters(builder: Builder, parameters: Mapping[str, str]) -> None:
    builder.begin("java.util.LinkedHashMap")
    _write_map(builder, parameters)
    builder.raw(b"\0")


def _write_map(builder: Builder, values: Mapping[str, str]) -> None:
    """Write what ``HashMap`` writes of itself."""
    buckets = max(16, 1 << (len(values) * 4 // 3).bit_length())
    builder.raw(struct.pack(">fi", 0.75, buckets * 3 // 4))
    builder.block(struct.pack(">2i", buckets, len(values)))
    for key, value in values.items():
        builder.text(key)
        builder.text(value)
    builder.end()


def _change_objects(symbols: Symbols, changes: _Changes, objects: Hierarchy, edit: Edit) -> None:
    find = _Finder(objects)
    removed = np.zeros(len(objects.parent), bool)
    removed[find.rows(edit.remove, "remove")] = True
    count_change = np.zeros(len(removed) + 1, np.int64)
    _remove(symbols, changes, objects, removed, count_change)
    if edit.add is not None and len(edit.add):
        _add(symbols, changes, objects, find, removed, edit, count_change)
    for row in np.flatnonzero(count_change):
        is_root = row == len(removed)
        at = objects.root.count.value if is_root else int(objects.count_at[row])
        count = int.from_bytes(objects.stream.data[at : at + 4], "big")
        changes.set_number(at, count + int(count_change[row]), symbols)
    for uid, update in edit.update.items():
        (row,) = find.rows(np.frombuffer(uid, np.uint8).reshape(1, 16), "update")
        if removed[row]:
            raise ProjectError("an object can't be removed and updated at once")
        _update(symbols, changes, objects, int(row), update)


class _Finder:
    """Finds the rows of ids that the file itself holds."""

    def __init__(self, objects: Hierarchy) -> None:
        self.candidates = np.flatnonzero(objects.has_id)
        keys = _keys(objects.ids[self.candidates])
        order = np.argsort(keys, kind="stable")
        self.candidates = self.candidates[order]
        self.keys = keys[order]

    def rows(self, ids: npt.NDArray[np.uint8], what: str) -> npt.NDArray[np.int64]:
        """Return the rows of `ids` (k, 16)."""
        rows, found = self.search(ids)
        if not found.all():
            missing = ids[~found][0].tobytes().hex()
            raise ProjectError(
                f"no object {missing} to {what}: the image was changed, or was saved by a QuPath"
                " before 0.4, which stores no ids (open and save it in a newer QuPath first)"
            )
        return rows

    def search(
        self, ids: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the rows of `ids`, and whether each was found."""
        if not len(self.keys):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), bool)
        keys = _keys(ids)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return self.candidates[at], self.keys[at] == keys


def _keys(ids: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(ids).view("S16")[:, 0]


def _remove(
    symbols: Symbols,
    changes: _Changes,
    objects: Hierarchy,
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
        changes.replace(start, end, [])
    empty = _raw(symbols, bytes(4))
    for row in gone[objects.inside_end[gone] > objects.inside_start[gone]]:
        # Should anything else refer to it, it goes there without its children, which stay.
        at = int(objects.count_at[row])
        symbols.moved[objects.nodes[int(row)].handle] = [
            Span(int(objects.start[row]), at),
            empty,
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
    symbols: Symbols,
    changes: _Changes,
    objects: Hierarchy,
    find: _Finder,
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
    writer = RecordWriter(symbols, table, objects.classes)
    for parent in np.unique(target):
        chosen = tops[target == parent]
        at = objects.root.inside[1] if parent < 0 else int(objects.inside_end[parent])
        changes.replace(at, at, writer.write(chosen))
        count_change[parent] += len(chosen)


def _update(
    symbols: Symbols, changes: _Changes, objects: Hierarchy, row: int, update: AnnotationUpdate
) -> None:
    entry, stream = objects.entry(row), objects.stream
    if update.metadata:
        metadata: dict[str, str | None] = {**read_metadata(stream, entry.metadata)}
        metadata |= {k: v for k, v in update.metadata.items() if k != OBJECT_ID}
        builder = Builder(symbols)
        write_metadata(builder, {k: v for k, v in metadata.items() if v is not None})
        if entry.metadata is None:
            changes.replace(entry.color.end, entry.color.end, [builder.piece()])
        else:
            changes.replace(entry.metadata.start, entry.metadata.end, [builder.piece()])
    if update.measurements or update.forget:
        measurements = read_measurements(stream, entry.measurements)
        for name in update.forget:
            measurements.pop(name, None)
        builder = Builder(symbols)
        write_measurements(builder, measurements | dict(update.measurements))
        item = entry.measurements
        changes.replace(item.start, item.end, [builder.piece()])


def _new_file(version: str, server_builder: Mapping[str, Any], entry_id: str | None) -> bytes:
    """Make the data of an image without objects, as QuPath would save it."""
    symbols = Symbols(EMPTY_STREAM, specs.SPECS)
    builder = Builder(symbols)
    builder.raw(MAGIC)
    header = b"Data file version 3"
    builder.block(struct.pack(">H", len(header)) + header)
    about = {"dataVersion": 3, "qupathVersion": version, "server": dict(server_builder)}
    builder.text(json.dumps(about, ensure_ascii=False, separators=(",", ":")))
    builder.begin("java.util.Locale")
    builder.raw(struct.pack(">i", -1))
    for text in ("", "", "en", "", ""):
        builder.reference(symbols.text(text))
    builder.end()
    builder.enum(specs.IMAGE_TYPE, ImageType.UNSET.value)
    builder.null()
    builder.begin(specs.HISTORY)
    builder.block(struct.pack(">2i", 1, 0))
    builder.end()
    builder.begin(specs.HIERARCHY)
    builder.begin(specs.ROOT)
    builder.null()
    builder.null()
    write_metadata(builder, {OBJECT_ID: str(uuid.uuid4())})
    builder.null()
    builder.block(struct.pack(">i", 0))
    builder.end()
    builder.null()
    builder.begin("java.util.HashMap")
    _write_map(builder, {} if entry_id is None else {"PROJECT_ENTRY_ID": entry_id})
    builder.text("EOF")
    return assemble(symbols, [builder.piece()])
