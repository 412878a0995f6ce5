"""``qpbridge info``: what is in a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import qpbridge
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
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project import Backend, Places, open_project

if TYPE_CHECKING:
    from qpbridge.api.info import ImageInfo


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
    found = qpbridge.info(open_project(project, backend=backend, places=places), images=images)
    described = [report.info for report in found.images if report.info is not None]
    failures = {report.image: report.message for report in found.images.failed}
    if as_json:
        print_json(
            {
                "project": found.path,
                "version": found.version,
                "classes": found.classes,
                "metadata": found.metadata,
                "images": described,
                "missing": describe_missing(
                    [(entry.id, entry.name, error) for entry, error in found.missing]
                ),
                "failed": failures,
            }
        )
    else:
        say(f"{found.path} (QuPath {found.version}), {found.total} images")
        for image in described:
            _print(image)
    exit_with_failures(failures, len(found.images))


def _print(image: ImageInfo) -> None:
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
