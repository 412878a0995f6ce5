"""Reading and writing values that lie scattered over a buffer, all at once."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]


def _windows(buffer: bytes | Bytes, dtype: np.dtype[Any]) -> Any:
    """View a buffer as one value of `dtype` beginning at every byte."""
    return np.ndarray((len(buffer) - dtype.itemsize + 1,), dtype, buffer, strides=(1,))


def read_values(buffer: bytes | Bytes, dtype: npt.DTypeLike, at: IntArray) -> Any:
    """Read one value of `dtype` at each byte offset; an array of the shape of `at`."""
    wanted = np.dtype(dtype)
    if at.size == 0 or wanted.itemsize == 0:
        return np.empty(at.shape, wanted)
    return _windows(buffer, wanted)[at]


def read_rows(buffer: bytes | Bytes, at: IntArray, size: int) -> Bytes:
    """Read `size` bytes at each offset (n,), uint8 (n, size)."""
    if size == 0:
        return np.empty((len(at), 0), np.uint8)
    rows: Bytes = read_values(buffer, f"V{size}", at).view(np.uint8).reshape(len(at), size)
    return rows


def write_rows(buffer: Bytes, at: IntArray, rows: npt.NDArray[Any]) -> None:
    """Write each row of a contiguous array at its byte offset."""
    size = rows.nbytes // max(len(rows), 1)
    if size:
        wanted = np.dtype(f"V{size}")
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
        _windows(buffer, wanted)[at] = flat.view(wanted)[:, 0]


def big_endian(values: npt.NDArray[np.number], dtype: str) -> Bytes:
    """Turn numbers (n, ...) into the bytes of a dtype such as ``>f4``, uint8 (n, bytes)."""
    with np.errstate(over="ignore"):  # QuPath keeps what is beyond single precision as infinite
        packed = np.ascontiguousarray(values.astype(dtype))
    return packed.view(np.uint8).reshape(len(values), -1)
