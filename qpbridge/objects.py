"""The vocabulary: what QuPath calls path objects, as plain values and as columns.

Coordinates are full-resolution pixels of QuPath's image server, float64 (x, y) from the top left.
"""

from __future__ import annotations

import enum
import html
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge._table_types import TableMethods
from qpbridge.ids import random_ids
from qpbridge.measurement_table import FloatArray as FloatArray
from qpbridge.measurement_table import IntArray as IntArray
from qpbridge.measurement_table import MeasurementTable as MeasurementTable
from qpbridge.texts import same_name

GeometryArray = npt.NDArray[np.object_]
T = TypeVar("T")

ELLIPSE_VERTICES = 96
"""Vertices of the polygon that stands for an ellipse where a geometry is needed."""


class ObjectKind(enum.IntEnum):
    """The kinds of path object that QuPath stores."""

    ANNOTATION = 0
    DETECTION = 1
    CELL = 2
    TILE = 3
    TMA_CORE = 4


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


class ImageType(enum.Enum):
    """QuPath's image types, by the names in its files."""

    BRIGHTFIELD_H_E = "BRIGHTFIELD_H_E"
    BRIGHTFIELD_H_DAB = "BRIGHTFIELD_H_DAB"
    BRIGHTFIELD_OTHER = "BRIGHTFIELD_OTHER"
    FLUORESCENCE = "FLUORESCENCE"
    OTHER = "OTHER"
    UNSET = "UNSET"


class Plane(NamedTuple):
    """Channel (-1: all), z-slice and time point that an object lies on."""

    c: int = -1
    z: int = 0
    t: int = 0


ALL_CHANNELS = Plane()
"""The plane of every object in an image that has just one."""


@dataclass(frozen=True)
class PathClass:
    """A classification; a derived class such as ``Tumor: Positive`` has several names.

    Parameters
    ----------
    names
        From the most general to the most specific; never empty.
    color
        Red, green, blue (0 to 255), or None for QuPath's default.
    """

    names: tuple[str, ...]
    color: tuple[int, int, int] | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, text: str, color: tuple[int, int, int] | None = None) -> PathClass:
        """Make a class from its full name, ``"Tumor: Positive"``."""
        names = tuple(part.strip() for part in text.split(":"))
        if not all(names):
            raise ValueError(f"not the name of a class: {text!r}")
        return cls(names, color)

    def is_called(self, *names: str) -> bool:
        """Whether a full name that somebody typed is that of this class."""
        return same_name(str(self)) in map(same_name, names)

    @property
    def is_ignored(self) -> bool:
        """Whether QuPath leaves objects of this class out (its name ends in ``*``)."""
        return self.names[-1].endswith("*")

    def __str__(self) -> str:
        return ": ".join(self.names)


@dataclass(frozen=True)
class Stains:
    """Colour deconvolution stains: optical density vectors (RGB, unit length) and white level."""

    name: str
    stain_names: tuple[str, ...]
    vectors: tuple[tuple[float, float, float], ...]
    background: tuple[float, float, float] = (255.0, 255.0, 255.0)


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
        ValueError
            If a geometry is a collection, which QuPath has no region for.
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
        for i in np.flatnonzero(~simple & (self.roi != RoiKind.EMPTY)):
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
        if roi in (RoiKind.RECTANGLE, RoiKind.ELLIPSE):
            (x, y), (x2, y2) = parts[0][0]
            if roi is RoiKind.RECTANGLE:
                return shapely.box(min(x, x2), min(y, y2), max(x, x2), max(y, y2))
            angle = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)
            ring = np.stack([np.cos(angle) * (x2 - x), np.sin(angle) * (y2 - y)], axis=1) / 2
            return shapely.Polygon(ring + np.array([x + x2, y + y2]) / 2)
        if roi in (RoiKind.LINE, RoiKind.POLYLINE):
            return shapely.LineString(parts[0][0])
        if roi is RoiKind.POINTS:
            return shapely.MultiPoint(parts[0][0])
        if roi is RoiKind.LINES:
            return shapely.MultiLineString([rings[0] for rings in parts])
        polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in parts]
        return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


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
    if geometry.geom_type not in kinds:
        raise ValueError(f"QuPath has no region of interest for a {geometry.geom_type}")
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


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectTable(TableMethods):
    """Many path objects, column by column. Row order is QuPath's own (parents before children).

    Parameters
    ----------
    kind
        uint8 (n,), values of `ObjectKind`.
    shapes
        The regions of interest, n of them.
    nuclei
        The nuclei of cells (n shapes, ``EMPTY`` for all else), or None if there is no cell.
    ids
        uint8 (n, 16), UUIDs.
    classes, class_index
        The distinct classes, and int32 (n,) which one each object has; -1: none.
    parent
        int64 (n,), row of the parent; -1: the root.
    plane
        int32 (n, 3): c, z, t.
    measured
        The measurements of all; NaN: not computed, or not there.
    locked
        bool (n,).
    probability
        float64 (n,), how sure a classifier was of the class, NaN: not known; None if no object
        has it.
    names, colors, metadata
        What only few objects have, by row.
    missing
        Rows of the TMA cores that are marked as missing on the slide.
    """

    kind: npt.NDArray[np.uint8]
    shapes: Shapes
    ids: npt.NDArray[np.uint8]
    class_index: npt.NDArray[np.int32]
    parent: IntArray
    plane: npt.NDArray[np.int32]
    measured: MeasurementTable
    locked: npt.NDArray[np.bool_]
    classes: tuple[PathClass, ...] = ()
    nuclei: Shapes | None = None
    probability: FloatArray | None = None
    names: Mapping[int, str] = field(default_factory=dict)
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    metadata: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    missing: AbstractSet[int] = frozenset()

    @classmethod
    def new(
        cls,
        kind: ObjectKind,
        shapes: Shapes,
        *,
        path_class: PathClass | None = None,
        ids: npt.NDArray[np.uint8] | None = None,
        plane: Plane = ALL_CHANNELS,
        measurement_names: Sequence[str] = (),
        measurements: npt.ArrayLike | None = None,
    ) -> ObjectTable:
        """Make objects of one kind and class, without parent; ids are random where not given."""
        n = len(shapes)
        if measurements is None:
            measurements = np.zeros((n, 0))
        return cls(
            kind=np.full(n, kind, np.uint8),
            shapes=shapes,
            ids=random_ids(n) if ids is None else ids,
            class_index=np.full(n, -1 if path_class is None else 0, np.int32),
            classes=() if path_class is None else (path_class,),
            parent=np.full(n, -1, np.int64),
            plane=np.tile(np.array(plane, np.int32), (n, 1)),
            measured=MeasurementTable(
                tuple(measurement_names),
                np.asarray(measurements, np.float64).reshape(n, len(measurement_names)),
            ),
            locked=np.zeros(n, bool),
        )

    def __post_init__(self) -> None:
        n = len(self.kind)
        expected = {
            "shapes": (len(self.shapes), n),
            "ids": (self.ids.shape, (n, 16)),
            "class_index": (self.class_index.shape, (n,)),
            "parent": (self.parent.shape, (n,)),
            "plane": (self.plane.shape, (n, 3)),
            "measured": (self.measured.n, n),
            "locked": (self.locked.shape, (n,)),
        }
        if self.probability is not None:
            expected["probability"] = (self.probability.shape, (n,))
        for column, (found, wanted) in expected.items():
            if found != wanted:
                raise ValueError(f"{column} has shape {found}, expected {wanted}")

    def __len__(self) -> int:
        return len(self.kind)

    def __repr__(self) -> str:
        return (
            f"<ObjectTable: {self._counted(self.kinds())}; "
            f"{len(self.measurement_names)} measurements>"
        )

    def _repr_html_(self) -> str:
        named = np.bincount(self.class_index + 1, minlength=len(self.classes) + 1).tolist()
        names = ["Unclassified", *map(str, self.classes)]
        rows = [
            ("Objects", self._counted(self.kinds())),
            ("Classes", self._counted({n: c for n, c in zip(names, named, strict=True) if c})),
            ("Measurements", ", ".join(self.measurement_names)),
        ]
        cells = (f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        return f"<table>{''.join(cells)}</table>"

    def kinds(self) -> dict[str, int]:
        """Count the objects of each kind that there is: ``{"annotation": 3, "cell": 500}``."""
        counts = np.bincount(self.kind, minlength=len(ObjectKind)).tolist()
        return {kind.name.lower(): counts[kind] for kind in ObjectKind if counts[kind]}

    @staticmethod
    def _counted(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "nothing"

    def take(self, index: npt.ArrayLike) -> ObjectTable:
        """Select objects by integer index or boolean mask; lost parents become the root."""
        chosen = np.asarray(index)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        row = np.full(len(self) + 1, -1, np.int64)
        row[chosen] = np.arange(len(chosen))

        def some(column: Mapping[int, T]) -> dict[int, T]:
            return {int(row[i]): value for i, value in column.items() if row[i] >= 0}

        return replace(
            self,
            kind=self.kind[chosen],
            shapes=self.shapes.take(chosen),
            nuclei=None if self.nuclei is None else self.nuclei.take(chosen),
            ids=self.ids[chosen],
            class_index=self.class_index[chosen],
            parent=row[self.parent[chosen]],
            plane=self.plane[chosen],
            measured=self.measured.take(chosen),
            locked=self.locked[chosen],
            names=some(self.names),
            colors=some(self.colors),
            metadata=some(self.metadata),
            probability=None if self.probability is None else self.probability[chosen],
            missing=frozenset(int(row[i]) for i in self.missing if row[i] >= 0),
        )

    def replace(self, **columns: Any) -> ObjectTable:
        """Return a table that has other values in some columns."""
        return replace(self, **columns)

    @property
    def measurement_names(self) -> tuple[str, ...]:
        """Names of the measurements (k)."""
        return self.measured.names

    @property
    def measurements(self) -> FloatArray:
        """All measurements, float64 (n, k)."""
        return self.measured.matrix

    @property
    def geometries(self) -> GeometryArray:
        """Shapely geometries, object array (n,)."""
        return self.shapes.geometries

    @property
    def inner_shapes(self) -> Shapes:
        """The nuclei of cells that have one, and the regions of interest of all else."""
        if self.nuclei is None:
            return self.shapes
        row = np.arange(len(self)) + len(self) * (self.nuclei.roi != RoiKind.EMPTY)
        return concatenate_shapes([self.shapes, self.nuclei]).take(row)

    def path_class(self, row: int) -> PathClass | None:
        """Return the class of one object."""
        index = int(self.class_index[row])
        return None if index < 0 else self.classes[index]

    def of_class(self, wanted: Callable[[PathClass], bool]) -> npt.NDArray[np.bool_]:
        """Tell which objects have a class that is wanted, bool (n,)."""
        chosen = np.array([*(wanted(c) for c in self.classes), False])  # the last: no class
        of_class: npt.NDArray[np.bool_] = chosen[self.class_index]
        return of_class

    def uuid(self, row: int) -> uuid.UUID:
        """Return the id of one object."""
        return uuid.UUID(bytes=self.ids[row].tobytes())

    def carried(self) -> dict[int, IntArray]:
        """Return for each kind which measurements its objects carry, by column.

        Those that any of them has; one that no object of any kind has could not be computed, and
        is carried by all.
        """
        there = ~np.isnan(self.measurements)
        nowhere = ~there.any(axis=0)
        return {
            int(kind): np.flatnonzero(there[self.kind == kind].any(axis=0) | nowhere)
            for kind in np.unique(self.kind)
        }

    def measurement(self, name: str) -> FloatArray:
        """Return one measurement of all objects, float64 (n,).

        Raises
        ------
        UnknownMeasurementError
            If no object carries it; it is a KeyError too.
        """
        return self.measured[name]
