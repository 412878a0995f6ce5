"""Aids to grading: what published systems ask for and these measurements can give, per region.

Research only. Each aid says what it lacks, what its numbers can't tell, and where its cut-offs come
from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from qpbridge.measurements.grading.bladder import BLADDER
from qpbridge.measurements.grading.breast import NOTTINGHAM
from qpbridge.measurements.grading.gut import COLORECTAL, GASTRIC
from qpbridge.measurements.grading.kidney import ISUP
from qpbridge.measurements.grading.liver import LIVER
from qpbridge.measurements.grading.prostate import GLEASON
from qpbridge.measurements.grading.system import (
    AREA_MEAN,
    DISCLAIMER,
    ORIGINS,
    TUMOR_AREA,
    Aid,
    Summary,
    System,
    get,
)
from qpbridge.measurements.grading.vessels import MICROVESSELS
from qpbridge.measurements.region_names import REFERENCE_RATIO

__all__ = ["DEFINITIONS", "DISCLAIMER", "SYSTEMS", "TUMOR_AREA", "Aid", "System", "grade"]

SYSTEMS: Mapping[str, System] = {
    "nottingham": NOTTINGHAM,
    "gleason": GLEASON,
    "colorectal": COLORECTAL,
    "isup": ISUP,
    "bladder": BLADDER,
    "liver": LIVER,
    "gastric": GASTRIC,
    "mvd": MICROVESSELS,
}
"""The systems, by the names of the command line."""

DEFINITIONS: Mapping[str, str] = {
    name: text for system in SYSTEMS.values() for name, text in system.definitions.items()
}
"""What each measurement is, by name; all in the region, on its annotation."""


def grade(system: str, summary: Summary, reference_area: float = math.nan) -> Aid:
    """Compute what can be told toward a grade in one region; research only.

    Parameters
    ----------
    system
        One of `SYSTEMS`.
    summary
        The region's measurements, by name, as `summarize`, `summarize_arrangement` and
        `summarize_morphometry` give them together.
    reference_area
        Mean area of reference nuclei in µm^2 (normal epithelium for breast, lymphocytes for
        bladder), if the summary was made without.

    Returns
    -------
    Aid
        The measurements to write, always of the same names, NaN where they can't be told; and what
        to say with them.

    Raises
    ------
    KeyError
        If there is no such system.
    """
    chosen = SYSTEMS[system]
    known = dict(summary)
    if reference_area > 0:
        known[REFERENCE_RATIO] = get(summary, AREA_MEAN) / reference_area
    return Aid(
        chosen.title,
        chosen.compute(known),
        tuple(_absent(name, known) for name in chosen.needs if math.isnan(get(known, name))),
        chosen.missing,
        chosen.limits,
        chosen.sources,
    )


def _absent(name: str, summary: Summary) -> str:
    if name in summary:
        return f"{name} (too little in this region to tell)"
    origin = ORIGINS.get(name, ORIGINS.get(name.partition(":")[0], "measure it"))
    return f"{name} ({origin})"
