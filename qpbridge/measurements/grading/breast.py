"""Nottingham grade (Elston and Ellis) of invasive breast carcinoma."""

from __future__ import annotations

import math

from qpbridge.measurements.grading.system import (
    GLAND_AREA,
    GLAND_FORMATION,
    NORMAL_GLANDS,
    STROMA,
    Summary,
    System,
    first_that_holds,
    get,
    gland_formation,
)
from qpbridge.measurements.region_names import REFERENCE_RATIO


def tubule_score(percent: float) -> float:
    """Score gland formation: above 75 % is 1, 10 to 75 % is 2, below 10 % is 3."""
    return first_that_holds(percent, (percent > 75, 1), (percent >= 10, 2), (True, 3))


def nuclear_score(area_ratio: float) -> float:
    """Score nuclear area over the normal one: below 1.5 is 1, 1.5 to 2 is 2, above 2 is 3."""
    return first_that_holds(area_ratio, (area_ratio < 1.5, 1), (area_ratio <= 2, 2), (True, 3))


def nottingham_grade(total: float) -> float:
    """Grade the sum of the three scores: 3 to 5 is 1, 6 and 7 are 2, 8 and 9 are 3."""
    return first_that_holds(total, (total <= 5, 1), (total <= 7, 2), (True, 3))


def _compute(summary: Summary) -> dict[str, float]:
    percent, area_ratio = gland_formation(summary), get(summary, REFERENCE_RATIO)
    scores = [tubule_score(percent), nuclear_score(area_ratio)]
    known = [score for score in scores if not math.isnan(score)]
    unknown = 3 - len(known)
    low, high = (nottingham_grade(sum(known) + unknown * s) if known else math.nan for s in (1, 3))
    return {
        "Nottingham: Gland formation %": percent,
        "Nottingham: Tubule score": scores[0],
        "Nottingham: Nuclear area ratio": area_ratio,
        "Nottingham: Nuclear score": scores[1],
        "Nottingham: Lowest grade": low,
        "Nottingham: Highest grade": high,
    }


NOTTINGHAM = System(
    "Nottingham histologic grade of invasive breast carcinoma",
    _compute,
    (GLAND_AREA, REFERENCE_RATIO),
    {
        "Nottingham: Gland formation %": f"{GLAND_FORMATION}.",
        "Nottingham: Tubule score": "1 above 75 %, 2 from 10 to 75 %, 3 below 10 %.",
        "Nottingham: Nuclear area ratio": "Mean nuclear area over that of the reference nuclei.",
        "Nottingham: Nuclear score": "By size alone: 1 below 1.5 x, 2 from 1.5 to 2 x, 3 above.",
        "Nottingham: Lowest grade": "Grade if mitoses, and a score that is NaN, scored 1.",
        "Nottingham: Highest grade": "Grade if mitoses, and a score that is NaN, scored 3.",
    },
    (
        "Mitoses: a third of the sum; count them in ten high power fields at the edge of the "
        "tumour, with the cut-offs of the field's diameter.",
    ),
    (
        STROMA,
        NORMAL_GLANDS,
        "The nuclear score is of the most atypical part of the tumour, and looks at variation, "
        "chromatin and nucleoli too; a mean size over a region, stroma and lymphocytes included, "
        "is lower. Leave them out by the classes of nuclei.",
        "The size is read as area; sources that mean diameter call nuclei of 2.25 and 4 times the "
        "area 1.5 and 2 times the size.",
    ),
    (
        "Elston and Ellis, Histopathology 1991, 19:403-410",
        "Rakha et al., Breast Cancer Research 2010, 12:207",
        "Sizes 1.5 and 2 x normal area: emedicine.medscape.com/article/1954658, after NCCN",
    ),
)
