"""What a region's nuclei add up to: the numbers that go on the parent annotation.

Each is written with the count or the area that it rests on. For research use; no diagnosis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray

EVALUATED_AREA = "Evaluated area µm^2"
PROBABILITY = "Detection probability"
AREA, DIAMETER = "Area µm^2", "Equivalent diameter µm"
LENGTH, WIDTH = "Max diameter µm", "Min diameter µm"

SUMMARY_NAMES = (
    "Nuclei: Count",
    "Nuclei: Density per mm^2",
    "Nuclei: Area mean µm^2",
    "Nuclei: Area SD µm^2",
    "Nuclei: Area CV",
    "Nuclei: Max diameter p90 µm",
    EVALUATED_AREA,
)
"""What is told of any region's nuclei."""

STATISTICS = ("mean", "SD", "CV", "p10", "p90")
"""What is told of each measurement of a region's nuclei."""

LEFT_OUT = re.compile(rf"{PROBABILITY}|Orientation °|Smoothed: .*|.*: (Median|Min|Max|Std\.Dev\.)")
"""What is not summarized: of the intensities, mean and variance stand for all."""

DIAMETERS = (10, 15, 20)
"""Nuclear diameters of Fuhrman's grades, µm."""

GIANT = 5
"""Nuclei of urothelial carcinoma in situ can be over five times the size of a lymphocyte's."""

CIS_LENGTH, CIS_WIDTH = 11, 7
"""Longer and wider than this, µm, told urothelial carcinoma in situ from reactive urothelium."""

DEFINITIONS: Mapping[str, str] = {
    "Nuclei: Count": "Nuclei with their centroid in the region.",
    "Nuclei: Density per mm^2": "Nuclei per mm² of the evaluated area.",
    "Nuclei: NAME mean UNIT": "Mean over the nuclei that have the measurement NAME.",
    "Nuclei: NAME SD UNIT": "Standard deviation of a sample (n - 1); NaN of a single nucleus.",
    "Nuclei: NAME CV": "SD over mean; of the area, this is anisonucleosis.",
    "Nuclei: NAME p10 UNIT": "10th percentile, linear between values.",
    "Nuclei: NAME p90 UNIT": "90th percentile, linear between values.",
    **{
        f"Nuclei: Equivalent diameter above {d} µm %": (
            f"Share of nuclei whose circle of the same area is wider than {d} µm [sizes of "
            "Fuhrman, Am J Surg Pathol 1982, 6:655]."
        )
        for d in DIAMETERS
    },
    f"Nuclei: Above {CIS_LENGTH} x {CIS_WIDTH} µm %": (
        f"Share of nuclei with a max diameter above {CIS_LENGTH} µm and a min diameter above "
        f"{CIS_WIDTH} µm [cut-offs of Diagn Pathol 2016, 11:s13000-016-0501-7]."
    ),
    "Nuclei: Area/reference area ratio": (
        "Mean area over the mean area of the reference nuclei (normal epithelium, lymphocytes)."
    ),
    f"Nuclei: Area above {GIANT}x reference %": (
        f"Share of nuclei with over {GIANT} times the mean area of the reference nuclei; against "
        "lymphocytes: giant nuclei."
    ),
    EVALUATED_AREA: "Area of the part of the region that was searched.",
}
"""What each measurement is, by name or by pattern; all in the region, on its annotation."""


def with_statistic(name: str, statistic: str) -> str:
    """Put a statistic into the name of a measurement, before its unit: ``Area mean µm^2``."""
    quantity, space, unit = name.rpartition(" ")
    if space and unit in ("µm", "µm^2", "px", "px^2", "°"):
        return f"{quantity} {statistic}" + ("" if statistic == "CV" else f" {unit}")
    return f"{name} {statistic}"


def describe(values: FloatArray) -> tuple[float, ...]:
    """Compute `STATISTICS` of values (n,) that are not NaN; NaN where there are too few."""
    known = values[np.isfinite(values)]
    n = len(known)
    mean = float(np.mean(known)) if n else np.nan
    deviation = float(np.std(known, ddof=1)) if n > 1 else np.nan
    low, high = np.percentile(known, (10, 90)) if n else (np.nan, np.nan)
    variation = deviation / mean if mean > 0 else np.nan
    return mean, deviation, variation, float(low), float(high)


def percentage(chosen: npt.NDArray[np.bool_]) -> float:
    """Share of what is true, in %; NaN of nothing."""
    return float(np.mean(chosen)) * 100 if len(chosen) else np.nan


def summarize_nuclei(
    names: Sequence[str], measurements: FloatArray, evaluated_area: float
) -> dict[str, float]:
    """Summarize the nuclei of one region in a few numbers.

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
        `SUMMARY_NAMES` in order. NaN where there is nothing to divide by: no nucleus, a single one
        for the standard deviation, no area for the density.
    """
    n = len(measurements)
    mean, deviation, variation, _, _ = describe(measurements[:, names.index(AREA)])
    values = (
        float(n),
        n / evaluated_area * 1e6 if evaluated_area > 0 else np.nan,
        mean,
        deviation,
        variation,
        describe(measurements[:, names.index(LENGTH)])[-1],
        float(evaluated_area),
    )
    return dict(zip(SUMMARY_NAMES, values, strict=True))


def summarize_morphometry(
    names: Sequence[str], measurements: FloatArray, reference_area: float = np.nan
) -> dict[str, float]:
    """Describe all measurements of the nuclei of one region; see `DEFINITIONS`.

    These are many, and a table of objects has a column for each that any object carries: for those
    who ask for them.

    Parameters
    ----------
    names
        Names of the measurements, ``Area µm^2`` among them.
    measurements
        float64 (n, len(names)).
    reference_area
        Mean area of reference nuclei, µm^2; without, nothing is told that rests on it.

    Returns
    -------
    dict
        `STATISTICS` of each measurement (but for `LEFT_OUT`) and of the equivalent diameter, shares
        of large nuclei. NaN where there are too few nuclei.
    """
    columns = dict(zip(names, measurements.T, strict=True))
    area = columns[AREA]
    columns.setdefault(DIAMETER, np.sqrt(4 / np.pi * area))
    values: dict[str, float] = {}
    for name, column in columns.items():
        if not LEFT_OUT.fullmatch(name):
            found = zip(STATISTICS, describe(column), strict=True)
            values |= {with_statistic(name, statistic): value for statistic, value in found}
    for diameter in DIAMETERS:
        share = percentage(columns[DIAMETER] > diameter)
        values[f"Equivalent diameter above {diameter} µm %"] = share
    if LENGTH in columns and WIDTH in columns:
        large = (columns[LENGTH] > CIS_LENGTH) & (columns[WIDTH] > CIS_WIDTH)
        values[f"Above {CIS_LENGTH} x {CIS_WIDTH} µm %"] = percentage(large)
    if reference_area > 0:
        values["Area/reference area ratio"] = describe(area / reference_area)[0]
        values[f"Area above {GIANT}x reference %"] = percentage(area > GIANT * reference_area)
    return {f"Nuclei: {name}": value for name, value in values.items()}
