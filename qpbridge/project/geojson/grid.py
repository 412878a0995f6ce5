"""Outlines on the grid that QuPath reads GeoJSON through: valid there, or repaired."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import FloatArray, RoiKind, Shapes, concatenate_shapes
from qpbridge.outlines import made_valid, tangled, valid

GRID = 0.01
"""Pixels to which QuPath rounds what it reads."""

MAX_COORDINATE = 1e12
"""Pixels, far beyond any image."""


@dataclass(frozen=True, eq=False)
class OnGrid:
    """Shapes that QuPath can read.

    Parameters
    ----------
    shapes
        n of them: rounded, and valid.
    repaired
        bool (n,), whose outline crossed or touched itself, in some cases only once rounded.
    flat
        bool (n,), which had no area; there is now a box around them, at least 0.01 pixels wide.
    tangled
        bool (n,), which cross themselves too often to be repaired; they have no shape any more.
    """

    shapes: Shapes
    repaired: npt.NDArray[np.bool_]
    flat: npt.NDArray[np.bool_]
    tangled: npt.NDArray[np.bool_]


def rounded(coords: FloatArray) -> FloatArray:
    """Round coordinates to the grid."""
    return np.round(coords, 2) + 0.0  # which makes -0.0 positive


def on_grid(shapes: Shapes) -> OnGrid:
    """Round shapes to 0.01 pixels, as QuPath does, and repair what is not valid then.

    Of an outline that crosses itself, what it encloses is kept; parts that overlap become one.
    Points and lines are only rounded.
    """
    shapes = replace(shapes, coords=rounded(shapes.coords))
    repaired = np.zeros(len(shapes), bool)
    flat = np.zeros(len(shapes), bool)
    hopeless = np.zeros(len(shapes), bool)
    faulty = np.flatnonzero(~_is_fine(shapes))
    mended = []
    for row in faulty.tolist():
        one = shapes.take([row])
        if one.roi[0] in (RoiKind.POLYGON, RoiKind.GEOMETRY):
            polygons = _multipolygon(one)
            if tangled(np.array([polygons], object))[0]:
                hopeless[row] = True
                mended.append(Shapes.empty(1))
                continue
            geometry = _repaired(polygons)
            if geometry is not None and not valid(np.array([geometry], object))[0]:
                hopeless[row] = True  # valid, but has become too dense to work with
                mended.append(Shapes.empty(1))
                continue
            flat[row], repaired[row] = geometry is None, geometry is not None
            geometry = smallest_box(one.coords) if geometry is None else geometry
            mended.append(Shapes.from_geometries([geometry]))
        else:
            flat[row] = True
            x, y, x2, y2 = shapely.bounds(smallest_box(one.coords)).tolist()
            mended.append(Shapes.corners(RoiKind(one.roi[0]), x, y, x2, y2))
    if len(faulty):
        order = np.arange(len(shapes))
        order[faulty] = len(shapes) + np.arange(len(faulty))
        shapes = concatenate_shapes([shapes, *mended]).take(order)
    return OnGrid(shapes, repaired, flat, hopeless)


def smallest_box(coords: FloatArray) -> Any:
    """Return the box around a shape that rounding leaves without area; at least 0.01 px wide."""
    low = np.floor(coords.min(axis=0) / GRID + 1e-3)  # what is on the grid stays there
    high = np.maximum(np.ceil(coords.max(axis=0) / GRID - 1e-3), low + 1)
    return shapely.box(*rounded(np.concatenate([low, high]) * GRID))


def _is_fine(shapes: Shapes) -> npt.NDArray[np.bool_]:
    fine = np.ones(len(shapes), bool)
    areas = np.flatnonzero(np.isin(shapes.roi, (RoiKind.POLYGON, RoiKind.GEOMETRY)))
    if len(areas):
        chosen = shapes.take(areas)
        short = np.diff(chosen.rings) < 4
        of_part = np.repeat(np.arange(len(areas)), np.diff(chosen.objects))
        has_short = np.zeros(len(areas), bool)
        has_short[np.repeat(of_part, np.diff(chosen.parts))[short]] = True
        fine[areas[has_short]] = False
        whole = areas[~has_short]
        fine[whole] = valid(shapes.take(whole).geometries)
    corners = np.flatnonzero(np.isin(shapes.roi, (RoiKind.RECTANGLE, RoiKind.ELLIPSE)))
    two = shapes.take(corners).coords.reshape(-1, 2, 2)
    fine[corners] = (two[:, 0] != two[:, 1]).all(axis=1)
    return fine


def _multipolygon(shape: Shapes) -> Any:
    """Return the rings of one shape that can be outlines, valid or not."""
    parts = []
    for first, last in zip(shape.parts[:-1], shape.parts[1:], strict=True):
        rings = [shape.coords[shape.rings[r] : shape.rings[r + 1]] for r in range(first, last)]
        if rings and len(rings[0]) >= 4:
            parts.append(shapely.Polygon(rings[0], [r for r in rings[1:] if len(r) >= 4]))
    return shapely.MultiPolygon(parts)


def _repaired(geometry: Any) -> Any:
    """Return the area of polygons, valid and on the grid; None if they have none."""
    with np.errstate(all="ignore"):
        snapped = shapely.set_precision(made_valid(np.array([geometry], object))[0], GRID)
    polygons = [shapely.transform(part, rounded) for part in _polygons(snapped)]
    if not polygons:
        return None
    whole = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return whole if whole.is_valid else None


def _polygons(geometry: Any) -> list[Any]:
    if hasattr(geometry, "geoms"):
        return [polygon for part in geometry.geoms for polygon in _polygons(part)]
    return [geometry] if geometry.geom_type == "Polygon" and not geometry.is_empty else []
