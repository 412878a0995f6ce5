"""``qpbridge undo``: take the last run back."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import backend_option, image_option, json_option, project_argument
from qpbridge.cli.output import exit_with_failures, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.project import Backend, open_project


@click.command(cls=Command)
@project_argument
@image_option
@backend_option
@json_option
def undo(project: Path, images: tuple[str, ...], backend: Backend, as_json: bool) -> None:
    """Take back what the last segment or remove did to PROJECT.

    That is the last command, in all images that it worked on; with --image the last one of this
    image. Where nothing was changed since, the image's data is to the byte as it was before. Else
    only what the run did is taken back: its objects go, those that it replaced are there again, and
    what a person drew, changed or deleted since stays. Doing it again takes back the command
    before, up to the last five runs of an image. `qpbridge history` lists them.

    Close the image in QuPath first, or reload it there (File > Reload data) afterwards.
    """
    opened = open_project(project, backend=backend)
    command = "qpbridge " + shlex.join(sys.argv[1:])
    reports = qpbridge.undo(opened, images=images, command=command)
    failures = reports.reasons()
    if as_json:
        documents = [
            {"image": r.image, "status": r.status, "runs": [asdict(run) for run in r.runs]}
            for r in reports
        ]
        print_json({"project": str(opened.path), "images": documents, "failed": failures})
    else:
        for report in reports:
            if report.status != "failed" or report.runs:
                say(str(report))
    exit_with_failures(failures, len(reports))
