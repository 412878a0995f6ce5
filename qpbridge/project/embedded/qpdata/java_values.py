"""Plain Java values: texts, numbers, truth values, and lists and maps of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import ENUM, NULL, STRING, Node
from qpbridge.javastream.stream import Stream
from qpbridge.project.embedded.qpdata.object_parts import BLOCKS, read_list

FOREIGN: Final = object()
"""Stands for a value that is not plain."""

MAX_DEPTH = 16
MAX_VALUES = 100_000
_NUMBERS = frozenset(
    f"java.lang.{name}" for name in ("Byte", "Double", "Float", "Integer", "Long", "Short")
)
_MAPS = ("java.util.HashMap", "java.util.LinkedHashMap", "java.util.TreeMap")


def read_properties(stream: Stream, node: Node | None) -> dict[str, Any]:
    """Read a map with names as keys; values that are not plain are left out."""
    if node is None:
        return {}
    reader = _Reader(stream)
    found: dict[str, Any] = {}
    for key, item in _pairs(_map_items(stream, node)):
        name, value = reader.read(key), reader.read(item)
        if isinstance(name, str) and value is not FOREIGN:
            found[name] = value
    return found


def read_plain(stream: Stream, node: Node) -> Any:
    """Read one value; `FOREIGN` if it is not plain."""
    return _Reader(stream).read(node)


def is_map(node: Node) -> bool:
    """Whether this is one of Java's maps of free content."""
    return node.class_name in _MAPS


class _Reader:
    """Reads values up to a limit: shared lists in shared lists can stand for more than memory."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.left = MAX_VALUES

    def read(self, node: Node, depth: int = 0) -> Any:
        stream, node = self.stream, self.stream.follow(node)
        self.left -= 1
        if node.tag == NULL:
            return None
        if node.tag in (STRING, ENUM):
            return stream.text(node)
        if node.class_name == "java.lang.Boolean":
            return bool(stream.number(node, "value"))
        if node.class_name in _NUMBERS:
            return stream.number(node, "value")
        if depth == MAX_DEPTH or self.left < 0:
            return FOREIGN
        try:
            if is_map(node) or node.class_name == "java.util.Collections$SingletonMap":
                return self._map(_map_items(stream, node), depth)
            values = [self.read(item, depth + 1) for item in read_list(stream, node)]
        except FormatError:
            return FOREIGN
        return FOREIGN if any(value is FOREIGN for value in values) else values

    def _map(self, items: Sequence[Node], depth: int) -> Any:
        found: dict[str, Any] = {}
        for key, item in _pairs(items):
            name, value = self.read(key, depth + 1), self.read(item, depth + 1)
            if name is FOREIGN or value is FOREIGN or isinstance(name, list | dict):
                return FOREIGN
            found[str(name)] = value
        return found


def _map_items(stream: Stream, node: Node) -> list[Node]:
    """Return keys and values of a map in turn."""
    if node.class_name == "java.util.Collections$SingletonMap":
        return [stream.child(node, "k"), stream.child(node, "v")]
    notes = [note for part in node.parts for note in part.notes]
    return [n for n in stream.expand(notes) if n.tag not in BLOCKS]


def _pairs(items: Sequence[Node]) -> zip[tuple[Node, Node]]:
    return zip(items[::2], items[1::2], strict=False)
