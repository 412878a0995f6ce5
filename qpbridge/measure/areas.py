"""Measurements of glands and vessels, and what a region's add up to.

For research use; no diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from qpbridge.measure.shape import shape_measurements
from qpbridge.measure.summary import EVALUATED_AREA
from qpbridge.objects import FloatArray, GeometryArray, Shapes

AREA, LUMEN = "Area µm^2", "Lumen area µm^2"
LINE, WIDTH = "Centre line length µm", "Width mean µm"


def area_measurements(shapes: Shapes, mpp: tuple[float, float]) -> dict[str, FloatArray]:
    """Measure shapes as QuPath does (`qpbridge.measure.shape`), by name; holes don't count."""
    names, values = shape_measurements(shapes, mpp)
    return dict(zip(names, values.T, strict=True))


def lumen_measurements(
    target: str, shapes: Shapes, mpp: tuple[float, float]
) -> dict[str, FloatArray]:
    """Measure the lumina of glands or vessels, which are holes.

    Returns
    -------
    dict
        The area of all lumina of each, float64 (n,), and its ratio to the area within the outer
        outline.
    """
    inner = hole_area(shapes.geometries) * mpp[0] * mpp[1]
    outer = shapely.area(shapes.geometries) * mpp[0] * mpp[1] + inner
    return {LUMEN: inner, _ratio(target): inner / outer}


def line_measurements(length: FloatArray, width: FloatArray, mpp: float) -> dict[str, FloatArray]:
    """Measure vessels seen from above.

    Parameters
    ----------
    length
        float64 (n,), of the centre line of each, in pixels.
    width
        float64 (n,), the width along the centre line, summed up over its length.
    mpp
        µm per pixel.

    Returns
    -------
    dict
        Length of the centre line and mean width of each; NaN without a line.
    """
    mean = np.divide(width, length, out=np.full(len(length), np.nan), where=length > 0)
    return {LINE: length * mpp, WIDTH: mean * mpp}


def hole_area(geometries: GeometryArray) -> FloatArray:
    """Area of the holes of polygons and multipolygons, float64 (n,)."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    filled = shapely.area(shapely.polygons(shapely.get_exterior_ring(parts)))
    holes: FloatArray = filled - shapely.area(parts)
    return np.bincount(owner, holes, len(geometries)).astype(np.float64)


def summarize_areas(
    target: str, measurements: Mapping[str, FloatArray], evaluated_area: float
) -> dict[str, float]:
    """Summarize the glands or vessels of one region.

    Parameters
    ----------
    target
        glands or vessels.
    measurements
        By name, float64 (n,) each, as the functions of this module give them.
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        Count, density, area in % and on average (lumen included), evaluated area; where lumina were
        measured, their ratio to the area on average; where centre lines were, their length in all
        and the mean width along them. NaN where there is nothing to divide by.
    """
    area = measurements[AREA] + measurements.get(LUMEN, 0.0)
    n = len(area)
    searched = evaluated_area if evaluated_area > 0 else np.nan
    values = {
        "Count": float(n),
        "Density per mm^2": n / searched * 1e6,
        "Area %": float(area.sum()) / searched * 100,
        "Area mean µm^2": float(area.mean()) if n else np.nan,
    }
    if LUMEN in measurements:
        ratio = measurements[_ratio(target)]
        values[f"{_ratio(target)} mean"] = float(ratio.mean()) if n else np.nan
    if LINE in measurements:
        length, width = measurements[LINE], measurements[WIDTH]
        total = float(length.sum())
        values[LINE] = total
        values[WIDTH] = float(np.nansum(length * width)) / total if total > 0 else np.nan
    named = {f"{target.capitalize()}: {name}": value for name, value in values.items()}
    return {**named, EVALUATED_AREA: float(evaluated_area)}


def _ratio(target: str) -> str:
    return f"Lumen/{target.removesuffix('s')} area ratio"
