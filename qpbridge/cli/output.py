"""What commands print: JSON on stdout, or tables for people."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from qpbridge.cli.wording import in_options
from qpbridge.errors import MissingImageError

messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress, notes and warnings."""

SOME_IMAGES_FAILED = 3
SHOWN = 20
"""Folders named in a message."""
FILE_WIDTH = 160
"""Columns of a table that goes to a file or another program."""


def print_json(document: Any) -> None:
    """Print one JSON document; NaN and infinities, which JSON lacks, become null."""
    click.echo(json.dumps(_finite(document), indent=2, ensure_ascii=False))


def report_document(report: Any) -> dict[str, Any]:
    """Describe a report of an image for a JSON document."""
    return {**asdict(report), "message": in_options(report.message)}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table; numbers stand to the right."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    width = None if sys.stdout.isatty() else FILE_WIDTH
    Console(highlight=False, width=width).print(table)


def counted(n: int, what: str) -> str:
    """Write a number and what it counts: ``1 object``, ``2,000 objects``."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def exit_with_failures(failures: Mapping[str, str], images: int, missing: int = 0) -> None:
    """List the images that failed, with the reasons, and exit with code 3; none: do nothing.

    Parameters
    ----------
    failures
        Reasons by name.
    images
        How many there were.
    missing
        How many were not found, which `print_missing` has listed.
    """
    if failures:
        messages.print(f"{len(failures)} of {images} images failed:", style="red")
        for image, reason in failures.items():
            messages.print(f"  {image}: {in_options(reason)}", markup=False)
    if missing:
        messages.print(f"{missing} of {images} images were not found, see above", style="red")
    if failures or missing:
        sys.exit(SOME_IMAGES_FAILED)


def print_missing(missing: Sequence[tuple[str, MissingImageError]], images: int) -> None:
    """List the images that were not found, once, with where was looked and what to do.

    Parameters
    ----------
    missing
        Names and errors.
    images
        How many were looked for.
    """
    if not missing:
        return
    messages.print(f"{len(missing)} of {images} images were not found:", style="red")
    for name, error in missing:
        messages.print(f"  {name}: {error.reason}", markup=False)
    tried = (place for _, error in missing for place in error.tried)
    folders = list(dict.fromkeys(p if os.path.isdir(p) else p.parent for p in tried))  # noqa: PTH112
    if folders:
        more = f"\n  and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
        listed = "\n  ".join(map(str, folders[:SHOWN]))
        messages.print(f"Looked in:\n  {listed}{more}", markup=False)
    messages.print(f"To find them, {in_options(MissingImageError.CURE)}.", markup=False)


def describe_missing(missing: Sequence[tuple[str, str, MissingImageError]]) -> list[dict[str, Any]]:
    """Describe images that were not found, given as id, name and error, for a JSON document."""
    return [
        {
            "id": number,
            "name": name,
            "uri": error.uri,
            "tried": [str(place) for place in error.tried],
            "candidates": [str(file) for file in error.candidates],
        }
        for number, name, error in missing
    ]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
