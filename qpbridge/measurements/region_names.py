"""Names of what the objects of a region add up to; gradings start from these."""

from __future__ import annotations

from collections.abc import Mapping

from qpbridge.measurements.names import (
    AREA,
    LENGTH,
    LINE,
    LINE_WIDTH,
    STATISTICS,
    UNIT,
    with_statistic,
)

EVALUATED_AREA = "Evaluated area µm^2"

COUNT, DENSITY = "Count", "Density per mm^2"
AREA_SHARE, SEVERAL_LUMINA, TOUCHING_SHARE = "Area %", "Several lumina %", "Touching %"
HOTSPOT_COUNT, HOTSPOT_DENSITY = "Hotspot count", "Hotspot density per mm^2"
HOTSPOT_AREA = "Hotspot area µm^2"

DIAMETERS = (10, 15, 20)
"""Nuclear diameters of Fuhrman's grades, µm."""

GIANT = 5
"""Nuclei of urothelial carcinoma in situ can be over five times the size of a lymphocyte's."""

CIS_LENGTH, CIS_WIDTH = 11, 7
"""Longer and wider than this, µm, told urothelial carcinoma in situ from reactive urothelium."""


def of_region(target: str, name: str, statistic: str | None = None) -> str:
    """Name what the objects of a target in a region add up to: ``Nuclei: Area mean µm^2``.

    Parameters
    ----------
    target
        nuclei, glands or vessels.
    name
        Of a measurement, or of what is told of all together.
    statistic
        What of that measurement, one of `qpbridge.measurements.names.STATISTICS`.
    """
    return f"{target.capitalize()}: {with_statistic(name, statistic) if statistic else name}"


SUMMARY_NAMES = (
    of_region("nuclei", COUNT),
    of_region("nuclei", DENSITY),
    of_region("nuclei", AREA, "mean"),
    of_region("nuclei", AREA, "SD"),
    of_region("nuclei", AREA, "CV"),
    of_region("nuclei", LENGTH, "p90"),
    EVALUATED_AREA,
)
"""What is told of any region's nuclei."""

EACH = {statistic: with_statistic(f"NAME {UNIT}", statistic) for statistic in STATISTICS}
EACH_MEAN = EACH["mean"]
"""Forms of what is told of each measurement NAME."""

ENTROPY = of_region("nuclei", "Orientation entropy")
ABOVE = {d: of_region("nuclei", f"Equivalent diameter above {d} µm %") for d in DIAMETERS}
LARGE = of_region("nuclei", f"Above {CIS_LENGTH} x {CIS_WIDTH} µm %")
REFERENCE_RATIO = of_region("nuclei", "Area/reference area ratio")
GIANTS = of_region("nuclei", f"Area above {GIANT}x reference %")

_OF_STRUCTURES = (COUNT, DENSITY, AREA_SHARE, SEVERAL_LUMINA, TOUCHING_SHARE, EACH_MEAN)
_OF_VESSELS = (LINE, LINE_WIDTH, HOTSPOT_COUNT, HOTSPOT_DENSITY, HOTSPOT_AREA)

FORMS: Mapping[str, tuple[str, ...]] = {
    "nuclei": (
        *SUMMARY_NAMES[:-1],
        ENTROPY,
        *(of_region("nuclei", form) for form in EACH.values()),
        *ABOVE.values(),
        LARGE,
        REFERENCE_RATIO,
        GIANTS,
    ),
    "glands": tuple(of_region("glands", form) for form in _OF_STRUCTURES),
    "vessels": tuple(of_region("vessels", form) for form in (*_OF_STRUCTURES, *_OF_VESSELS)),
}
"""Forms of all that is told of the objects of a target in a region, beside the area."""
