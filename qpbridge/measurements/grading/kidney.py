"""WHO/ISUP and Fuhrman grades of renal cell carcinoma."""

from __future__ import annotations

from qpbridge.measurements.grading.system import Summary, System, first_that_holds, get
from qpbridge.measurements.names import DIAMETER
from qpbridge.measurements.region_names import ABOVE, of_region

MEAN = of_region("nuclei", DIAMETER, "mean")
LARGE = of_region("nuclei", DIAMETER, "p90")
ABOVE_20 = ABOVE[20]


def size_grade(diameter: float) -> float:
    """Tell which of Fuhrman's sizes a diameter in µm is nearest: 10 is 1, 15 is 2, 20 is 3."""
    return first_that_holds(diameter, (diameter < 12.5, 1), (diameter < 17.5, 2), (True, 3))


def _compute(summary: Summary) -> dict[str, float]:
    return {
        "Fuhrman: Size grade": size_grade(get(summary, MEAN)),
        "Fuhrman: Size grade of large nuclei": size_grade(get(summary, LARGE)),
        "Fuhrman: Nuclei above 20 µm %": get(summary, ABOVE_20),
    }


ISUP = System(
    "WHO/ISUP and Fuhrman grade of renal cell carcinoma",
    _compute,
    (MEAN, LARGE, ABOVE_20),
    {
        "Fuhrman: Size grade": "Nearest of Fuhrman's sizes (10, 15, 20 µm) to the mean diameter.",
        "Fuhrman: Size grade of large nuclei": "The same of the 90th percentile of the diameters.",
        "Fuhrman: Nuclei above 20 µm %": "Share of nuclei with an equivalent diameter over 20 µm.",
    },
    (
        "Nucleoli: WHO/ISUP grades 1 to 3 rest on them alone (seen at x400, at x100), so no "
        "WHO/ISUP grade is given.",
        "Sarcomatoid and rhabdoid growth, giant and bizarre cells: grade 4.",
        "Necrosis and type: chromophobe carcinoma is not graded so.",
    ),
    (
        "Fuhrman's grade takes nuclear shape and nucleoli together with size; size alone is not "
        "his grade. His sizes are nominal: the limits half-way, 12.5 and 17.5 µm, are ours.",
        "Grades go by the most atypical field, a region's mean does not.",
        "Profiles in a section of fixed, shrunken tissue are smaller than nuclei; those of vessels "
        "and lymphocytes count unless their classes are left out.",
    ),
    (
        "Fuhrman et al., Am J Surg Pathol 1982, 6:655-663",
        "Delahunt et al., Am J Surg Pathol 2013, 37:1490-1504 (ISUP)",
        "Rabjerg et al. 2021 (mean nuclear area is prognostic, against both grades)",
    ),
)
