"""The pieces of a parsed Java object stream: class descriptors, and nodes that say what lies where.

Source of the grammar: Java Object Serialization Specification, chapter 6.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from qpbridge.javastream.bulk import Bulk

MAGIC: Final = b"\xac\xed\x00\x05"
BASE_HANDLE: Final = 0x7E0000
MAX_SUPERCLASSES: Final = 64

NULL, REFERENCE, CLASSDESC, OBJECT = 0x70, 0x71, 0x72, 0x73
STRING, ARRAY, CLASS, BLOCKDATA = 0x74, 0x75, 0x76, 0x77
END, RESET, BLOCKDATALONG, EXCEPTION = 0x78, 0x79, 0x7A, 0x7B
LONGSTRING, PROXYCLASSDESC, ENUM = 0x7C, 0x7D, 0x7E

WRITE_METHOD, SERIALIZABLE, EXTERNALIZABLE, BLOCK_DATA = 1, 2, 4, 8

PRIMITIVES: Final[dict[str, np.dtype[Any]]] = {
    "B": np.dtype(">i1"),
    "C": np.dtype(">u2"),
    "D": np.dtype(">f8"),
    "F": np.dtype(">f4"),
    "I": np.dtype(">i4"),
    "J": np.dtype(">i8"),
    "S": np.dtype(">i2"),
    "Z": np.dtype(">u1"),
}
INTEGERS: Final = "BCISZ"
"""The letters of what fits into 32 bits."""


class Field(NamedTuple):
    """A field of a class: its type letter (``L`` and ``[`` are objects), name, and place.

    `at` is the byte offset among the primitive values, or the index among the object fields.
    """

    type: str
    name: str
    at: int


@dataclass(slots=True, eq=False)
class ClassDesc:
    """A class descriptor; `layout` are the classes that have data in an object, base class first.

    Parameters
    ----------
    size
        Bytes of the primitive values of this class alone.
    count
        Number of its object fields.
    """

    name: str
    uid: int
    flags: int
    fields: tuple[Field, ...] = ()
    size: int = 0
    count: int = 0
    depth: int = 0
    parent: ClassDesc | None = None
    complete: bool = False
    _layout: tuple[ClassDesc, ...] | None = None

    @property
    def has_notes(self) -> bool:
        """Whether objects carry free content (``writeObject`` or ``writeExternal``)."""
        return bool(self.flags & (WRITE_METHOD | EXTERNALIZABLE))

    @property
    def layout(self) -> tuple[ClassDesc, ...]:
        """The classes whose values are written for an object of this class."""
        if self._layout is None:
            chain: list[ClassDesc] = []
            one: ClassDesc | None = self
            while one is not None and not self.flags & EXTERNALIZABLE:
                if one.fields or one.has_notes:
                    chain.append(one)
                one = one.parent
            self._layout = (self,) if self.flags & EXTERNALIZABLE else tuple(reversed(chain))
        return self._layout


class Part:
    """What one class of the chain wrote for an object.

    `at` is where its primitive values begin, `fields` are its object fields, `notes` the free
    content behind them (without its end mark).
    """

    __slots__ = ("at", "desc", "fields", "notes")

    def __init__(self, desc: ClassDesc, at: int) -> None:
        self.desc = desc
        self.at = at
        self.fields: list[Node] = []
        self.notes: list[Node | Bulk] = []


class Node:
    """One piece of content: ``data[start:end]``, with the handle it defines (-1: none).

    What the other attributes hold depends on `tag`: `desc` is the class of objects, arrays and
    enums, and the descriptor itself of class descriptors; `parts` of objects; `items` the elements
    of object arrays, the name of an enum, and everything inside a class descriptor or the root;
    `value` the handle that a reference points at, the length of an array, or where text and block
    data begin.
    """

    __slots__ = ("desc", "end", "handle", "items", "parts", "start", "tag", "value")

    def __init__(self, tag: int, start: int, end: int = -1, value: int = -1) -> None:
        self.tag = tag
        self.start = start
        self.end = end
        self.value = value
        self.handle = -1
        self.desc: ClassDesc | None = None
        self.parts: Sequence[Part] = ()
        self.items: Sequence[Node | Bulk] = ()

    @property
    def class_name(self) -> str:
        """Java's name of the class, "" for what has none."""
        return "" if self.desc is None else self.desc.name

    @property
    def is_numbers(self) -> bool:
        """Whether this is an array of primitives."""
        name = self.class_name
        return self.tag == ARRAY and len(name) == 2 and name[1] in PRIMITIVES

    @property
    def notes(self) -> list[Node | Bulk]:
        """Free content that the most derived class wrote."""
        return self.parts[-1].notes if self.parts else []


def inner_nodes(node: Node) -> Iterator[Node | Bulk]:
    """Walk over a node and all within it, in the order of the stream."""
    stack: list[Node | Bulk] = [node]
    while stack:
        one = stack.pop()
        yield one
        if isinstance(one, Node):
            nested: list[Node | Bulk] = list(one.items)
            for part in one.parts:
                nested += part.fields
                nested += part.notes
            stack += reversed(nested)


def decode_text(raw: bytes) -> str:
    """Decode modified UTF-8 (NUL as C0 80, supplementary characters as two surrogates).

    Raises
    ------
    UnicodeDecodeError
        If it is not.
    """
    if raw.isascii():
        return raw.decode("ascii")
    if max(raw) >= 0xF0:
        raise UnicodeDecodeError("mutf-8", raw, 0, len(raw), "four-byte sequence")
    text = raw.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def encode_text(text: str) -> bytes:
    """Encode modified UTF-8."""
    if text.isascii():
        return text.encode("ascii").replace(b"\0", b"\xc0\x80")
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    halves = "".join(map(chr, units))
    return halves.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
