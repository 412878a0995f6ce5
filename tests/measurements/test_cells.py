"""Measurements of cells."""

import numpy as np
import shapely

from qpbridge.measurements.cells import DEFINITIONS, cell_measurements


def test_by_hand() -> None:
    nuclei = np.array([shapely.box(2, 2, 4, 4), shapely.Polygon()], object)
    cells = np.array([shapely.box(0, 0, 4, 5), shapely.Polygon()], object)
    found = cell_measurements(nuclei, cells)
    np.testing.assert_array_equal(found["Nucleus/Cell area ratio"], [0.2, np.nan])
    assert list(found) == list(DEFINITIONS)
