"""Runs of objects of the same form, kept as arrays of offsets (see `java_templates`)."""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qpbridge.javastream.nodes import (
    BASE_HANDLE,
    BLOCKDATA,
    BLOCKDATALONG,
    LONGSTRING,
    PRIMITIVES,
    REFERENCE,
    STRING,
    Node,
    Part,
    inner_nodes,
)
from qpbridge.javastream.strided import IntArray, read_values

if TYPE_CHECKING:
    from qpbridge.javastream.templates import Template

_U32 = struct.Struct(">I").unpack_from


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
