"""Outlines: the one place that repairs, fills and cuts them."""

from __future__ import annotations

import numpy as np
import shapely

from qpbridge.objects import GeometryArray, RoiKind

AREAS = (RoiKind.POLYGON, RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.GEOMETRY)
"""Regions of interest that enclose something."""

ROUNDING = 0.02
"""Pixels by which outlines move when QuPath reads and saves them."""


def valid_areas(geometries: GeometryArray) -> GeometryArray:
    """Repair self-crossing outlines, as drawn by hand, and keep their areas only."""
    broken = ~shapely.is_valid(geometries)
    if broken.any():
        geometries = geometries.copy()
        geometries[broken] = shapely.buffer(shapely.make_valid(geometries[broken]), 0)
    return geometries


def without_holes(geometries: GeometryArray) -> GeometryArray:
    """Give polygons and multipolygons without their holes."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    outer = shapely.polygons(shapely.get_exterior_ring(parts))
    single = np.bincount(owner, minlength=len(geometries)) == 1
    filled = geometries.copy()
    filled[single] = outer[single[owner]]
    for row in np.flatnonzero(~single):
        filled[row] = shapely.union_all(outer[owner == row])
    return filled


def areas_only(geometries: GeometryArray) -> GeometryArray:
    """Keep polygons, and drop the lines and points that a cut can leave."""
    mixed = shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    geometries[mixed] = shapely.buffer(geometries[mixed], 0)
    flat = shapely.get_dimensions(geometries) < 2
    geometries[flat] = shapely.Polygon()
    return valid_areas(geometries)
