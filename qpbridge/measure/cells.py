"""Measurements of cells that were grown from nuclei."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from qpbridge.objects import FloatArray, GeometryArray

RATIO = "Nucleus/Cell area ratio"

DEFINITIONS: Mapping[str, str] = {
    RATIO: "Area of the nucleus over that of the whole cell, nucleus included (as QuPath has it).",
}
"""What each measurement is, by name."""


def cell_measurements(nuclei: GeometryArray, cells: GeometryArray) -> dict[str, FloatArray]:
    """Measure cells; for what is defined how, see `DEFINITIONS`.

    Where cells are nuclei grown by a fixed distance, the ratio follows from the size of the nucleus
    and from how dense the nuclei are: it says nothing about cytoplasm that was never seen.

    Parameters
    ----------
    nuclei, cells
        Polygons (n,), of the same cells.

    Returns
    -------
    dict
        By name, float64 (n,); NaN for a cell without area.
    """
    inner, whole = shapely.area(nuclei), shapely.area(cells)
    return {RATIO: np.divide(inner, whole, out=np.full(len(whole), np.nan), where=whole > 0)}
