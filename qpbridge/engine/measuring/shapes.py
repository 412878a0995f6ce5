"""Measuring the shapes of nuclei that are there, whoever made them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from qpbridge.hierarchy.subjects import hollow
from qpbridge.measurement_table import stacked
from qpbridge.measurements.moments import moment_measurements
from qpbridge.measurements.nuclei import cell_shapes
from qpbridge.measurements.shape import shape_measurements
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, Shapes
from qpbridge.processors import usable_processors

CHUNK = 2**15
"""Objects whose shapes are measured at a time; bounds the memory."""


def measure_shapes(nuclei: ObjectTable, mpp: tuple[float, float]) -> MeasurementTable:
    """Measure nuclei one by one; the names are those of a nucleus that is no cell.

    Parameters
    ----------
    nuclei
        Detections and cells (n).
    mpp
        µm per pixel (x, y).

    Returns
    -------
    measurements
        QuPath's shape features, those by moments, and of cells those of the whole cell. NaN where
        there is no nucleus, or no cell.
    """
    own = measure_nuclei(nuclei, mpp)
    rows = np.flatnonzero(nuclei.kind == ObjectKind.CELL)
    if not len(rows):
        return own
    whole = nuclei.take(rows)
    assert whole.nuclei is not None
    return own | cell_shapes(whole.shapes, whole.nuclei, mpp).spread(len(nuclei), rows)


def measure_nuclei(nuclei: ObjectTable, mpp: tuple[float, float]) -> MeasurementTable:
    """Do the same without what is of whole cells."""
    own = _in_chunks(nuclei.inner_shapes, mpp)
    own.matrix[hollow(nuclei)] = np.nan
    return own


def _in_chunks(shapes: Shapes, mpp: tuple[float, float]) -> MeasurementTable:
    """Measure shapes, some at a time, on all processors."""

    def measure(start: int) -> MeasurementTable:
        some = shapes.take(np.arange(start, min(start + CHUNK, len(shapes))))
        return shape_measurements(some, mpp) | moment_measurements(some, mpp)

    with ThreadPoolExecutor(usable_processors()) as threads:
        return stacked(list(threads.map(measure, range(0, max(len(shapes), 1), CHUNK))))
