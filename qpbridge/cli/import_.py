"""``qpbridge import``: objects from a GeoJSON file into an image of a project."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import backend_option, json_option, project_argument
from qpbridge.cli.output import SOME_IMAGES_FAILED, counted, note, print_json, say
from qpbridge.cli.wording import Command, in_options
from qpbridge.engine.importing import ImportReport
from qpbridge.project import Backend, Project, open_project
from qpbridge.project.geojson.read import Problems, described

SHOWN = 10
"""Objects with something wrong that are printed; --json has more."""

NO_CORES = (
    "TMA cores belong to a grid, which GeoJSON lacks: let QuPath make it (dearray the TMA there)"
)


@click.command("import", cls=Command)
@project_argument
@click.option(
    "--image",
    "image",
    metavar="NAME",
    help="Where to put the objects: an image, by name or entry id; may be left out if there is "
    "just one.",
)
@click.option(
    "--encoding",
    metavar="NAME",
    help="Of the text, such as cp1250 or gbk.  [default: UTF-8, UTF-16 or, where it can't be "
    "these, Windows-1252, as older versions of QuPath wrote]",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@backend_option
@json_option
def import_(
    project: Path,
    image: str | None,
    encoding: str | None,
    file: Path,
    backend: Backend,
    as_json: bool,
) -> None:
    """Add the objects of a GeoJSON FILE (.geojson, .json, .gz, .zip) to an image of PROJECT.

    Files of all QuPath versions are read, and of others who write for QuPath. Objects go below
    their parents: those they are nested in, or else the smallest annotation or TMA core that holds
    a detection's centroid, or the whole of an annotation. What is in the image is not changed; an
    object whose id is there already is left alone.

    Outlines that cross themselves are repaired. Objects that can't be used are listed and left out.

    Exit code 0: done; 1: failed, nothing was changed; 2: wrong usage; 3: some objects were left
    out, the others are added.
    """
    opened = open_project(project, backend=backend)
    report = qpbridge.import_objects(
        opened,
        file,
        image=image,
        encoding=encoding,
        command="qpbridge " + shlex.join(sys.argv[1:]),
    )
    if as_json:
        print_json(_document(opened, file, report))
    else:
        say(str(report))
    if report.encoding:
        note(f"{file}: {in_options(described(report.encoding))}")
    _print_problems(report)
    if report.left_out.count or report.counts.cores:
        sys.exit(SOME_IMAGES_FAILED)


def _document(project: Project, file: Path, report: ImportReport) -> object:
    counts = report.counts
    return {
        "project": str(project.path),
        "image": report.image,
        "file": str(file),
        "encoding": report.encoding or "utf-8",
        "added": sum(counts.added.values()),
        "kinds": counts.added,
        "at_root": counts.at_root,
        "already_there": counts.already_there,
        "new_ids": counts.doubled_ids,
        "outside": report.outside,
        "repaired": _problems(report.repaired),
        "left_out": _problems(report.left_out),
        "tma_cores_left_out": counts.cores,
    }


def _problems(problems: Problems) -> object:
    return {
        "count": problems.count,
        "first": [
            {
                "object": problem.source.number,
                "id": problem.source.id,
                "byte": problem.source.offset,
                "what": problem.what,
            }
            for problem in problems.first
        ],
    }


def _print_problems(report: ImportReport) -> None:
    counts = report.counts
    if counts.doubled_ids:
        text = "had the id of another one in the file, and got a new one"
        note(f"{counted(counts.doubled_ids, 'object')} {text}")
    if report.outside:
        text = "outside of the image; is the file for another image?"
        note(f"{counted(report.outside, 'object')} in the file {_lie(report.outside)} {text}")
    if report.repaired.count:
        _listed(f"{counted(report.repaired.count, 'object')} repaired", report.repaired)
    if counts.cores:
        note(f"{counted(counts.cores, 'TMA core')} left out: {NO_CORES}")
    if report.left_out.count:
        _listed(f"{counted(report.left_out.count, 'object')} left out", report.left_out)


def _listed(title: str, problems: Problems) -> None:
    note(f"{title}:")
    shown: Sequence[object] = problems.first[:SHOWN]
    for problem in shown:
        note(f"  {problem}")
    if problems.count > len(shown):
        note(f"  and {problems.count - len(shown):,} more")


def _lie(n: int) -> str:
    return "lies" if n == 1 else "lie"
