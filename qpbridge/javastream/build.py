"""Making new contents for Java object streams, to be put together by `java_write`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from qpbridge.javastream.nodes import (
    ARRAY,
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
    ClassDesc,
)
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import Bytes, IntArray
from qpbridge.javastream.text import encode_text

Buffer: TypeAlias = bytes | Bytes
EMPTY_STREAM = Stream(b"", [], {}, [], 0, [], [], [])


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


@dataclass(frozen=True, eq=False)
class Patch:
    """Bytes of the parsed stream with new ones in many places, for what is changed in many objects.

    Parameters
    ----------
    span
        The stretch of the stream.
    starts, ends
        int64 (k,), what of it goes, ascending: each a whole content.
    piece, bounds
        What comes instead, one behind the other, and where each begins, int64 (k + 1,).
    """

    span: Span
    starts: IntArray
    ends: IntArray
    piece: Piece
    bounds: IntArray

    def part(self, first: int, last: int, span: Span) -> Patch:
        """Take the changes from `first` up to `last`, which lie in a shorter stretch."""
        piece, bounds = self.piece, self.bounds[first : last + 1]
        low, high = int(bounds[0]), int(bounds[-1])
        a, b = np.searchsorted(piece.reference_places, (low, high))
        h, k = np.searchsorted(piece.handle_places, (low, high), side="right")
        inner = Piece(
            piece.data[low:high],
            piece.reference_places[a:b] - low,
            piece.references[a:b],
            piece.handle_places[h:k] - low,
            piece.first_symbol + int(h),
        )
        return Patch(span, self.starts[first:last], self.ends[first:last], inner, bounds - low)


Content: TypeAlias = Span | Piece | Patch


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
            if _is_as_specified(node.desc, specs):
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


def _is_as_specified(desc: ClassDesc | None, specs: Mapping[str, ClassSpec]) -> bool:
    """Whether objects of a class, and of those above it, hold what we would write."""
    name = None if desc is None else desc.name
    while desc is not None and name is not None:
        spec = specs.get(name)
        fields = [(f.type, f.name) for f in desc.fields]
        if spec is None or (spec.uid, spec.flags, [f[:2] for f in spec.fields]) != (
            desc.uid,
            desc.flags,
            fields,
        ):
            return False
        desc, name = desc.parent, spec.parent
        if (None if desc is None else desc.name) != name:
            return False
    return True


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
        with np.errstate(over="ignore"):  # QuPath keeps what is beyond single precision as infinite
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
