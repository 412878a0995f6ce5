"""Tables as files: CSV or TSV, and Parquet, written image by image."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import require_extra
from qpbridge.project.files.atomic import atomic_file
from qpbridge.project.files.compressed import atomic_text
from qpbridge.tables.column_types import Column, Columns, Numbers, Texts, Values
from qpbridge.tables.columns import IMAGE

CHUNK = 20_000
"""Rows that are turned into text at a time."""

Layout = Mapping[str, str]
"""The columns of a file: kinds by name, as of `Column`."""
Write = Callable[[Columns], int]
"""Adds the rows of one image to a file, and says how many."""


@contextlib.contextmanager
def csv_file(path: Path, layout: Layout) -> Iterator[Write]:
    """Write a CSV file, or one with tabs if it is called ``.tsv``; also ``.gz`` and ``.zip``.

    Numbers are written with all their digits. As in QuPath's exports, a cell is empty where an
    object doesn't have a value, and ``NaN`` where it could not be computed.

    Yields
    ------
    write
        To be called for each image.

    Raises
    ------
    ProjectError
        If it can't be written; what was there is untouched.
    """
    unpacked = path.with_suffix("") if path.suffix.lower() in (".gz", ".zip") else path
    ending = ".tsv" if unpacked.suffix.lower() == ".tsv" else ".csv"
    with atomic_text(path, ending) as text:
        table = csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
        table.writerow(layout)

        def write(columns: Columns) -> int:
            values = [columns[name].values() if name in columns else None for name in layout]
            n = _length(columns)
            for start in range(0, n, CHUNK):
                rows = slice(start, min(start + CHUNK, n))
                cells = [_cells(column, rows) for column in values]
                table.writerows(zip(*cells, strict=True))
            return n

        yield write


@contextlib.contextmanager
def parquet_file(path: Path, layout: Layout) -> Iterator[Write]:
    """Write a Parquet file with a row group for each image (and each million rows of it).

    What an object doesn't have is null; NaN is what could not be computed.

    Yields
    ------
    write
        To be called for each image.

    Raises
    ------
    MissingExtraError
        Without pyarrow.
    ProjectError
        If it can't be written; what was there is untouched.
    """
    arrow = require_extra("pyarrow", "tables", "Parquet files")
    parquet = require_extra("pyarrow.parquet", "tables", "Parquet files")
    types = {"int": arrow.int64(), "float": arrow.float64()}
    schema = arrow.schema(
        [(name, types.get(kind, arrow.string())) for name, kind in layout.items()]
    )

    def array(values: Values | None, n: int, kind: Any) -> Any:
        if values is None:
            return arrow.nulls(n, kind)
        if isinstance(values, Texts):
            places = arrow.array(np.maximum(values.codes, 0), mask=values.codes < 0)
            labels = arrow.array(list(values.labels), arrow.string())
            return arrow.DictionaryArray.from_arrays(places, labels).dictionary_decode()
        if not isinstance(values, Numbers) or kind == arrow.string():
            cells = _cells(values, slice(0, n))
            return arrow.array([str(cell) or None for cell in cells], kind)
        return arrow.array(np.ascontiguousarray(values.values), mask=values.absent).cast(kind)

    with atomic_file(path) as file, parquet.ParquetWriter(file, schema) as writer:

        def write(columns: Columns) -> int:
            values = [columns[name].values() if name in columns else None for name in layout]
            n = _length(columns)
            arrays = [array(v, n, kind) for v, kind in zip(values, schema.types, strict=True)]
            if n:
                writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            return n

        yield write


def merge_layouts(layout: dict[str, str], columns: Mapping[str, Column]) -> None:
    """Add to a layout the columns of one more image; new ones come last, as in QuPath's exports.

    A name that stands for texts in one image and for numbers in another is one of texts.
    """
    breadth = ("int", "float", "text", "id")
    for name, column in columns.items():
        kinds = (layout.get(name, "int"), column.kind)
        layout[name] = max(kinds, key=breadth.index)


def _length(columns: Columns) -> int:
    image = columns[IMAGE].values()
    assert isinstance(image, Texts)
    return len(image.codes)


def _cells(values: Values | None, rows: slice) -> list[Any]:
    """Turn some rows of a column into what a CSV file shows of them; None: there is no column."""
    if values is None:
        return [""] * (rows.stop - rows.start)
    if isinstance(values, Texts):
        labels = np.array([*values.labels, ""], dtype=object)
        return list(labels[values.codes[rows]])
    if not isinstance(values, Numbers):
        return list(values[rows].astype(str).tolist())
    numbers, absent = values.values[rows], values.absent[rows]
    uncomputed = np.isnan(numbers)
    if not (absent | uncomputed).any():
        return list(numbers.tolist())
    cells = numbers.astype(object)
    cells[uncomputed] = "NaN"
    cells[absent] = ""
    return list(cells.tolist())
