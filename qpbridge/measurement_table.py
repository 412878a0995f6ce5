"""Numbers of many objects, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from qpbridge.errors import UnknownMeasurementError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MeasurementTable(Mapping[str, FloatArray]):
    """Measurements of n objects: a mapping from names to columns, float64 (n,).

    Parameters
    ----------
    names
        Names (k), each once.
    matrix
        float64 (n, k), one column for each name; NaN: not computed, or not there.

    Raises
    ------
    ValueError
        If there are not as many columns as names, or a name comes twice.

    Examples
    --------
    >>> shape = MeasurementTable(("Area µm^2", "Solidity"), np.array([[30.0, 0.9], [50.0, 0.8]]))
    >>> shape["Area µm^2"].tolist()
    [30.0, 50.0]
    >>> (shape | MeasurementTable.of({"Class": [1, 2]})).take([1]).matrix.tolist()
    [[50.0, 0.8, 2.0]]
    """

    names: tuple[str, ...]
    matrix: FloatArray

    @classmethod
    def of(cls, columns: Mapping[str, npt.ArrayLike]) -> MeasurementTable:
        """Make a table of columns (n,) by name, at least one."""
        return cls(tuple(columns), np.array(list(columns.values()), np.float64).T)

    @classmethod
    def empty(cls, n: int) -> MeasurementTable:
        """Make a table of n objects of which nothing was measured."""
        return cls((), np.zeros((n, 0)))

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or self.matrix.shape[1] != len(self.names):
            raise ValueError(
                f"measurements have shape {self.matrix.shape}, expected (n, {len(self.names)})"
            )
        if len(self._column) < len(self.names):
            twice = next(name for i, name in enumerate(self.names) if name in self.names[:i])
            raise ValueError(f"two measurements are called {twice!r}")

    @cached_property
    def _column(self) -> Mapping[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._column:
            raise UnknownMeasurementError(name, self.names)
        column: FloatArray = self.matrix[:, self._column[name]]
        return column

    def __contains__(self, name: object) -> bool:
        return name in self._column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def n(self) -> int:
        """Number of objects."""
        return len(self.matrix)

    def __or__(self, other: MeasurementTable) -> MeasurementTable:
        """Join the measurements of the same objects; `other` has the say where both have a name."""
        return joined([self, other])

    def take(self, rows: npt.ArrayLike) -> MeasurementTable:
        """Select objects by integer index or boolean mask."""
        return MeasurementTable(self.names, self.matrix[np.asarray(rows)])

    def select(self, names: Sequence[str]) -> MeasurementTable:
        """Select measurements, in the order of the names."""
        return MeasurementTable(tuple(names), self.matrix[:, [self._column[n] for n in names]])

    def renamed(self, name: Callable[[str], str]) -> MeasurementTable:
        """Give each measurement the name that `name` makes of its own."""
        return MeasurementTable(tuple(map(name, self.names)), self.matrix)

    def spread(self, n: int, rows: IntArray) -> MeasurementTable:
        """Make a table of n objects of which `rows` have these measurements, others NaN."""
        matrix = np.full((n, len(self.names)), np.nan, order="F")
        matrix[rows] = self.matrix
        return MeasurementTable(self.names, matrix)


def joined(tables: Sequence[MeasurementTable]) -> MeasurementTable:
    """Join measurements of the same objects; the last table that has a name has the say."""
    source = {name: table for table in tables for name in table}
    matrix = np.empty((tables[0].n, len(source)), order="F")
    for i, (name, table) in enumerate(source.items()):
        matrix[:, i] = table[name]
    return MeasurementTable(tuple(source), matrix)


def stacked(tables: Sequence[MeasurementTable]) -> MeasurementTable:
    """Put the objects of tables of the same names behind one another; of at least one table."""
    return MeasurementTable(tables[0].names, np.concatenate([table.matrix for table in tables]))
