"""Java Object Serialization streams as a structure, without loss and without any Java class.

`parse` turns bytes into a tree of `Node` that says where everything lies in the bytes; values are
decoded when asked for. Nothing is instantiated and nothing recurses, so a hostile stream can cost
no more than a constant times its length. Runs of objects of the same form are kept as one `Bulk`
(see `java_templates`). Changes are made with `java_write`, which copies what stays byte for byte.

Source of the grammar: Java Object Serialization Specification, chapter 6.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import (
    ARRAY,
    ENUM,
    INTEGERS,
    LONGSTRING,
    MAGIC,
    PRIMITIVES,
    REFERENCE,
    STRING,
    Bulk,
    Field,
    Node,
    Part,
)
from qpbridge.javastream.parser import Parser
from qpbridge.javastream.text import decode_text

SHARED_FACTOR, SHARED_FREE = 32, 1 << 24


@dataclass(eq=False)
class Stream:
    """A parsed stream: its bytes, its top-level contents and its handles.

    Parameters
    ----------
    data
        All bytes.
    contents
        Top-level contents in order, block data included.
    nodes
        The node that defines a handle, for all handles but those inside a `Bulk`.
    bulks
        All runs of equal objects, in order.
    handle_count
        Number of handles.
    places
        Where each handle of `nodes` is assigned: behind the class descriptor of an object, behind
        the length of a text.
    references
        Offsets of the 4-byte handles of all references outside bulks.
    classes
        All class descriptors.

    What many references point at is read each time, so a small file could mean an endless one:
    following them is limited to some multiple of the file's size, which no honest file comes near.
    """

    data: bytes
    contents: list[Node | Bulk]
    nodes: dict[int, Node]
    bulks: list[Bulk]
    handle_count: int
    places: list[int]
    references: list[int]
    classes: list[Node]
    _followed: int = 0
    _texts: dict[int, str] = field(default_factory=dict)

    def node(self, handle: int) -> Node:
        """Return the node that defines a handle."""
        found = self.nodes.get(handle)
        if found is not None:
            return found
        bulk = self.bulks[bisect_right(self._first_handles, handle) - 1]
        return bulk.node_of(handle)

    @cached_property
    def _first_handles(self) -> list[int]:
        return [bulk.first_handle for bulk in self.bulks]

    def follow(self, node: Node) -> Node:
        """Return what a reference points at, or the node itself.

        Raises
        ------
        FormatError
            If references point at so much that reading it all would never end.
        """
        if node.tag != REFERENCE:
            return node
        found = self.node(node.value)
        self._followed += found.end - found.start
        if self._followed > self.allowance:
            raise FormatError("the same contents used far too often", offset=node.start)
        return found

    @property
    def allowance(self) -> int:
        """Bytes that contents may grow to by being used more than once."""
        return SHARED_FACTOR * len(self.data) + SHARED_FREE

    def text(self, node: Node) -> str:
        """Return the text of a string, reference to one, or enum constant.

        Raises
        ------
        FormatError
            If it is none, or not modified UTF-8.
        """
        if node.tag == REFERENCE and node.value in self._texts:
            return self._texts[node.value]
        found = self.follow(node)
        if found.tag == ENUM:
            found = self.follow(*self.expand(found.items[-1:]))
        if found.tag not in (STRING, LONGSTRING):
            raise FormatError("expected a text", offset=node.start)
        try:
            text = decode_text(self.data[found.value : found.end])
        except UnicodeDecodeError:
            raise FormatError("text that is not modified UTF-8", offset=found.start) from None
        if node.tag == REFERENCE:
            self._texts[node.value] = text
        return text

    def number(self, node: Node, name: str) -> float:
        """Return a primitive field of an object (an int for whole numbers).

        Raises
        ------
        FormatError
            If the object has no such field.
        """
        return self._primitive(node, name, PRIMITIVES, "a number")

    def integer(self, node: Node, name: str) -> int:
        """Return a primitive field of an object that holds a 32-bit integer, or a smaller one.

        Raises
        ------
        FormatError
            If the object has no such field.
        """
        return int(self._primitive(node, name, INTEGERS, "an integer"))

    def _primitive(self, node: Node, name: str, letters: Container[str], what: str) -> float:
        part, found = self._field(node, name)
        if found.type not in letters:
            raise FormatError(f"{name!r} is not {what}", offset=node.start)
        values = np.frombuffer(self.data, PRIMITIVES[found.type], 1, part.at + found.at)
        value: float = values[0].item()
        return value

    def child(self, node: Node, name: str) -> Node:
        """Return an object field of an object, as it stands there (null, reference or object).

        Raises
        ------
        FormatError
            If the object has no such field.
        """
        part, found = self._field(node, name)
        if found.type in PRIMITIVES:
            raise FormatError(f"{name!r} is not an object", offset=node.start)
        return part.fields[found.at]

    def _field(self, node: Node, name: str) -> tuple[Part, Field]:
        for part in reversed(node.parts):
            for one in part.desc.fields:
                if one.name == name:
                    return part, one
        raise FormatError(f"{node.class_name or 'content'} without {name!r}", offset=node.start)

    def array(self, node: Node) -> npt.NDArray[Any]:
        """Return the values of an array of primitives, read-only and big-endian (n,).

        Raises
        ------
        FormatError
            If it is none.
        """
        node = self.follow(node)
        if not node.is_numbers:
            raise FormatError("expected an array of numbers", offset=node.start)
        dtype = PRIMITIVES[node.class_name[1]]
        return np.frombuffer(self.data, dtype, node.value, node.end - node.value * dtype.itemsize)

    def elements(self, node: Node) -> list[Node]:
        """Return the elements of an array of objects.

        Raises
        ------
        FormatError
            If it is none.
        """
        node = self.follow(node)
        if node.tag != ARRAY or len(node.items) != node.value + 1:
            raise FormatError("expected an array of objects", offset=node.start)
        return self.expand(node.items[1:])

    def expand(self, items: Iterable[Node | Bulk]) -> list[Node]:
        """Return the nodes of contents, those in bulks too."""
        nodes: list[Node] = []
        for item in items:
            if isinstance(item, Node):
                nodes.append(item)
            else:
                nodes += (item.object(i) for i in range(len(item)))
        return nodes

    def block(self, node: Node) -> bytes:
        """Return the bytes of block data."""
        return self.data[node.value : node.end]

    @cached_property
    def reference_places(self) -> npt.NDArray[np.int64]:
        """Offsets of the 4-byte handles of all references, sorted, int64 (r,)."""
        places = [np.array(self.references, np.int64), *(b.reference_places() for b in self.bulks)]
        return np.sort(np.concatenate(places), kind="stable")

    @cached_property
    def handle_places(self) -> npt.NDArray[np.int64]:
        """Where each handle is assigned, ascending, int64 (handle_count,)."""
        places = np.empty(self.handle_count, np.int64)
        places[np.fromiter(self.nodes, np.int64, len(self.nodes))] = self.places
        for bulk in self.bulks:
            bulk.fill_handle_places(places)
        return places


def parse(data: bytes, *, bulk: bool = True) -> Stream:
    """Parse a whole stream.

    Parameters
    ----------
    data
        The bytes.
    bulk
        Keep runs of objects of equal form as `Bulk`; without, every object is a `Node`.

    Raises
    ------
    FormatError
        If the bytes are not a Java object stream, with the offset of what is wrong; also for the
        few things that no QuPath writes: resets, exceptions, protocol version 1.
    """
    if data[:4] != MAGIC:
        raise FormatError("not a Java object stream", offset=0)
    parser = Parser(data, bulk)
    try:
        contents = parser.run()
    except (struct.error, IndexError):
        raise FormatError("the file ends too early", offset=len(data)) from None
    return Stream(
        data,
        contents,
        parser.nodes,
        parser.bulks,
        parser.count,
        parser.places,
        parser.references,
        parser.classes,
    )
