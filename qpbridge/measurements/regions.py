"""What the objects of a region add up to, as it stands on the region's annotation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qpbridge.measurements.hotspots import hotspot_measurements
from qpbridge.measurements.moments import ORIENTATION
from qpbridge.measurements.spatial import summarize_orientation
from qpbridge.measurements.structures import (
    LINE,
    WIDTH,
    area_measurements,
    count_nuclei,
    lumen_measurements,
    neighbour_measurements,
    outline_measurements,
    summarize_areas,
)
from qpbridge.measurements.summary import summarize_morphometry, summarize_nuclei
from qpbridge.objects import FloatArray, ObjectTable
from qpbridge.outlines import valid_shapes

Columns = Mapping[str, FloatArray]


def structure_columns(
    target: str, objects: ObjectTable, nuclei: FloatArray, mpp: tuple[float, float]
) -> dict[str, FloatArray]:
    """Measure glands or vessels again, and how near one another they are.

    Parameters
    ----------
    target
        glands or vessels.
    objects
        All of them (n), since the nearest may be any.
    nuclei
        float64 (m, 2), centroids of the nuclei, full-resolution pixels; counted in glands.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    dict
        By name, float64 (n,). Vessels seen from above keep their centre lines, and have no lumina.
    """
    shapes = valid_shapes(objects.shapes)
    columns = area_measurements(shapes, mpp)
    if LINE in objects.measurement_names and np.isfinite(objects.measurement(LINE)).any():
        return columns | {name: objects.measurement(name) for name in (LINE, WIDTH)}
    columns |= lumen_measurements(target, shapes, mpp)
    columns |= outline_measurements(target, shapes, mpp)
    columns |= neighbour_measurements(target, shapes, mpp)
    if target == "glands" and len(nuclei):
        columns |= count_nuclei(shapes, nuclei)
    return columns


def summarize(
    target: str,
    inside: Columns,
    points: FloatArray,
    evaluated_area: float,
    mpp: tuple[float, float] | None,
) -> dict[str, float]:
    """Summarize the nuclei, glands or vessels of a region.

    Parameters
    ----------
    target
        nuclei, glands or vessels.
    inside
        Measurements of those in the region by name, float64 (n,).
    points
        float64 (n, 2), their centroids, full-resolution pixels.
    evaluated_area
        Of the region, µm^2.
    mpp
        µm per pixel (x, y); None: not known, and then nothing is told of hot spots.
    """
    if target == "nuclei":
        summary = summarize_nuclei(tuple(inside), _matrix(inside), evaluated_area)
        if ORIENTATION in inside:
            summary |= summarize_orientation(inside[ORIENTATION])
        return summary
    summary = summarize_areas(target, inside, evaluated_area)
    if target == "vessels" and LINE not in inside and mpp is not None:
        spot, _ = hotspot_measurements(target, points, mpp, evaluated_area)
        if np.isnan(list(spot.values())).any():  # then there is no disc to tell the area of
            spot = dict.fromkeys(spot, np.nan)
        summary |= spot
    return summary


def morphometry(inside: Columns, reference_area: float) -> dict[str, float]:
    """Summarize all measurements of a region's nuclei; for the parameters see `summarize`."""
    return summarize_morphometry(tuple(inside), _matrix(inside), reference_area)


def _matrix(columns: Columns) -> FloatArray:
    return np.column_stack(list(columns.values()))
