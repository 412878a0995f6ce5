"""``qpbridge remove``: take qpbridge's own objects away again."""

from __future__ import annotations

from pathlib import Path

import click

from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    project_argument,
    target_option,
)
from qpbridge.cli.output import exit_with_failures, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.engine.remove import remove_objects
from qpbridge.errors import QpbridgeError
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project import Backend, open_project


@click.command(cls=Command)
@project_argument
@image_option
@target_option
@backend_option
@json_option
def remove(
    project: Path,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    backend: Backend,
    as_json: bool,
) -> None:
    """Remove the objects that qpbridge made in PROJECT, and nothing else.

    Objects that a person has changed since stay. Without --target, all targets are removed.
    """
    opened = open_project(project, backend=backend)
    entries = opened.select(images)
    removed = []
    failures: dict[str, str] = {}
    for entry in entries:
        for target in targets or TARGETS:
            try:
                count = remove_objects(entry, target)
            except QpbridgeError as error:
                failures[entry.name] = str(error)
                break
            if count is not None:
                removed.append({"image": entry.name, "target": target, "removed": count})
    if as_json:
        print_json({"project": str(opened.path), "images": removed, "failed": failures})
    else:
        for item in removed:
            say(f"{item['image']}: {item['removed']} {item['target']} removed")
        if not removed and not failures:
            say("There was nothing of qpbridge's to remove.")
    exit_with_failures(failures, len(entries))
