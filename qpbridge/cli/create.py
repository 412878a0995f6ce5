"""``qpbridge create``: a QuPath project around slides."""

from __future__ import annotations

from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import image_type_option, json_option, pixel_size_option, project_argument
from qpbridge.cli.output import exit_with_failures, note, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.errors import SlideError
from qpbridge.measurements.staining import ESTIMATE, TYPES


@click.command(cls=Command)
@project_argument
@click.argument(
    "slides", metavar="SLIDE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--annotate-tissue", is_flag=True, help="Add an annotation around the tissue of each slide."
)
@click.option("--annotate-full", is_flag=True, help="Add an annotation of each whole slide.")
@pixel_size_option(
    "µm per pixel of the slides, instead of what their files say; QuPath shows it too."
)
@image_type_option(
    f"Type of the slides; '{ESTIMATE}': where the pixels leave no doubt.  [default: QuPath asks]",
    *TYPES,
    ESTIMATE,
)
@json_option
def create(
    project: Path,
    slides: tuple[Path, ...],
    annotate_tissue: bool,
    annotate_full: bool,
    mpp: float | None,
    image_type: str | None,
    as_json: bool,
) -> None:
    """Create the QuPath project PROJECT (a new .qpproj file) around slides.

    Exit code 0: done; 1: failed, nothing was made; 2: wrong usage; 3: some slides can't be read,
    the project is made of the others.
    """
    failures: dict[str, str] = {}

    def leave_out(path: Path, error: SlideError) -> None:
        failures[str(path)] = str(error).removeprefix(f"{path}: ")

    annotate = ["full"] * annotate_full + ["tissue"] * annotate_tissue
    created = qpbridge.create_project(
        project,
        slides,
        annotate=annotate,
        mpp=mpp,
        image_type=image_type,
        note=note,
        broken=leave_out,
    )
    annotations = {entry.id: len(entry.read().objects) if annotate else 0 for entry in created}
    if as_json:
        print_json(
            {
                "project": str(created.path),
                "images": [
                    {"id": e.id, "name": e.name, "annotations": annotations[e.id]} for e in created
                ],
                "failed": failures,
            }
        )
    else:
        say(f"{created.path}: {len(created)} images")
        for entry in created:
            say(f"  {entry.name}: {annotations[entry.id]} annotations")
    exit_with_failures(failures, len(slides))
