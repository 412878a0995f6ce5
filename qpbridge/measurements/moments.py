"""Shape measurements from the moments of polygons: exact, holes and parts included.

The moments are integrals over the area, by Green's theorem sums over the edges (Steger, On the
calculation of arbitrary moments of polygons, TU München 1996). Nothing is rasterised. An ellipse
counts as the polygon that stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from qpbridge.measurement_table import stacked
from qpbridge.measurements.names import DIAMETER
from qpbridge.objects import FloatArray, GeometryArray, IntArray, MeasurementTable, Shapes
from qpbridge.outlines import repaired

ECCENTRICITY, ORIENTATION = "Eccentricity", "Orientation °"
EXTENT, COMPACTNESS = "Extent", "Compactness"

CHUNK = 2**16
"""Objects that are measured at a time; bounds the memory."""

ROUND = 1e-9
"""Difference of the two second moments, relative to their sum, below which no axis is longer."""

DEFINITIONS: Mapping[str, str] = {
    DIAMETER: "Diameter of the circle of the same area, holes not counted: √(4 A / π).",
    ECCENTRICITY: (
        "Eccentricity of the ellipse with the same second moments: 0 for a circle, towards 1 the "
        "longer it is (as scikit-image's regionprops)."
    ),
    ORIENTATION: (
        "Angle of the longer axis of that ellipse with the horizontal, 0 to 180 degrees, "
        "counter-clockwise as seen on the screen (as ImageJ's Angle); none where no axis is longer."
    ),
    EXTENT: "Area over that of the upright bounding box (as scikit-image's regionprops).",
    COMPACTNESS: (
        "A² / (2 π J) with J the moment of inertia about the centroid: 1 for a disc, less for what "
        "is long, lobed or hollow (Li, Goodchild and Church, Int. J. Geographical Information "
        "Science 2013)."
    ),
}
"""One line for each measurement of this module, by name."""


def moment_measurements(
    shapes: Shapes | GeometryArray, mpp: tuple[float, float]
) -> MeasurementTable:
    """Measure size, elongation, direction and compactness of many objects.

    Parameters
    ----------
    shapes
        Regions of interest, or shapely geometries, object array (n,); full-resolution pixels.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    measurements
        Equivalent diameter in µm, eccentricity, orientation in degrees, extent and compactness, by
        the names that `DEFINITIONS` explains; NaN for shapes without area.
    """
    given = shapes.geometries if isinstance(shapes, Shapes) else np.asarray(shapes, dtype=object)
    starts = range(0, max(len(given), 1), CHUNK)
    return stacked([_measure(given[i : i + CHUNK], mpp) for i in starts])


def _measure(given: GeometryArray, mpp: tuple[float, float]) -> MeasurementTable:
    geometries = repaired(given)
    area, _, moments = area_moments(geometries)
    extent = (shapely.bounds(geometries) * (*mpp, *mpp)).T
    pixel = mpp[0] * mpp[1]
    area = area * pixel
    xx, yy, xy = (moments * (mpp[0] ** 2, mpp[1] ** 2, pixel) * pixel).T
    polar = xx + yy
    apart = np.hypot(xx - yy, 2 * xy)
    elongated = apart > ROUND * polar
    with np.errstate(invalid="ignore", divide="ignore"):
        # y points down, so that the angle that one sees turns the other way round.
        angle = np.degrees(np.arctan2(-2 * xy, xx - yy) / 2) % 180
        angle[angle >= 180] = 0  # a little below 0, rounded
        columns = {
            DIAMETER: np.sqrt(4 / np.pi * area),
            ECCENTRICITY: np.sqrt(np.where(elongated, 2 * apart / (polar + apart), 0 * area)),
            ORIENTATION: np.where(elongated, angle, np.nan),
            EXTENT: area / ((extent[2] - extent[0]) * (extent[3] - extent[1])),
            COMPACTNESS: np.square(area) / (2 * np.pi * polar),
        }
    return MeasurementTable.of(columns)


def area_moments(geometries: GeometryArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Integrate over polygons.

    Parameters
    ----------
    geometries
        Valid polygons, multipolygons or collections with some, object array (n,).

    Returns
    -------
    area
        float64 (n,).
    centroid
        float64 (n, 2), x and y.
    moments
        float64 (n, 3), the central second moments: integrals of x², y² and x y about the centroid.
        All are NaN for shapes without area.
    """
    n = len(geometries)
    ring, owner, sign = _rings(geometries)
    coords, which = shapely.get_coordinates(ring, return_index=True)
    # About a point of its own a small object far from the origin keeps its digits.
    origin = np.zeros((n, 2))
    origin[owner[which][::-1]] = coords[::-1]
    x, y = (coords - origin[owner[which]]).T
    edge = np.flatnonzero(which[1:] == which[:-1])
    x0, y0, x1, y1 = x[edge], y[edge], x[edge + 1], y[edge + 1]
    cross = x0 * y1 - x1 * y0
    integrands = (
        cross / 2,
        cross * (x0 + x1) / 6,
        cross * (y0 + y1) / 6,
        cross * (x0 * x0 + x0 * x1 + x1 * x1) / 12,
        cross * (y0 * y0 + y0 * y1 + y1 * y1) / 12,
        cross * (2 * x0 * y0 + x0 * y1 + x1 * y0 + 2 * x1 * y1) / 24,
    )
    sums = [np.bincount(which[edge], v, len(ring)) for v in integrands]
    of_ring = np.array(sums, np.float64)
    # A ring may run either way; an outer one adds, and a hole takes away.
    of_ring *= sign * np.where(of_ring[0] < 0, -1, 1)
    area, sx, sy, sxx, syy, sxy = (np.bincount(owner, v, n).astype(np.float64) for v in of_ring)
    area[area <= 0] = np.nan
    mx, my = sx / area, sy / area
    centroid = origin + np.column_stack([mx, my])
    moments = np.column_stack([sxx - mx * sx, syy - my * sy, sxy - mx * sy])
    return area, centroid, moments


def _rings(geometries: GeometryArray) -> tuple[GeometryArray, IntArray, FloatArray]:
    """Take polygons apart: rings (r,), whose they are int64 (r,), and 1, or -1 for a hole."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, owner = parts[polygons], owner[polygons]
    rings, part = shapely.get_rings(parts, return_index=True)
    first = np.ones(len(rings), bool)
    first[1:] = part[1:] != part[:-1]
    return rings, owner[part], np.where(first, 1.0, -1.0)
