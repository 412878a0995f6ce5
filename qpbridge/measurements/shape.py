"""Shape measurements, named and defined as QuPath's *Add shape features* does.

Definitions read off values that QuPath 0.6.0 computed:

- area: of the shape without its holes; length: of all rings, or of a line;
- circularity: 4 pi A / L^2 of the outer ring alone, and only for shapes in one part; 1 for anything
  that QuPath keeps as an ellipse, however flat;
- solidity: area over that of the convex hull;
- max diameter: of the smallest enclosing circle; min diameter: smallest distance of two parallel
  lines with the shape in between.

QuPath 0.6.0 gives the length of an ellipse in pixels even where the image is calibrated; here it is
in µm like all others.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.measurements.hulls import hull_diameters
from qpbridge.measurements.names import AREA, CIRCULARITY, LENGTH, SOLIDITY, WIDTH
from qpbridge.objects import FloatArray, GeometryArray, MeasurementTable, RoiKind, Shapes
from qpbridge.outlines import repaired

DEFINITIONS: Mapping[str, str] = {
    AREA: "Area, holes not counted.",
    "Length µm": "Length of all outlines, those of holes too; of a line, its length.",
    CIRCULARITY: "4 pi A / L² of the outer outline, holes filled: 1 for a disc; none in parts.",
    SOLIDITY: "Area, holes not counted, over that of the convex hull.",
    LENGTH: "Diameter of the smallest enclosing circle.",
    WIDTH: "Smallest distance of two parallel lines with the shape in between.",
}
"""QuPath's shape features; in px and px^2 where the image is not calibrated."""


def shape_names(mpp: tuple[float, float] | None) -> tuple[str, ...]:
    """Return the names of the shape measurements; in pixels without calibration."""
    if mpp is None:
        return tuple(name.replace("µm", "px") for name in DEFINITIONS)
    return tuple(DEFINITIONS)


def shape_measurements(
    shapes: Shapes | GeometryArray, mpp: tuple[float, float] | None
) -> MeasurementTable:
    """Measure the shape of many objects.

    Parameters
    ----------
    shapes
        Regions of interest, or shapely geometries, object array (n,); full-resolution pixels.
    mpp
        µm per pixel (x, y), None if unknown.

    Returns
    -------
    measurements
        Those of `shape_names`; NaN where a shape doesn't have it (the area of a line, an empty
        shape).
    """
    scale = (1.0, 1.0) if mpp is None else mpp
    given = shapes.geometries if isinstance(shapes, Shapes) else np.asarray(shapes, dtype=object)
    stretch = scale[1] / scale[0]
    geometries = given.copy()
    if stretch != 1:
        geometries = shapely.transform(given, lambda xy: xy * (1.0, stretch))
    geometries = repaired(geometries)

    dimension = shapely.get_dimensions(geometries)
    hull = shapely.convex_hull(geometries)
    area = np.where(dimension == 2, shapely.area(geometries), np.nan)
    length = np.where(dimension >= 1, shapely.length(geometries), np.nan)
    outer = geometries.copy()
    outer[shapely.get_type_id(geometries) != shapely.GeometryType.POLYGON] = None
    holed = shapely.get_num_interior_rings(outer) > 0
    outer[holed] = shapely.polygons(shapely.get_exterior_ring(outer[holed]))
    with np.errstate(divide="ignore", invalid="ignore"):
        circularity = np.pi * 4 * shapely.area(outer) / shapely.length(outer) ** 2
        solidity = area / shapely.area(hull)
    values = np.column_stack([area, length, circularity, solidity, *hull_diameters(hull)])
    values *= np.array([scale[0] ** 2, scale[0], 1, 1, scale[0], scale[0]])
    values[shapely.is_missing(geometries) | shapely.is_empty(geometries)] = np.nan
    if isinstance(shapes, Shapes):
        ellipses = np.flatnonzero(shapes.roi == RoiKind.ELLIPSE)
        if len(ellipses):
            values[ellipses] = _ellipses(shapes.take(ellipses), scale)
    return MeasurementTable(shape_names(mpp), values)


def _ellipses(shapes: Shapes, scale: tuple[float, float]) -> FloatArray:
    """Measure ellipses by their axes rather than by a polygon, float64 (n, 6)."""
    from scipy.special import ellipe  # takes long to import, and ellipses are rare

    corners = shapes.coords.reshape(-1, 2, 2) * scale
    axes: npt.NDArray[np.float64] = np.sort(np.abs(corners[:, 1] - corners[:, 0]), axis=1)
    minor, major = axes.T
    length = 2 * major * ellipe(1 - np.square(minor / major))
    one = np.ones(len(axes))
    return np.column_stack([np.pi / 4 * minor * major, length, one, one, major, minor])
