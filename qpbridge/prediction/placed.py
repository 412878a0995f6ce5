"""Objects of an image in its regions, and their classes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from qpbridge.hierarchy.targets import CLASSES
from qpbridge.models.bundle import Bundle
from qpbridge.objects import IntArray, ObjectTable


class Placed(NamedTuple):
    """What was found in regions.

    Attributes
    ----------
    objects
        n objects, measured and with their classes; below nothing so far.
    region
        int64 (n,), the smallest region that each lies in; of a cell, its nucleus.
    """

    objects: ObjectTable
    region: IntArray


def classify(new: ObjectTable, bundle: Bundle, class_index: IntArray | None) -> ObjectTable:
    """Give new objects the classes that the model tells apart, or else the target's own."""
    classes = (CLASSES[bundle.target], *bundle.classes)
    index = np.zeros(len(new), np.int32)
    if class_index is not None:
        index = (class_index + 1).astype(np.int32)
    return replace(new, classes=classes, class_index=index)
