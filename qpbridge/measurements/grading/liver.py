"""Edmondson-Steiner and WHO grades of hepatocellular carcinoma."""

from __future__ import annotations

from qpbridge.measurements.grading.system import (
    AREA_CV,
    AREA_MEAN,
    CELL_RATIO,
    Summary,
    System,
    get,
)
from qpbridge.measurements.region_names import DENSITY, of_region

_FROM = {
    "Liver: Nucleus/cell area ratio": CELL_RATIO,
    "Liver: Nuclear density per mm^2": of_region("nuclei", DENSITY),
    "Liver: Nuclear area mean µm^2": AREA_MEAN,
    "Liver: Anisonucleosis": AREA_CV,
}


def _compute(summary: Summary) -> dict[str, float]:
    return {name: get(summary, source) for name, source in _FROM.items()}


LIVER = System(
    "Edmondson-Steiner and WHO grade of hepatocellular carcinoma",
    _compute,
    tuple(_FROM.values()),
    {
        "Liver: Nucleus/cell area ratio": "Mean of nuclear area over cell area, where cells are.",
        "Liver: Nuclear density per mm^2": "Nuclei per mm² of the evaluated area.",
        "Liver: Nuclear area mean µm^2": "Mean area of the nuclei.",
        "Liver: Anisonucleosis": "Standard deviation over mean of the nuclear area.",
    },
    (
        "Growth (trabecular, pseudoglandular, solid), cytoplasm, cohesion, chromatin and nucleoli.",
        "A cut-off: grades I to IV are described in words, so no category is given.",
    ),
    (
        "Cells that were grown from nuclei by a fixed distance have no cytoplasm of their own: "
        "their ratio follows from nuclear size and density.",
        "Density counts Kupffer cells, endothelium and lymphocytes unless their classes are left "
        "out, and falls with fat.",
    ),
    (
        "Edmondson and Steiner, Cancer 1954, 7:462-503",
        "Martins-Filho et al., Front Med 2017, 4:193 (how differently it is read)",
        "PMC6029348 (nuclear density and atypia)",
    ),
)
