"""Measuring the stains of nuclei again: the image is read by windows, each once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import shapely

from qpbridge.hierarchy.subjects import hollow
from qpbridge.measurements.intensity import intensity_names, stains_of_shapes
from qpbridge.measurements.names import CELL
from qpbridge.objects import (
    FloatArray,
    IntArray,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    Shapes,
    Stains,
)
from qpbridge.processors import usable_processors
from qpbridge.slides.calibration import downsample_for
from qpbridge.slides.slide import Slide

MPP = 0.5
"""µm per pixel at which stains are measured: that of the models for nuclei."""

WINDOW = 2048
"""Side of a window, in pixels of that size. Objects larger than it are not measured."""


def measure_intensities(
    nuclei: ObjectTable,
    points: FloatArray,
    slide: Slide,
    mpp: tuple[float, float],
    stains: Stains,
) -> MeasurementTable:
    """Measure the stains of nuclei, and of the whole cells where they are parts of such.

    Parameters
    ----------
    nuclei
        Detections and cells (n).
    points
        float64 (n, 2), where they are, full-resolution pixels.
    slide
        Their image.
    mpp
        µm per pixel (x, y).
    stains
        What is measured.

    Returns
    -------
    measurements
        NaN where there is no pixel, no nucleus or no cell.
    """
    downsample = slide.snap(downsample_for(mpp, MPP))
    names = intensity_names(stains.stain_names)

    def measure(shapes: Shapes, rows: IntArray) -> FloatArray:
        """Measure the shapes of one window."""
        some = shapes.take(rows)
        out = np.full((len(rows), len(names)), np.nan)
        bounds = shapely.bounds(some.geometries) / downsample
        fits = np.flatnonzero((bounds[:, 2:] - bounds[:, :2] <= WINDOW).all(axis=1))
        if len(fits):
            x, y = np.floor(bounds[fits, :2].min(axis=0)).astype(int).tolist()
            x2, y2 = np.ceil(bounds[fits, 2:].max(axis=0)).astype(int).tolist()
            rgb = slide.read(x, y, x2 - x, y2 - y, downsample)
            out[fits] = stains_of_shapes(rgb, stains, some.take(fits), (x, y), downsample).matrix
        return out

    measured = _by_windows(measure, nuclei.inner_shapes, points / downsample, names)
    measured.matrix[hollow(nuclei)] = np.nan
    cells = np.flatnonzero(nuclei.kind == ObjectKind.CELL)
    if len(cells):
        shapes = nuclei.shapes.take(cells)
        of_cells = _by_windows(measure, shapes, points[cells] / downsample, names)
        measured |= of_cells.renamed(CELL.__add__).spread(len(nuclei), cells)
    return measured


def _by_windows(
    measure: Callable[[Shapes, IntArray], FloatArray],
    shapes: Shapes,
    points: FloatArray,
    names: tuple[str, ...],
) -> MeasurementTable:
    """Go through the windows that hold points, each with the shapes that are there."""
    window = np.floor(points / WINDOW).astype(np.int64)
    order = np.lexsort(window.T)
    steps = np.flatnonzero(np.diff(window[order], axis=0).any(axis=1)) + 1
    values = np.full((len(points), len(names)), np.nan)
    groups = np.split(order, steps) if len(order) else []
    with ThreadPoolExecutor(usable_processors()) as threads:
        found = threads.map(lambda rows: measure(shapes, rows), groups)
        for rows, some in zip(groups, found, strict=True):
            values[rows] = some
    return MeasurementTable(names, values)
