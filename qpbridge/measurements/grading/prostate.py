"""Gleason patterns and ISUP grade groups of prostatic adenocarcinoma."""

from __future__ import annotations

import math

from qpbridge.measurements.grading.system import (
    LUMEN_SHARE,
    Summary,
    System,
    first_that_holds,
    get,
    ratio,
)
from qpbridge.measurements.names import CIRCULARITY, NEAREST, OUTLINE_SOLIDITY
from qpbridge.measurements.region_names import SEVERAL_LUMINA, TOUCHING_SHARE, of_region

SEVERAL = of_region("glands", SEVERAL_LUMINA)
OUTLINES = of_region("glands", OUTLINE_SOLIDITY, "mean")
ROUNDNESS = of_region("glands", CIRCULARITY, "mean")
CROWDING = of_region("glands", NEAREST["glands"], "mean")
TOUCHING = of_region("glands", TOUCHING_SHARE)

PATTERNS = (3, 4, 5)
MINOR = 0.05
"""Share of the tumour that a second pattern has to exceed."""


def pattern_area(pattern: int) -> str:
    """Name of the area that a person annotated as one pattern."""
    return f"Gleason {pattern}: Area µm^2"


def main_patterns(areas: dict[int, float]) -> tuple[float, float]:
    """Find primary and secondary pattern, as in prostatectomies.

    The primary one is the most extensive; the secondary one is the highest other that is more than
    5 % of the tumour, or else the primary again. NaN without area.
    """
    total = sum(areas.values())
    if not total > 0:
        return math.nan, math.nan
    primary = max(areas, key=lambda pattern: (areas[pattern], pattern))
    others = [p for p, area in areas.items() if p != primary and area > MINOR * total]
    return float(primary), float(max(others, default=primary))


def grade_group(primary: float, secondary: float) -> float:
    """Group: 3+3 is 1, 3+4 is 2, 4+3 is 3, a sum of 8 is 4, of 9 or 10 is 5; NaN if one is."""
    total = primary + secondary
    return first_that_holds(
        total,
        (total <= 6, 1),
        (total == 7 and primary == 3, 2),
        (total == 7, 3),
        (total == 8, 4),
        (True, 5),
    )


def _compute(summary: Summary) -> dict[str, float]:
    areas = {pattern: get(summary, pattern_area(pattern)) for pattern in PATTERNS}
    areas = {pattern: area if area > 0 else 0.0 for pattern, area in areas.items()}
    primary, secondary = main_patterns(areas)
    total = sum(areas.values())
    return {
        "Gleason: Lumen/gland area ratio": get(summary, LUMEN_SHARE),
        "Gleason: Glands with several lumina %": get(summary, SEVERAL),
        "Gleason: Inverse solidity": ratio(1, get(summary, OUTLINES)),
        "Gleason: Inverse compactness": ratio(1, get(summary, ROUNDNESS)),
        "Gleason: Distance to nearest gland µm": get(summary, CROWDING),
        "Gleason: Touching glands %": get(summary, TOUCHING),
        **{f"Gleason: Pattern {p} %": 100 * ratio(areas[p], total) for p in PATTERNS},
        "Gleason: Primary pattern": primary,
        "Gleason: Secondary pattern": secondary,
        "Gleason: Grade group": grade_group(primary, secondary),
    }


_DRAWN = "from the areas that a person annotated as patterns 3, 4 and 5; NaN without"

GLEASON = System(
    "Gleason score and ISUP grade group of prostatic adenocarcinoma",
    _compute,
    (
        LUMEN_SHARE,
        SEVERAL,
        OUTLINES,
        ROUNDNESS,
        CROWDING,
        TOUCHING,
    ),
    {
        "Gleason: Lumen/gland area ratio": "Mean over glands; low where they are poorly formed.",
        "Gleason: Glands with several lumina %": "Share with two lumina or more: cribriform hint.",
        "Gleason: Inverse solidity": "1 over the mean solidity of outlines, lumina filled.",
        "Gleason: Inverse compactness": "1 over the mean circularity (4 pi A / L²) of outlines.",
        "Gleason: Distance to nearest gland µm": "Mean over glands, outline to outline; crowding.",
        "Gleason: Touching glands %": "Share of glands that touch another: fusion or crowding.",
        **{f"Gleason: Pattern {p} %": f"Share of pattern {p}, {_DRAWN}." for p in PATTERNS},
        "Gleason: Primary pattern": f"The most extensive, {_DRAWN}.",
        "Gleason: Secondary pattern": "The highest other above 5 %, otherwise "
        f"the primary, {_DRAWN}.",
        "Gleason: Grade group": f"ISUP grade group 1 to 5 of the two, {_DRAWN}.",
    },
    (
        "The patterns themselves: poorly formed, fused, cribriform and glomeruloid glands, single "
        "cells and necrosis are told by eye. There is no accepted cut-off of these measurements.",
        "Perineural and intraductal growth, and whether glands are carcinoma (basal cells).",
    ),
    (
        "A gland without a lumen looks poorly formed, whatever the reason: tangential sections, "
        "secretions, a lumen that was missed; a model that was taught to fill glands finds none.",
        "Several lumina are also found in benign glands with infoldings, in PIN and in glands that "
        "were not parted.",
        "Patterns 4 and 5 may have no gland to measure; the numbers are of the glands that were "
        "found.",
        "Primary and secondary pattern are those of a prostatectomy. In a biopsy the highest "
        "pattern counts however little there is.",
    ),
    (
        "Epstein et al., Am J Surg Pathol 2016, 40:244-252 (ISUP 2014)",
        "van Leenders et al., Am J Surg Pathol 2020, 44:e87-e99 (ISUP 2019)",
        "Loeffler et al., J Urol 2012, 187:1867-1875 (inverse solidity and compactness)",
        "BMC Bioinformatics 2016, 17:1086-6, Table 1 (lumen ratio, roundness, crowding)",
    ),
)
