"""What many objects of a file refer to: classes, and lists of the names of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qpbridge.javastream.nodes import NULL, Node
from qpbridge.javastream.stream import Stream
from qpbridge.javastream.strided import IntArray
from qpbridge.objects import PathClass
from qpbridge.project.embedded.qpdata.object_parts import read_class, read_list


@dataclass
class SharedParts:
    """Numbers classes and names as they are met; each is read once.

    Parameters
    ----------
    stream
        The file.
    classes
        The distinct classes, and their numbers.
    handles
        The handle of each class where it was met first.
    measurement_names
        The names, and their numbers.
    """

    stream: Stream
    classes: dict[PathClass, int] = field(default_factory=dict)
    handles: dict[PathClass, int] = field(default_factory=dict)
    measurement_names: dict[str, int] = field(default_factory=dict)
    _classes_of: dict[int, int] = field(default_factory=dict)
    _columns_of: dict[int, IntArray] = field(default_factory=dict)

    def class_index(self, node: Node) -> int:
        """Return the number of a class; -1 for none."""
        node = self.stream.follow(node)
        if node.tag == NULL:
            return -1
        if node.handle not in self._classes_of:
            found = read_class(self.stream, node)
            index = -1 if found is None else self.classes.setdefault(found, len(self.classes))
            if found is not None:
                self.handles.setdefault(found, node.handle)
            self._classes_of[node.handle] = index
        return self._classes_of[node.handle]

    def columns(self, names: Sequence[str]) -> IntArray:
        """Return the numbers of measurements, new ones where needed."""
        known = self.measurement_names
        return np.array([known.setdefault(name, len(known)) for name in names], np.int64)

    def columns_of(self, handle: int) -> IntArray:
        """Return the numbers of the measurements in a shared list of names."""
        if handle not in self._columns_of:
            items = read_list(self.stream, self.stream.node(handle))
            self._columns_of[handle] = self.columns([self.stream.text(item) for item in items])
        return self._columns_of[handle]
