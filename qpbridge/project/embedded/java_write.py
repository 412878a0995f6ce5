"""Writing Java object streams: copy what stays, insert what is new, and number the handles anew.

A stream is planned as a sequence of `Span` (bytes of a parsed stream) and `Piece` (new bytes).
Whatever is referred to (class, text, shared list, any object) is a *symbol*; handles are given out
at the very end, in stream order. One rule makes every edit right: **what is not yet defined where
it is first referred to is defined there, and what comes up for definition a second time becomes a
reference.** So a class whose first object was removed moves to the next object that needs it, and
new objects just refer to whatever they need.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from qpbridge.project.embedded.java_build import Buffer, Builder, Content, Piece, Span, Symbols
from qpbridge.project.embedded.java_nodes import BASE_HANDLE, REFERENCE
from qpbridge.project.embedded.strided import IntArray, read_values

BLOCK_REFERENCES = 1 << 16


class Changes:
    """Stretches of a stream to be replaced by new contents, collected in any order."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.stream = symbols.stream
        self._edits: list[tuple[int, int, list[Content]]] = []

    def replace(self, start: int, end: int, contents: Iterable[Content] = ()) -> None:
        """Put contents in place of ``data[start:end]``."""
        self._edits.append((start, end, list(contents)))

    def set_number(self, at: int, value: int) -> None:
        """Overwrite a 4-byte number."""
        builder = Builder(self.symbols)
        builder.raw(struct.pack(">i", value))
        self.replace(at, at + 4, [builder.piece()])

    def apply(self) -> bytes:
        """Write the changed stream."""
        if not self._edits:
            return self.stream.data
        plan: list[Content] = []
        at = 0
        for start, end, contents in sorted(self._edits, key=lambda edit: edit[:2]):
            if start > at:
                plan.append(Span(at, start))
            plan += contents
            at = end
        plan.append(Span(at, len(self.stream.data)))
        return assemble(self.symbols, plan)


@dataclass(frozen=True, eq=False)
class _View:
    """A stretch of bytes that is still to be written, and the events in it."""

    data: Buffer
    start: int
    end: int
    reference_places: IntArray
    references: IntArray
    handle_places: IntArray
    symbols: tuple[int, int]
    """First symbol defined here, and the one behind the last."""


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
        if isinstance(content, Piece):
            first = content.first_symbol
            return _View(
                content.data,
                0,
                len(content.data),
                content.reference_places,
                content.references,
                content.handle_places,
                (first, first + len(content.handle_places)),
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
            (int(h), int(k)),
        )

    def step(self, view: _View) -> list[Content | _View]:
        """Write as much as can be written at once; return what comes next, last first."""
        if len(view.references) > BLOCK_REFERENCES:
            head, tail = _cut(view, int(view.reference_places[BLOCK_REFERENCES]) - 1)
            return [tail, head]
        first, last = view.symbols
        defined = self.number[first:last] >= 0
        twice = int(np.argmax(defined)) if defined.any() else -1
        # Within a stretch, nothing is referred to before it is defined.
        unknown = (self.number[view.references] < 0) & (
            (view.references < first) | (view.references >= last)
        )
        missing = int(np.argmax(unknown)) if unknown.any() else -1
        if twice >= 0:
            (extent,) = self.symbols.definition(first + twice)
            assert isinstance(extent, Span)
            if extent.is_class:
                # The object that this class descriptor begins comes first, but has a later handle.
                owner = int(np.searchsorted(view.handle_places, extent.end))
                if (
                    owner < len(defined)
                    and view.handle_places[owner] == extent.end
                    and (defined[owner])
                ):
                    twice = owner
                    (extent,) = self.symbols.definition(first + twice)
                    assert isinstance(extent, Span)
            if missing < 0 or extent.start < view.reference_places[missing]:
                return self.replace(view, first + twice, extent)
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
                symbols=(tail.symbols[0] + skipped, tail.symbols[1]),
            )
        ]

    def emit(self, view: _View) -> None:
        first, last = view.symbols
        self.number[first:last] = np.arange(self.count, self.count + last - first)
        self.count += last - first
        if view.start == view.end:
            return
        if isinstance(view.data, bytes):
            chunk = np.frombuffer(view.data, np.uint8)[view.start : view.end].copy()
        else:
            chunk = view.data[view.start : view.end].copy()
        if len(view.references):
            words = np.ndarray((len(chunk) - 3,), ">u4", chunk, strides=(1,))
            words[view.reference_places - view.start] = BASE_HANDLE + self.number[view.references]
        self.chunks.append(chunk.data)


def _cut(view: _View, at: int) -> tuple[_View, _View]:
    """Cut before the content that begins at `at`."""
    r = int(np.searchsorted(view.reference_places, at))
    h = int(np.searchsorted(view.handle_places, at, side="right"))
    middle = view.symbols[0] + h
    head = replace(
        view,
        end=at,
        reference_places=view.reference_places[:r],
        references=view.references[:r],
        handle_places=view.handle_places[:h],
        symbols=(view.symbols[0], middle),
    )
    tail = replace(
        view,
        start=at,
        reference_places=view.reference_places[r:],
        references=view.references[r:],
        handle_places=view.handle_places[h:],
        symbols=(middle, view.symbols[1]),
    )
    return head, tail
