"""The JSON files of a project, as values: read leniently, written as QuPath writes them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import FormatError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass
from qpbridge.project.colors import default_color, pack_argb, unpack_argb
from qpbridge.project.files.no_links import is_there
from qpbridge.project.files.states import read_file
from qpbridge.project.interface import ImageData
from qpbridge.project.json_text import as_text

_TYPE_NAMES = {
    ObjectKind.ANNOTATION: "Annotations",
    ObjectKind.DETECTION: "Detections",
    ObjectKind.CELL: "Cells",
    ObjectKind.TILE: "Tiles",
    ObjectKind.TMA_CORE: "TMA cores",
}


MAX_DEPTH = 200
"""Levels of lists and objects in each other; QuPath writes about ten."""

MAX_TEXT = 10_000_000
"""Characters in one text."""


def read_json(path: Path) -> Any:
    """Read a JSON file; bare NaN and a byte order mark are let through.

    Raises
    ------
    FormatError
        If it isn't JSON, or nothing that any program would write.
    ProjectError
        If it can't be read.
    """
    return parse_json(read_file(path)[0], path)


def parse_json(data: bytes, path: Path) -> Any:
    """Parse the contents of a JSON file; `path` is for messages."""
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError("not text in UTF-8", path=path, offset=error.start) from error
    except json.JSONDecodeError as error:
        text = f"not JSON, or cut off: {error.msg} in line {error.lineno}"
        raise FormatError(text, path=path) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON that makes sense: {error}", path=path) from error
    _refuse_absurd(document, path)
    return document


def _refuse_absurd(document: Any, path: Path) -> None:
    """Refuse what only a broken or hostile file holds, before anything goes deep into it."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise FormatError(f"not JSON that makes sense: over {MAX_DEPTH} levels", path=path)
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, str) and len(value) > MAX_TEXT:
                text = f"not JSON that makes sense: a text of {len(value):,} characters"
                raise FormatError(text, path=path)
        level = inner


def to_json(document: object, *, pretty: bool = True) -> bytes:
    """Write JSON like QuPath: two spaces, or all in one line."""
    layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    return json.dumps(document, ensure_ascii=False, **layout).encode("utf-8", "replace")


def read_project_file(path: Path) -> dict[str, Any]:
    """Read a project.qpproj of any version.

    Raises
    ------
    ProjectError
        If it isn't one.
    """
    return parse_project_file(read_file(path)[0], path)


def parse_project_file(data: bytes, path: Path) -> dict[str, Any]:
    """Parse the contents of a project.qpproj; `path` is for messages."""
    try:
        document = parse_json(data, path)
    except FormatError as error:
        raise FormatError(
            f"not a QuPath project ({error.message}); give the .qpproj file of the project, or, "
            f"if it was damaged, put {path.name}.backup beside it in its place",
            path=path,
            offset=error.offset,
        ) from error
    if not isinstance(document, dict) or not _looks_like_project(document):
        raise FormatError("JSON, but not a QuPath project: it has no list of images", path=path)
    return document


def _looks_like_project(document: Mapping[str, Any]) -> bool:
    images = document.get("images")
    if images is None:  # a project without images may lack the list
        return "createTimestamp" in document and "type" not in document
    return isinstance(images, list) and all(isinstance(entry, dict) for entry in images)


def read_classes(path: Path) -> tuple[dict[str, Any], tuple[PathClass, ...]]:
    """Read classes.json: the document, and the classes in it; a missing file has none.

    Raises
    ------
    FormatError
        If it isn't a list of classes.
    """
    if not is_there(path):
        return {"pathClasses": []}, ()
    cure = "; delete it to start a new list"
    try:
        document = read_json(path)
    except FormatError as error:
        raise FormatError(error.message + cure, path=path, offset=error.offset) from error
    listed = document.get("pathClasses") if isinstance(document, dict) else None
    if not isinstance(listed, list) or not all(isinstance(c, dict) for c in listed):
        raise FormatError("not a QuPath list of classes" + cure, path=path)
    classes = []
    for item in listed:
        name, color = item.get("name"), item.get("color")
        if not isinstance(name, str) or not name.strip() or name == "Unclassified":
            continue
        names = tuple(part.strip() for part in name.split(":") if part.strip())
        if names:  # not just ":"
            classes.append(PathClass(names, unpack_argb(color) if isinstance(color, int) else None))
    return document, tuple(classes)


def read_metadata(path: Path) -> dict[str, str]:
    """Read a metadata.json, which projects have since QuPath 0.6; empty where it is missing.

    Raises
    ------
    FormatError
        If it isn't JSON.
    """
    try:
        return as_texts(read_json(path)) if is_there(path) else {}
    except FormatError as error:
        cure = "; delete it, it holds nothing but notes on the project"
        raise FormatError(error.message + cure, path=path, offset=error.offset) from error


def with_classes(document: Mapping[str, Any], classes: Sequence[PathClass]) -> dict[str, Any]:
    """Append classes to the document of a classes.json; all else stays as it is."""
    items = [
        {"name": str(c), "color": pack_argb(c.color or default_color(c.names))} for c in classes
    ]
    return {**document, "pathClasses": [*document["pathClasses"], *items]}


def make_summary(data: ImageData, metadata: Mapping[str, Any]) -> bytes:
    """Make a summary.json, which people and scripts may read and QuPath doesn't.

    Parameters
    ----------
    data
        Of the image.
    metadata
        Of its server, as stored; may be empty.
    """
    objects = data.objects
    kinds, counts = np.unique(objects.kind, return_counts=True)
    annotations = objects.kind == ObjectKind.ANNOTATION
    detections = np.isin(objects.kind, (ObjectKind.DETECTION, ObjectKind.CELL, ObjectKind.TILE))
    summary: dict[str, Any] = {
        "timestamp": time.time_ns() // 1_000_000,
        "imageType": data.image_type.value,
    }
    if "width" in metadata:
        channels = metadata.get("channels")
        summary["server"] = {
            "width": metadata["width"],
            "height": metadata.get("height"),
            "sizeC": len(channels) if isinstance(channels, list) else 0,
            "sizeZ": metadata.get("sizeZ", 1),
            "sizeT": metadata.get("sizeT", 1),
        }
    types = {_TYPE_NAMES[ObjectKind(k)]: int(n) for k, n in zip(kinds, counts, strict=True)}
    summary["hierarchy"] = {
        "nObjects": len(objects) + 1,
        "objectTypeCounts": {"Root objects": 1, **types},
        "annotationClassificationCounts": _class_counts(objects, annotations),
        "detectionClassificationCounts": _class_counts(objects, detections),
    }
    return to_json(summary, pretty=False)


def _class_counts(objects: ObjectTable, chosen: np.ndarray) -> dict[str, int]:
    indices, counts = np.unique(objects.class_index[chosen], return_counts=True)
    out: dict[str, int] = {}
    for i, n in zip(indices, counts, strict=True):
        name = "Unclassified" if i < 0 else str(objects.classes[i])
        out[name] = out.get(name, 0) + int(n)
    return out


def as_texts(value: object) -> dict[str, str]:
    """Read a JSON object as texts by name; empty if it is none."""
    return {k: as_text(v) for k, v in value.items()} if isinstance(value, dict) else {}
