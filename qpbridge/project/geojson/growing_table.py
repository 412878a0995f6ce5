"""An `ObjectTable` that grows piece by piece, and is never in memory twice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.objects import MeasurementTable, ObjectTable, PathClass, RoiKind, Shapes

MAX_OBJECTS = 20_000_000
MAX_VERTICES = 500_000_000
MAX_CELLS = 1_000_000_000
"""What one file may hold: about 8 GB each of vertices and measurements."""


SPARE_CELLS, SPARE_NAMES, SPARE_RATIO = 50_000_000, 100, 20
"""Cells of measurements that may be empty: in all, for each object, and for each value."""


class _Column:
    """Rows of numbers; appending moves what is there only rarely, if ever."""

    def __init__(self, dtype: npt.DTypeLike, width: int = 0) -> None:
        self._dtype, self._width = np.dtype(dtype), width
        self._data = bytearray()

    def extend(self, rows: npt.NDArray[np.generic]) -> None:
        self._data += rows.astype(self._dtype, copy=False).tobytes()

    def array(self) -> npt.NDArray[np.generic]:
        array = np.frombuffer(self._data, self._dtype)
        return array.reshape(-1, self._width) if self._width else array


class _Ragged:
    """Offsets into another column."""

    def __init__(self) -> None:
        self._column = _Column(np.int64)
        self._column.extend(np.zeros(1, np.int64))
        self.end = 0

    def extend(self, bounds: npt.NDArray[np.int64]) -> None:
        self._column.extend(bounds[1:] + self.end)
        self.end += int(bounds[-1])

    def array(self) -> npt.NDArray[np.int64]:
        return self._column.array().view(np.int64)


class _Shapes:
    def __init__(self) -> None:
        self._roi = _Column(np.uint8)
        self._coords = _Column(np.float64, 2)
        self._rings, self._parts, self._objects = _Ragged(), _Ragged(), _Ragged()

    def extend(self, shapes: Shapes) -> None:
        self._roi.extend(shapes.roi)
        self._coords.extend(shapes.coords)
        self._rings.extend(shapes.rings)
        self._parts.extend(shapes.parts)
        self._objects.extend(shapes.objects)
        if self._rings.end > MAX_VERTICES:
            raise FormatError(
                f"more than {MAX_VERTICES // 10**6} million vertices; split it into several files"
            )

    def shapes(self) -> Shapes:
        return Shapes(
            self._roi.array().view(np.uint8),
            self._coords.array().view(np.float64),
            self._rings.array(),
            self._parts.array(),
            self._objects.array(),
        )


@dataclass
class GrowingTable:
    """Takes tables one after the other, and puts them behind one another.

    All must have the same list of classes, as far as it was known when they were made.
    """

    _kind: _Column = field(default_factory=lambda: _Column(np.uint8))
    _ids: _Column = field(default_factory=lambda: _Column(np.uint8, 16))
    _class_index: _Column = field(default_factory=lambda: _Column(np.int32))
    _parent: _Column = field(default_factory=lambda: _Column(np.int64))
    _plane: _Column = field(default_factory=lambda: _Column(np.int32, 3))
    _locked: _Column = field(default_factory=lambda: _Column(np.bool_))
    _shapes: _Shapes = field(default_factory=_Shapes)
    _nuclei: _Shapes = field(default_factory=_Shapes)
    _has_nuclei: bool = False
    _probability: _Column = field(default_factory=lambda: _Column(np.float64))
    _has_probability: bool = False
    _classes: tuple[PathClass, ...] = ()
    _measured: list[MeasurementTable] = field(default_factory=list)
    _known: dict[str, None] = field(default_factory=dict)
    _values: int = 0
    _names: dict[int, str] = field(default_factory=dict)
    _colors: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    _metadata: dict[int, dict[str, str]] = field(default_factory=dict)
    _missing: set[int] = field(default_factory=set)
    _count: int = 0

    def extend(self, table: ObjectTable) -> None:
        """Append the objects of a table; its parents are its own rows.

        Raises
        ------
        FormatError
            If they become too many, or have far too many different measurements.
        """
        start, self._count = self._count, self._count + len(table)
        if self._count > MAX_OBJECTS:
            raise FormatError(
                f"more than {MAX_OBJECTS // 10**6} million objects; split it into several files"
            )
        self._kind.extend(table.kind)
        self._ids.extend(table.ids)
        self._class_index.extend(table.class_index)
        self._parent.extend(np.where(table.parent < 0, -1, table.parent + start))
        self._plane.extend(table.plane)
        self._locked.extend(table.locked)
        self._shapes.extend(table.shapes)
        if table.nuclei is not None and not self._has_nuclei:
            self._has_nuclei = True
            self._nuclei.extend(Shapes.empty(start))
        if self._has_nuclei:
            nuclei = Shapes.empty(len(table)) if table.nuclei is None else table.nuclei
            self._nuclei.extend(nuclei)
        if table.probability is not None and not self._has_probability:
            self._has_probability = True
            self._probability.extend(np.full(start, np.nan))
        if self._has_probability:
            unknown = np.full(len(table), np.nan)
            self._probability.extend(unknown if table.probability is None else table.probability)
        self._classes = table.classes
        self._known.update(dict.fromkeys(table.measured.names))
        self._values += int(np.count_nonzero(~np.isnan(table.measured.matrix)))
        self._check_cells()
        self._measured.append(table.measured)
        self._names.update((start + row, name) for row, name in table.names.items())
        self._colors.update((start + row, color) for row, color in table.colors.items())
        self._metadata.update((start + row, dict(m)) for row, m in table.metadata.items())
        self._missing.update(start + row for row in table.missing)

    def table(self) -> ObjectTable:
        """Return all of them; nothing can be appended any more."""
        measured = self._measurements()
        nuclei = self._nuclei.shapes()
        return ObjectTable(
            kind=self._kind.array().view(np.uint8),
            shapes=self._shapes.shapes(),
            nuclei=nuclei if (nuclei.roi != RoiKind.EMPTY).any() else None,
            ids=self._ids.array().view(np.uint8),
            class_index=self._class_index.array().view(np.int32),
            classes=self._classes,
            parent=self._parent.array().view(np.int64),
            plane=self._plane.array().view(np.int32),
            measured=measured,
            locked=self._locked.array().view(np.bool_),
            names=self._names,
            colors=self._colors,
            metadata=self._metadata,
            missing=frozenset(self._missing),
            probability=(
                self._probability.array().view(np.float64) if self._has_probability else None
            ),
        )

    def _check_cells(self) -> None:
        """Refuse a table that is all but empty: its size must follow from what the file says."""
        cells = self._count * len(self._known)
        justified = SPARE_CELLS + SPARE_NAMES * self._count + SPARE_RATIO * self._values
        if cells > min(MAX_CELLS, justified):
            raise FormatError(
                f"{self._count:,} objects have {len(self._known):,} different measurements among "
                f"them, but just {self._values:,} values; that is no table. Do names differ from "
                "object to object? Export without measurements"
            )

    def _measurements(self) -> MeasurementTable:
        names = tuple(dict.fromkeys(name for part in self._measured for name in part))
        column = {name: i for i, name in enumerate(names)}
        out = np.full((self._count, len(names)), np.nan)
        self._measured.reverse()
        row = 0
        while self._measured:
            part = self._measured.pop()
            rows = slice(row, row + part.n)
            if part.names == names:
                out[rows] = part.matrix
            else:
                out[rows, [column[name] for name in part]] = part.matrix
            row += part.n
        return MeasurementTable(names, out)
