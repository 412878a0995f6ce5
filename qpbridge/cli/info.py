"""``qpbridge info``: what is in a project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    places_options,
    project_argument,
)
from qpbridge.cli.output import describe_missing, exit_with_failures, print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.engine.edit import provenance_key
from qpbridge.errors import MissingImageError, QpbridgeError, SlideError
from qpbridge.hierarchy.provenance import TARGETS, Origin, origins
from qpbridge.objects import ObjectKind, ObjectTable, RoiKind
from qpbridge.project import Backend, Places, open_project
from qpbridge.project.interface import ImageEntry, missing_images
from qpbridge.slides.geometry import check_followed


@click.command(cls=Command)
@project_argument
@image_option
@places_options
@backend_option
@json_option
def info(
    project: Path, images: tuple[str, ...], places: Places, backend: Backend, as_json: bool
) -> None:
    """Show the images of PROJECT, what is annotated in them, and what qpbridge has added."""
    opened = open_project(project, backend=backend, places=places)
    entries = opened.select(images)
    described, failures = [], {}
    for entry in entries:
        try:
            described.append(describe_image(entry))
        except QpbridgeError as error:
            failures[entry.name] = str(error)
    if as_json:
        print_json(
            {
                "project": str(opened.path),
                "version": opened.version,
                "classes": [str(c) for c in opened.classes],
                "metadata": opened.metadata,
                "images": described,
                "missing": describe_missing(
                    [(entry.id, entry.name, error) for entry, error in missing_images(entries)]
                ),
                "failed": failures,
            }
        )
    else:
        say(f"{opened.path} (QuPath {opened.version}), {len(opened.images)} images")
        for image in described:
            _print(image)
    exit_with_failures(failures, len(entries))


def describe_image(entry: ImageEntry) -> dict[str, Any]:
    """Describe one image as a JSON document."""
    path, problem = None, None
    try:
        path = entry.image_path()
        check_followed(path, entry.server)
    except MissingImageError as error:
        problem = f"FILE NOT FOUND: {error.reason}"
    except SlideError as error:
        problem = str(error)
    data = entry.read()
    objects = data.objects
    kinds = np.bincount(objects.kind, minlength=len(ObjectKind))
    children = np.bincount(objects.parent + 1, minlength=len(objects) + 1)[1:]
    annotations = np.flatnonzero(objects.kind == ObjectKind.ANNOTATION)
    return {
        "id": entry.id,
        "name": entry.name,
        "uri": entry.server.uri,
        "path": None if path is None else str(path),
        "problem": problem,
        "width": entry.server.width,
        "height": entry.server.height,
        "mpp": entry.server.mpp,
        "image_type": data.image_type.value,
        "objects": {kind.name.lower(): int(kinds[kind]) for kind in ObjectKind},
        "classes": _class_counts(objects),
        "qpbridge": {t: _own_counts(objects, t) for t in TARGETS},
        "annotations": [_annotation(objects, int(row), int(children[row])) for row in annotations],
    }


def _class_counts(objects: ObjectTable) -> dict[str, int]:
    counts = np.bincount(objects.class_index + 1, minlength=len(objects.classes) + 1)
    names = ["Unclassified", *(str(c) for c in objects.classes)]
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}


def _own_counts(objects: ObjectTable, target: str) -> dict[str, int]:
    counts = np.bincount(origins(objects, target), minlength=len(Origin))
    return {"unchanged": int(counts[Origin.OURS]), "changed": int(counts[Origin.CHANGED])}


def _annotation(objects: ObjectTable, row: int, children: int) -> dict[str, Any]:
    path_class = objects.path_class(row)
    values = zip(objects.measurement_names, objects.measurements[row].tolist(), strict=True)
    return {
        "id": str(objects.uuid(row)),
        "name": objects.names.get(row),
        "class": None if path_class is None else str(path_class),
        "roi": RoiKind(objects.shapes.roi[row]).name.lower(),
        "area_px": float(objects.shapes.take([row]).geometries[0].area),
        "children": children,
        "locked": bool(objects.locked[row]),
        "metadata": dict(objects.metadata.get(row, {})),
        "measurements": {name: value for name, value in values if value == value},
    }


def _print(image: dict[str, Any]) -> None:
    size = f"{image['width']} x {image['height']} px" if image["width"] else "size unknown"
    mpp = f"{image['mpp'][0]:g} µm/px" if image["mpp"] else "pixel size unknown"
    say()
    say(f"{image['id']}: {image['name']} ({size}, {mpp}, {image['image_type']})")
    say(f"   {image['problem'] or image['path']}")
    counts = ", ".join(f"{n:,} {kind}s" for kind, n in image["objects"].items() if n)
    say(f"   {counts or 'no objects'}")
    for target, own in image["qpbridge"].items():
        if any(own.values()):
            text = f"{own['unchanged']:,} {target} by qpbridge, {own['changed']:,} changed since"
            say(f"   {text}")
    if image["annotations"]:
        columns = ("Annotation", "Class", "Shape", "Children", "Segmented with")
        rows = [
            (
                a["name"],
                a["class"],
                a["roi"],
                a["children"],
                "; ".join(
                    a["metadata"][k] for k in map(provenance_key, TARGETS) if k in a["metadata"]
                ),
            )
            for a in image["annotations"]
        ]
        print_table(columns, rows)
