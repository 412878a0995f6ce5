"""Regions of interest, many at once: ragged arrays of vertices, and what kind each is.

Coordinates are full-resolution pixels of QuPath's image server, float64 (x, y) from the top left.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.errors import RequestError
from qpbridge.measurement_table import FloatArray, IntArray

GeometryArray = npt.NDArray[np.object_]

ELLIPSE_VERTICES = 100
"""Corners of the polygon that QuPath takes for an ellipse where it needs a geometry."""

GRID = 100
"""Steps of a pixel on which QuPath puts these corners."""


class RoiKind(enum.IntEnum):
    """The kinds of region of interest that QuPath tells apart."""

    POLYGON = 0
    RECTANGLE = 1
    ELLIPSE = 2
    LINE = 3
    POLYLINE = 4
    POINTS = 5
    GEOMETRY = 6
    """Polygons with holes or of several parts."""
    LINES = 7
    """Line strings of several parts."""
    EMPTY = 8
    """No shape (a cell without nucleus)."""


TWO_POINTS = (RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.LINE)
"""Regions of interest that QuPath keeps as two corners, or ends."""


_CHUNK = 2**16
"""Objects that are worked on at a time, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Many regions of interest as ragged arrays: objects > parts > rings > vertices.

    ``RECTANGLE``, ``ELLIPSE`` and ``LINE`` keep just two corner or end points, as QuPath does;
    polygons keep closed rings (first vertex repeated), the exterior ring of a part first.

    Parameters
    ----------
    roi
        uint8 (n,), values of `RoiKind`.
    coords
        float64 (m, 2), x and y.
    rings
        int64 (r + 1,), offsets into `coords`.
    parts
        int64 (p + 1,), offsets into `rings`.
    objects
        int64 (n + 1,), offsets into `parts`.
    """

    roi: npt.NDArray[np.uint8]
    coords: FloatArray
    rings: IntArray
    parts: IntArray
    objects: IntArray

    def __len__(self) -> int:
        return len(self.roi)

    @classmethod
    def empty(cls, n: int = 0) -> Shapes:
        """Make `n` shapes of kind ``EMPTY``."""
        zero = np.zeros(1, np.int64)
        roi = np.full(n, RoiKind.EMPTY, np.uint8)
        return cls(roi, np.zeros((0, 2)), zero, zero, np.zeros(n + 1, np.int64))

    @classmethod
    def from_rings(cls, coords: FloatArray, rings: IntArray) -> Shapes:
        """Make polygons of one closed ring each (no holes)."""
        n = len(rings) - 1
        count = np.arange(n + 1, dtype=np.int64)
        roi = np.full(n, RoiKind.POLYGON, np.uint8)
        return cls(roi, np.asarray(coords, np.float64), np.asarray(rings, np.int64), count, count)

    @classmethod
    def from_geometries(cls, geometries: Sequence[Any] | GeometryArray) -> Shapes:
        """Make shapes from shapely geometries.

        Simple polygons become ``POLYGON``; polygons with holes and multipolygons ``GEOMETRY``;
        points ``POINTS``; lines ``LINE`` (two vertices), ``POLYLINE`` or ``LINES``. Axis-aligned
        rectangles stay polygons: use `rectangle` for QuPath's own.

        Raises
        ------
        RequestError
            If something is no geometry, or a collection, which QuPath has no region for.
        """
        return concatenate_shapes([_shape_of(geometry) for geometry in geometries])

    @classmethod
    def corners(cls, roi: RoiKind, x: float, y: float, x2: float, y2: float) -> Shapes:
        """Make one rectangle, ellipse or line from two opposite corners."""
        offsets = np.array([0, 1], np.int64)
        return cls(
            np.array([roi], np.uint8),
            np.array([[x, y], [x2, y2]], np.float64),
            np.array([0, 2], np.int64),
            offsets,
            offsets,
        )

    def take(self, index: npt.ArrayLike) -> Shapes:
        """Select shapes by integer index or boolean mask."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        parts, objects = _take_ragged(self.objects, chosen)
        rings, part_offsets = _take_ragged(self.parts, parts)
        vertices, ring_offsets = _take_ragged(self.rings, rings)
        return Shapes(self.roi[chosen], self.coords[vertices], ring_offsets, part_offsets, objects)

    @cached_property
    def geometries(self) -> GeometryArray:
        """Shapely geometries, object array (n,); ellipses as polygons, ``EMPTY`` as None."""
        out = np.full(len(self), None, dtype=object)
        simple = self.roi == RoiKind.POLYGON
        if simple.any():
            chosen = self if simple.all() else self.take(simple)
            out[simple] = shapely.from_ragged_array(
                shapely.GeometryType.POLYGON,
                chosen.coords,
                (chosen.rings, chosen.parts),
            )
        for roi, make in ((RoiKind.RECTANGLE, _boxes), (RoiKind.ELLIPSE, _ellipses)):
            these = self.roi == roi
            if these.any():
                out[these] = make(*self.take(these).bounds())
        done = np.isin(self.roi, (RoiKind.POLYGON, RoiKind.RECTANGLE, RoiKind.ELLIPSE))
        for i in np.flatnonzero(~done & (self.roi != RoiKind.EMPTY)):
            out[i] = self._geometry(int(i))
        return out

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Find the lowest and highest x and y of each shape, float64 (n, 2) each; none is empty."""
        if not len(self):
            return np.zeros((0, 2)), np.zeros((0, 2))
        first = self.rings[self.parts[self.objects[:-1]]]
        return np.minimum.reduceat(self.coords, first), np.maximum.reduceat(self.coords, first)

    def centroids(self) -> FloatArray:
        """Compute the centroids, float64 (n, 2); NaN for ``EMPTY``.

        Those of polygons without holes, of which there can be a million, from their vertices
        alone, and those of rectangles, ellipses and lines from their corners; of what has no area,
        and of all else, by shapely.
        """
        out = np.full((len(self), 2), np.nan)
        simple = np.isin(self.roi, TWO_POINTS)
        out[simple] = self.take(simple).coords.reshape(-1, 2, 2).mean(axis=1)
        plain = np.flatnonzero((self.roi == RoiKind.POLYGON) & (np.diff(self.objects) == 1))
        plain = plain[np.diff(self.parts)[self.objects[plain]] == 1]
        for i in range(0, len(plain), _CHUNK):
            rows = plain[i : i + _CHUNK]
            out[rows] = _ring_centroids(self.take(rows))
        others = np.flatnonzero(np.isnan(out[:, 0]) & (self.roi != RoiKind.EMPTY))
        for i in range(0, len(others), _CHUNK):
            rows = others[i : i + _CHUNK]
            points = shapely.centroid(self.take(rows).geometries)
            out[rows] = np.column_stack([shapely.get_x(points), shapely.get_y(points)])
        return out

    def _geometry(self, i: int) -> Any:
        roi = RoiKind(self.roi[i])
        parts = [
            [self.coords[self.rings[r] : self.rings[r + 1]] for r in range(first, last)]
            for first, last in zip(
                self.parts[self.objects[i] : self.objects[i + 1]],
                self.parts[self.objects[i] + 1 : self.objects[i + 1] + 1],
                strict=True,
            )
        ]
        if roi in (RoiKind.LINE, RoiKind.POLYLINE):
            return shapely.LineString(parts[0][0])
        if roi is RoiKind.POINTS:
            return shapely.MultiPoint(parts[0][0])
        if roi is RoiKind.LINES:
            return shapely.MultiLineString([rings[0] for rings in parts])
        polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in parts]
        return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _boxes(low: FloatArray, high: FloatArray) -> GeometryArray:
    boxes: GeometryArray = shapely.box(*low.T, *high.T)
    return boxes


def _ellipses(low: FloatArray, high: FloatArray) -> GeometryArray:
    """Make the polygons that QuPath takes for ellipses: their corners lie on its grid.

    One that is so small that its corners would no longer make a polygon there keeps them between.
    """
    angle = np.arange(ELLIPSE_VERTICES) * (2 * np.pi / ELLIPSE_VERTICES)
    turn = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    turn[np.abs(turn) < 1e-15] = 0
    radius = (high - low)[:, None] / 2
    rings = radius * turn + (low[:, None] + radius)
    stored = (np.floor(rings * GRID + 0.5) / GRID).astype(np.float32).astype(np.float64)
    polygons: GeometryArray = shapely.polygons(stored)
    broken = ~shapely.is_valid(polygons)
    polygons[broken] = shapely.polygons(rings[broken])
    return polygons


def _shape_of(geometry: Any) -> Shapes:
    kinds = {
        "Polygon": RoiKind.GEOMETRY,
        "MultiPolygon": RoiKind.GEOMETRY,
        "Point": RoiKind.POINTS,
        "MultiPoint": RoiKind.POINTS,
        "LineString": RoiKind.POLYLINE,
        "LinearRing": RoiKind.POLYLINE,
        "MultiLineString": RoiKind.LINES,
    }
    if not isinstance(geometry, shapely.Geometry):
        raise RequestError("geometries", geometry, "a shapely geometry was expected")
    if geometry.geom_type not in kinds:
        problem = f"QuPath has no region of interest for a {geometry.geom_type}"
        raise RequestError("geometries", geometry, problem)
    roi = kinds[geometry.geom_type]
    if roi is RoiKind.GEOMETRY:
        polygons = shapely.get_parts(geometry)
        parts = [[p.exterior.coords, *(r.coords for r in p.interiors)] for p in polygons]
        if len(parts) == 1 and len(parts[0]) == 1:
            roi = RoiKind.POLYGON
    elif roi is RoiKind.POINTS:
        parts = [[shapely.get_coordinates(geometry)]]
    else:
        parts = [[line.coords] for line in shapely.get_parts(geometry)]
        if roi is RoiKind.POLYLINE and len(parts[0][0]) == 2:
            roi = RoiKind.LINE
    arrays = [np.asarray(ring, np.float64)[:, :2] for rings in parts for ring in rings]
    return Shapes(
        np.array([roi], np.uint8),
        np.concatenate(arrays) if arrays else np.zeros((0, 2)),
        offsets([len(ring) for ring in arrays]),
        offsets([len(rings) for rings in parts]),
        offsets([len(parts)]),
    )


def offsets(lengths: npt.ArrayLike) -> IntArray:
    """Turn lengths (n,) into offsets (n + 1,), int64."""
    out = np.zeros(len(np.asarray(lengths)) + 1, np.int64)
    np.cumsum(lengths, out=out[1:])
    return out


def _take_ragged(bounds: IntArray, index: IntArray) -> tuple[IntArray, IntArray]:
    """Return the positions that the chosen runs cover, and the offsets of the runs among them."""
    lengths = bounds[index + 1] - bounds[index]
    new = offsets(lengths)
    return np.arange(new[-1]) + np.repeat(bounds[index] - new[:-1], lengths), new


def _ring_centroids(shapes: Shapes) -> FloatArray:
    """Centroids of polygons of one ring each, float64 (n, 2); NaN where one has no area.

    The sums over triangles of GEOS (and so of shapely, and QuPath's JTS), in its order: the result
    is the same to the last digit.
    """
    count = np.diff(shapes.rings)
    ring = np.repeat(np.arange(len(count)), count)
    base = shapes.coords[shapes.rings[:-1]][ring]
    x, y = (shapes.coords - base).T
    doubled = np.zeros(len(x))
    doubled[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    doubled[shapes.rings[1:] - 1] = 0  # from the end of a ring to the start of the next
    corners = base + shapes.coords
    corners[:-1] += shapes.coords[1:]
    area = np.bincount(ring, doubled, len(count))
    area[area == 0] = np.nan
    sums = [np.bincount(ring, doubled * corner, len(count)) for corner in corners.T]
    centroids: FloatArray = np.column_stack(sums) / 3 / area[:, None]
    return centroids


def concatenate_shapes(shapes: Sequence[Shapes]) -> Shapes:
    """Put several `Shapes` behind one another."""
    if not shapes:
        return Shapes.empty()

    def joined(name: str) -> IntArray:
        arrays = [getattr(s, name) for s in shapes]
        starts = offsets([a[-1] for a in arrays])
        return np.concatenate(
            [starts[:1], *(a[1:] + s for a, s in zip(arrays, starts, strict=False))]
        )

    return Shapes(
        np.concatenate([s.roi for s in shapes]),
        np.concatenate([s.coords for s in shapes]),
        joined("rings"),
        joined("parts"),
        joined("objects"),
    )
