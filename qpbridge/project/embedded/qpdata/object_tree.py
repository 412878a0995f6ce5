"""Reading QuPath's object hierarchy out of a Java stream, and where in the bytes everything is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.javastream.nodes import OBJECT, Bulk, Node
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import IntArray
from qpbridge.objects import ObjectTable, PathClass
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.collect import Rows
from qpbridge.project.embedded.qpdata.object_parts import Entry, read_list, take_apart
from qpbridge.project.embedded.qpdata.shared_parts import SharedParts
from qpbridge.project.interface import TmaGrid


@dataclass(frozen=True, eq=False)
class StoredObjects:
    """The objects below the root, parents before children, and where they are in the bytes.

    Rows are all objects, first to last; the table leaves out those of unknown classes.

    Parameters
    ----------
    table
        The known objects.
    root
        The root object.
    parent, start, end, inside_start, inside_end, count_at
        int64 (n,): row of the parent (-1: root); extent of the object, and of its children within;
        place of the number of children (-1: unknown class).
    ids
        uint8 (n, 16), as stored; where the file has none, derived from its bytes.
    classes
        The handle of each class that was met.
    stream
        The bytes and their structure.
    """

    table: ObjectTable
    root: Entry
    parent: IntArray
    start: IntArray
    end: IntArray
    inside_start: IntArray
    inside_end: IntArray
    count_at: IntArray
    ids: npt.NDArray[np.uint8]
    nodes: dict[int, Node]
    bulks: list[tuple[int, Bulk]]
    classes: dict[PathClass, int]
    stream: Stream

    def entry(self, row: int) -> Entry:
        """Take one object apart."""
        node = self.nodes.get(row)
        if node is None:
            first, bulk = next((f, b) for f, b in reversed(self.bulks) if f <= row)
            node = bulk.object(row - first)
        return take_apart(self.stream, node)


def read_tma_grid(objects: StoredObjects, node: Node) -> TmaGrid | None:
    """Read which objects are the cores of a tissue microarray, row by row.

    Raises
    ------
    FormatError
        If it is not a grid.
    """
    stream = objects.stream
    grid = stream.follow(stream.child(node, "tmaGrid"))
    if grid.class_name != java_classes.TMA_GRID:
        return None
    size = stream.integer(grid, "gridHeight"), stream.integer(grid, "gridWidth")
    cores = read_list(stream, stream.child(grid, "cores"))
    starts = np.array([stream.follow(core).start for core in cores], np.int64)
    if min(size) < 0 or size[0] * size[1] != len(cores):
        raise FormatError("a grid of cores that has not as many as it says", offset=grid.start)
    known = objects.start[objects.count_at >= 0]
    at = np.searchsorted(known, starts)
    at[~np.isin(starts, known)] = -1
    return TmaGrid(at.reshape(size))


def read_hierarchy(stream: Stream, node: Node) -> StoredObjects:
    """Read all objects below the root.

    Parameters
    ----------
    stream
        The whole file.
    node
        The hierarchy in it.

    Raises
    ------
    FormatError
        If an object is not what it should be.
    """
    root = stream.child(node, "rootObject")
    if root.tag != OBJECT or root.class_name != java_classes.ROOT:
        raise FormatError("a hierarchy without root", offset=node.start)
    entry = take_apart(stream, root)
    rows = Rows(SharedParts(stream))
    stack: list[tuple[Iterator[Node | Bulk], int]] = [(iter(entry.children), -1)]
    while stack:
        children, parent = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
        elif isinstance(child, Node):
            row = rows.n
            added = rows.add(child, parent)
            if added is not None and added.children:
                stack.append((iter(added.children), row))
        elif not rows.add_bulk(child, parent):
            stack.append((iter(stream.expand([child])), parent))
    table, places, ids = rows.table()
    return StoredObjects(
        table=table,
        ids=ids,
        root=entry,
        nodes=rows.nodes,
        bulks=rows.bulks,
        classes=rows.shared.handles,
        stream=stream,
        **places,
    )
