"""What commands print: JSON on stdout, or tables for people."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""For progress, notes and warnings."""

SOME_IMAGES_FAILED = 3
FILE_WIDTH = 160
"""Columns of a table that goes to a file or another program."""


def print_json(document: Any) -> None:
    """Print one JSON document; NaN and infinities, which JSON lacks, become null."""
    click.echo(json.dumps(_finite(document), indent=2, ensure_ascii=False))


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


def exit_with_failures(failures: Mapping[str, str], images: int) -> None:
    """List the images that failed, with the reasons, and exit with code 3; none: do nothing."""
    if not failures:
        return
    messages.print(f"{len(failures)} of {images} images failed:", style="red")
    for image, reason in failures.items():
        messages.print(f"  {image}: {reason}", markup=False)
    sys.exit(SOME_IMAGES_FAILED)


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
