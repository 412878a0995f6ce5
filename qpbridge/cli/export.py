"""``qpbridge export``: objects as files for other programs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import pandas as pd

from qpbridge.cli.options import backend_option, image_option, json_option, project_argument
from qpbridge.cli.output import counted, exit_with_failures, print_json
from qpbridge.errors import QpbridgeError
from qpbridge.project import Backend, open_project
from qpbridge.project.geojson import write_geojson
from qpbridge.project.model import ImageEntry
from qpbridge.project.safety import atomic_file


@click.command()
@project_argument
@image_option
@click.option("--format", "kind", type=click.Choice(["geojson", "csv"]), required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write (.gz and .zip compress); for GeoJSON of several images a folder.",
)
@backend_option
@json_option
def export(
    project: Path, images: tuple[str, ...], kind: str, output: Path, backend: Backend, as_json: bool
) -> None:
    """Export all objects of PROJECT: GeoJSON in QuPath's dialect, or one table as CSV.

    The CSV has a row for each object of each image, with the image's name in the first column.
    """
    opened = open_project(project, backend=backend)
    entries = opened.select(images)
    failures: dict[str, str] = {}
    written: list[dict[str, Any]] = []
    frames = []
    paths = _paths(output, entries) if kind == "geojson" else [output] * len(entries)
    for entry, path in zip(entries, paths, strict=True):
        try:
            table = entry.read().objects
            if kind == "geojson":
                done = write_geojson(table, path)
                written.append({"path": str(path), "image": entry.name, **asdict(done)})
        except (QpbridgeError, ValueError) as error:  # the latter of objects without a shape
            failures[entry.name] = str(error)
            continue
        if kind == "csv":
            frame = table.to_pandas()
            frame.insert(0, "Image", entry.name)
            frames.append(frame)
    if frames:
        with atomic_file(output) as file:
            pd.concat(frames).to_csv(
                file,
                index=False,
                errors="replace",
                compression=_compression(output),
            )
        written.append({"path": str(output), "objects": sum(len(f) for f in frames)})
    if as_json:
        print_json({"project": str(opened.path), "files": written, "failed": failures})
    else:
        for item in written:
            click.echo(f"{item['path']}: {item['objects']} objects{_changes(item)}")
    exit_with_failures(failures, len(entries))


def _compression(output: Path) -> dict[str, str] | None:
    suffix = output.suffix.lower()
    if suffix == ".zip":
        return {"method": "zip", "archive_name": output.with_suffix(".csv").name}
    return {"method": "gzip"} if suffix == ".gz" else None


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
