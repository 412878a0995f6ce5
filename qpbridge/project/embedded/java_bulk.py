"""Runs of objects of the same form, found while parsing and kept as arrays of offsets.

A `Template` is learned from one object: which of its bytes are grammar (tags, classes, lengths of
texts) and which are values (numbers, characters, references to shared objects). Arrays of numbers
may differ in length. Objects that match are neither parsed nor represented one by one, and the
result is the same as if they were: all that the grammar needs is compared byte by byte.
"""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.project.embedded.java_nodes import (
    BASE_HANDLE,
    BLOCKDATA,
    BLOCKDATALONG,
    CLASS,
    CLASSDESC,
    LONGSTRING,
    PRIMITIVES,
    PROXYCLASSDESC,
    REFERENCE,
    STRING,
    Node,
    Part,
)

IntArray = npt.NDArray[np.int64]

MAX_NODES = 256
MAX_TEMPLATES = 32
_U32 = struct.Struct(">I").unpack_from


def gather(data: bytes | npt.NDArray[np.uint8], dtype: npt.DTypeLike, at: IntArray) -> Any:
    """Read one value of `dtype` at each byte offset, shape of `at`."""
    wanted = np.dtype(dtype)
    if at.size == 0:
        return np.empty(at.shape, wanted)
    size = len(data) - wanted.itemsize + 1
    return np.ndarray((size,), wanted, data, strides=(1,))[at]


def ragged(starts: IntArray, lengths: IntArray, step: int) -> IntArray:
    """Offsets of the elements of many runs, behind one another, int64 (sum of lengths,)."""
    first = np.cumsum(lengths) - lengths
    out: IntArray = np.arange(int(lengths.sum())) * step
    out += np.repeat(starts - first * step, lengths)
    return out


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
    """The form of one object.

    Parameters
    ----------
    node
        The object that it was learned from.
    begins
        Where the stretches between array contents begin in that object.
    segments
        For each stretch, the matcher of its bytes, and the item size of the array behind it.
    references
        Places of references to values (not to classes), and how many handles come before them.
    class_references
        Places of references to classes.
    handles
        Place of each handle that the object defines.
    """

    node: Node
    begins: list[int]
    segments: list[tuple[Any, int]]
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
    lengths
        Lengths of the arrays of numbers, int64 (n, number of arrays).
    first_handles
        First handle that each object defines, int64 (n,).
    begins
        Where each stretch of the template begins in each object, int64 (n, stretches).
    """

    data: bytes
    template: Template
    order: IntArray
    lengths: IntArray
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
        return gather(self.data, dtype, self.at(place))

    def arrays(self, node: Node) -> tuple[npt.NDArray[Any], IntArray]:
        """Return the contents of one array behind one another, and their lengths (n,)."""
        dtype = PRIMITIVES[node.class_name[1]]
        length_at = node.end - node.value * dtype.itemsize - 4
        starts = self.at(length_at)
        lengths = gather(self.data, ">i4", starts).astype(np.int64)
        return gather(self.data, dtype, ragged(starts + 4, lengths, dtype.itemsize)), lengths

    def handles(self, handle: int) -> IntArray:
        """Return the handles that stand where the template's object has `handle`."""
        return self.first_handles + (handle - self.template.node.handle)

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
                new.value = moved(node.value)
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


class Templates:
    """The forms seen so far in one stream, by class."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.known: dict[bytes, list[Template]] = {}

    def learn(self, node: Node) -> None:
        """Remember the form of an object where the next one is of the same class."""
        data = self.data
        key = data[node.start + 1 : node.start + 6]
        if key[0] != REFERENCE or data[node.end : node.end + 6] != b"s" + key:
            return
        known = self.known.setdefault(key, [])
        if len(known) < MAX_TEMPLATES and len(self.known) < MAX_TEMPLATES:
            template = _template(data, node)
            if template is not None:
                known.append(template)

    def match(self, pos: int, handle: int) -> Bulk | None:
        """Find the objects of known forms that begin at `pos`; None if there is none.

        Raises
        ------
        FormatError
            If one of them has a reference to nothing.
        """
        data = self.data
        known = self.known.get(data[pos + 1 : pos + 6])
        if not known:
            return None
        forms = [(i, t.segments) for i, t in enumerate(known)]
        starts, which = array("q", [pos]), array("q")
        lengths: list[array[int]] = [array("q") for _ in known]
        found: list[int] = []
        while True:
            for i, segments in forms:
                at = pos
                found.clear()
                for matcher, size in segments:
                    matched = matcher(data, at)
                    if matched is None:
                        break
                    at = matched.end()
                    if size:
                        count = _U32(data, at)[0]
                        found.append(count)
                        at += 4 + count * size
                else:
                    pos = at
                    starts.append(at)
                    which.append(i)
                    lengths[i].extend(found)
                    break
            else:
                break
        if not which:
            return None
        return _bulk(data, known, np.array(starts), np.array(which), lengths, handle)


def _bulk(
    data: bytes,
    known: list[Template],
    starts: IntArray,
    which: IntArray,
    lengths: Sequence[array[int]],
    handle: int,
) -> Bulk:
    handle_counts = np.array([len(t.handles) for t in known])
    handles = np.zeros(len(starts), np.int64)
    np.cumsum(handle_counts[which], out=handles[1:])
    handles += handle
    runs = []
    for i, template in enumerate(known):
        order = np.flatnonzero(which == i)
        if not len(order):
            continue
        sizes = np.array([size for _, size in template.segments[:-1]], np.int64)
        count = np.array(lengths[i], np.int64).reshape(len(order), len(sizes))
        example = np.array(
            [
                end - begin
                for begin, end in zip(template.begins[:-1], template.begins[1:], strict=True)
            ],
            np.int64,
        )
        example -= sizes * _example_lengths(data, template)
        begins = np.empty((len(order), len(sizes) + 1), np.int64)
        begins[:, 0] = starts[order]
        for s in range(len(sizes)):
            begins[:, s + 1] = begins[:, s] + example[s] + count[:, s] * sizes[s]
        run = Run(data, template, order, count, handles[order], begins)
        for place, before in template.references:
            at = run.at(place)
            value = gather(data, ">u4", at).astype(np.int64) - BASE_HANDLE
            bad = (value < 0) | (value >= run.first_handles + before)
            if bad.any():
                raise FormatError("a reference to nothing", offset=int(at[bad][0]) - 1)
        runs.append(run)
    return Bulk(starts, handles, runs)


def _example_lengths(data: bytes, template: Template) -> IntArray:
    return np.array([_U32(data, at)[0] for at in _length_places(template.node)], np.int64).reshape(
        -1
    )


def _length_places(node: Node) -> list[int]:
    return [
        one.end - one.value * PRIMITIVES[one.class_name[1]].itemsize - 4
        for one in inner_nodes(node)
        if isinstance(one, Node) and one.is_numbers
    ]


def _template(data: bytes, node: Node) -> Template | None:
    """Learn the form of an object; None if it defines classes, or is too big to be worth it."""
    nodes: list[Node] = []
    for one in inner_nodes(node):
        if (
            not isinstance(one, Node)
            or one.tag in (CLASSDESC, PROXYCLASSDESC, CLASS)
            or len(nodes) == MAX_NODES
        ):
            return None
        nodes.append(one)
    free: list[tuple[int, int]] = []
    references: list[tuple[int, int]] = []
    class_references: list[int] = []
    handles: list[int] = []
    arrays: list[tuple[int, int, int]] = []
    for one in nodes:
        if one.handle >= 0:
            class_end = next((i.end for i in one.items if isinstance(i, Node) and i.desc), None)
            handles.append(one.value if class_end is None else class_end)
        if one.tag == REFERENCE and one.desc is not None:
            class_references.append(one.start + 1)
        elif one.tag == REFERENCE:
            free.append((one.start + 1, one.end))
            references.append((one.start + 1, len(handles)))
        elif one.tag in (STRING, LONGSTRING, BLOCKDATA, BLOCKDATALONG):
            free.append((one.value, one.end))
        elif one.is_numbers:
            size = PRIMITIVES[one.class_name[1]].itemsize
            arrays.append((one.end - one.value * size - 4, one.end, size))
        free += [(part.at, part.at + part.desc.size) for part in one.parts if part.desc.size]
    free.sort()
    begins, segments, at = [node.start], [], node.start
    for length_at, end, size in [*arrays, (node.end, -1, 0)]:
        inside = [(a, b) for a, b in free if at <= a and b <= length_at]
        segments.append((_matcher(data, at, length_at, inside), size))
        if end >= 0:
            begins.append(end)
            at = end
    return Template(node, begins, segments, references, class_references, handles)


def _matcher(data: bytes, start: int, end: int, free: Sequence[tuple[int, int]]) -> Any:
    pattern = b""
    for a, b in free:
        pattern += re.escape(data[start:a]) + b".{%d}" % (b - a)
        start = b
    return re.compile(pattern + re.escape(data[start:end]), re.DOTALL).match
