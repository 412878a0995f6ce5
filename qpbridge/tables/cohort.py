"""One table for all images of a project, with no more than one image in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from qpbridge.errors import QpbridgeError
from qpbridge.project.interface import ImageEntry
from qpbridge.tables.column_types import Columns
from qpbridge.tables.row_kinds import ROWS
from qpbridge.tables.writers import Layout, Write, csv_file, merge_layouts, parquet_file

FORMATS: dict[str, Callable[[Path, Layout], AbstractContextManager[Write]]] = {
    "csv": csv_file,
    "parquet": parquet_file,
}


def write_table(
    entries: Sequence[ImageEntry], path: Path, kind: str, rows: str = "objects"
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
    rows
        objects, regions or images.

    Returns
    -------
    n
        How many rows there are.
    failures
        What went wrong, by the names of the images that are not in the table. If all failed there
        is no file.

    Raises
    ------
    MissingExtraError
        If what writes this kind of file isn't installed.
    ProjectError
        If the file can't be written; what was there is untouched.
    """
    failures: dict[str, str] = {}

    def describe(entry: ImageEntry) -> Columns | None:
        try:
            return ROWS[rows](entry, entry.read().objects)
        except QpbridgeError as error:
            failures[entry.name] = str(error)
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
    n, some = 0, False
    with contextlib.suppress(_NothingToWrite), FORMATS[kind](path, layout) as write:
        for entry in left:
            columns = only or describe(entry)
            if columns is None:
                continue
            if columns.keys() <= layout.keys():
                try:
                    n += write(columns)  # some are computed only here
                    some = True
                except QpbridgeError as error:
                    failures[entry.name] = str(error)
            else:
                failures[entry.name] = "it was saved while it was exported; run again"
            del columns
        if not some:
            raise _NothingToWrite
    return n, failures


class _NothingToWrite(Exception):  # noqa: N818 (no error)
    """No image is left to be written."""
