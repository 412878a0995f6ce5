"""Everything of an image but its objects: header, type, stains, history and properties."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpbridge.errors import FormatError
from qpbridge.javastream.build import Builder
from qpbridge.javastream.nodes import ENUM, MAGIC, NULL, OBJECT, Node
from qpbridge.javastream.stream import Stream, parse
from qpbridge.javastream.write import Changes
from qpbridge.objects import ImageType
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.java_values import is_map, read_plain, read_properties
from qpbridge.project.embedded.qpdata.object_parts import BLOCKS
from qpbridge.project.embedded.qpdata.object_tree import StoredObjects, read_hierarchy
from qpbridge.project.interface import Stains, WorkflowStep

VERSION_PREFIX = b"Data file version"
MAX_STAINS = 10_000
DEFAULT_STAINS = {
    ImageType.BRIGHTFIELD_H_E: (
        '{"Name" : "H&E default", "Stain 1" : "Hematoxylin", "Values 1" :'
        ' "0.6511078257574492 0.7011930431234068 0.29049426072255424", "Stain 2" : "Eosin",'
        ' "Values 2" : "0.21589893562087106 0.8011960501132093 0.5580972485873467",'
        ' "Background" : " 255 255 255"}'
    ),
    ImageType.BRIGHTFIELD_H_DAB: (
        '{"Name" : "H-DAB default", "Stain 1" : "Hematoxylin", "Values 1" :'
        ' "0.6511078257574492 0.7011930431234068 0.29049426072255424", "Stain 2" : "DAB",'
        ' "Values 2" : "0.26916687204956063 0.5682411743268502 0.777593185920953",'
        ' "Background" : " 255 255 255"}'
    ),
}
"""QuPath's own defaults, in the syntax of its files, with all digits, as QuPath 0.6 writes them."""


@dataclass
class Layout:
    """The top-level contents of a file; None where one is missing."""

    stream: Stream
    image_type: Node | None = None
    stains: Node | None = None
    workflow: Node | None = None
    hierarchy: Node | None = None
    properties: Node | None = None


def read_layout(data: bytes) -> Layout:
    """Find the top-level contents of a file.

    Raises
    ------
    FormatError
        If it is not a data file of QuPath.
    """
    stream = parse(data)
    layout = Layout(stream)
    contents = stream.expand(stream.contents)
    header = b"".join(stream.block(n) for n in contents[:1] if n.tag in BLOCKS)
    if not header[2:].startswith(VERSION_PREFIX):
        raise FormatError("not a data file of QuPath", offset=len(MAGIC))
    previous: Node | None = None
    for node in contents[1:]:
        if node.tag == ENUM and node.class_name == java_classes.IMAGE_TYPE:
            layout.image_type = node
        elif node.class_name == java_classes.STAINS or (
            node.tag == NULL and previous is layout.image_type is not None
        ):
            layout.stains = node
        elif node.class_name == java_classes.HISTORY:
            layout.workflow = node
        elif node.class_name == java_classes.HIERARCHY:
            layout.hierarchy = node
        elif is_map(node):
            layout.properties = node
        previous = node
    return layout


def read_objects(layout: Layout) -> StoredObjects:
    """Read the objects.

    Raises
    ------
    FormatError
        If the file ends before them.
    """
    if layout.hierarchy is None:
        raise FormatError("the file ends before the objects", offset=len(layout.stream.data))
    return read_hierarchy(layout.stream, layout.hierarchy)


def read_type(layout: Layout) -> ImageType:
    """Read the image type; one that is unknown is OTHER."""
    if layout.image_type is None:
        return ImageType.UNSET
    constant = layout.stream.text(layout.image_type)
    return ImageType[constant] if constant in ImageType.__members__ else ImageType.OTHER


def read_stains(stream: Stream, node: Node | None) -> Stains | None:
    """Read the stains, None where there are none."""
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
    if len(text) > MAX_STAINS:
        raise FormatError("stains of far too many words", offset=offset)
    pairs = re.findall(r'"((?:[^"\\]|\\.)*)"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
    values = dict(pairs)
    names, vectors = [], []
    try:
        for i in range(1, 4):
            if f"Values {i}" in values:
                names.append(values.get(f"Stain {i}", f"Stain {i}"))
                r, g, b = _three_numbers(values[f"Values {i}"])
                length = math.hypot(r, g, b) or 1.0
                vectors.append((r / length, g / length, b / length))
        background = _three_numbers(values["Background"])
    except (KeyError, ValueError):
        raise FormatError(
            f"stains that can't be understood: {text[:80]!r}", offset=offset
        ) from None
    return Stains(values.get("Name", ""), tuple(names), tuple(vectors), background)


def _three_numbers(text: str) -> tuple[float, float, float]:
    r, g, b = map(float, text.split())
    if not math.isfinite(r + g + b):
        raise ValueError("not a number")
    return r, g, b


def read_workflow(stream: Stream, node: Node | None) -> Iterable[WorkflowStep]:
    """Read the history, with the scripts that QuPath makes up for steps without one."""
    for step in stream.expand(node.notes) if node is not None else ():
        if step.tag in BLOCKS or (step := stream.follow(step)).tag != OBJECT:
            continue
        if step.class_name == java_classes.PLUGIN_STEP:
            items = [n for n in stream.expand(step.notes) if n.tag not in BLOCKS]
            texts = [_text(stream, item) or "" for item in items] + [""] * 5
            script = f"{texts[3]}runPlugin('{texts[1]}', '{texts[2]}'){texts[4]}"
            yield WorkflowStep(texts[0], script, _plugin_parameters(texts[2]))
        elif step.class_name == java_classes.CLASSIFIER_STEP:
            path = _text(stream, stream.child(step, "classifierPath")) or ""
            name = _text(stream, stream.child(step, "name")) or ""
            yield WorkflowStep(name, f"runClassifier('{path}')", {"Path": path})
        elif step.class_name == java_classes.SCRIPT_STEP:
            yield WorkflowStep(
                _text(stream, stream.child(step, "name")) or "",
                _text(stream, stream.child(step, "script")) or "",
                _read_map(stream, stream.child(step, "map")),
            )


def _text(stream: Stream, node: Node) -> str | None:
    """Text of a string, enum constant or boxed value; None for anything else."""
    return _as_text(read_plain(stream, node))


def _as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _plugin_parameters(argument: str) -> dict[str, str]:
    try:
        parsed = json.loads(argument)
        if not isinstance(parsed, dict):
            return {}
        return {k: v if isinstance(v, str) else json.dumps(v) for k, v in parsed.items()}
    except (ValueError, RecursionError):
        return {}


def _read_map(stream: Stream, node: Node) -> dict[str, str]:
    """Read a map of simple values; what is not simple is left out."""
    texts = {k: _as_text(v) for k, v in read_properties(stream, stream.follow(node)).items()}
    return {k: v for k, v in texts.items() if v is not None}


def change_staining(
    changes: Changes,
    layout: Layout,
    wanted: ImageType,
    stains: Stains | None,
    *,
    retype: bool,
) -> None:
    """Set image type and stains.

    Parameters
    ----------
    changes, layout
        Of the file.
    wanted
        The type; UNSET: it stays.
    stains
        None: they stay, but those of another type make room for the defaults of the new one.
    retype
        Whether a type that the image has already makes room.

    Raises
    ------
    FormatError
        If the file has no type, or no place for stains.
    """
    before = read_type(layout)
    is_new = wanted not in (ImageType.UNSET, before) and (retype or before is ImageType.UNSET)
    if is_new:
        if layout.image_type is None:
            raise FormatError("a file without image type", offset=len(MAGIC))
        builder = Builder(changes.symbols)
        builder.enum(java_classes.IMAGE_TYPE, wanted.value)
        changes.replace(layout.image_type.start, layout.image_type.end, [builder.piece()])
    node = layout.stains
    if stains is not None:
        if node is None:
            raise FormatError("a file without stains", offset=len(MAGIC))
        _replace_stains(changes, node, stains_text(stains))
    elif is_new and node is not None and (node.tag == NULL or before is not ImageType.UNSET):
        _replace_stains(changes, node, DEFAULT_STAINS.get(wanted))


def stains_text(stains: Stains) -> str:
    """Write stains in the syntax of QuPath's files."""

    def numbers(values: Iterable[float]) -> str:
        return " ".join(np.format_float_positional(v, trim="-") for v in values)

    each = (
        f'"Stain {i}" : {json.dumps(name, ensure_ascii=False)}, "Values {i}" : "{numbers(vector)}"'
        for i, (name, vector) in enumerate(zip(stains.stain_names, stains.vectors, strict=True), 1)
    )
    name = json.dumps(stains.name, ensure_ascii=False)
    return f'{{"Name" : {name}, {", ".join(each)}, "Background" : " {numbers(stains.background)}"}}'


def _replace_stains(changes: Changes, old: Node, text: str | None) -> None:
    builder = Builder(changes.symbols)
    if text is None:
        builder.null()
    else:
        builder.begin(java_classes.STAINS)
        builder.block(struct.pack(">i", 1))
        builder.text(text)
        builder.end()
    changes.replace(old.start, old.end, [builder.piece()])


def append_steps(changes: Changes, layout: Layout, steps: Iterable[WorkflowStep]) -> None:
    """Append steps to the history."""
    node = layout.workflow
    if node is None or not node.notes:
        raise FormatError("a file without history", offset=len(MAGIC))
    header = node.notes[0]
    if not isinstance(header, Node) or header.tag not in BLOCKS or header.end - header.value != 8:
        raise FormatError("a history in an unknown form", offset=node.start)
    builder = Builder(changes.symbols)
    steps = list(steps)
    for step in steps:
        builder.begin(java_classes.SCRIPT_STEP)
        _write_parameters(builder, step.parameters)
        builder.text(step.name)
        builder.text(step.script)
    count = int.from_bytes(layout.stream.data[header.value + 4 : header.end], "big")
    if count != sum(note.tag not in BLOCKS for note in layout.stream.expand(node.notes)):
        raise FormatError("a history with a wrong number of steps", offset=header.value + 4)
    changes.set_number(header.value + 4, count + len(steps))
    changes.replace(node.end - 1, node.end - 1, [builder.piece()])


def _write_parameters(builder: Builder, parameters: Mapping[str, str]) -> None:
    builder.begin("java.util.LinkedHashMap")
    write_map(builder, parameters)
    builder.raw(b"\0")


def write_map(builder: Builder, values: Mapping[str, str]) -> None:
    """Write what ``HashMap`` writes of itself."""
    buckets = max(16, 1 << (len(values) * 4 // 3).bit_length())
    builder.raw(struct.pack(">fi", 0.75, buckets * 3 // 4))
    builder.block(struct.pack(">2i", buckets, len(values)))
    for key, value in values.items():
        builder.text(key)
        builder.text(value)
    builder.end()
