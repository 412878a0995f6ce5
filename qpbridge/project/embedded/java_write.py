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
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from qpbridge.project.embedded.java_bulk import gather
from qpbridge.project.embedded.java_nodes import (
    ARRAY,
    BASE_HANDLE,
    BLOCKDATA,
    BLOCKDATALONG,
    CLASSDESC,
    END,
    ENUM,
    LONGSTRING,
    NULL,
    OBJECT,
    PRIMITIVES,
    PROXYCLASSDESC,
    REFERENCE,
    STRING,
)
from qpbridge.project.embedded.java_stream import Stream, encode_text

IntArray = npt.NDArray[np.int64]
Buffer: TypeAlias = bytes | npt.NDArray[np.uint8]

EMPTY_STREAM = Stream(b"", [], {}, [], 0, [], [], [])
BLOCK_REFERENCES = 1 << 16


class Span(NamedTuple):
    """Bytes of the parsed stream, cut between contents.

    `is_class` says that they are a class descriptor, which matters for the handle that is assigned
    right behind them: it is that of the object that they begin.
    """

    start: int
    end: int
    is_class: bool = False


@dataclass(frozen=True, eq=False)
class Piece:
    """New bytes, with the places of the references and handles in them.

    Parameters
    ----------
    data
        The bytes; the handles in references are set when the piece is written.
    reference_places, references
        Offsets of the 4-byte handles, ascending, and the symbols they stand for, int64 (r,).
    handle_places
        Where handles are assigned, ascending, int64 (h,).
    first_symbol
        The handles are of this symbol and those that follow it.
    """

    data: Buffer
    reference_places: IntArray
    references: IntArray
    handle_places: IntArray
    first_symbol: int


Content: TypeAlias = Span | Piece


class ClassSpec(NamedTuple):
    """What is needed to write a class descriptor; fields in the order of the stream.

    A field is its type letter and name, and for objects the type (``Ljava/lang/String;``).
    """

    uid: int
    flags: int
    parent: str | None = None
    fields: Sequence[tuple[str, ...]] = ()


class Symbols:
    """Everything that can be referred to: the handles of a stream, then what was made new.

    Parameters
    ----------
    stream
        The stream that is edited.
    specs
        Classes that objects can be made of, by name.
    """

    def __init__(self, stream: Stream, specs: Mapping[str, ClassSpec]) -> None:
        self.stream = stream
        self.specs = specs
        self.count = stream.handle_count
        self.moved: dict[int, Sequence[Content]] = {}
        self._shared: dict[Hashable, int] = {}
        for node in reversed(stream.classes):
            assert node.desc is not None
            spec = specs.get(node.desc.name)
            fields = [(f.type, f.name) for f in node.desc.fields]
            if spec and (spec.uid, spec.flags, [f[:2] for f in spec.fields]) == (
                node.desc.uid,
                node.desc.flags,
                fields,
            ):
                self._shared["class", node.desc.name] = node.handle

    def definition(self, symbol: int) -> Sequence[Content]:
        """Return the contents that define a symbol."""
        moved = self.moved.get(symbol)
        if moved is None:
            node = self.stream.node(symbol)
            return [Span(node.start, node.end, node.tag in (CLASSDESC, PROXYCLASSDESC))]
        return moved

    def shared(self, key: Hashable, build: Callable[[Builder], None]) -> int:
        """Return the symbol of a new thing that is written where it is first used.

        `build` writes it, as one content that defines it before anything else.
        """
        if key not in self._shared:
            builder = Builder(self)
            build(builder)
            piece = builder.piece()
            self._shared[key] = piece.first_symbol
            self.moved[piece.first_symbol] = [piece]
        return self._shared[key]

    def java_class(self, name: str) -> int:
        """Return the symbol of a class descriptor."""
        return self.shared(("class", name), lambda builder: builder.class_desc(name))

    def text(self, text: str) -> int:
        """Return the symbol of a text that is written once."""
        return self.shared(("text", text), lambda builder: builder.text(text))

    def allocate(self, count: int) -> int:
        """Take `count` new symbols, and return the first."""
        first = self.count
        self.count += count
        return first


class Builder:
    """Writes new contents one by one."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self.out = bytearray()
        self._reference_places: list[int] = []
        self._references: list[int] = []
        self._handle_places: list[int] = []

    def piece(self) -> Piece:
        """Return all that was written."""
        return Piece(
            bytes(self.out),
            np.array(self._reference_places, np.int64),
            np.array(self._references, np.int64),
            np.array(self._handle_places, np.int64),
            self.symbols.allocate(len(self._handle_places)),
        )

    def _define(self) -> None:
        self._handle_places.append(len(self.out))

    def raw(self, data: bytes) -> None:
        """Write primitive values of an object."""
        self.out += data

    def null(self) -> None:
        """Write null."""
        self.out.append(NULL)

    def reference(self, symbol: int) -> None:
        """Write a reference."""
        self.out += bytes((REFERENCE, 0, 0, 0, 0))
        self._reference_places.append(len(self.out) - 4)
        self._references.append(symbol)

    def text(self, text: str | None) -> None:
        """Write a new string, or null."""
        if text is None:
            return self.null()
        raw = encode_text(text)
        if len(raw) <= 0xFFFF:
            self.out += struct.pack(">BH", STRING, len(raw))
        else:
            self.out += struct.pack(">BQ", LONGSTRING, len(raw))
        self._define()
        self.out += raw
        return None

    def block(self, data: bytes) -> None:
        """Write block data."""
        if len(data) <= 0xFF:
            self.out += struct.pack(">BB", BLOCKDATA, len(data)) + data
        else:
            self.out += struct.pack(">BI", BLOCKDATALONG, len(data)) + data

    def begin(self, class_name: str) -> None:
        """Begin an object; its values follow, class by class."""
        self.out.append(OBJECT)
        self.reference(self.symbols.java_class(class_name))
        self._define()

    def end(self) -> None:
        """End the free content of a class."""
        self.out.append(END)

    def numbers(self, letter: str, values: npt.ArrayLike) -> None:
        """Write an array of primitives, ``float[]`` for ``F``."""
        array = np.asarray(values).astype(PRIMITIVES[letter])
        self.begin_array(f"[{letter}", len(array))
        self.out += array.tobytes()

    def begin_array(self, class_name: str, length: int) -> None:
        """Begin an array; its elements follow."""
        self.out.append(ARRAY)
        self.reference(self.symbols.java_class(class_name))
        self._define()
        self.out += struct.pack(">i", length)

    def enum(self, class_name: str, constant: str) -> None:
        """Write an enum constant."""
        self.out.append(ENUM)
        self.reference(self.symbols.java_class(class_name))
        self._define()
        self.text(constant)

    def _name(self, name: str) -> None:
        raw = encode_text(name)
        self.out += struct.pack(">H", len(raw)) + raw

    def class_desc(self, name: str) -> None:
        """Write a class descriptor."""
        spec = self.symbols.specs[name]
        self.out.append(CLASSDESC)
        self._name(name)
        self.out += struct.pack(">q", spec.uid)
        self._define()
        self.out += struct.pack(">BH", spec.flags, len(spec.fields))
        for letter, field, *object_type in spec.fields:
            self.out += letter.encode()
            self._name(field)
            for one in object_type:
                self.reference(self.symbols.text(one))
        self.out.append(END)
        if spec.parent is None:
            self.null()
        else:
            self.reference(self.symbols.java_class(spec.parent))


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
            gather(stream.data, ">u4", stream.reference_places).astype(np.int64) - BASE_HANDLE
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
