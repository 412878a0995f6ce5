"""Java Object Serialization streams as a structure, without loss and without any Java class.

`parse` turns bytes into a tree of `Node` that says where everything lies in the bytes; values are
decoded when asked for. Nothing is instantiated and nothing recurses, so a hostile stream can cost
no more than a constant times its length. Runs of objects of the same form are kept as one `Bulk`
(see `java_bulk`). Changes are made with `java_write`, which copies what stays byte for byte.

Source of the grammar: Java Object Serialization Specification, chapter 6.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.project.embedded.java_bulk import Bulk, Templates
from qpbridge.project.embedded.java_nodes import (
    ARRAY,
    BASE_HANDLE,
    BLOCK_DATA,
    BLOCKDATA,
    BLOCKDATALONG,
    CLASS,
    CLASSDESC,
    END,
    ENUM,
    EXCEPTION,
    EXTERNALIZABLE,
    LONGSTRING,
    MAGIC,
    MAX_SUPERCLASSES,
    NULL,
    OBJECT,
    PRIMITIVES,
    PROXYCLASSDESC,
    REFERENCE,
    RESET,
    SERIALIZABLE,
    STRING,
    ClassDesc,
    Field,
    Node,
    Part,
)

_U16 = struct.Struct(">H").unpack_from
_I32 = struct.Struct(">i").unpack_from
_U32 = struct.Struct(">I").unpack_from
_I64 = struct.Struct(">q").unpack_from


_Step: TypeAlias = Generator["_Step", Any, Any]


@dataclass(frozen=True, eq=False)
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
    """

    data: bytes
    contents: list[Node | Bulk]
    nodes: dict[int, Node]
    bulks: list[Bulk]
    handle_count: int
    places: list[int]
    references: list[int]
    classes: list[Node]

    def node(self, handle: int) -> Node:
        """Return the node that defines a handle."""
        found = self.nodes.get(handle)
        if found is not None:
            return found
        first = [bulk.first_handle for bulk in self.bulks]
        bulk = self.bulks[int(np.searchsorted(first, handle, side="right")) - 1]
        return bulk.node_of(handle)

    def follow(self, node: Node) -> Node:
        """Return what a reference points at, or the node itself."""
        return self.node(node.value) if node.tag == REFERENCE else node

    def text(self, node: Node) -> str:
        """Return the text of a string, reference to one, or enum constant.

        Raises
        ------
        FormatError
            If it is none, or not modified UTF-8.
        """
        node = self.follow(node)
        if node.tag == ENUM:
            return self.text(node.items[-1])  # type: ignore[arg-type]
        if node.tag not in (STRING, LONGSTRING):
            raise FormatError("expected a text", offset=node.start)
        try:
            return decode_text(self.data[node.value : node.end])
        except UnicodeDecodeError:
            raise FormatError("text that is not modified UTF-8", offset=node.start) from None

    def number(self, node: Node, name: str) -> float:
        """Return a primitive field of an object (an int for whole numbers).

        Raises
        ------
        FormatError
            If the object has no such field.
        """
        part, field = self._field(node, name)
        if field.type not in PRIMITIVES:
            raise FormatError(f"{name!r} is not a number", offset=node.start)
        value: float = np.frombuffer(self.data, PRIMITIVES[field.type], 1, part.at + field.at)[
            0
        ].item()
        return value

    def child(self, node: Node, name: str) -> Node:
        """Return an object field of an object, as it stands there (null, reference or object).

        Raises
        ------
        FormatError
            If the object has no such field.
        """
        part, field = self._field(node, name)
        if field.type in PRIMITIVES:
            raise FormatError(f"{name!r} is not an object", offset=node.start)
        return part.fields[field.at]

    def _field(self, node: Node, name: str) -> tuple[Part, Field]:
        for part in reversed(node.parts):
            for field in part.desc.fields:
                if field.name == name:
                    return part, field
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
    parser = _Parser(data, bulk)
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


class _Parser:
    """A trampoline of generators: each construct is one, and yields the ones nested in it."""

    def __init__(self, data: bytes, bulk: bool) -> None:
        self.data = data
        self.pos = len(MAGIC)
        self.count = 0
        self.nodes: dict[int, Node] = {}
        self.places: list[int] = []
        self.references: list[int] = []
        self.classes: list[Node] = []
        self.bulks: list[Bulk] = []
        self.templates = Templates(data) if bulk else None
        self.steps = {
            OBJECT: self._object,
            ARRAY: self._array,
            ENUM: self._enum,
            CLASS: self._class,
            CLASSDESC: self._class_desc,
            PROXYCLASSDESC: self._proxy_desc,
        }

    def run(self) -> list[Node | Bulk]:
        contents: list[Node | Bulk] = []
        stack: list[_Step] = [self._list(contents, top=True)]
        value: Any = None
        while stack:
            try:
                nested = stack[-1].send(value)
            except StopIteration as stop:
                stack.pop()
                value = stop.value
            else:
                stack.append(nested)
                value = None
        return contents

    def fail(self, message: str, at: int | None = None) -> FormatError:
        return FormatError(message, offset=self.pos if at is None else at)

    def need(self, count: int) -> None:
        if count < 0:
            raise self.fail("a negative length")
        if count > len(self.data) - self.pos:
            raise self.fail("a length that goes beyond the end of the file")

    def define(self, node: Node) -> None:
        node.handle = self.count
        self.nodes[self.count] = node
        self.places.append(self.pos)
        self.count += 1

    def reference(self, start: int) -> Node:
        handle = _I32(self.data, start + 1)[0] - BASE_HANDLE
        if not 0 <= handle < self.count:
            raise self.fail("a reference to nothing", start)
        self.references.append(start + 1)
        self.pos = start + 5
        return Node(REFERENCE, start, self.pos, handle)

    def string(self, tag: int, start: int) -> Node:
        long = tag == LONGSTRING
        length = (_I64 if long else _U16)(self.data, start + 1)[0]
        self.pos = start + (9 if long else 3)
        node = Node(tag, start, -1, self.pos)
        self.need(length)
        self.define(node)
        self.pos = node.end = self.pos + length
        return node

    def leaf(self) -> Node | None:
        """Read content that holds no other content; None if what comes next does."""
        start = self.pos
        tag = self.data[start]
        if tag == REFERENCE:
            return self.reference(start)
        if tag == NULL:
            self.pos = start + 1
            return Node(NULL, start, self.pos)
        if tag in (STRING, LONGSTRING):
            return self.string(tag, start)
        return None

    def compound(self) -> _Step:
        """Return the step that reads content which may hold other content."""
        step = self.steps.get(self.data[self.pos])
        if step is None:
            raise self.fail(f"unexpected byte {self.data[self.pos]:#04x}")
        return step()

    def block_data(self) -> Node:
        start = self.pos
        long = self.data[start] == BLOCKDATALONG
        length = _I32(self.data, start + 1)[0] if long else self.data[start + 1]
        self.pos = start + (5 if long else 2)
        self.need(length)
        node = Node(self.data[start], start, self.pos + length, self.pos)
        self.pos = node.end
        return node

    def _list(self, into: list[Node | Bulk], top: bool = False) -> _Step:
        """Read contents up to the end mark, or the end of the file at the top."""
        data, size = self.data, len(self.data)
        while not top or self.pos < size:
            tag = data[self.pos]
            if tag == END and not top:
                self.pos += 1
                return
            if tag in (BLOCKDATA, BLOCKDATALONG):
                into.append(self.block_data())
                continue
            if tag == RESET:
                raise self.fail("a reset in the stream, which QuPath never writes")
            if tag == EXCEPTION:
                raise self.fail("the writer of this file failed and left an exception in it")
            leaf = self.leaf()
            if leaf is not None:
                into.append(leaf)
                continue
            if tag == OBJECT and self.templates is not None:
                bulk = self.templates.match(self.pos, self.count)
                if bulk is not None:
                    self.pos = bulk.end
                    self.count += bulk.handle_count
                    self.bulks.append(bulk)
                    into.append(bulk)
                    continue
            node: Node = yield self.compound()
            into.append(node)
            if tag == OBJECT and self.templates is not None:
                self.templates.learn(node)

    def known_desc(self) -> Node | None:
        """Read a class descriptor that is null or a reference; None if it is neither.

        The node of a reference gets the descriptor as `desc`.
        """
        start = self.pos
        tag = self.data[start]
        if tag == NULL:
            self.pos += 1
            return Node(NULL, start, self.pos)
        if tag == REFERENCE:
            node = self.reference(start)
            target = self.nodes.get(node.value)
            if target is None or target.tag not in (CLASSDESC, PROXYCLASSDESC):
                raise self.fail("a reference to something that is not a class", start)
            assert target.desc is not None
            if not target.desc.complete:
                raise self.fail("a class that is part of itself", start)
            node.desc = target.desc
            return node
        if tag not in (CLASSDESC, PROXYCLASSDESC):
            raise self.fail("expected a class descriptor")
        return None

    def begin(self, node: Node, desc_node: Node) -> ClassDesc:
        """Give what begins with a class descriptor its class and its handle."""
        if desc_node.desc is None:
            raise self.fail("an object without class", node.start)
        node.desc = desc_node.desc
        node.items = (desc_node,)
        self.define(node)
        return node.desc

    def _object(self) -> _Step:
        node = Node(OBJECT, self.pos)
        self.pos += 1
        desc = self.begin(node, self.known_desc() or (yield self.compound()))
        if desc.flags & EXTERNALIZABLE and not desc.flags & BLOCK_DATA:
            raise self.fail(f"{desc.name} is written in the old protocol version 1", node.start)
        parts = []
        for one in desc.layout:
            part = Part(one, self.pos)
            parts.append(part)
            self.need(one.size)
            self.pos += one.size
            for _ in range(one.count):
                leaf = self.leaf()
                part.fields.append((yield self.compound()) if leaf is None else leaf)
            if one.has_notes:
                yield self._list(part.notes)
        node.parts = parts
        node.end = self.pos
        return node

    def _array(self) -> _Step:
        node = Node(ARRAY, self.pos)
        self.pos += 1
        desc = self.begin(node, self.known_desc() or (yield self.compound()))
        length = _I32(self.data, self.pos)[0]
        self.pos += 4
        node.value = length
        element = desc.name[1:2] if desc.name[:1] == "[" else ""
        if element in PRIMITIVES and len(desc.name) == 2:
            size = length * PRIMITIVES[element].itemsize
            self.need(size)
            self.pos += size
        elif element in ("L", "["):
            self.need(length)
            items = list(node.items)
            for _ in range(length):
                leaf = self.leaf()
                items.append((yield self.compound()) if leaf is None else leaf)
            node.items = items
        else:
            raise self.fail(f"{desc.name!r} is not the class of an array", node.start)
        node.end = self.pos
        return node

    def _enum(self) -> _Step:
        node = Node(ENUM, self.pos)
        self.pos += 1
        self.begin(node, self.known_desc() or (yield self.compound()))
        name = self.leaf()
        if name is None or name.tag == NULL:
            raise self.fail("an enum constant without name", node.start)
        node.items = (*node.items, name)
        node.end = self.pos
        return node

    def _class(self) -> _Step:
        node = Node(CLASS, self.pos)
        self.pos += 1
        self.begin(node, self.known_desc() or (yield self.compound()))
        node.end = self.pos
        return node

    def _name(self) -> str:
        length = _U16(self.data, self.pos)[0]
        self.pos += 2
        self.need(length)
        raw = self.data[self.pos : self.pos + length]
        try:
            text = decode_text(raw)
        except UnicodeDecodeError:
            raise self.fail("a name that is not modified UTF-8") from None
        self.pos += length
        return text

    def _class_desc(self) -> _Step:
        node = Node(CLASSDESC, self.pos)
        self.pos += 1
        name = self._name()
        uid = _I64(self.data, self.pos)[0]
        self.pos += 8
        self.define(node)
        desc = ClassDesc(name, uid, self.data[self.pos])
        node.desc = desc
        inside: list[Node | Bulk] = []
        n_fields = _U16(self.data, self.pos + 1)[0]
        self.pos += 3
        fields = []
        for _ in range(n_fields):
            letter = chr(self.data[self.pos])
            self.pos += 1
            field_name = self._name()
            if letter in PRIMITIVES:
                fields.append(Field(letter, field_name, desc.size))
                desc.size += PRIMITIVES[letter].itemsize
            elif letter in ("L", "["):
                type_name = self.leaf()
                if type_name is None or type_name.tag == NULL:
                    raise self.fail("a field without type")
                inside.append(type_name)
                fields.append(Field(letter, field_name, desc.count))
                desc.count += 1
            else:
                raise self.fail(f"a field of unknown type {letter!r}")
        desc.fields = tuple(fields)
        yield from self._finish_desc(node, inside)
        return node

    def _proxy_desc(self) -> _Step:
        node = Node(PROXYCLASSDESC, self.pos)
        self.pos += 1
        self.define(node)
        count = _I32(self.data, self.pos)[0]
        self.pos += 4
        self.need(count)
        names = [self._name() for _ in range(count)]
        node.desc = ClassDesc(f"proxy of {', '.join(names)}", 0, SERIALIZABLE)
        yield from self._finish_desc(node, [])
        return node

    def _finish_desc(self, node: Node, inside: list[Node | Bulk]) -> _Step:
        desc = node.desc
        assert desc is not None
        yield self._list(inside)
        parent_node: Node = self.known_desc() or (yield self.compound())
        inside.append(parent_node)
        parent = parent_node.desc
        desc.parent = parent
        desc.depth = 0 if parent is None else parent.depth + 1
        if desc.depth > MAX_SUPERCLASSES:
            raise self.fail("too many superclasses", node.start)
        if desc.fields and not desc.flags & SERIALIZABLE:
            raise self.fail(f"{desc.name} has fields but is not serializable", node.start)
        desc.complete = True
        self.classes.append(node)
        node.items = inside
        node.end = self.pos
