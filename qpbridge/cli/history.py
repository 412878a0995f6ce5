"""``qpbridge history``: what was done to a project, and with which settings."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import qpbridge
from qpbridge.cli.options import backend_option, image_option, json_option, project_argument
from qpbridge.cli.output import exit_with_failures, print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.project import Backend, open_project

if TYPE_CHECKING:
    from qpbridge.api.history import HistoryReport


@click.command(cls=Command)
@project_argument
@image_option
@click.option(
    "--deleted",
    is_flag=True,
    help="Also list where objects were that a person deleted, and that no run puts in again.",
)
@backend_option
@json_option
def history(
    project: Path, images: tuple[str, ...], deleted: bool, backend: Backend, as_json: bool
) -> None:
    """List what qpbridge did to the images of PROJECT, with all settings.

    For each run: when, who, the model with its version and the digest of its weights, µm per pixel,
    cell expansion, positivity, features, and whether `qpbridge undo` can take it back. Beside that,
    how many objects a person deleted or changed since.
    """
    opened = open_project(project, backend=backend)
    reports = qpbridge.history(opened, images=images)
    failures = reports.reasons()
    read = [report for report in reports if report.status == "read"]
    if as_json:
        documents = [_document(report, deleted) for report in read]
        print_json({"project": str(opened.path), "images": documents, "failed": failures})
    else:
        for report in read:
            _print(report, deleted)
    exit_with_failures(failures, len(reports))


def _document(report: HistoryReport, deleted: bool) -> dict[str, Any]:
    places = {
        target: [{"x": x, "y": y, "radius_px": r} for x, y, r in where.tolist()]
        for target, where in report.deleted.items()
    }
    return {
        "image": report.image,
        "id": report.id,
        "runs": [asdict(run) for run in report.runs],
        "deleted": {target: len(where) for target, where in report.deleted.items()},
        "changed": dict(report.changed),
        **({"deleted_places": places} if deleted else {}),
    }


def _print(report: HistoryReport, deleted: bool) -> None:
    say(str(report))
    if report.runs:
        rows = [
            (
                run.number,
                run.when,
                run.who,
                run.what,
                "; ".join(f"{name} {value}" for name, value in run.settings.items()),
                "undone" if run.undone else "yes" if run.can_undo else "no" if run.run else "-",
            )
            for run in report.runs
        ]
        print_table(("Run", "When", "Who", "What", "Settings", "Can be undone"), rows)
    if deleted and report.deleted:
        where = report.deleted.items()
        places = [(target, *values) for target, rows in where for values in rows.tolist()]
        print_table(("Deleted", "x px", "y px", "Radius px"), places)
