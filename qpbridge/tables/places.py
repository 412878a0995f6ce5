"""Where regions of interest are and how large, as QuPath has it in its tables.

Definitions read in the source of QuPath 0.6.0 (`ROI.getCentroidX`, `getScaledArea`,
`getScaledLength` of each kind of region).
"""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.objects import FloatArray, RoiKind, Shapes

AREAS = (RoiKind.POLYGON, RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.GEOMETRY)
"""Regions of interest that enclose something."""
LINES = (RoiKind.LINE, RoiKind.POLYLINE, RoiKind.LINES)

_TWO_POINTS = (RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.LINE)
_BLOCK = 20_000
"""Shapes of which there are shapely geometries at a time: they take more memory than arrays."""


def centroids(shapes: Shapes) -> FloatArray:
    """Find the centroids of regions of interest.

    Returns
    -------
    centroids
        float64 (n, 2), full-resolution pixels; that of points is their mean, and NaN where there
        is no shape.
    """
    out = np.full((len(shapes), 2), np.nan)
    simple = np.isin(shapes.roi, _TWO_POINTS)
    out[simple] = shapes.take(simple).coords.reshape(-1, 2, 2).mean(axis=1)
    others = np.flatnonzero(~simple & (shapes.roi != RoiKind.EMPTY))
    for start in range(0, len(others), _BLOCK):
        rows = others[start : start + _BLOCK]
        points = shapely.centroid(shapes.take(rows).geometries)
        out[rows] = np.column_stack([shapely.get_x(points), shapely.get_y(points)])
    return out


def sizes(shapes: Shapes, mpp: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Measure regions of interest.

    Parameters
    ----------
    shapes
        The regions, n of them.
    mpp
        µm per pixel (x, y); (1, 1) for sizes in pixels.

    Returns
    -------
    area, length
        float64 (n,), in µm^2 and µm. The area is without holes, the length of a closed shape that
        of all its rings; both 0 for points. NaN where there is no shape.
    """
    geometries = shapely.transform(shapes.geometries, lambda xy: xy * mpp)
    area, length = shapely.area(geometries), shapely.length(geometries)
    ellipses = shapes.roi == RoiKind.ELLIPSE
    corners = shapes.take(ellipses).coords.reshape(-1, 2, 2) * mpp
    a, b = (np.abs(corners[:, 1] - corners[:, 0]) / 2).T
    area[ellipses] = np.pi * a * b
    length[ellipses] = _circumference(a, b)
    return area, length


def _circumference(a: FloatArray, b: FloatArray) -> FloatArray:
    """Length of ellipses with these half axes: Ramanujan's second approximation, as in QuPath.

    S. Ramanujan, Quarterly Journal of Mathematics 45 (1914) 350; exact for circles.
    """
    h = np.square((a - b) / np.where(a + b > 0, a + b, 1))
    length: FloatArray = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    return length
