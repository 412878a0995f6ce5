"""WHO grade of urothelial carcinoma."""

from __future__ import annotations

from qpbridge.measurements.grading.system import AREA_CV, AREA_MEAN, Summary, System, get
from qpbridge.measurements.region_names import ENTROPY, GIANTS, LARGE, REFERENCE_RATIO

_FROM = {
    "Bladder: Nuclear area mean µm^2": AREA_MEAN,
    "Bladder: Anisonucleosis": AREA_CV,
    "Bladder: Nuclear area ratio": REFERENCE_RATIO,
    "Bladder: Giant nuclei %": GIANTS,
    "Bladder: Large nuclei %": LARGE,
    "Bladder: Orientation entropy": ENTROPY,
}


def _compute(summary: Summary) -> dict[str, float]:
    return {name: get(summary, source) for name, source in _FROM.items()}


BLADDER = System(
    "WHO grade (low or high) of urothelial carcinoma",
    _compute,
    tuple(_FROM.values()),
    {
        "Bladder: Nuclear area mean µm^2": "Mean area of the nuclei.",
        "Bladder: Anisonucleosis": "Standard deviation over mean of the nuclear area.",
        "Bladder: Nuclear area ratio": "Mean nuclear area over that of the reference nuclei.",
        "Bladder: Giant nuclei %": "Share of nuclei over 5 times the reference (lymphocytes).",
        "Bladder: Large nuclei %": "Share of nuclei longer than 11 µm and wider than 7 µm.",
        "Bladder: Orientation entropy": "Disorder of the directions of nuclei: loss of polarity.",
    },
    (
        "Order and polarity relative to the surface, maturation, umbrella cells, chromatin, "
        "nucleoli, mitoses and papillary growth.",
        "A cut-off: WHO describes low and high grade in words, so no category is given.",
    ),
    (
        "11 x 7 µm told carcinoma in situ from reactive urothelium in sections of one laboratory; "
        "it does not tell low from high grade.",
        "Five times a lymphocyte's nucleus needs lymphocytes as reference nuclei, not urothelium.",
        "Orientation entropy rises too where an orderly urothelium bends, or was cut obliquely, "
        "and nearly round nuclei have hardly a direction.",
    ),
    (
        "WHO Classification of Tumours, Urinary and Male Genital Tumours, 5th edition 2022",
        "Diagn Pathol 2019, PMC6694469 (nuclear polarity and enlargement: reproducible)",
        "Diagn Pathol 2016, s13000-016-0501-7 (11 x 7 µm; five times a lymphocyte)",
    ),
)
