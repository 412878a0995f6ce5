"""How measurements are called: forms that build a name, document it, and know it again.

A form is a name in which capitals stand for something: ``Local density RADIUS µm per mm^2``. The
same form makes the name (`fill`), has the line in the reference, and tells whether what a file has
is such a name (`recognize`); nothing else takes names apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

NUCLEUS, CYTOPLASM, MEMBRANE, CELL = "Nucleus: ", "Cytoplasm: ", "Membrane: ", "Cell: "
"""What measurements of the parts of a cell begin with."""

WHOLE = "ROI: "
"""What textures of an object that is no cell begin with."""

PROBABILITY = "Detection probability"
AREA, DIAMETER = "Area µm^2", "Equivalent diameter µm"
LENGTH, WIDTH = "Max diameter µm", "Min diameter µm"
RATIO = "Nucleus/Cell area ratio"
CIRCULARITY, SOLIDITY = "Circularity", "Solidity"
OUTLINE_SOLIDITY = "Outline solidity"
LINE, LINE_WIDTH = "Centre line length µm", "Width mean µm"
LUMEN, LUMINA = "Lumen area µm^2", "Lumina count"
COMPACTNESS = "Outline compactness"
NUCLEI_COUNT = "Nuclei count"
SMOOTHED = "Smoothed: FWHM µm: NAME"

ONE = {"glands": "gland", "vessels": "vessel"}
LUMEN_RATIO = {target: f"Lumen/{one} area ratio" for target, one in ONE.items()}
NEAREST = {target: f"Distance to nearest {one} µm" for target, one in ONE.items()}
TOUCHING = {target: f"Touching {target}" for target in ONE}
THICKNESS = {"glands": "Epithelial height µm", "vessels": "Wall thickness µm"}
"""Names of measurements of glands and vessels, by target."""

STATISTICS = ("mean", "SD", "CV", "p10", "p90")
"""What is told of each measurement of a region's nuclei."""

UNITS = ("µm", "µm^2", "px", "px^2", "°")

UNIT = "UNIT"
"""Stands for the unit of NAME in a form, if it has one."""

PLACEHOLDERS = ("STAIN", "CHANNEL", "CLASS", "RADIUS", "FWHM", "SIZE", "NAME")
"""What stands for something else in a form."""


def fill(form: str, **parts: str) -> str:
    """Make a name of a form.

    Examples
    --------
    >>> fill("Smoothed: FWHM µm: NAME", FWHM="25", NAME="Nucleus: Area µm^2")
    'Smoothed: 25 µm: Nucleus: Area µm^2'
    """
    return re.sub(r"\b(?:" + "|".join(parts) + r")\b", lambda word: parts[word[0]], form)


def recognize(form: str, name: str) -> Mapping[str, str] | None:
    """Tell what fills a form in a name; None where it is not of this form.

    With ``UNIT`` in the form, ``NAME`` is given with its unit, or without one, as it is called.
    """
    match = _pattern(form).fullmatch(name)
    if match is None:
        return None
    parts = match.groupdict()
    if UNIT in parts:
        parts["NAME"] += parts.pop(UNIT) or ""
    return parts


def recognized(name: str, *forms: str) -> bool:
    """Tell whether a name is of one of some forms."""
    return any(recognize(form, name) is not None for form in forms)


@cache
def _pattern(form: str) -> re.Pattern[str]:
    units = "|".join(map(re.escape, UNITS))
    pattern = re.escape(form).replace(re.escape(f" {UNIT}"), f"(?P<{UNIT}> (?:{units}))?")
    for word in PLACEHOLDERS:
        text = ".+" if word == "NAME" else "[^:]+"
        pattern = re.sub(rf"\b{word}\b", f"(?P<{word}>{text})", pattern)
    return re.compile(pattern)


def short(value: float) -> str:
    """Write a number as QuPath does in names: up to two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def with_statistic(name: str, statistic: str) -> str:
    """Put a statistic into the name of a measurement, before its unit: ``Area mean µm^2``."""
    quantity, space, unit = name.rpartition(" ")
    if space and (unit in UNITS or unit == UNIT):
        return f"{quantity} {statistic}" + ("" if statistic == "CV" else f" {unit}")
    return f"{name} {statistic}"


def of_nucleus(name: str) -> str | None:
    """Name a measurement of a nucleus as if it was an object on its own, and not part of a cell.

    None for what is measured of cytoplasm, membrane or whole cells.
    """
    if name == RATIO or name.startswith((CYTOPLASM, MEMBRANE, CELL)):
        return None
    return name.removeprefix(NUCLEUS).removeprefix(WHOLE)
