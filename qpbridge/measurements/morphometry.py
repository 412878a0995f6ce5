"""What all measurements of a region's nuclei come to: mean, spread and percentiles of each.

For research use; no diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.measurements import intensity
from qpbridge.measurements.moments import ORIENTATION
from qpbridge.measurements.names import (
    AREA,
    CELL,
    DIAMETER,
    LENGTH,
    PROBABILITY,
    SMOOTHED,
    STATISTICS,
    WIDTH,
    recognized,
)
from qpbridge.measurements.region_names import (
    ABOVE,
    CIS_LENGTH,
    CIS_WIDTH,
    EACH,
    GIANT,
    GIANTS,
    LARGE,
    REFERENCE_RATIO,
    of_region,
)
from qpbridge.objects import FloatArray, MeasurementTable

LEFT_OUT = (
    PROBABILITY,
    ORIENTATION,
    SMOOTHED,
    *(
        f"{part}{form}"
        for part in ("", CELL)
        for form in intensity.DEFINITIONS
        if form not in (intensity.MEAN, intensity.VARIANCE)
    ),
)
"""Forms of what is not summarized: of the intensities, mean and variance stand for all."""

DEFINITIONS: Mapping[str, str] = {
    **{
        of_region("nuclei", EACH[statistic]): text
        for statistic, text in {
            "mean": "Mean over the nuclei that have the measurement NAME.",
            "SD": "Standard deviation of a sample (n - 1); NaN of a single nucleus.",
            "CV": "SD over mean; of the area, this is anisonucleosis.",
            "p10": "10th percentile, linear between values.",
            "p90": "90th percentile, linear between values.",
        }.items()
    },
    **{
        name: (
            f"Share of nuclei whose circle of the same area is wider than {diameter} µm [sizes of "
            "Fuhrman, Am J Surg Pathol 1982, 6:655]."
        )
        for diameter, name in ABOVE.items()
    },
    LARGE: (
        f"Share of nuclei with a max diameter above {CIS_LENGTH} µm and a min diameter above "
        f"{CIS_WIDTH} µm [cut-offs of Diagn Pathol 2016, 11:s13000-016-0501-7]."
    ),
    REFERENCE_RATIO: (
        "Mean area over the mean area of the reference nuclei (normal epithelium, lymphocytes)."
    ),
    GIANTS: (
        f"Share of nuclei with over {GIANT} times the mean area of the reference nuclei; against "
        "lymphocytes: giant nuclei."
    ),
}
"""What each measurement is, by the form of its name; all in the region, on its annotation."""


def describe(values: FloatArray) -> Mapping[str, float]:
    """Compute `STATISTICS` of values (n,) that are not NaN; NaN where there are too few."""
    known = ascending(values[np.isfinite(values)])
    n = len(known)
    mean = float(np.mean(known)) if n else np.nan
    deviation = float(np.std(known, ddof=1)) if n > 1 else np.nan
    low, high = np.percentile(known, (10, 90)) if n else (np.nan, np.nan)
    variation = deviation / mean if mean > 0 else np.nan
    return dict(zip(STATISTICS, (mean, deviation, variation, float(low), float(high)), strict=True))


def ascending(values: FloatArray) -> FloatArray:
    """Sort values, so that no sum of them depends on the order of the objects."""
    return np.sort(values)


def percentage(chosen: npt.NDArray[np.bool_]) -> float:
    """Share of what is true, in %; NaN of nothing."""
    return float(np.mean(chosen)) * 100 if len(chosen) else np.nan


def summarize_morphometry(
    nuclei: MeasurementTable, reference_area: float = np.nan
) -> dict[str, float]:
    """Describe all measurements of the nuclei of one region; see `DEFINITIONS`.

    These are many, and a table of objects has a column for each that any object carries: for those
    who ask for them.

    Parameters
    ----------
    nuclei
        Measurements of n nuclei, ``Area µm^2`` among them.
    reference_area
        Mean area of reference nuclei, µm^2; without, nothing is told that rests on it.

    Returns
    -------
    dict
        `STATISTICS` of each measurement (but for `LEFT_OUT`) and of the equivalent diameter, shares
        of large nuclei. NaN where there are too few nuclei.
    """
    area = nuclei[AREA]
    diameter = nuclei.get(DIAMETER, np.sqrt(4 / np.pi * area))
    values: dict[str, float] = {}
    for name, column in {**nuclei, DIAMETER: diameter}.items():
        if not recognized(name, *LEFT_OUT):
            for statistic, value in describe(column).items():
                values[of_region("nuclei", name, statistic)] = value
    for limit, name in ABOVE.items():
        values[name] = percentage(diameter > limit)
    if LENGTH in nuclei and WIDTH in nuclei:
        large = (nuclei[LENGTH] > CIS_LENGTH) & (nuclei[WIDTH] > CIS_WIDTH)
        values[LARGE] = percentage(large)
    if reference_area > 0:
        values[REFERENCE_RATIO] = describe(area / reference_area)["mean"]
        values[GIANTS] = percentage(area > GIANT * reference_area)
    return values
