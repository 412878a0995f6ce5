"""``qpbridge create``: a QuPath project around slides."""

from __future__ import annotations

from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import json_option, project_argument
from qpbridge.cli.output import note, print_json, say
from qpbridge.cli.wording import Command


@click.command(cls=Command)
@project_argument
@click.argument(
    "slides", metavar="SLIDE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--annotate-tissue", is_flag=True, help="Add an annotation around the tissue of each slide."
)
@click.option("--annotate-full", is_flag=True, help="Add an annotation of each whole slide.")
@json_option
def create(
    project: Path,
    slides: tuple[Path, ...],
    annotate_tissue: bool,
    annotate_full: bool,
    as_json: bool,
) -> None:
    """Create the QuPath project PROJECT (a new .qpproj file) around slides."""
    annotate = ["full"] * annotate_full + ["tissue"] * annotate_tissue
    created = qpbridge.create_project(project, slides, annotate=annotate, note=note)
    annotations = {entry.id: len(entry.read().objects) if annotate else 0 for entry in created}
    if as_json:
        print_json(
            {
                "project": str(created.path),
                "images": [
                    {"id": e.id, "name": e.name, "annotations": annotations[e.id]} for e in created
                ],
            }
        )
        return
    say(f"{created.path}: {len(created)} images")
    for entry in created:
        say(f"  {entry.name}: {annotations[entry.id]} annotations")
