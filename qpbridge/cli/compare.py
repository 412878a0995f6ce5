"""``qpbridge compare``: two versions of a project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    project_argument,
    target_option,
)
from qpbridge.cli.output import exit_with_failures, print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.ids import id_text
from qpbridge.project import Backend, open_project

if TYPE_CHECKING:
    from qpbridge.api.compare import CompareReport, TargetChanges

SCORES = {"f1": "F1", "pq": "PQ", "aji": "AJI", "object_dice": "Object Dice"}
"""What the table shows; JSON has all."""


@click.command(cls=Command)
@project_argument
@click.argument("other", required=False, type=click.Path(path_type=Path))
@click.option(
    "--before",
    type=click.IntRange(1),
    multiple=True,
    metavar="RUN",
    help="Without OTHER: what there was before this run, by its number in 'qpbridge history', "
    "against what is there now; given twice, before one run against before another.  "
    "[default: the last one]",
)
@image_option
@target_option("all")
@click.option("--objects", is_flag=True, help="With --json: also the ids of the objects.")
@backend_option
@json_option
def compare(
    project: Path,
    other: Path | None,
    before: tuple[int, ...],
    images: tuple[str, ...],
    targets: tuple[str, ...],
    objects: bool,
    backend: Backend,
    as_json: bool,
) -> None:
    """Tell what was added, lost, moved and reclassified from PROJECT to OTHER, and score PROJECT.

    Both are projects with the same images: a run and what a person made of it, say, or two models.
    Without OTHER what there was before a run of PROJECT is compared with what is there now. Objects
    are the same by their id, or else by outlines with an IoU above 0.5. The scores are those of the
    first version with the second as the truth, by outlines.
    """
    first = open_project(project, backend=backend)
    second = None if other is None else open_project(other, backend=backend)
    reports = qpbridge.compare(first, second, before=before, images=images, targets=targets)
    failures = reports.reasons()
    if as_json:
        print_json(
            {
                "project": str(first.path),
                "other": None if second is None else str(second.path),
                "images": [
                    {
                        "image": report.image,
                        **{t: _document(c, objects) for t, c in report.changes.items()},
                    }
                    for report in reports
                    if report.status == "read"
                ],
                "failed": failures,
            }
        )
    else:
        _print(reports)
    exit_with_failures(failures, len(reports))


def _document(changes: TargetChanges, objects: bool) -> dict[str, Any]:
    ids = {
        name: [id_text(uid) for uid in getattr(changes, name)]
        for name in ("added", "lost", "moved", "reclassified")
    }
    return {
        **changes.counts(),
        "classes": dict(changes.classes),
        "scores": dict(changes.scores),
        **({"objects": ids} if objects else {}),
    }


def _print(reports: Sequence[CompareReport]) -> None:
    rows = [
        (
            report.image,
            target,
            *changes.counts().values(),
            *(changes.scores[name] for name in SCORES),
        )
        for report in reports
        for target, changes in report.changes.items()
    ]
    if rows:
        counts = ("First", "Second", "Added", "Lost", "Moved", "Reclassified")
        print_table(("Image", "Objects", *counts, *SCORES.values()), rows)
    for report in reports:
        if report.status != "failed" and not report.changes:
            say(str(report))
        for target, changes in report.changes.items():
            for what, count in changes.classes.items():
                say(f"{report.image}: {count:,} {target} {what}")
