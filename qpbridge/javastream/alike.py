"""New contents of a few forms in many places of a stream, put together without a loop over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qpbridge.javastream.build import Piece, Symbols
from qpbridge.javastream.strided import Bytes, IntArray, write_rows

_CHUNK = 2**16
"""Contents that are put together at a time; bounds the memory."""


@dataclass(frozen=True, eq=False)
class Alike:
    """What comes instead of many contents, in one form.

    Parameters
    ----------
    starts, ends
        int64 (n,), where in the stream the old contents are; both the same: nothing was there.
    piece
        A new content; all have its references and its handles at the same places.
    fill
        From a stretch of the n to their bytes, uint8 (m, size); None: all are as `piece`.
    """

    starts: IntArray
    ends: IntArray
    piece: Piece
    fill: Callable[[slice], Bytes] | None = None

    def rows(self, some: slice) -> Bytes:
        """Return the bytes of some of the new contents, uint8 (m, size)."""
        if self.fill is not None:
            return self.fill(some)
        return repeated(self.piece, len(self.starts[some]))


def repeated(piece: Piece, n: int) -> Bytes:
    """Return the bytes of a piece n times, uint8 (n, size)."""
    return np.tile(np.frombuffer(piece.data, np.uint8), (n, 1))


def join(symbols: Symbols, every: Sequence[Alike]) -> tuple[IntArray, IntArray, Piece, IntArray]:
    """Put contents of several forms in the order of the stream.

    Returns
    -------
    starts, ends, piece, bounds
        As of `Patch`.
    """
    lengths = [len(alike.starts) for alike in every]
    starts = np.concatenate([alike.starts for alike in every])
    ends = np.concatenate([alike.ends for alike in every])
    order = np.lexsort((ends, starts))  # what is put in between comes first
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    def bounds(sizes: Sequence[int]) -> IntArray:
        """Where what belongs to each content begins, in the order of the stream."""
        return np.append(0, np.cumsum(np.repeat(sizes, lengths)[order]))

    pieces = [alike.piece for alike in every]
    at = bounds([len(piece.data) for piece in pieces])
    references_at = bounds([len(piece.references) for piece in pieces])
    handles_at = bounds([len(piece.handle_places) for piece in pieces])
    out = np.empty(int(at[-1]), np.uint8)
    reference_places = np.empty(int(references_at[-1]), np.int64)
    references = np.empty(len(reference_places), np.int64)
    handle_places = np.empty(int(handles_at[-1]), np.int64)
    position = 0
    for alike, piece in zip(every, pieces, strict=True):
        where = rank[position : position + len(alike.starts)]
        position += len(where)
        for i in range(0, len(where), _CHUNK):
            some = where[i : i + _CHUNK]
            write_rows(out, at[some], alike.rows(slice(i, i + len(some))))
            for column, begin, rows in (
                (reference_places, references_at, at[some, None] + piece.reference_places),
                (references, references_at, np.tile(piece.references, (len(some), 1))),
                (handle_places, handles_at, at[some, None] + piece.handle_places),
            ):
                write_rows(column.view(np.uint8), begin[some] * 8, rows)
    first = symbols.allocate(len(handle_places))
    return (
        starts[order],
        ends[order],
        Piece(out, reference_places, references, handle_places, first),
        at,
    )
