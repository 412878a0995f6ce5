"""What was measured of nuclei before, as it is stored in a project."""

from __future__ import annotations

import numpy as np

from qpbridge.measurements import intensity, texture
from qpbridge.measurements.names import of_nucleus, recognized
from qpbridge.objects import FloatArray, MeasurementTable

ON_PIXELS = (
    intensity.MEAN,
    intensity.VARIANCE,
    texture.CHROMATIN_ENTROPY,
    texture.CHROMATIN_CV,
    *texture.FORMS,
)
"""Forms of what rests on pixels and is told of regions: it is not measured again without them."""


def stored_of_nuclei(measured: MeasurementTable) -> MeasurementTable:
    """Take what is stored of nuclei, whether they are objects of their own or parts of cells.

    Parameters
    ----------
    measured
        Of detections and cells (n).

    Returns
    -------
    measurements
        By the names that nuclei have which are no parts of cells; without what is measured of
        cytoplasm, membrane or whole cells, and without what no object has.
    """
    columns: dict[str, FloatArray] = {}
    for name, column in measured.items():
        plain = of_nucleus(name)
        if plain is not None:
            known = columns.get(plain)
            columns[plain] = column if known is None else np.where(np.isnan(known), column, known)
    some = {name: column for name, column in columns.items() if np.isfinite(column).any()}
    return MeasurementTable.of(some) if some else MeasurementTable.empty(measured.n)


def on_pixels(measured: MeasurementTable) -> MeasurementTable:
    """Select what rests on pixels, of measurements of nuclei."""
    return measured.select([name for name in measured if recognized(name, *ON_PIXELS)])
