"""What a run comes to in one image, and the classes of its objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from qpbridge.engine.edit import Existing
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.targets import CLASSES
from qpbridge.models.bundle import Bundle
from qpbridge.objects import IntArray, ObjectTable


@dataclass(frozen=True, eq=False)
class Result:
    """What a run comes to in one image.

    Parameters
    ----------
    regions
        The regions.
    existing
        What is replaced, and what stays.
    found
        Number of new objects.
    summaries
        For each region, the measurements of its annotation.
    lost
        What is taken away that nobody asked for, in sentences.
    lost_measurements
        Number of objects that go for good, with measurements that somebody added.
    """

    regions: tuple[Region, ...]
    existing: Existing
    found: int
    summaries: tuple[dict[str, float], ...]
    lost: tuple[str, ...] = ()
    lost_measurements: int = 0


def classify(new: ObjectTable, bundle: Bundle, class_index: IntArray | None) -> ObjectTable:
    """Give new objects the classes that the model tells apart, or else the target's own."""
    classes = (CLASSES[bundle.target], *bundle.classes)
    index = np.zeros(len(new), np.int32)
    if class_index is not None:
        index = (class_index + 1).astype(np.int32)
    return replace(new, classes=classes, class_index=index)
