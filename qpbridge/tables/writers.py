"""Tables as files: CSV or TSV, and Parquet, written image by image."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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


SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}
"""What stands between cells, by its name."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What texts begin with that a spreadsheet takes for formulas, and runs."""


@dataclass(frozen=True)
class Style:
    """How text files are written.

    Parameters
    ----------
    excel
        For spreadsheets: a byte order mark, by which Excel knows UTF-8, and a ``'`` before texts
        that it would take for formulas.
    separator
        Of `SEPARATORS`; with semicolons numbers have decimal commas, as spreadsheets expect it
        where these are in use. Empty: as the name of the file says.
    """

    excel: bool = False
    separator: str = ""


USUAL = Style()


@contextlib.contextmanager
def csv_file(path: Path, layout: Layout, style: Style = USUAL) -> Iterator[Write]:
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
    separator = SEPARATORS[style.separator or ("tab" if ending == ".tsv" else "comma")]
    shown = _shown(style)
    with atomic_text(path, ending) as text:
        if style.excel:
            text.write("\ufeff")
        table = csv.writer(text, delimiter=separator, lineterminator="\n")
        table.writerow(shown("text", list(layout)))

        def write(columns: Columns) -> int:
            values = [columns[name].values() if name in columns else None for name in layout]
            n = _length(columns)
            kinds = [columns[name].kind if name in columns else "text" for name in layout]
            for start in range(0, n, CHUNK):
                rows = slice(start, min(start + CHUNK, n))
                cells = [shown(k, _cells(v, rows)) for k, v in zip(kinds, values, strict=True)]
                table.writerows(zip(*cells, strict=True))
            return n

        yield write


def _shown(style: Style) -> Callable[[str, list[Any]], list[Any]]:
    """Make what a style makes of the cells of a column, by its kind."""

    def text(cell: str) -> str:
        return f"'{cell}" if style.excel and cell.startswith(FORMULAS) else cell

    def number(cell: Any) -> Any:
        return str(cell).replace(".", ",") if style.separator == "semicolon" else cell

    def cells(kind: str, given: list[Any]) -> list[Any]:
        if kind == "float":
            return list(map(number, given)) if style.separator == "semicolon" else given
        return list(map(text, given)) if style.excel and kind == "text" else given

    return cells


@contextlib.contextmanager
def parquet_file(path: Path, layout: Layout, style: Style = USUAL) -> Iterator[Write]:
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
