"""``qpbridge annotate``: draw what a person would draw first."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    places_options,
    project_argument,
)
from qpbridge.cli.output import exit_with_failures, print_json, report_document, say
from qpbridge.cli.wording import Command
from qpbridge.project import Backend, Places, open_project


@click.command(cls=Command)
@project_argument
@image_option
@click.option("--tissue", is_flag=True, required=True, help="Draw what is tissue.")
@click.option(
    "--within",
    metavar="CLASS",
    multiple=True,
    help="The tissue inside of annotations of this class, below each; may be given several times.",
)
@backend_option
@places_options
@json_option
def annotate(
    project: Path,
    images: tuple[str, ...],
    tissue: bool,
    within: tuple[str, ...],
    backend: Backend,
    places: Places,
    as_json: bool,
) -> None:
    """Draw annotations around the tissue in the images of PROJECT.

    In a tissue microarray there is one for each core that is not marked as missing, below it.
    Neither black fill nor ink is tissue. Running again replaces what was drawn so before, unless a
    person has changed it since.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are written.
    """
    opened = open_project(project, backend=backend, places=places)
    command = "qpbridge " + shlex.join(sys.argv[1:])
    reports = qpbridge.annotate(
        opened, tissue=tissue, images=images, within=within, command=command
    )
    if as_json:
        print_json({"project": str(opened.path), "images": [report_document(r) for r in reports]})
    else:
        for report in reports:
            if report.status != "failed":
                say(str(report))
    exit_with_failures({r.image: r.message for r in reports.failed}, len(reports))
