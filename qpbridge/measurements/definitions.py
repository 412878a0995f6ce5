"""What each measurement is, in a line: what the reference of measurements is made from.

``python -m qpbridge.measurements.definitions > docs/measurements.md`` writes it. Capitals in a name
stand for something, see `qpbridge.measurements.names`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from qpbridge.measurements import (
    compartments,
    delaunay,
    distances,
    grading,
    hotspots,
    intensity,
    moments,
    morphometry,
    nuclei,
    positivity,
    quality,
    regions,
    shape,
    spatial,
    structures,
    texture,
)
from qpbridge.measurements.names import PROBABILITY, UNITS, recognize
from qpbridge.measurements.region_names import EACH, of_region

DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "Shape": {**shape.DEFINITIONS, **moments.DEFINITIONS},
    "Intensity and texture": {
        **intensity.DEFINITIONS,
        PROBABILITY: "Share of objects like it that are right, by the model's validation "
        "images; of models that were not calibrated, their mean foreground probability.",
        **texture.DEFINITIONS,
    },
    "Cells": {**nuclei.DEFINITIONS, **compartments.DEFINITIONS},
    "Around a nucleus": {
        **delaunay.DEFINITIONS,
        **spatial.DEFINITIONS,
        **distances.DEFINITIONS,
    },
    "Glands and vessels": structures.DEFINITIONS,
    "Nuclei of a region": {**regions.NUCLEI, **morphometry.DEFINITIONS},
    "Glands and vessels of a region": {**regions.STRUCTURES, **hotspots.DEFINITIONS},
    "Positivity of a region": positivity.DEFINITIONS,
    "Quality of a region": quality.DEFINITIONS,
    **{f"Grading: {system.title}": system.definitions for system in grading.SYSTEMS.values()},
}
"""All definitions by the form of the name, in chapters."""

FORMS: Mapping[str, str] = {
    form: text for chapter in DEFINITIONS.values() for form, text in chapter.items()
}
"""The same in one."""

_WITHOUT_UNIT = of_region("nuclei", EACH["CV"])
"""The form that leaves out the unit of what is in it."""

INTRODUCTION = f"""# Measurements

What the numbers are that `qpbridge segment` and `qpbridge measure` write, by the names that they
have in QuPath. {grading.DISCLAIMER}

- Capitals stand for something: STAIN or CHANNEL for a stain of the image, NAME and UNIT for those
  of another measurement, CLASS for a classification, RADIUS, FWHM and SIZE for numbers.
- Lengths are in µm and areas in µm², by the pixel size of the image in QuPath; densities are per
  mm² of the evaluated area.
- Measurements of nuclei that are cells begin with `Nucleus: `, `Cytoplasm: `, `Membrane: ` or
  `Cell: ` where QuPath has it so: `Nucleus: Area µm^2`, `Nucleus: Hematoxylin: Mean`.
- A number that can't be told (no nucleus in the region, nothing to divide by) is NaN, and a name
  that would be NaN for all is left out.
- Neighbours of a nucleus are those in the same region, the outermost one.
- Sources are in brackets. Shapes, intensities, textures and Delaunay triangulation are defined as
  in QuPath 0.6.

This page is made from the program:
`python -m qpbridge.measurements.definitions > docs/measurements.md`.
"""


@lru_cache(maxsize=4096)
def forms_of(name: str) -> tuple[str, ...]:
    """Tell of which form a name is, and of which the one that is in it, and so on.

    Returns
    -------
    forms
        Of `FORMS`, the outermost first; none if a name, or what is in it, is none of ours.
    """
    for form in FORMS:
        parts = recognize(form, name)
        if parts is None:
            continue
        if "NAME" not in parts:
            return (form,)
        units = UNITS if form == _WITHOUT_UNIT else ()
        for called in (parts["NAME"], *(f"{parts['NAME']} {unit}" for unit in units)):
            within = forms_of(called)
            if within:
                return (form, *within)
    return ()


def find(name: str) -> str | None:
    """Return the definition of a measurement, as it is called on an object; None if it has none."""
    forms = [form for form in forms_of(name) if form not in compartments.DEFINITIONS]
    return FORMS[forms[0]] if forms else None


def reference() -> str:
    """Write the reference of all measurements, in Markdown."""
    return "\n".join([INTRODUCTION, *_chapters()])


def _chapters() -> Iterator[str]:
    systems = {f"Grading: {system.title}": system for system in grading.SYSTEMS.values()}
    for title, definitions in DEFINITIONS.items():
        yield f"## {title}\n\n| name | what it is |\n|---|---|"
        for name, text in definitions.items():
            yield f"| `{name}` | {text.replace('|', chr(92) + '|')} |"
        yield ""
        if title in systems:
            system = systems[title]
            for heading, texts in (
                ("What grading needs beside", system.missing),
                ("What these numbers can't tell", system.limits),
                ("Sources", system.sources),
            ):
                yield f"{heading}:\n"
                yield from (f"- {text}" for text in texts)
                yield ""


if __name__ == "__main__":
    print(reference(), end="")
