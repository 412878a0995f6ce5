"""``qpbridge export``: objects as files for other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.cli.options import backend_option, image_option, json_option, project_argument
from qpbridge.cli.output import counted, exit_with_failures, print_json, report_document, say
from qpbridge.cli.wording import Command
from qpbridge.errors import CombinationError
from qpbridge.project import Backend, open_project


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
@click.option(
    "--columns",
    metavar="COLUMN",
    multiple=True,
    help="Name of a column of the table; give it for each, in the order that they are to have.  "
    "[default: all]",
)
@click.option(
    "--class",
    "of_class",
    metavar="CLASS",
    multiple=True,
    help="Only objects or regions of this class, and of those that derive from it, have a row; may "
    "be given several times.  [default: all]",
)
@click.option(
    "--excel",
    is_flag=True,
    help="Write CSV for Excel: with a byte order mark, and a ' before texts that a spreadsheet "
    "would take for formulas.",
)
@click.option(
    "--separator",
    type=click.Choice(["comma", "semicolon", "tab"]),
    help="What stands between cells of CSV; with semicolons numbers have decimal commas.  "
    "[default: tab for .tsv, else comma]",
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
    **table_options: Any,
) -> None:
    """Export objects of PROJECT: GeoJSON in QuPath's dialect, or a table.

    A table holds all images, with the columns that QuPath exports, in its words and units, and with
    the entry id and the path of each image. Parquet needs the package pyarrow.
    """
    if kind == "geojson" and rows != "objects":
        raise CombinationError(
            f"GeoJSON has no {rows}: give `kind` csv or parquet with `rows`.", "rows"
        )
    for name, given in table_options.items():
        if kind == "geojson" and given:
            raise CombinationError(f"`{name}` is for tables: give `kind` csv or parquet.", name)
    opened = open_project(project, backend=backend)
    written: list[dict[str, Any]] = []
    if kind == "geojson":
        reports = qpbridge.write_geojson(opened, output, images=images)
        failures = reports.reasons()
        written = [
            report_document(r, "status", "message") for r in reports if r not in reports.failed
        ]
        total = len(reports)
    else:
        table = qpbridge.export_table(
            opened, output, rows=rows, kind=kind, images=images, **table_options
        )
        failures, total = table.failed, table.images
        if table.path is not None:
            written = [{"path": table.path, rows: table.rows}]
    if as_json:
        print_json({"project": str(opened.path), "files": written, "failed": failures})
    else:
        for item in written:
            say(f"{item['path']}: {item[rows]} {rows}{_changes(item)}")
    exit_with_failures(failures, total)


def _changes(written: Mapping[str, Any]) -> str:
    """Say what could not be written as it is, because QuPath would not read it."""
    repaired, flat = written.get("repaired"), written.get("flat")
    changes = f"; {counted(repaired, 'outline')} repaired" if repaired else ""
    boxes = f"; {counted(flat, 'outline')} without area replaced by a tiny box" if flat else ""
    return changes + boxes
