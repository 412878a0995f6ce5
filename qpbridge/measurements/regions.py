"""What the objects of a region add up to: the numbers that go on its annotation.

Each is written with the count or the area that it rests on. For research use; no diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from qpbridge.measurements.hotspots import hotspot_measurements
from qpbridge.measurements.moments import ORIENTATION
from qpbridge.measurements.morphometry import ascending, describe, percentage
from qpbridge.measurements.names import (
    AREA,
    CIRCULARITY,
    COMPACTNESS,
    LENGTH,
    LINE,
    LINE_WIDTH,
    LUMEN,
    LUMEN_RATIO,
    LUMINA,
    NEAREST,
    NUCLEI_COUNT,
    ONE,
    OUTLINE_SOLIDITY,
    SOLIDITY,
    THICKNESS,
    TOUCHING,
    with_statistic,
)
from qpbridge.measurements.orientations import orientation_entropy_of
from qpbridge.measurements.region_names import (
    AREA_SHARE,
    COUNT,
    DENSITY,
    EACH_MEAN,
    ENTROPY,
    EVALUATED_AREA,
    SEVERAL_LUMINA,
    SUMMARY_NAMES,
    TOUCHING_SHARE,
    of_region,
)
from qpbridge.objects import FloatArray, MeasurementTable

AVERAGED = (
    LUMEN,
    LUMINA,
    *THICKNESS.values(),
    CIRCULARITY,
    SOLIDITY,
    OUTLINE_SOLIDITY,
    COMPACTNESS,
    NUCLEI_COUNT,
)
"""What the mean over a region's glands or vessels is told of, where it was measured."""

NUCLEI: Mapping[str, str] = {
    of_region("nuclei", COUNT): "Nuclei with their centroid in the region.",
    of_region("nuclei", DENSITY): "Nuclei per mm² of the evaluated area.",
    EVALUATED_AREA: "Area of the part of the region that was searched.",
    ENTROPY: (
        "Shannon entropy, in bits (0 to 4.17), of the orientations of a region's nuclei in bins "
        "of 10°."
    ),
}
"""What each measurement of a region's nuclei is, by name, beside those of all that is measured."""

STRUCTURES: Mapping[str, str] = {
    of_region(target, name): text.replace("Glands", target.capitalize()).replace("glands", target)
    for target in ONE
    for name, text in {
        COUNT: "Glands with a point inside the region.",
        DENSITY: "Glands per mm² of the evaluated area.",
        AREA_SHARE: "Area of all glands, lumina included, in % of the evaluated area.",
        EACH_MEAN: "Mean of NAME over the glands that have it; the area with lumina.",
        SEVERAL_LUMINA: "Share of glands with two lumina or more.",
        TOUCHING_SHARE: "Share of glands that touch another.",
    }.items()
} | {
    of_region("vessels", LINE): "Length of the centre lines of all vessels of a region.",
    of_region("vessels", LINE_WIDTH): "Mean width along all these lines.",
}
"""What each measurement of a region's glands or vessels is, by the form of its name."""


def summarize(target: str, measured: MeasurementTable, evaluated_area: float) -> dict[str, float]:
    """Summarize the nuclei, glands or vessels of a region, as every run does.

    Parameters
    ----------
    target
        nuclei, glands or vessels.
    measured
        Of those in the region.
    evaluated_area
        Of the part of the region that was searched, µm^2.
    """
    if target == "nuclei":
        return summarize_nuclei(measured, evaluated_area)
    return summarize_structures(target, measured, evaluated_area)


def summarize_nuclei(measured: MeasurementTable, evaluated_area: float) -> dict[str, float]:
    """Summarize the nuclei of one region in a few numbers.

    Parameters
    ----------
    measured
        ``Area µm^2`` and ``Max diameter µm`` among them.
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        `SUMMARY_NAMES` in order. NaN where there is nothing to divide by: no nucleus, a single one
        for the standard deviation, no area for the density.
    """
    area = describe(measured[AREA])
    values = (
        float(measured.n),
        measured.n / evaluated_area * 1e6 if evaluated_area > 0 else np.nan,
        area["mean"],
        area["SD"],
        area["CV"],
        describe(measured[LENGTH])["p90"],
        float(evaluated_area),
    )
    return dict(zip(SUMMARY_NAMES, values, strict=True))


def summarize_structures(
    target: str, measured: MeasurementTable, evaluated_area: float
) -> dict[str, float]:
    """Summarize the glands or vessels of one region.

    Parameters
    ----------
    target
        glands or vessels.
    measured
        As the functions of `qpbridge.measurements.structures` give them.
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        Count, density, area in % and on average (lumen included), evaluated area; of what else was
        measured, the mean (`AVERAGED`), the share with several lumina, the share that touches;
        where centre lines were, their length in all and the mean width along them. NaN where there
        is nothing to divide by.
    """
    area = measured[AREA] + measured.get(LUMEN, 0.0)
    searched = evaluated_area if evaluated_area > 0 else np.nan
    values = {
        COUNT: float(measured.n),
        DENSITY: measured.n / searched * 1e6,
        AREA_SHARE: float(ascending(area).sum()) / searched * 100,
        with_statistic(AREA, "mean"): _mean(area),
    }
    for name in (LUMEN_RATIO[target], *AVERAGED, NEAREST[target]):
        if name in measured:
            values[with_statistic(name, "mean")] = _mean(measured[name])
    if LUMINA in measured:
        values[SEVERAL_LUMINA] = percentage(measured[LUMINA] > 1)
    if TOUCHING[target] in measured:
        values[TOUCHING_SHARE] = percentage(measured[TOUCHING[target]] > 0)
    if LINE in measured:
        length, width = measured[LINE], measured[LINE_WIDTH]
        total = float(ascending(length).sum())
        weighted = float(np.nansum(ascending(length * width)))
        values[LINE] = total
        values[LINE_WIDTH] = weighted / total if total > 0 else np.nan
    named = {of_region(target, name): value for name, value in values.items()}
    return {**named, EVALUATED_AREA: float(evaluated_area)}


def summarize_arrangement(
    target: str,
    measured: MeasurementTable,
    points: FloatArray,
    evaluated_area: float,
    mpp: tuple[float, float] | None,
) -> dict[str, float]:
    """Tell how the objects of a region lie: the disorder of nuclei, the hot spot of vessels.

    Parameters
    ----------
    target, measured, evaluated_area
        As for `summarize`.
    points
        float64 (n, 2), their centroids, full-resolution pixels.
    mpp
        µm per pixel (x, y); None: not known, and then nothing is told of hot spots.
    """
    if target == "nuclei" and ORIENTATION in measured:
        return {ENTROPY: orientation_entropy_of(measured[ORIENTATION])}
    if target == "vessels" and LINE not in measured and mpp is not None:
        spot, _ = hotspot_measurements(target, points, mpp, evaluated_area)
        if np.isnan(list(spot.values())).any():  # then there is no disc to tell the area of
            spot = dict.fromkeys(spot, np.nan)
        return spot
    return {}


def _mean(values: FloatArray) -> float:
    known = ascending(values[np.isfinite(values)])
    return float(known.mean()) if len(known) else np.nan
