"""``qpbridge remove``: take qpbridge's own objects away again."""

from __future__ import annotations

from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    project_argument,
    target_option,
)
from qpbridge.cli.output import exit_with_failures, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.project import Backend, open_project


@click.command(cls=Command)
@project_argument
@image_option
@target_option("all")
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

    Objects that a person has changed since stay.
    """
    opened = open_project(project, backend=backend)
    reports = qpbridge.remove(opened, targets, images=images)
    failures = reports.reasons()
    removed = [
        {
            "image": report.image,
            "target": target,
            "removed": count,
            **_lost(report.lost_measurements[target]),
        }
        for report in reports
        for target, count in report.removed.items()
    ]
    if as_json:
        print_json({"project": str(opened.path), "images": removed, "failed": failures})
    else:
        for item in removed:
            lost = item.get("lost_measurements")
            added = f", {lost} of them with measurements that somebody added" if lost else ""
            say(f"{item['image']}: {item['removed']} {item['target']} removed{added}")
        if not removed and not failures:
            say("There was nothing of qpbridge's to remove.")
    exit_with_failures(failures, len(reports))


def _lost(count: int) -> dict[str, int]:
    """Tell how many had measurements that somebody added, where there were such."""
    return {"lost_measurements": count} if count else {}
