"""Writing Java object streams: copy what stays, insert what is new, and number the handles anew.

A stream is planned as a sequence of `Span` (bytes of a parsed stream), `Piece` (new bytes) and
`Patch` (bytes of the stream with new ones in many places).
Whatever is referred to (class, text, shared list, any object) is a *symbol*; handles are given out
at the very end, in stream order. One rule makes every edit right: **what is not yet defined where
it is first referred to is defined there, and what comes up for definition a second time becomes a
reference.** So a class whose first object was removed moves to the next object that needs it, and
new objects just refer to whatever they need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qpbridge.javastream.alike import Alike, join
from qpbridge.javastream.build import (
    Buffer,
    Builder,
    Content,
    Patch,
    Piece,
    Span,
    Symbols,
)
from qpbridge.javastream.nodes import BASE_HANDLE, REFERENCE
from qpbridge.javastream.strided import IntArray, read_values

BLOCK_REFERENCES = 1 << 16
PATCHES = 1 << 16
"""Places of a patch that are worked on at a time; bounds the memory."""

_NOWHERE = np.iinfo(np.int64).max


class Changes:
    """Stretches of a stream to be replaced by new contents, collected in any order."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.stream = symbols.stream
        self._edits: list[tuple[int, int, list[Content]]] = []
        self._alike: list[Alike] = []

    def replace(self, start: int, end: int, contents: Iterable[Content] = ()) -> None:
        """Put contents in place of ``data[start:end]``."""
        self._edits.append((start, end, list(contents)))

    def set_number(self, at: int, value: int) -> None:
        """Overwrite a 4-byte number."""
        builder = Builder(self.symbols)
        builder.raw(struct.pack(">i", value))
        self.replace(at, at + 4, [builder.piece()])

    def replace_alike(self, alike: Alike) -> None:
        """Put new contents in place of many."""
        if len(alike.starts):
            self._alike.append(alike)

    def apply(self) -> bytes:
        """Write the changed stream."""
        if not self._edits and not self._alike:
            return self.stream.data
        whole = Span(0, len(self.stream.data))
        patch = Patch(whole, *join(self.symbols, self._alike)) if self._alike else None
        plan: list[Content] = []
        at = 0
        for start, end, contents in sorted(self._edits, key=lambda edit: edit[:2]):
            if start > at:
                plan += _between(patch, at, start)
            plan += contents
            at = end
        plan += _between(patch, at, whole.end)
        return assemble(self.symbols, plan)


def _between(patch: Patch | None, start: int, end: int) -> Iterator[Content]:
    """Give the stretch between two edits, with what is patched in it."""
    if patch is not None:
        low, high = np.searchsorted(patch.starts, (start, end)).tolist()
        for first in range(low, high, PATCHES):
            last = min(first + PATCHES, high)
            cut = int(patch.ends[last - 1])
            yield patch.part(first, last, Span(start, cut))
            start = cut
    yield Span(start, end)


@dataclass(frozen=True, eq=False)
class _View:
    """A stretch of bytes that is still to be written, and the events in it."""

    data: Buffer
    start: int
    end: int
    reference_places: IntArray
    references: IntArray
    handle_places: IntArray
    symbols: IntArray
    """Those that the handles are of."""
    moved: tuple[IntArray, IntArray] | None = None
    """Where stretches of the stream begin here, and where in the stream; None: all is in place."""

    def place(self, at: int) -> int:
        """Where here a place of the stream is."""
        if self.moved is None:
            return at
        here, there = self.moved
        i = max(int(np.searchsorted(there, at, side="right")) - 1, 0)
        return int(here[i]) + at - int(there[i])


def assemble(symbols: Symbols, plan: Iterable[Content]) -> bytes:
    """Write a plan; handles are numbered in the order of the result.

    Parameters
    ----------
    symbols
        What the plan refers to.
    plan
        Contents in order.
    """
    writer = _Assembler(symbols)
    for content in plan:
        writer.write(content)
    return b"".join(writer.chunks)


class _Assembler:
    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.number = np.full(symbols.count, -1, np.int64)
        self.defined_at = np.full(symbols.count, _NOWHERE)
        self.count = 0
        self.chunks: list[bytes | memoryview] = []
        stream = symbols.stream
        self.targets = (
            read_values(stream.data, ">u4", stream.reference_places).astype(np.int64) - BASE_HANDLE
        )

    def write(self, content: Content) -> None:
        stack: list[Content | _View] = [content]
        while stack:
            item = stack.pop()
            stack += self.step(item if isinstance(item, _View) else self.view(item))

    def view(self, content: Content) -> _View:
        if isinstance(content, Patch):
            return _patched(content, self.view(content.span))
        if isinstance(content, Piece):
            first = content.first_symbol
            return _View(
                content.data,
                0,
                len(content.data),
                content.reference_places,
                content.references,
                content.handle_places,
                np.arange(first, first + len(content.handle_places)),
            )
        stream, (start, end, is_class) = self.symbols.stream, content
        a, b = np.searchsorted(stream.reference_places, (start, end))
        # An object without values gets its handle at its very end: hence (start, end].
        h = np.searchsorted(stream.handle_places, start, side="right")
        k = np.searchsorted(stream.handle_places, end, side="left" if is_class else "right")
        return _View(
            stream.data,
            start,
            end,
            stream.reference_places[a:b],
            self.targets[a:b],
            stream.handle_places[h:k],
            np.arange(h, k),
        )

    def step(self, view: _View) -> list[Content | _View]:
        """Write as much as can be written at once; return what comes next, last first."""
        if len(view.references) > BLOCK_REFERENCES:
            head, tail = _cut(view, int(view.reference_places[BLOCK_REFERENCES]) - 1)
            return [tail, head]
        defined = self.number[view.symbols] >= 0
        twice = int(np.argmax(defined)) if defined.any() else -1
        # What is new in a patch can refer to what its stretch defines further on.
        self.defined_at[view.symbols] = view.handle_places
        unknown = (self.number[view.references] < 0) & (
            self.defined_at[view.references] > view.reference_places
        )
        self.defined_at[view.symbols] = _NOWHERE
        missing = int(np.argmax(unknown)) if unknown.any() else -1
        if twice >= 0:
            extent = self.extent(view, twice)
            if extent.is_class:
                # The object that this class descriptor begins comes first, but has a later handle.
                owner = int(np.searchsorted(view.handle_places, extent.end))
                if (
                    owner < len(defined)
                    and view.handle_places[owner] == extent.end
                    and (defined[owner])
                ):
                    twice = owner
                    extent = self.extent(view, twice)
            if missing < 0 or extent.start < view.reference_places[missing]:
                return self.replace(view, int(view.symbols[twice]), extent)
        if missing >= 0:
            at = int(view.reference_places[missing]) - 1
            head, tail = _cut(view, at)
            self.emit(head)
            rest = replace(
                tail,
                start=at + 5,
                reference_places=tail.reference_places[1:],
                references=tail.references[1:],
            )
            needed = self.symbols.definition(int(view.references[missing]))
            return [rest, *reversed(needed)]
        self.emit(view)
        return []

    def extent(self, view: _View, handle: int) -> Span:
        """Where in a view of the stream a symbol is defined, by its index there."""
        (extent,) = self.symbols.definition(int(view.symbols[handle]))
        assert isinstance(extent, Span)
        return Span(view.place(extent.start), view.place(extent.end), extent.is_class)

    def replace(self, view: _View, symbol: int, extent: Span) -> list[Content | _View]:
        """Write a reference in place of something that has been defined before."""
        head, tail = _cut(view, extent.start)
        self.emit(head)
        number = BASE_HANDLE + int(self.number[symbol])
        self.chunks.append(struct.pack(">BI", REFERENCE, number))
        side: Literal["left", "right"] = "left" if extent.is_class else "right"
        skipped = int(np.searchsorted(tail.handle_places, extent.end, side=side))
        first = int(np.searchsorted(tail.reference_places, extent.end))
        return [
            replace(
                tail,
                start=extent.end,
                reference_places=tail.reference_places[first:],
                references=tail.references[first:],
                handle_places=tail.handle_places[skipped:],
                symbols=tail.symbols[skipped:],
            )
        ]

    def emit(self, view: _View) -> None:
        self.number[view.symbols] = np.arange(self.count, self.count + len(view.symbols))
        self.count += len(view.symbols)
        if view.start == view.end:
            return
        if isinstance(view.data, bytes):
            chunk = np.frombuffer(view.data, np.uint8)[view.start : view.end].copy()
        else:
            # no copy, as it can be a million objects; all numbers in it are set anew each time
            chunk = view.data[view.start : view.end]
        if len(view.references):
            words = np.ndarray((len(chunk) - 3,), ">u4", chunk, strides=(1,))
            words[view.reference_places - view.start] = BASE_HANDLE + self.number[view.references]
        self.chunks.append(chunk.data)


def _cut(view: _View, at: int) -> tuple[_View, _View]:
    """Cut before the content that begins at `at`."""
    r = int(np.searchsorted(view.reference_places, at))
    h = int(np.searchsorted(view.handle_places, at, side="right"))
    head = replace(
        view,
        end=at,
        reference_places=view.reference_places[:r],
        references=view.references[:r],
        handle_places=view.handle_places[:h],
        symbols=view.symbols[:h],
    )
    tail = replace(
        view,
        start=at,
        reference_places=view.reference_places[r:],
        references=view.references[r:],
        handle_places=view.handle_places[h:],
        symbols=view.symbols[h:],
    )
    return head, tail


def _patched(patch: Patch, whole: _View) -> _View:
    """Put what is new into the view of a stretch of the stream."""
    starts, bounds, piece = patch.starts, patch.bounds, patch.piece
    there = np.append(whole.start, patch.ends)  # where the stretches that stay begin,
    until = np.append(starts, whole.end)  # and where they end
    here = np.cumsum(until - there + np.append(0, np.diff(bounds))) - (until - there)
    between = here[:-1] + (until - there)[:-1]
    stream, new = (np.frombuffer(data, np.uint8).data for data in (whole.data, piece.data))
    chunks = [stream[there[0] : until[0]]]
    places = (bounds[:-1], bounds[1:], there[1:], until[1:])
    for low, high, start, end in zip(*(p.tolist() for p in places), strict=True):
        chunks += new[low:high], stream[start:end]

    def merged(
        old: IntArray, old_values: IntArray, added: IntArray, values: IntArray, back: int
    ) -> tuple[IntArray, IntArray]:
        """Merge the places that stay with new ones, and what goes with them."""
        index = np.searchsorted(starts, old - back, side="right")
        stays = old - back >= there[index]
        index, kept = index[stays], old[stays]
        which = np.searchsorted(bounds, added - back, side="right") - 1
        moved = [kept - there[index] + here[index], added - bounds[which] + between[which]]
        places = np.concatenate(moved)
        order = np.argsort(places, kind="stable")
        return places[order], np.concatenate([old_values[stays], values])[order]

    reference_places, references = merged(
        whole.reference_places, whole.references, piece.reference_places, piece.references, 0
    )
    symbols = piece.first_symbol + np.arange(len(piece.handle_places))
    # A handle is assigned behind the first byte of what it is of, at the earliest, or at its end.
    handle_places, symbols = merged(
        whole.handle_places, whole.symbols, piece.handle_places, symbols, 1
    )
    data = b"".join(chunks)
    return _View(
        data, 0, len(data), reference_places, references, handle_places, symbols, (here, there)
    )
