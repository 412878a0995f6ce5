"""``qpbridge quality``: what can't be tissue, or not be judged."""

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
    mpp_option,
    places_options,
    project_argument,
)
from qpbridge.cli.output import (
    counted,
    exit_with_failures,
    messages,
    print_json,
    print_table,
    report_document,
    say,
)
from qpbridge.cli.wording import Command
from qpbridge.measurements.quality import BLURRED, EMPTY, FILL, INK
from qpbridge.project import Backend, Places, open_project

COLUMNS = {EMPTY: "Empty %", FILL: "Black fill %", INK: "Ink %", BLURRED: "Out of focus %"}


@click.command(cls=Command)
@project_argument
@image_option
@click.option(
    "--annotate",
    is_flag=True,
    help="Draw fill, ink and what is out of focus as annotations of the class Ignore*, to be "
    "corrected by hand; from then on these alone say what `segment` leaves out.",
)
@click.option(
    "--restore-deleted",
    is_flag=True,
    help="With --annotate: draw again what was deleted by hand.",
)
@mpp_option
@backend_option
@places_options
@json_option
def quality(
    project: Path,
    images: tuple[str, ...],
    annotate: bool,
    restore_deleted: bool,
    mpp: float | None,
    backend: Backend,
    places: Places,
    as_json: bool,
) -> None:
    """Tell how much of the annotations of PROJECT is empty, black fill, ink, or out of focus.

    `segment` leaves out black fill and ink by itself. Running --annotate again replaces what was
    drawn so before, unless a person has changed or deleted it since.

    Exit code 0: done; 1: failed; 2: wrong usage; 3: some images failed, the others are done.
    """
    opened = open_project(project, backend=backend, places=places)
    command = "qpbridge " + shlex.join(sys.argv[1:])
    reports = qpbridge.quality(
        opened,
        images=images,
        annotate=annotate,
        restore_deleted=restore_deleted,
        mpp=mpp,
        command=command,
    )
    if as_json:
        print_json({"project": str(opened.path), "images": [report_document(r) for r in reports]})
    else:
        rows = [
            (r.image, region.name, region.path_class, *map(region.measurements.get, COLUMNS))
            for r in reports
            for region in r.regions
        ]
        if rows:
            print_table(("Image", "Region", "Class", *COLUMNS.values()), rows)
        for report in reports:
            for warning in report.warnings:
                messages.print(f"Warning: {report.image}: {warning}")
            if report.status == "written":
                say(f"{report.image}: {counted(report.annotations, 'annotation')} drawn")
            for name in report.deleted:
                say(f"{report.image}: {name!r} was deleted by hand, and not drawn again")
    exit_with_failures(reports.reasons(), len(reports))
