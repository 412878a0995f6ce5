"""The grammar of Java object streams: bytes to `Node`, without recursion."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Generator, Mapping
from typing import Any, ClassVar, TypeAlias, TypeGuard

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import (
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
    Bulk,
    ClassDesc,
    Field,
    Node,
    Part,
)
from qpbridge.javastream.templates import Templates
from qpbridge.javastream.text import decode_text

_U16 = struct.Struct(">H").unpack_from
_I32 = struct.Struct(">i").unpack_from
_I64 = struct.Struct(">q").unpack_from

_Step: TypeAlias = Generator["_Step", Any, Any]


class Parser:
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

    def run(self) -> list[Node | Bulk]:
        """Read the whole stream, and return the top-level contents."""
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
        """Make an error that says where."""
        return FormatError(message, offset=self.pos if at is None else at)

    def need(self, count: int) -> None:
        """Check a length before anything is made of it."""
        if count < 0:
            raise self.fail("a negative length")
        if count > len(self.data) - self.pos:
            raise self.fail("a length that goes beyond the end of the file")

    def define(self, node: Node) -> None:
        """Give a node the next handle."""
        node.handle = self.count
        self.nodes[self.count] = node
        self.places.append(self.pos)
        self.count += 1

    def reference(self, start: int) -> Node:
        """Read a reference."""
        handle = _I32(self.data, start + 1)[0] - BASE_HANDLE
        if not 0 <= handle < self.count:
            raise self.fail("a reference to nothing", start)
        self.references.append(start + 1)
        self.pos = start + 5
        return Node(REFERENCE, start, self.pos, handle)

    def string(self, tag: int, start: int) -> Node:
        """Read a text."""
        long = tag == LONGSTRING
        length = (_I64 if long else _U16)(self.data, start + 1)[0]
        self.pos = start + (9 if long else 3)
        node = Node(tag, start, -1, self.pos)
        self.need(length)
        self.define(node)
        self.pos = node.end = self.pos + length
        return node

    def is_text(self, node: Node | None) -> TypeGuard[Node]:
        """Whether content is a text, or a reference to one."""
        if node is not None and node.tag == REFERENCE:
            handle = node.value
            if handle in self.nodes:
                node = self.nodes[handle]
            else:
                first = bisect_right(self.bulks, handle, key=lambda bulk: bulk.first_handle)
                node = self.bulks[first - 1].node_of(handle)
        return node is not None and node.tag in (STRING, LONGSTRING)

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
        step = self._STEPS.get(self.data[self.pos])
        if step is None:
            raise self.fail(f"unexpected byte {self.data[self.pos]:#04x}")
        return step(self)

    def block_data(self) -> Node:
        """Read a block of raw bytes."""
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
        if not self.is_text(name):
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
                if not self.is_text(type_name):
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

    # of the class: methods that a parser holds itself would be a cycle, which keeps all it has read
    _STEPS: ClassVar[Mapping[int, Callable[[Parser], _Step]]] = {
        OBJECT: _object,
        ARRAY: _array,
        ENUM: _enum,
        CLASS: _class,
        CLASSDESC: _class_desc,
        PROXYCLASSDESC: _proxy_desc,
    }
