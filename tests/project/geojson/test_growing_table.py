"""A table that grew in pieces is the one that was cut up."""

from __future__ import annotations

import numpy as np
import pytest
from project.tables import as_dict, many_cells

from qpbridge.errors import FormatError
from qpbridge.objects import MeasurementTable, ObjectTable
from qpbridge.project.geojson import growing_table
from qpbridge.project.geojson.growing_table import GrowingTable


def whole(n: int) -> ObjectTable:
    table = many_cells(n)
    parent = np.where(np.arange(n) % 5 == 0, -1, np.arange(n) - np.arange(n) % 5)
    return table.replace(
        parent=parent,
        names={1: "one", n - 1: "last"},
        colors={n - 2: (1, 2, 3)},
        metadata={7: {"a": "b"}},
        missing=frozenset({3, n - 1}),
    )


@pytest.mark.parametrize("size", [5, 35, 100])
def test_pieces_make_the_whole(size: int) -> None:
    table = whole(100)
    growing = GrowingTable()
    for start in range(0, 100, size):
        piece = table.take(np.arange(start, min(start + size, 100)))
        if start == 0:
            piece = piece.replace(nuclei=None, probability=None)
        growing.extend(piece)
    found = growing.table()
    assert len(found) == 100
    for row in range(100):
        expected = as_dict(table, row)
        if row < size:
            expected |= {"nucleus": None, "probability": None}
        assert as_dict(found, row) == expected
    for column in (found.kind, found.ids, found.measurements, found.shapes.coords):
        assert column.flags.writeable


def test_pieces_with_other_measurements() -> None:
    growing = GrowingTable()
    a, b = whole(5), whole(5)
    b = b.replace(measured=MeasurementTable(("µ", "new"), b.measurements))
    growing.extend(a)
    growing.extend(b)
    growing.extend(b.replace(measured=MeasurementTable.empty(5)))
    found = growing.table()
    assert found.measurement_names == ("Area", "µ", "new")
    np.testing.assert_array_equal(found.measurements[:5, :2], a.measurements)
    np.testing.assert_array_equal(found.measurements[5:10, 1:], b.measurements)
    assert np.isnan(found.measurements[:5, 2]).all()
    assert np.isnan(found.measurements[5:10, 0]).all()
    assert np.isnan(found.measurements[10:]).all()


def test_nothing() -> None:
    found = GrowingTable().table()
    assert len(found) == 0
    assert found.nuclei is None


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_OBJECTS", 9, "million objects; split it"),
        ("MAX_VERTICES", 9, "million vertices; split it"),
        ("MAX_CELLS", 19, "10 objects have 2 different measurements"),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, limit: str, value: int, message: str) -> None:
    monkeypatch.setattr(growing_table, limit, value)
    growing = GrowingTable()

    def fill() -> None:
        growing.extend(whole(10))
        growing.table()

    with pytest.raises(FormatError, match=message):
        fill()
