"""How large regions of interest are, as QuPath has it in its tables.

Definitions read in the source of QuPath 0.6.0 (`ROI.getScaledArea` and `getScaledLength` of each
kind of region).
"""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.objects import FloatArray, RoiKind, Shapes

LINES = (RoiKind.LINE, RoiKind.POLYLINE, RoiKind.LINES)


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
