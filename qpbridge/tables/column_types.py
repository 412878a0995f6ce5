"""What columns of tables hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qpbridge.objects import IntArray

Ids = npt.NDArray[np.bytes_]
"""UUIDs as ASCII text, (n,) of 36 bytes."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of which many are the same.

    Parameters
    ----------
    codes
        int32 (n,), index into `labels`; negative: an object has no such text.
    labels
        The texts.
    """

    codes: npt.NDArray[np.int32]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers.

    Parameters
    ----------
    values
        int64 or float64 (n,); NaN is what an object has, but could not be computed.
    absent
        bool (n,), which objects have no such number.
    """

    values: npt.NDArray[Any]
    absent: npt.NDArray[np.bool_]


Values = Ids | Texts | Numbers


@dataclass(frozen=True, eq=False)
class Column:
    """One column.

    Parameters
    ----------
    kind
        What it holds.
    values
        Computes it: `Ids`, `Texts`, or `Numbers` of this kind.
    """

    kind: Literal["id", "text", "int", "float"]
    values: Callable[[], Values]


Columns = dict[str, Column]
"""By name, in order."""


def texts(codes: npt.NDArray[Any], labels: Sequence[str]) -> Texts:
    """Make a column of texts from an index into labels (n,); negative: none."""
    return Texts(codes.astype(np.int32), tuple(map(clean, labels)))


def few_texts(n: int, values: Mapping[int, str]) -> Texts:
    """Make a column of `n` texts of which there are few, by row."""
    codes = np.full(n, -1, np.int64)
    codes[list(values)] = np.arange(len(values))
    return texts(codes, list(values.values()))


def some_numbers(n: int, rows: IntArray, values: npt.NDArray[Any]) -> Numbers:
    """Make a column of `n` numbers of which only some rows have one."""
    numbers = Numbers(np.zeros(n, values.dtype), np.ones(n, bool))
    numbers.values[rows] = values
    numbers.absent[rows] = False
    return numbers


def number(kind: Literal["int", "float"], value: float) -> Column:
    """Make a column of one number."""
    dtype = np.int64 if kind == "int" else np.float64
    return Column(kind, lambda: Numbers(np.array([value], dtype), np.array([False])))


def clean(text: str) -> str:
    """Replace what files of tables don't take: half characters, and carriage returns."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
