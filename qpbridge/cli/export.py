"""``qpbridge export``: objects as files for other programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from qpbridge.cli.options import backend_option, image_option, json_option, project_argument
from qpbridge.cli.output import counted, exit_with_failures, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.errors import QpbridgeError
from qpbridge.project import Backend, open_project
from qpbridge.project.geojson.write import write_geojson
from qpbridge.project.interface import ImageEntry


@click.command(cls=Command)
@project_argument
@image_option
@click.option("--format", "kind", type=click.Choice(["geojson", "csv", "parquet"]), required=True)
@click.option(
    "--rows",
    type=click.Choice(["objects", "regions", "images"]),
    default="objects",
    show_default=True,
    help="What has a row in a table: every object, every annotation that qpbridge did not make, "
    "or every image, these with what qpbridge found there in sum.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write (.gz and .zip compress, .tsv has tabs); for GeoJSON of several images a "
    "folder.",
)
@backend_option
@json_option
def export(
    project: Path,
    images: tuple[str, ...],
    kind: str,
    rows: str,
    output: Path,
    backend: Backend,
    as_json: bool,
) -> None:
    """Export objects of PROJECT: GeoJSON in QuPath's dialect, or a table.

    A table holds all images, with the columns that QuPath exports, in its words and units. Parquet
    needs the package pyarrow.
    """
    if kind == "geojson" and rows != "objects":
        raise click.UsageError(f"GeoJSON has no {rows}: give --format csv or parquet with --rows")
    opened = open_project(project, backend=backend)
    entries = opened.select(images)
    if kind == "geojson":
        written, failures = _write_geojson(entries, output)
    else:
        # not before a table is asked for: pandas takes its time to import
        from qpbridge.tables.cohort import write_table

        n, failures = write_table(entries, output, kind, rows)
        complete = len(failures) < len(entries) or not entries
        written = [{"path": str(output), rows: n}] if complete else []
    if as_json:
        print_json({"project": str(opened.path), "files": written, "failed": failures})
    else:
        for item in written:
            say(f"{item['path']}: {item[rows]} {rows}{_changes(item)}")
    exit_with_failures(failures, len(entries))


def _write_geojson(
    entries: Sequence[ImageEntry], output: Path
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    written, failures = [], {}
    for entry, path in zip(entries, _paths(output, entries), strict=True):
        try:
            done = write_geojson(entry.read().objects, path)
        except (QpbridgeError, ValueError) as error:  # the latter of objects without a shape
            failures[entry.name] = str(error)
            continue
        written.append({"path": str(path), "image": entry.name, **asdict(done)})
    return written, failures


def _changes(written: Mapping[str, Any]) -> str:
    """Say what could not be written as it is, because QuPath would not read it."""
    repaired, flat = written.get("repaired"), written.get("flat")
    changes = f"; {counted(repaired, 'outline')} repaired" if repaired else ""
    boxes = f"; {counted(flat, 'outline')} without area replaced by a tiny box" if flat else ""
    return changes + boxes


def _paths(output: Path, entries: Sequence[ImageEntry]) -> list[Path]:
    """Choose a file for each image: the one given, or one in the folder given for each of many."""
    if len(entries) == 1 and not output.is_dir():
        return [output]
    output.mkdir(parents=True, exist_ok=True)
    safe = [re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", e.name) for e in entries]
    names = [
        n if safe.count(n) == 1 else f"{n} ({e.id})" for n, e in zip(safe, entries, strict=True)
    ]
    return [output / f"{name}.geojson" for name in names]
