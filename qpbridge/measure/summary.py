"""What a region's nuclei add up to: the numbers that go on the parent annotation.

Each is written with the count or the area that it rests on. For research use; no diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qpbridge.objects import FloatArray

EVALUATED_AREA = "Evaluated area µm^2"
PROBABILITY = "Detection probability"

SUMMARY_NAMES = (
    "Nuclei: Count",
    "Nuclei: Density per mm^2",
    "Nuclei: Area mean µm^2",
    "Nuclei: Area SD µm^2",
    "Nuclei: Area CV",
    "Nuclei: Max diameter p90 µm",
    EVALUATED_AREA,
)


def summarize_nuclei(
    names: Sequence[str], measurements: FloatArray, evaluated_area: float
) -> dict[str, float]:
    """Summarize the nuclei of one region.

    Parameters
    ----------
    names
        Names of the measurements, ``Area µm^2`` and ``Max diameter µm`` among them.
    measurements
        float64 (n, len(names)).
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        `SUMMARY_NAMES` in order. The standard deviation is that of a sample, the coefficient of
        variation (anisonucleosis) its ratio to the mean. NaN where there is nothing to divide by:
        no nucleus, a single one for the standard deviation, no area for the density.
    """
    area = measurements[:, names.index("Area µm^2")]
    diameter = measurements[:, names.index("Max diameter µm")]
    n = len(measurements)
    mean = float(np.mean(area)) if n else np.nan
    deviation = float(np.std(area, ddof=1)) if n > 1 else np.nan
    values = (
        float(n),
        n / evaluated_area * 1e6 if evaluated_area > 0 else np.nan,
        mean,
        deviation,
        deviation / mean if mean > 0 else np.nan,
        float(np.percentile(diameter, 90)) if n else np.nan,
        float(evaluated_area),
    )
    return dict(zip(SUMMARY_NAMES, values, strict=True))
