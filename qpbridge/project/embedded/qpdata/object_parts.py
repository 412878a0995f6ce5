"""Reading the parts of one path object: names, metadata, measurements, classes."""

from __future__ import annotations

from dataclasses import dataclass

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import BLOCKDATA, BLOCKDATALONG, NULL, OBJECT, Bulk, Node
from qpbridge.javastream.stream import Stream
from qpbridge.objects import ObjectKind, PathClass
from qpbridge.project.embedded.qpdata import java_classes

OBJECT_ID = "Object ID"
MAX_CLASS_DEPTH = 64
BLOCKS = (BLOCKDATA, BLOCKDATALONG)


@dataclass
class Entry:
    """One path object, taken apart; items are None where the object has none."""

    node: Node
    name: Node
    color: Node
    metadata: Node | None
    measurements: Node
    count: Node
    children: list[Node | Bulk]
    locked: Node | None = None
    path_class: Node | None = None
    roi: Node | None = None
    numbers: Node | None = None
    """Block data: the class probability (8 bytes), and whether a TMA core is missing (1)."""
    nucleus: Node | None = None

    @property
    def inside(self) -> tuple[int, int]:
        """Where the children begin and end."""
        if not self.children:
            return self.count.end, self.count.end
        return self.children[0].start, self.children[-1].end


def take_apart(stream: Stream, node: Node) -> Entry:
    """Find the items of a path object.

    Raises
    ------
    FormatError
        If they are not those of a path object.
    """

    def broken(what: str) -> FormatError:
        return FormatError(f"a path object {what}", offset=node.start)

    notes = node.notes
    split = next((i for i, note in enumerate(notes) if note_is_block(note)), None)
    if split is None:
        raise broken("that ends too early")
    head = [note for note in notes[:split] if isinstance(note, Node)]
    if len(head) != split or not 3 <= split <= 4:
        raise broken("in a form that no known QuPath writes")
    metadata = head[2] if split == 4 else None
    if metadata is not None and stream.follow(metadata).class_name != java_classes.METADATA:
        raise broken("whose metadata is none")
    count = notes[split]
    assert isinstance(count, Node)
    if count.end - count.value != 4:
        raise broken("without number of children")
    wanted = int.from_bytes(stream.block(count), "big", signed=True)
    children: list[Node | Bulk] = []
    at = split + 1
    while wanted > 0 and at < len(notes):
        child = notes[at]
        if isinstance(child, Node) and child.tag != OBJECT:
            raise FormatError("a child that is not a new path object", offset=child.start)
        children.append(child)
        wanted -= 1 if isinstance(child, Node) else len(child)
        at += 1
    if wanted != 0:
        raise broken("with a wrong number of children")
    entry = Entry(node, head[0], head[1], metadata, head[-1], count, children)
    rest = stream.expand(notes[at:])
    tail = [n for n in rest if n.tag not in BLOCKS]
    if node.class_name == java_classes.ROOT:
        if tail:
            raise broken("with a wrong number of children")
        return entry
    if tail and stream.follow(tail[0]).class_name == java_classes.BOOLEAN:
        entry.locked = tail.pop(0)
    if len(tail) < 2:
        raise broken("without region of interest")
    entry.path_class, entry.roi = tail[:2]
    entry.numbers = next((n for n in rest if n.tag in BLOCKS and n.end - n.value >= 8), None)
    if java_classes.KINDS.get(node.class_name) is ObjectKind.CELL:
        entry.nucleus = tail[2] if len(tail) > 2 else None
    return entry


def note_is_block(note: Node | Bulk) -> bool:
    """Whether a content is block data."""
    return isinstance(note, Node) and note.tag in BLOCKS


def read_metadata(stream: Stream, node: Node | None) -> dict[str, str]:
    """Read a metadata map, with the object id in it."""
    if node is None or node.tag == NULL:
        return {}
    node = stream.follow(node)
    items = stream.expand(node.notes)
    if len(items) < 3:
        raise FormatError("broken metadata", offset=node.start)
    keys, values = (stream.elements(item) for item in items[1:3])
    if len(keys) != len(values):
        raise FormatError("metadata with more keys than values, or less", offset=node.start)
    return {
        stream.text(k): stream.text(v)
        for k, v in zip(keys, values, strict=True)
        if k.tag != NULL and v.tag != NULL
    }


def read_list(stream: Stream, node: Node) -> list[Node]:
    """Read the elements of a list: ArrayList, CollSer, or an unmodifiable list around one.

    Raises
    ------
    FormatError
        If it is another class.
    """
    for _ in range(4):
        node = stream.follow(node)
        if node.class_name in ("java.util.ArrayList", "java.util.CollSer"):
            return [n for n in stream.expand(node.notes) if n.tag not in BLOCKS]
        if not node.class_name.startswith("java.util.Collections$Unmodifiable"):
            break
        node = stream.child(node, "c")
    raise FormatError("expected a list", offset=node.start)


def read_measurements(stream: Stream, node: Node) -> dict[str, float]:
    """Read a measurement list of any kind."""
    node = stream.follow(node)
    if node.tag == NULL:
        return {}
    if node.class_name in (java_classes.FLOAT_LIST, java_classes.DOUBLE_LIST):
        names = [stream.text(n) for n in read_list(stream, stream.child(node, "names"))]
        values = stream.array(stream.child(node, "values"))
        if len(values) < len(names):
            raise FormatError("fewer measurements than names", offset=node.start)
        return dict(zip(names, values.tolist(), strict=False))
    if node.class_name == java_classes.MEASUREMENT_LIST:
        items = [stream.follow(n) for n in read_list(stream, stream.child(node, "list"))]
        for item in items:
            if item.class_name not in (
                java_classes.DOUBLE_MEASUREMENT,
                java_classes.FLOAT_MEASUREMENT,
            ):
                raise FormatError(f"unknown measurement {item.class_name!r}", offset=item.start)
        return {stream.text(stream.child(i, "name")): stream.number(i, "value") for i in items}
    raise FormatError(f"unknown list of measurements {node.class_name!r}", offset=node.start)


def read_class(stream: Stream, node: Node | None) -> PathClass | None:
    """Read a classification; None if it is null or without name."""
    names: list[str] = []
    color = None
    while node is not None and (node := stream.follow(node)).tag != NULL:
        if node.class_name != java_classes.PATH_CLASS or len(names) == MAX_CLASS_DEPTH:
            raise FormatError("expected a classification", offset=node.start)
        name = stream.child(node, "name")
        if name.tag == NULL:
            break
        if not names:
            color = read_color(stream, stream.child(node, "colorRGB"))
        names.append(stream.text(name))
        node = stream.child(node, "parentClass")
    return PathClass(tuple(reversed(names)), color) if names else None


def read_locked(stream: Stream, node: Node) -> bool:
    """Read whether an object is locked; null is no."""
    found = stream.follow(node)
    if found.tag == NULL:
        return False
    if found.class_name != java_classes.BOOLEAN:  # as `take_apart` tells it from a classification
        raise FormatError("expected true or false", offset=node.start)
    return bool(stream.number(found, "value"))


def read_color(stream: Stream, node: Node) -> tuple[int, int, int] | None:
    """Read a colour (0xAARRGGBB as a signed number), None if there is none."""
    node = stream.follow(node)
    if node.tag == NULL:
        return None
    value = stream.integer(node, "value")
    return value >> 16 & 255, value >> 8 & 255, value & 255
