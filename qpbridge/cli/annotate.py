"""``qpbridge annotate``: draw what a person would draw first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    image_option,
    image_type_option,
    json_option,
    pixel_size_option,
    places_options,
    project_argument,
)
from qpbridge.cli.output import exit_with_failures, print_json, report_document, say
from qpbridge.cli.wording import Command, in_options
from qpbridge.measurements.staining import ESTIMATE, TYPES
from qpbridge.project import Backend, Places, open_project
from qpbridge.project.each_image import Report, Reports


@click.command(cls=Command)
@project_argument
@image_option
@click.option("--tissue", is_flag=True, help="Draw what is tissue.")
@click.option(
    "--within",
    metavar="CLASS",
    multiple=True,
    help="The tissue inside of annotations of this class, below each, or the stains in the largest "
    "of them; may be given several times.",
)
@pixel_size_option(
    "Store this many µm per pixel in the project, as QuPath does.", "--set-mpp", "mpp"
)
@image_type_option(
    f"Store the type of the images; '{ESTIMATE}': where the pixels leave no doubt.",
    *TYPES,
    ESTIMATE,
)
@click.option(
    "--stains",
    is_flag=True,
    help="Estimate stain vectors and background, as QuPath's command does, and store them.",
)
@click.option(
    "--force", is_flag=True, help="With --set-mpp, also where measurements no longer fit then."
)
@backend_option
@places_options
@json_option
def annotate(
    project: Path,
    images: tuple[str, ...],
    tissue: bool,
    within: tuple[str, ...],
    mpp: float | None,
    image_type: str | None,
    stains: bool,
    force: bool,
    backend: Backend,
    places: Places,
    as_json: bool,
) -> None:
    """Draw the tissue in the images of PROJECT, or say what these images are like.

    --tissue draws annotations around the tissue; in a tissue microarray there is one for each core
    that is not marked as missing, below it. Neither black fill nor ink is tissue. Running again
    replaces what was drawn so before, unless a person has changed it since.

    --set-mpp, --image-type and --stains store what QuPath's Image tab shows.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    calibrates = mpp is not None or image_type is not None or stains
    if not tissue and not calibrates:
        raise click.UsageError("nothing to do: give --tissue, --set-mpp, --image-type or --stains.")
    opened = open_project(project, backend=backend, places=places)
    command = "qpbridge " + shlex.join(sys.argv[1:])
    done: dict[str, Sequence[Report]] = {}
    if calibrates:
        done["calibrated"] = qpbridge.calibrate(
            opened,
            mpp=mpp,
            image_type=image_type,
            stains=stains,
            images=images,
            within=within if stains else (),
            force=force,
            command=command,
        )
    if tissue:
        done["images"] = qpbridge.annotate(opened, images=images, within=within, command=command)
    reports = Reports[Report](report for some in done.values() for report in some)
    if as_json:
        documents = {name: [report_document(r) for r in some] for name, some in done.items()}
        print_json({"project": str(opened.path), **documents})
    else:
        for report in reports:
            if report.status != "failed":
                say(in_options(str(report)))
    failures = reports.reasons()
    exit_with_failures(failures, len(next(iter(done.values()))))
