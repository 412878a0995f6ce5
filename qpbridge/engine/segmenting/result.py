"""What a run comes to in one image, and the classes of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qpbridge.engine.edit import Existing
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.targets import CLASSES
from qpbridge.measurements.regions import summarize_each
from qpbridge.models.bundle import Bundle
from qpbridge.objects import IntArray, MeasurementTable, ObjectTable


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
    """

    regions: tuple[Region, ...]
    existing: Existing
    found: int
    summaries: tuple[dict[str, float], ...]
    lost: tuple[str, ...] = ()


def summarize_regions(
    target: str,
    measured: MeasurementTable,
    inside: npt.NDArray[np.bool_],
    regions: Sequence[Region],
    mpp: tuple[float, float],
) -> tuple[dict[str, float], ...]:
    """Sum up what was found in regions, and tell what they show (`summarize_each`)."""
    summed = summarize_each(target, measured, inside, [r.area(mpp) for r in regions])
    return tuple({**s, **region.shares} for s, region in zip(summed, regions, strict=True))


def classify(new: ObjectTable, bundle: Bundle, class_index: IntArray | None) -> ObjectTable:
    """Give new objects the classes that the model tells apart, or else the target's own."""
    classes = (CLASSES[bundle.target], *bundle.classes)
    index = np.zeros(len(new), np.int32)
    if class_index is not None:
        index = (class_index + 1).astype(np.int32)
    return replace(new, classes=classes, class_index=index)
