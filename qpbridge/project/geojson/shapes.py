"""GeoJSON geometries to shapes: many at once, checked with arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.objects import FloatArray, RoiKind, Shapes, concatenate_shapes, offsets
from qpbridge.project.geojson.split import GEOMETRIES


class Checked(NamedTuple):
    """Shapes of which some can't be used.

    Parameters
    ----------
    shapes
        n of them; ``EMPTY`` where there is a fault.
    faults
        By row, what is wrong.
    unclosed
        Rows of outlines that were left open; they are closed now.
    """

    shapes: Shapes
    faults: dict[int, str]
    unclosed: list[int]


@dataclass
class ShapeList:
    """Grows geometry by geometry; checked and turned into arrays all at once."""

    roi: list[int] = field(default_factory=list)
    points: list[Any] = field(default_factory=list)
    ring_lengths: list[int] = field(default_factory=list)
    part_lengths: list[int] = field(default_factory=list)
    object_lengths: list[int] = field(default_factory=list)

    def add_empty(self) -> None:
        """Append no shape."""
        self._add(RoiKind.EMPTY, [])

    def pop(self) -> None:
        """Take the last shape away again."""
        self.roi.pop()
        for _ in range(self.object_lengths.pop()):
            for _ in range(self.part_lengths.pop()):
                del self.points[len(self.points) - self.ring_lengths.pop() :]

    def _add(self, roi: RoiKind, parts: list[list[Any]]) -> None:
        for rings in parts:
            for ring in rings:
                if type(ring) is not list:
                    raise FormatError(
                        f"a line or an outline that is no list of positions: {repr(ring)[:40]}"
                    )
        self.roi.append(roi)
        self.object_lengths.append(len(parts))
        for rings in parts:
            self.part_lengths.append(len(rings))
            for ring in rings:
                self.ring_lengths.append(len(ring))
                self.points.extend(ring)

    def add(self, geometry: Any) -> None:
        """Append a geometry, as decoded from JSON.

        Raises
        ------
        FormatError
            If it is none, or none that QuPath has a region of interest for. Nothing is appended
            then, nor where its parts are not lists (`TypeError`).
        """
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if type(kind) is not str or kind not in GEOMETRIES:
            raise FormatError(f"no geometry that QuPath knows ({str(kind or 'none')[:40]})")
        coordinates = geometry.get("coordinates")
        if kind == "Polygon" and type(coordinates) is list and len(coordinates) == 1:
            # As nearly all are, and all that matters for speed.
            (ring,) = coordinates
            if type(ring) is list:
                ellipse = geometry.get("isEllipse") is True
                self.roi.append(RoiKind.ELLIPSE if ellipse else RoiKind.POLYGON)
                self.object_lengths.append(1)
                self.part_lengths.append(1)
                self.ring_lengths.append(len(ring))
                self.points += ring
                return
        if not isinstance(coordinates, list) or not coordinates:
            raise FormatError("a geometry without coordinates")
        if kind == "MultiPolygon" and not all(coordinates):
            raise FormatError("a polygon without an outline")
        if kind == "Polygon":
            self._add(RoiKind.GEOMETRY, [coordinates])
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

    def shapes(self) -> Checked:
        """Return all shapes; upright rectangles and marked ellipses as such."""
        coords, bad = self._coords()
        shapes = Shapes(
            np.array(self.roi, np.uint8),
            coords,
            offsets(self.ring_lengths),
            offsets(self.part_lengths),
            offsets(self.object_lengths),
        )
        of_ring = _objects_of_rings(shapes)
        of_vertex = np.repeat(of_ring, self.ring_lengths)
        faults = {
            int(
                of_vertex[at]
            ): f"has a position that is not two numbers: {repr(self.points[at])[:40]}"
            for at in reversed(bad)
        }
        roi, lengths = shapes.roi[of_ring], np.diff(shapes.rings)
        areas = np.isin(roi, (RoiKind.POLYGON, RoiKind.ELLIPSE, RoiKind.GEOMETRY))
        last = np.maximum(shapes.rings[1:] - 1, 0)
        first = np.minimum(shapes.rings[:-1], last)
        is_open = areas & (lengths > 0)
        is_open[is_open] = (coords[first[is_open]] != coords[last[is_open]]).any(axis=1)
        # A ring that is left open has a vertex more once it is closed.
        least = np.where(areas, 4 - is_open, np.where(roi == RoiKind.POINTS, 1, 2))
        for row in np.unique(of_ring[lengths < least]).tolist():
            faults.setdefault(row, "has too few vertices to be a line or an outline")
        unclosed = np.unique(of_ring[is_open])
        if faults:
            shapes = without(shapes, list(faults))
            unclosed = np.setdiff1d(unclosed, list(faults))
        if len(unclosed):
            shapes = _closed(shapes, unclosed)
        return Checked(_with_corners(shapes), faults, unclosed.tolist())

    def _coords(self) -> tuple[FloatArray, list[int]]:
        """Return all vertices, and which of them are not even two numbers."""
        n = len(self.points)
        if not n:
            return np.zeros((0, 2)), []
        points = self.points
        try:
            if set(map(type, points)) == {list}:
                if set(map(len, points)) != {2}:  # a third coordinate, which QuPath ignores
                    points = [point[:2] for point in points]
                coords = np.fromiter(chain.from_iterable(points), np.float64).reshape(n, 2)
                if min(map(len, points)) == 2 and np.isfinite(coords).all():
                    return coords, []
        except (TypeError, ValueError, OverflowError):
            pass
        bad = [i for i, point in enumerate(self.points) if not _is_position(point)]
        good = [point[:2] if _is_position(point) else (0.0, 0.0) for point in self.points]
        return np.array(good, np.float64).reshape(-1, 2), bad


def without(shapes: Shapes, rows: list[int]) -> Shapes:
    """Return shapes of which those of some rows are ``EMPTY``."""
    order = np.arange(len(shapes))
    order[rows] = len(shapes)
    return concatenate_shapes([shapes, Shapes.empty(1)]).take(order)


def _is_position(point: Any) -> bool:
    if not isinstance(point, list) or len(point) < 2:
        return False
    try:
        position = np.array(point[:2], np.float64)
    except (TypeError, ValueError, OverflowError):
        return False
    return bool(position.shape == (2,) and np.isfinite(position).all())


def _objects_of_rings(shapes: Shapes) -> npt.NDArray[np.int64]:
    of_part = np.repeat(np.arange(len(shapes)), np.diff(shapes.objects))
    return np.repeat(of_part, np.diff(shapes.parts))


def _closed(shapes: Shapes, rows: npt.NDArray[np.int64]) -> Shapes:
    """Repeat the first vertex of the rings of some rows at their ends, where it isn't there."""
    first, last = shapes.rings[:-1], shapes.rings[1:] - 1
    is_open = np.isin(_objects_of_rings(shapes), rows)
    is_open &= (shapes.coords[first] != shapes.coords[last]).any(axis=1)
    coords = np.insert(shapes.coords, last[is_open] + 1, shapes.coords[first[is_open]], axis=0)
    rings = shapes.rings + np.concatenate([[0], np.cumsum(is_open)])
    return replace(shapes, coords=coords, rings=rings)


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
