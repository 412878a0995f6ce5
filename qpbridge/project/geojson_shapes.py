"""GeoJSON geometries to shapes: many at once, checked with arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qpbridge.errors import FormatError
from qpbridge.objects import FloatArray, IntArray, RoiKind, Shapes, offsets

GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
)
"""The types of geometry that QuPath has a region of interest for."""


@dataclass
class ShapeList:
    """Grows geometry by geometry; checked and turned into arrays all at once.

    Raises
    ------
    FormatError
        Where a geometry is none, or none that QuPath has a region of interest for.
    """

    roi: list[int] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    ring_lengths: list[int] = field(default_factory=list)
    part_lengths: list[int] = field(default_factory=list)
    object_lengths: list[int] = field(default_factory=list)

    def add_empty(self) -> None:
        """Append no shape."""
        self._add(RoiKind.EMPTY, [])

    def _add(self, roi: RoiKind, parts: list[list[Any]]) -> None:
        self.roi.append(roi)
        self.object_lengths.append(len(parts))
        for rings in parts:
            self.part_lengths.append(len(rings))
            for ring in rings:
                self.ring_lengths.append(len(ring))
                self.points.extend(ring)

    def add(self, geometry: Any) -> None:
        """Append a geometry, as decoded from JSON."""
        if not isinstance(geometry, dict) or str(geometry.get("type")) not in GEOMETRIES:
            kind = geometry.get("type") if isinstance(geometry, dict) else None
            raise FormatError(f"no geometry that QuPath knows ({kind or 'none'})")
        kind, coordinates = geometry["type"], geometry.get("coordinates")
        if not isinstance(coordinates, list) or not coordinates:
            raise FormatError("a geometry without coordinates")
        if kind == "MultiPolygon" and not all(coordinates):
            raise FormatError("a polygon without an outline")
        if kind == "Polygon":
            if len(coordinates) > 1:
                self._add(RoiKind.GEOMETRY, [coordinates])
            else:
                ellipse = geometry.get("isEllipse") is True
                self._add(RoiKind.ELLIPSE if ellipse else RoiKind.POLYGON, [coordinates])
        elif kind == "MultiPolygon":
            simple = len(coordinates) == 1 and len(coordinates[0]) == 1
            self._add(RoiKind.POLYGON if simple else RoiKind.GEOMETRY, coordinates)
        elif kind in ("Point", "MultiPoint"):
            self._add(RoiKind.POINTS, [[[coordinates] if kind == "Point" else coordinates]])
        elif kind == "LineString" or len(coordinates) == 1:
            line = coordinates if kind == "LineString" else coordinates[0]
            self._add(RoiKind.LINE if len(line) == 2 else RoiKind.POLYLINE, [[line]])
        else:
            self._add(RoiKind.LINES, [[line] for line in coordinates])

    def shapes(self) -> Shapes:
        """Return all shapes; upright rectangles and marked ellipses as such."""
        shapes = Shapes(
            np.array(self.roi, np.uint8),
            self._coords(),
            offsets(self.ring_lengths),
            offsets(self.part_lengths),
            offsets(self.object_lengths),
        )
        _check_rings(shapes)
        return _with_corners(shapes)

    def _coords(self) -> FloatArray:
        try:
            try:
                coords = np.array(self.points, np.float64)
            except ValueError:  # some have a third coordinate, which QuPath ignores
                coords = np.array([point[:2] for point in self.points], np.float64)
            coords = (
                coords.reshape(len(self.points), -1)[:, :2] if self.points else np.zeros((0, 2))
            )
            if coords.shape[1] == 2 and np.isfinite(coords).all():
                return coords
        except (TypeError, ValueError, OverflowError, KeyError):
            pass
        ends = np.cumsum(self.ring_lengths)
        for i, point in enumerate(self.points):
            if not _is_position(point):
                ring = int(np.searchsorted(ends, i, side="right"))
                parts, objects = offsets(self.part_lengths), offsets(self.object_lengths)
                where = _object_of_ring(ring, parts, objects) + 1
                raise FormatError(f"object {where} has a position that is not two numbers: {point}")
        raise FormatError("positions that are not two numbers")


def _is_position(point: Any) -> bool:
    if not isinstance(point, list) or len(point) < 2:
        return False
    try:
        return bool(np.isfinite(np.array(point[:2], np.float64)).all())
    except (TypeError, ValueError, OverflowError):
        return False


def _object_of_ring(ring: int, parts: IntArray, objects: IntArray) -> int:
    part = int(np.searchsorted(parts, ring, side="right")) - 1
    return int(np.searchsorted(objects, part, side="right")) - 1


def _check_rings(shapes: Shapes) -> None:
    """Refuse what is no line or ring; GeoJSON and QuPath want rings closed."""
    lengths = np.diff(shapes.rings)
    of_part = np.repeat(np.arange(len(shapes)), np.diff(shapes.objects))
    of_ring = np.repeat(of_part, np.diff(shapes.parts))
    roi = shapes.roi[of_ring]
    areas = np.isin(roi, (RoiKind.POLYGON, RoiKind.ELLIPSE, RoiKind.GEOMETRY))
    least = np.where(areas, 4, np.where(roi == RoiKind.POINTS, 1, 2))
    if (lengths < least).any():
        first = int(of_ring[np.argmax(lengths < least)])
        raise FormatError(f"object {first + 1} has too few vertices to be a line or an outline")
    closed = (shapes.coords[shapes.rings[:-1]] == shapes.coords[shapes.rings[1:] - 1]).all(axis=1)
    if (areas & ~closed).any():
        first = int(of_ring[np.argmax(areas & ~closed)])
        raise FormatError(
            f"object {first + 1} has an outline that is not closed: its last vertex must repeat "
            "the first"
        )


def _with_corners(shapes: Shapes) -> Shapes:
    """Turn upright rectangles, as QuPath does, and what is marked as ellipse into two corners."""
    lengths = np.diff(shapes.rings)
    if not len(lengths):
        return shapes
    low = np.minimum.reduceat(shapes.coords, shapes.rings[:-1])
    high = np.maximum.reduceat(shapes.coords, shapes.rings[:-1])
    first_ring = shapes.parts[np.minimum(shapes.objects[:-1], len(shapes.parts) - 2)]

    polygons = np.flatnonzero(shapes.roi == RoiKind.POLYGON)
    polygons = polygons[lengths[first_ring[polygons]] == 5]
    rings = first_ring[polygons]
    corners = shapes.coords[shapes.rings[rings][:, None] + np.arange(4)]
    at_corner = (corners == low[rings][:, None]) | (corners == high[rings][:, None])
    along_axis = (corners != np.roll(corners, -1, axis=1)).sum(axis=2) == 1
    upright = at_corner.all(axis=(1, 2)) & along_axis.all(axis=1) & (high > low)[rings].all(axis=1)

    roi = shapes.roi.copy()
    roi[polygons[upright]] = RoiKind.RECTANGLE
    chosen = first_ring[np.isin(roi, (RoiKind.RECTANGLE, RoiKind.ELLIPSE))]
    coords = shapes.coords.copy()
    coords[shapes.rings[chosen]] = low[chosen]
    coords[shapes.rings[chosen] + 1] = high[chosen]
    kept = lengths.copy()
    kept[chosen] = 2
    place = np.arange(len(coords)) - np.repeat(shapes.rings[:-1], lengths)
    return Shapes(
        roi, coords[place < np.repeat(kept, lengths)], offsets(kept), shapes.parts, shapes.objects
    )
