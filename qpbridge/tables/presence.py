"""Which measurements objects have, where all that is known is a number, or none.

A table says NaN where something could not be computed, and nothing where nobody computed it. Files
are read into one matrix, which has NaN for both. Detections of a kind have the same measurements;
annotations and TMA cores have what they are for: a region that was searched for nuclei has all that
is told of nuclei, one that never was has nothing.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from qpbridge.measurements import quality
from qpbridge.measurements.definitions import find
from qpbridge.measurements.grading import DEFINITIONS as GRADES
from qpbridge.measurements.names import recognized
from qpbridge.measurements.region_names import EVALUATED_AREA, FORMS
from qpbridge.objects import ObjectKind, ObjectTable

HOLDERS = (ObjectKind.ANNOTATION, ObjectKind.TMA_CORE)
"""Kinds of objects that each have measurements of their own."""


def carried(table: ObjectTable, some: ObjectTable) -> npt.NDArray[np.bool_]:
    """Tell which measurements objects have, bool (n, k).

    A kind of detection carries what any object of it has, an annotation or core what it has a
    number of, and what is computed together with that. What nobody in the image has could not be
    computed, and is carried by all detections.

    Parameters
    ----------
    table
        All objects of an image.
    some
        The objects (n).
    """
    there = ~np.isnan(some.measurements)
    nowhere = np.isnan(table.measurements).all(axis=0)
    out: npt.NDArray[np.bool_] = there.copy()
    for kind in np.unique(some.kind):
        rows = np.flatnonzero(some.kind == kind)
        if kind not in HOLDERS:
            out[rows] = there[rows].any(axis=0) | nowhere
            continue
        groups = np.array([_group(name) for name in table.measurement_names])
        for group in np.unique(groups[groups != ""]):
            columns = np.flatnonzero(groups == group)
            some_there = there[np.ix_(rows, columns)].any(axis=1)
            out[np.ix_(rows[some_there], columns)] = True
    return out


@cache
def _group(name: str) -> str:
    """Name what a measurement is computed together with; "": nothing."""
    for target, forms in FORMS.items():
        if recognized(name, *forms):
            return target
    if name in GRADES:
        return name.partition(":")[0]
    if name == EVALUATED_AREA or name in quality.DEFINITIONS:
        return ""
    return "own" if find(name) is not None else ""
