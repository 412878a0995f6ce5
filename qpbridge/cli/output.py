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
from rich.text import Text

from qpbridge.cli.wording import in_options
from qpbridge.errors import MissingImageError
from qpbridge.texts import printable


class _PlainConsole(Console):
    """Prints what comes from files as it is: no markup, no emoji codes, nothing that steers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Turn text into what is printed; tables, notes and bars all come this way."""
        return super().render_str(printable(text, lines=True), **options)


messages = _PlainConsole(stderr=True, soft_wrap=True)
"""For progress, notes and warnings."""

SOME_IMAGES_FAILED = 3
SHOWN = 20
"""Folders named in a message."""
CELL = 500
"""Characters of a cell of a table."""
FILE_WIDTH = 160
"""Columns of a table that goes to a file or another program."""


def say(text: str = "") -> None:
    """Print one line on stdout, whatever it says."""
    click.echo(printable(text))


def print_json(document: Any) -> None:
    """Print one JSON document, in UTF-8 whatever the console's encoding is.

    NaN and infinities, which JSON lacks, become null. Half a character, which UTF-8 can't say, and
    what would steer a terminal come as JSON escapes them.
    """
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False)
    steering = {c for c in set(text) if printable(c, lines=True) != c}
    data = text.translate({ord(c): json.dumps(c)[1:-1] for c in steering}).encode() + b"\n"
    # not by click, which writes an empty text first: of UTF-16 that is a byte order mark
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """Print a note, in the words of the command line."""
    messages.print(in_options(text))


def report_document(report: Any, *left_out: str) -> dict[str, Any]:
    """Describe a report of an image for a JSON document, but for some of its attributes."""
    document = {**asdict(report), "message": in_options(report.message)}
    if "warnings" in document:
        document["warnings"] = [in_options(warning) for warning in report.warnings]
    return {name: value for name, value in document.items() if name not in left_out}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> None:
    """Print a table; numbers stand to the right."""
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        numeric = all(isinstance(row[i], int | float) or row[i] is None for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    width = None if sys.stdout.isatty() else FILE_WIDTH
    _PlainConsole(width=width).print(table)


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
            messages.print(f"  {printable(image)}: {in_options(reason)}")
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
        messages.print(f"  {printable(name)}: {error.reason}")
    tried = (place for _, error in missing for place in error.tried)
    folders = list(dict.fromkeys(p if os.path.isdir(p) else p.parent for p in tried))  # noqa: PTH112
    if folders:
        more = f"\n  and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
        listed = "\n  ".join(map(str, folders[:SHOWN]))
        messages.print(f"Looked in:\n  {listed}{more}")
    messages.print(f"To find them, {in_options(MissingImageError.CURE)}.")


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
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else printable(str(value), most=CELL)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
