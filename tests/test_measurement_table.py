"""Numbers of many objects, by name."""

from __future__ import annotations

import numpy as np
import pytest

from qpbridge import MeasurementTable
from qpbridge.measurement_table import stacked

SHAPE = MeasurementTable(("area", "solidity"), np.array([[1.0, 0.5], [2.0, 0.25], [3.0, 1.0]]))


def test_it_is_a_mapping_of_columns() -> None:
    assert list(SHAPE) == ["area", "solidity"]
    assert len(SHAPE) == 2 and SHAPE.n == 3
    assert "area" in SHAPE and "stain" not in SHAPE
    assert SHAPE["solidity"].tolist() == [0.5, 0.25, 1]
    with pytest.raises(KeyError, match="no measurement 'stain' among: area, solidity"):
        SHAPE["stain"]


def test_joined_as_mappings_are() -> None:
    other = MeasurementTable.of({"solidity": [7, 8, 9], "stain": [4, 5, 6]})
    joined = SHAPE | other
    assert joined.names == ("area", "solidity", "stain")
    np.testing.assert_array_equal(joined.matrix, [[1, 7, 4], [2, 8, 5], [3, 9, 6]])
    assert SHAPE["solidity"].tolist() == [0.5, 0.25, 1]  # as it was


def test_some_objects_and_some_names() -> None:
    assert SHAPE.take([2, 0])["area"].tolist() == [3, 1]
    assert SHAPE.take(np.array([True, False, False])).n == 1
    assert SHAPE.select(["solidity"]).matrix.tolist() == [[0.5], [0.25], [1]]
    assert SHAPE.renamed(lambda name: f"Cell: {name}").names == ("Cell: area", "Cell: solidity")
    wide = SHAPE.spread(5, np.array([4, 0, 2]))
    np.testing.assert_array_equal(wide["area"], [2, np.nan, 3, np.nan, 1])
    assert stacked([SHAPE, SHAPE.take([1])])["area"].tolist() == [1, 2, 3, 2]
    assert MeasurementTable.empty(3).matrix.shape == (3, 0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="'a'"):
        MeasurementTable(("a", "b", "a"), np.zeros((1, 3)))
    for matrix in (np.zeros((2, 3)), np.zeros(2)):
        with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
            MeasurementTable(("a", "b"), matrix)
