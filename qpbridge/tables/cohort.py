"""One table for all images of a project, with no more than one image in memory at a time."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from qpbridge.errors import QpbridgeError, SelectionError
from qpbridge.project.interface import ImageEntry
from qpbridge.tables.column_types import Columns
from qpbridge.tables.columns import with_identity
from qpbridge.tables.row_kinds import ROWS
from qpbridge.tables.writers import (
    USUAL,
    Layout,
    Style,
    Write,
    csv_file,
    merge_layouts,
    parquet_file,
)

FORMATS: dict[str, Callable[[Path, Layout, Style], AbstractContextManager[Write]]] = {
    "csv": csv_file,
    "parquet": parquet_file,
}


@dataclass(frozen=True)
class Wanted:
    """What is in a table, and how.

    Parameters
    ----------
    rows
        objects, regions or images.
    columns
        Names, in order; empty: all.
    of_class
        Full names of classes: only objects of these have a row; empty: all.
    style
        How text files are written.
    """

    rows: str = "objects"
    columns: tuple[str, ...] = ()
    of_class: tuple[str, ...] = ()
    style: Style = USUAL


def write_table(
    entries: Sequence[ImageEntry], path: Path, kind: str, wanted: Wanted | str = "objects"
) -> tuple[int, dict[str, str]]:
    """Write one table of several images.

    Every image is read twice (a single one once): the first time to learn which columns there are.

    Parameters
    ----------
    entries
        The images.
    path
        The file.
    kind
        csv or parquet.
    wanted
        What is in it; a text: what has a row.

    Returns
    -------
    n
        How many rows there are.
    failures
        What went wrong, by the names of the images that are not in the table, with their ids where
        several have that name. If all failed there is no file.

    Raises
    ------
    SelectionError
        If no image has one of the columns.
    MissingExtraError
        If what writes this kind of file isn't installed.
    ProjectError
        If the file can't be written; what was there is untouched.
    """
    wanted = Wanted(wanted) if isinstance(wanted, str) else wanted
    failures: dict[str, str] = {}
    count = Counter(entry.name for entry in entries)

    def failed(entry: ImageEntry, problem: str) -> None:
        twin = count[entry.name] > 1
        failures[f"{entry.name} ({entry.id})" if twin else entry.name] = problem

    def describe(entry: ImageEntry) -> Columns | None:
        try:
            columns = ROWS[wanted.rows](entry, entry.read().objects, wanted.of_class)
            return with_identity(columns, entry)
        except QpbridgeError as error:
            failed(entry, str(error))
            return None

    layout: dict[str, str] = {}
    left, only = [], None
    for entry in entries:
        columns = describe(entry)
        if columns is not None:
            left.append(entry)
            merge_layouts(layout, columns)
            only = columns if len(entries) == 1 else None
        del columns  # the next image may need the memory
    if not left:
        return 0, failures
    known, chosen = layout.keys(), _chosen(layout, wanted.columns)
    n, some = 0, False
    with contextlib.suppress(_NothingToWrite), FORMATS[kind](path, chosen, wanted.style) as write:
        for entry in left:
            columns = only or describe(entry)
            if columns is None:
                continue
            if columns.keys() <= known:
                try:
                    n += write(columns)  # some are computed only here
                    some = True
                except QpbridgeError as error:
                    failed(entry, str(error))
            else:
                failed(entry, "it was saved while it was exported; run again")
            del columns
        if not some:
            raise _NothingToWrite
    return n, failures


def _chosen(layout: Layout, names: Sequence[str]) -> Layout:
    """Choose columns by their names.

    Raises
    ------
    SelectionError
        If there is none of a name.
    """
    unknown = [name for name in names if name not in layout]
    if unknown:
        raise SelectionError(
            f"no image has a column {' or '.join(map(repr, unknown))}; there are: "
            f"{', '.join(map(repr, layout))}"
        )
    return {name: layout[name] for name in dict.fromkeys(names)} if names else layout


class _NothingToWrite(Exception):  # noqa: N818 (no error)
    """No image is left to be written."""
