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
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge import checks
from qpbridge._table_types import TableMethods
from qpbridge.errors import RequestError
from qpbridge.ids import random_ids
from qpbridge.measurement_table import FloatArray as FloatArray
from qpbridge.measurement_table import IntArray as IntArray
from qpbridge.measurement_table import MeasurementTable as MeasurementTable
from qpbridge.shapes import TWO_POINTS as TWO_POINTS
from qpbridge.shapes import GeometryArray as GeometryArray
from qpbridge.shapes import RoiKind as RoiKind
from qpbridge.shapes import Shapes as Shapes
from qpbridge.shapes import concatenate_shapes as concatenate_shapes
from qpbridge.shapes import offsets as offsets
from qpbridge.texts import same_name

T = TypeVar("T")


class ObjectKind(enum.IntEnum):
    """The kinds of path object that QuPath stores."""

    ANNOTATION = 0
    DETECTION = 1
    CELL = 2
    TILE = 3
    TMA_CORE = 4


class ImageType(enum.Enum):
    """QuPath's image types, by the names in its files."""

    BRIGHTFIELD_H_E = "BRIGHTFIELD_H_E"
    BRIGHTFIELD_H_DAB = "BRIGHTFIELD_H_DAB"
    BRIGHTFIELD_OTHER = "BRIGHTFIELD_OTHER"
    FLUORESCENCE = "FLUORESCENCE"
    OTHER = "OTHER"
    UNSET = "UNSET"


class _Plane(NamedTuple):
    c: int = -1
    z: int = 0
    t: int = 0


class Plane(_Plane):
    """Channel (-1: all), z-slice and time point that an object lies on.

    Raises
    ------
    RequestError
        If one is no whole number, or below what there is.
    """

    __slots__ = ()

    def __new__(cls, c: int = -1, z: int = 0, t: int = 0) -> Self:
        """Check and make one."""
        return super().__new__(
            cls, checks.whole("c", c, -1), checks.whole("z", z, 0), checks.whole("t", t, 0)
        )


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

    Raises
    ------
    RequestError
        If these are no names, or no colour.
    """

    names: tuple[str, ...]
    color: tuple[int, int, int] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if (
            not isinstance(self.names, tuple)
            or not self.names
            or not all(isinstance(name, str) for name in self.names)
        ):
            raise RequestError("names", self.names, "expected a tuple of texts, not empty")
        if self.color is not None and (
            not isinstance(self.color, tuple)
            or len(self.color) != 3
            or not all(isinstance(v, int | np.integer) and 0 <= v < 256 for v in self.color)
        ):
            raise RequestError("color", self.color, "expected red, green and blue, 0 to 255 each")

    @classmethod
    def parse(cls, text: str, color: tuple[int, int, int] | None = None) -> PathClass:
        """Make a class from its full name, ``"Tumor: Positive"``.

        Raises
        ------
        RequestError
            If the text is no such name.
        """
        names = tuple(part.strip() for part in checks.text("text", text).split(":"))
        if not all(names):
            raise RequestError("text", text, "is not the name of a class")
        return cls(names, color)

    def is_called(self, *names: str) -> bool:
        """Whether a full name that somebody typed is that of this class."""
        return same_name(str(self)) in map(same_name, names)

    def is_of(self, *names: str) -> bool:
        """Whether this class, or one that it derives from, has a full name that somebody typed."""
        above = (PathClass(self.names[: i + 1]) for i in range(len(self.names)))
        return any(path_class.is_called(*names) for path_class in above)

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
