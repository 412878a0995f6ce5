"""Measurements of glands and vessels, and what a region's add up to.

For research use; no diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from qpbridge.measure.shape import shape_measurements, shape_names
from qpbridge.measure.summary import EVALUATED_AREA
from qpbridge.objects import FloatArray, GeometryArray, Shapes


def area_names(target: str, mpp: tuple[float, float]) -> tuple[str, ...]:
    """Return the names of the measurements of glands or vessels."""
    one = target.removesuffix("s")
    return (*shape_names(mpp), "Lumen area µm^2", f"Lumen/{one} area ratio")


def area_measurements(shapes: Shapes, mpp: tuple[float, float]) -> FloatArray:
    """Measure glands or vessels, whose lumina are holes.

    Parameters
    ----------
    shapes
        Polygons, full-resolution pixels.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    values
        float64 (n, 8), columns as `area_names`: the shape without the lumen, as QuPath has it; the
        area of all lumina; and its ratio to the area within the outer outline.
    """
    _, shape = shape_measurements(shapes, mpp)
    lumen = hole_area(shapes.geometries) * mpp[0] * mpp[1]
    return np.column_stack([shape, lumen, lumen / (lumen + shape[:, 0])])


def hole_area(geometries: GeometryArray) -> FloatArray:
    """Area of the holes of polygons and multipolygons, float64 (n,)."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    filled = shapely.area(shapely.polygons(shapely.get_exterior_ring(parts)))
    holes: FloatArray = filled - shapely.area(parts)
    return np.bincount(owner, holes, len(geometries)).astype(np.float64)


def summary_names(target: str) -> tuple[str, ...]:
    """Return the names of what `summarize_areas` gives."""
    many, one = target.capitalize(), target.removesuffix("s")
    return (
        f"{many}: Count",
        f"{many}: Density per mm^2",
        f"{many}: Area %",
        f"{many}: Area mean µm^2",
        f"{many}: Lumen/{one} area ratio mean",
        EVALUATED_AREA,
    )


def summarize_areas(
    target: str, names: Sequence[str], measurements: FloatArray, evaluated_area: float
) -> dict[str, float]:
    """Summarize the glands or vessels of one region.

    Parameters
    ----------
    target
        glands or vessels.
    names
        Of the measurements, `area_names`.
    measurements
        float64 (n, len(names)).
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        `summary_names` in order. Areas are those within the outer outline, lumen included. NaN
        where there is nothing to divide by.
    """
    lumen = measurements[:, names.index("Lumen area µm^2")]
    area = measurements[:, names.index("Area µm^2")] + lumen
    n = len(measurements)
    values = (
        float(n),
        n / evaluated_area * 1e6 if evaluated_area > 0 else np.nan,
        float(area.sum()) / evaluated_area * 100 if evaluated_area > 0 else np.nan,
        float(area.mean()) if n else np.nan,
        float((lumen / area).mean()) if n else np.nan,
        float(evaluated_area),
    )
    return dict(zip(summary_names(target), values, strict=True))
