"""Microvessel density."""

from __future__ import annotations

from qpbridge.measurements.grading.system import Summary, System, get, ratio
from qpbridge.measurements.region_names import (
    DENSITY,
    HOTSPOT_COUNT,
    HOTSPOT_DENSITY,
    of_region,
)

COUNT = of_region("vessels", HOTSPOT_COUNT)
HOT, ALL = of_region("vessels", HOTSPOT_DENSITY), of_region("vessels", DENSITY)


def _compute(summary: Summary) -> dict[str, float]:
    return {
        "MVD: Hotspot count": get(summary, COUNT),
        "MVD: Hotspot density per mm^2": get(summary, HOT),
        "MVD: Hotspot/region density ratio": ratio(get(summary, HOT), get(summary, ALL)),
    }


MICROVESSELS = System(
    "Microvessel density in the hot spot",
    _compute,
    (COUNT, HOT, ALL),
    {
        "MVD: Hotspot count": "Most vessels in a disc of the field's area (0.74 mm² by default).",
        "MVD: Hotspot density per mm^2": "That count per mm² of the disc.",
        "MVD: Hotspot/region density ratio": "Density in the hot spot over that of the region.",
    },
    (
        "An endothelial stain (CD31, CD34, factor VIII): in H&E capillaries without an open lumen "
        "are not seen, and counts don't compare with published ones.",
        "A cut-off: published ones are of one stain, one tumour and one way of counting, mostly "
        "medians; so no category is given.",
    ),
    (
        "The densest of all positions is at least as dense as what an observer finds.",
        "One profile counts as one vessel: a vessel cut twice counts twice, several that were "
        "joined count once. Vessels with muscular walls count too, which most protocols leave out.",
        "Count and density are NaN where the region is smaller than the field.",
    ),
    (
        "Weidner et al., N Engl J Med 1991, 324:1-8: in breast carcinoma 101 (SD 49) a x200 field "
        "with metastases, 45 (SD 21) without; factor VIII",
        "De Jong et al., Histopathology 2000, 36:306-312 (ways of counting; median 71 per mm²)",
        "PLoS ONE 2016, 0161496 (a connected profile is one vessel)",
    ),
)
