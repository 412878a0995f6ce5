"""What a grading aid is: which numbers, what they lack, where the cut-offs come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qpbridge.measurements.names import AREA, LUMEN_RATIO, RATIO
from qpbridge.measurements.region_names import (
    AREA_SHARE,
    EVALUATED_AREA,
    REFERENCE_RATIO,
    of_region,
)

Summary = Mapping[str, float]
"""The measurements of a region's annotation, by name."""

DISCLAIMER = (
    "For research use only: an aid to measuring, neither a grade nor a diagnosis. A pathologist "
    "grades, from the whole specimen."
)

TUMOR_AREA = "Tumor: Area µm^2"
"""Area of the tumour's epithelium in a region, glands with their lumina and solid parts; optional,
without it all of the region counts."""

AREA_MEAN, AREA_CV = of_region("nuclei", AREA, "mean"), of_region("nuclei", AREA, "CV")
CELL_RATIO = of_region("nuclei", RATIO, "mean")
GLAND_AREA = of_region("glands", AREA_SHARE)
LUMEN_SHARE = of_region("glands", LUMEN_RATIO["glands"], "mean")
"""Names of what several systems rest on."""

ORIGINS = {
    "Nuclei": "segment nuclei",
    "Glands": "segment glands",
    "Vessels": "segment vessels",
    REFERENCE_RATIO: "name a class of normal nuclei",
    CELL_RATIO: "grow nuclei into cells",
}
"""What a person does to get measurements, by name or by the part before the colon."""


@dataclass(frozen=True)
class System:
    """A grading system, and how much of it can be computed.

    Parameters
    ----------
    title
        What is graded.
    compute
        From a region's summary to the measurements to write, the same names whatever is there; NaN
        for what can't be computed.
    needs
        Names of the measurements of the summary that `compute` rests on.
    definitions
        One line for each measurement that `compute` gives.
    missing
        What grading needs and is not measured.
    limits
        What the numbers can't tell.
    sources
        Of definitions and cut-offs.
    """

    title: str
    compute: Callable[[Summary], dict[str, float]]
    needs: tuple[str, ...]
    definitions: Mapping[str, str]
    missing: tuple[str, ...]
    limits: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Aid:
    """What could be computed toward a grade in one region.

    Parameters
    ----------
    title
        What is graded.
    measurements
        To write on the annotation, by name; categories are numbers.
    absent
        What could have been used but was not measured, and how to get it.
    missing, limits, sources
        As for `System`.
    disclaimer
        What it is not.
    """

    title: str
    measurements: dict[str, float]
    absent: tuple[str, ...]
    missing: tuple[str, ...]
    limits: tuple[str, ...]
    sources: tuple[str, ...]
    disclaimer: str = field(default=DISCLAIMER)

    def __str__(self) -> str:
        lines = [self.title, self.disclaimer]
        lines += [f"{name} = {value:g}" for name, value in self.measurements.items()]
        for label in ("absent", "missing", "limits", "sources"):
            lines += [f"{label}: {text}" for text in getattr(self, label)]
        return "\n".join(lines)


def get(summary: Summary, name: str) -> float:
    """Return a measurement of a summary, NaN where it is not there."""
    return float(summary.get(name, math.nan))


def ratio(part: float, whole: float) -> float:
    """Divide; NaN where there is nothing to divide by."""
    return part / whole if whole > 0 else math.nan


def first_that_holds(value: float, *steps: tuple[bool, int]) -> float:
    """Return the category of the first condition that holds; NaN where the value is."""
    if math.isnan(value):
        return math.nan
    return float(next(category for holds, category in steps if holds))


def gland_formation(summary: Summary) -> float:
    """Area of glands, lumina included, in % of the tumour's epithelium, or else of the region.

    Of the region, where stroma counts too, it is at most what a pathologist would estimate.
    """
    percent = get(summary, GLAND_AREA)
    if TUMOR_AREA not in summary:
        return percent
    area = percent / 100 * get(summary, EVALUATED_AREA)
    return min(100 * ratio(area, summary[TUMOR_AREA]), 100.0)


GLAND_FORMATION = (
    "Area of glands with their lumina in % of the tumour's epithelium where its area is known, "
    "otherwise of the evaluated area"
)

STROMA = (
    "Without the area of the tumour's epithelium stroma counts in the denominator, so that gland "
    "formation is too low and the category may be too high: draw the region tight around tumour, "
    "or give its area."
)

NORMAL_GLANDS = "Glands are not told apart into normal, in situ and invasive ones."
