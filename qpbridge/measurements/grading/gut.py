"""WHO grades of adenocarcinomas of colon, rectum and stomach: both go by gland formation."""

from __future__ import annotations

from qpbridge.measurements.grading.system import (
    GLAND_AREA,
    GLAND_FORMATION,
    LUMEN_SHARE,
    NORMAL_GLANDS,
    STROMA,
    Summary,
    System,
    first_that_holds,
    get,
    gland_formation,
)


def colorectal_grade(percent: float) -> float:
    """Grade gland formation: above 95 % is 1, 50 to 95 % is 2, 5 to 50 % is 3, below 5 % is 4."""
    return first_that_holds(
        percent, (percent > 95, 1), (percent >= 50, 2), (percent >= 5, 3), (True, 4)
    )


def gastric_grade(percent: float) -> float:
    """Grade gland formation: above 95 % is 1, 50 to 95 % is 2, below 50 % is 3."""
    return first_that_holds(percent, (percent > 95, 1), (percent >= 50, 2), (True, 3))


def tier(percent: float) -> float:
    """Tell low grade, 1, from high grade, 2: below 50 % gland formation."""
    return first_that_holds(percent, (percent >= 50, 1), (True, 2))


def _colorectal(summary: Summary) -> dict[str, float]:
    percent = gland_formation(summary)
    return {
        "Colorectal: Gland formation %": percent,
        "Colorectal: Grade": colorectal_grade(percent),
        "Colorectal: Tier": tier(percent),
    }


def _gastric(summary: Summary) -> dict[str, float]:
    percent = gland_formation(summary)
    return {
        "Gastric: Gland formation %": percent,
        "Gastric: Lumen/gland area ratio": get(summary, LUMEN_SHARE),
        "Gastric: Grade": gastric_grade(percent),
        "Gastric: Tier": tier(percent),
    }


COLORECTAL = System(
    "WHO grade of colorectal adenocarcinoma (not otherwise specified)",
    _colorectal,
    (GLAND_AREA,),
    {
        "Colorectal: Gland formation %": f"{GLAND_FORMATION}.",
        "Colorectal: Grade": "1 above 95 %, 2 from 50 to 95 %, 3 from 5 to 50 %, 4 below 5 %.",
        "Colorectal: Tier": "WHO 2019: 1 (low grade) from 50 % on, 2 (high grade) below.",
    },
    (
        "Tumour budding and the invasive edge, which WHO 2019 asks for beside the grade.",
        "Type and mismatch repair: mucinous, signet-ring cell, medullary and other types are not "
        "graded by gland formation.",
    ),
    (
        STROMA,
        NORMAL_GLANDS,
        "WHO 2019 grades by the least differentiated part, without the invasive edge; a region's "
        "number is of the region.",
    ),
    (
        "WHO Classification of Tumours of the Digestive System, 4th edition 2010 (four grades) "
        "and 5th edition 2019 (two tiers)",
        "Jesinghaus et al., Am J Surg Pathol 2021, 45:969-978 (WHO 2019 in 1004 cases)",
    ),
)

GASTRIC = System(
    "WHO grade of gastric adenocarcinoma (tubular and papillary)",
    _gastric,
    (GLAND_AREA, LUMEN_SHARE),
    {
        "Gastric: Gland formation %": f"{GLAND_FORMATION}.",
        "Gastric: Lumen/gland area ratio": "Mean over glands.",
        "Gastric: Grade": "1 above 95 %, 2 from 50 to 95 %, 3 below 50 %.",
        "Gastric: Tier": "1 (low grade) for grades 1 and 2, 2 (high grade) for grade 3.",
    },
    (
        "Type: poorly cohesive, signet-ring cell and mucinous carcinomas are not graded so.",
        "How well formed glands are: WHO 2019 has no numbers for it.",
    ),
    (
        STROMA,
        NORMAL_GLANDS,
        "The percentages are those of earlier editions; WHO 2019 joins well and moderately "
        "differentiated to low grade, and describes rather than counts.",
    ),
    (
        "WHO Classification of Tumours of the Digestive System, 5th edition 2019, and 4th 2010",
        "Cretu et al., Curr Health Sci J 2022, 48:284-291 (three and two tiers compared)",
    ),
)
