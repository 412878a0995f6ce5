"""The pieces of a parsed Java object stream: class descriptors, and nodes that say what lies where.

Many objects of the same form that follow one another are not made into nodes, but kept as arrays of
offsets: a `Bulk`, of a `Run` for each form.

Source of the grammar: Java Object Serialization Specification, chapter 6.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge.javastream.strided import IntArray, read_values

_U32 = struct.Struct(">I").unpack_from
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


@dataclass(frozen=True, eq=False)
class Template:
    """The form of one object: what lies where in it.

    Parameters
    ----------
    node
        The object that it was learned from.
    begins
        Where the stretches between contents of variable length begin in that object.
    references
        Places of references to values (not to classes), and how many handles come before them.
    class_references
        Places of references to classes.
    handles
        Place of each handle that the object defines.
    """

    node: Node
    begins: list[int]
    references: list[tuple[int, int]]
    class_references: list[int]
    handles: list[int]


@dataclass(eq=False)
class Run:
    """The objects of one `Bulk` that have the same `Template`.

    Parameters
    ----------
    order
        Which objects of the bulk these are, int64 (n,).
    first_handles
        First handle that each object defines, int64 (n,).
    begins
        Where each stretch of the template begins in each object, int64 (n, stretches).
    """

    data: bytes
    template: Template
    order: IntArray
    first_handles: IntArray
    begins: IntArray

    def __len__(self) -> int:
        return len(self.order)

    @property
    def node(self) -> Node:
        """The object that stands for all."""
        return self.template.node

    def at(self, place: int) -> IntArray:
        """Return where a place in the template's object lies in each object, int64 (n,)."""
        begins = self.template.begins
        index = max(bisect_right(begins, place) - 1, 0)
        return self.begins[:, index] + (place - begins[index])

    def values(self, dtype: npt.DTypeLike, place: int) -> Any:
        """Read one value of each object, by its place in the template's object."""
        return read_values(self.data, dtype, self.at(place))

    def arrays(self, node: Node) -> tuple[IntArray, IntArray]:
        """Return where the contents of one array of numbers begin, and their lengths, (n,)."""
        size = PRIMITIVES[node.class_name[1]].itemsize
        length_at = self.at(node.end - node.value * size - 4)
        return length_at + 4, read_values(self.data, ">i4", length_at).astype(np.int64)

    def texts(self, node: Node) -> tuple[IntArray, IntArray]:
        """Return where the characters of one text begin, and how many bytes they are, (n,)."""
        length_at = self.at(node.value - 2)
        return length_at + 2, read_values(self.data, ">u2", length_at).astype(np.int64)

    def copy(self, row: int) -> Node:
        """Make the node of one object."""
        places = self.begins[row]
        shift = int(self.first_handles[row]) - self.template.node.handle

        def moved(place: int) -> int:
            index = max(bisect_right(self.template.begins, place) - 1, 0)
            return int(places[index]) + place - self.template.begins[index]

        def clone(node: Node) -> Node:
            new = Node(node.tag, moved(node.start), moved(node.end), node.value)
            if node.tag in (STRING, LONGSTRING, BLOCKDATA, BLOCKDATALONG):
                new.value = moved(node.start) + node.value - node.start
            elif node.tag == REFERENCE:
                new.value = _U32(self.data, new.start + 1)[0] - BASE_HANDLE
            elif node.is_numbers:
                size = PRIMITIVES[node.class_name[1]].itemsize
                new.value = _U32(self.data, moved(node.end - node.value * size - 4))[0]
            new.handle = node.handle + shift if node.handle >= 0 else -1
            new.desc = node.desc
            new.items = [clone(item) for item in node.items if isinstance(item, Node)]
            parts = []
            for part in node.parts:
                new_part = Part(part.desc, moved(part.at))
                new_part.fields = [clone(field) for field in part.fields]
                new_part.notes = [clone(note) for note in part.notes if isinstance(note, Node)]
                parts.append(new_part)
            new.parts = parts
            return new

        return clone(self.template.node)


@dataclass(eq=False)
class Bulk:
    """Consecutive objects that are of a few forms: ``data[start:end]``.

    Parameters
    ----------
    starts
        Where each object begins, and where the last one ends, int64 (n + 1,).
    handles
        First handle of each object, and the one behind the last, int64 (n + 1,).
    runs
        The objects by form.
    """

    starts: IntArray
    handles: IntArray
    runs: list[Run]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def start(self) -> int:
        """Offset of the first byte."""
        return int(self.starts[0])

    @property
    def end(self) -> int:
        """Offset behind the last byte."""
        return int(self.starts[-1])

    @property
    def first_handle(self) -> int:
        """First handle defined inside."""
        return int(self.handles[0])

    @property
    def handle_count(self) -> int:
        """Number of handles defined inside."""
        return int(self.handles[-1] - self.handles[0])

    @cached_property
    def _rows(self) -> tuple[IntArray, IntArray]:
        """For each object its run, and its row there."""
        run, row = np.empty(len(self), np.int64), np.empty(len(self), np.int64)
        for i, one in enumerate(self.runs):
            run[one.order] = i
            row[one.order] = np.arange(len(one))
        return run, row

    def object(self, index: int) -> Node:
        """Make the node of one object."""
        run, row = self._rows
        chosen: Run = self.runs[int(run[index])]
        return chosen.copy(int(row[index]))

    def node_of(self, handle: int) -> Node:
        """Make the node that defines a handle."""
        whole = self.object(int(np.searchsorted(self.handles, handle, side="right")) - 1)
        for node in inner_nodes(whole):
            if isinstance(node, Node) and node.handle == handle:
                return node
        raise AssertionError("every handle is defined by a node")

    def reference_places(self) -> IntArray:
        """Offsets of the 4-byte handles of all references, sorted."""
        found = [
            run.at(place)
            for run in self.runs
            for place in (*(p for p, _ in run.template.references), *run.template.class_references)
        ]
        return np.sort(np.concatenate(found), kind="stable")

    def fill_handle_places(self, places: IntArray) -> None:
        """Set where each handle of the objects is assigned."""
        for run in self.runs:
            for i, place in enumerate(run.template.handles):
                places[run.first_handles + i] = run.at(place)
