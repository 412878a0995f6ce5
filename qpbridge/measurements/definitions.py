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
- A cell belongs to a region by the centroid of its outline, a nucleus by its own.
- Sources are in brackets. Shapes, intensities, textures and Delaunay triangulation are defined as
  in QuPath 0.6; for where it is otherwise see [the end](#where-numbers-differ-from-qupaths).

This page is made from the program:
`python -m qpbridge.measurements.definitions > docs/measurements.md`.
"""


DIFFERENCES = (
    (
        "Smoothed features, pixels that are not square",
        "The width is turned into pixels by the mean of their width and height, and distances are "
        "in pixels, along both axes alike.",
        "Distances are in µm (and then, as there, rounded to whole mean pixels): a circle on the "
        "slide, not in the file. On square pixels the two agree.",
    ),
    (
        "Smoothed features of cells",
        "From the centroids of whole cells, among the objects below each annotation.",
        "From the centroids of nuclei, among those in the same outermost region.",
    ),
    (
        "Delaunay triangulation, pixels that are not square",
        "Triangulated in pixels; the limit is divided by their mean size and compared with "
        "distances in pixels. Only then lengths and areas are turned into µm.",
        "All in µm: who is a neighbour does not depend on how the slide was scanned. On square "
        "pixels the two agree.",
    ),
    (
        "Delaunay triangulation, the convex hull",
        "Triangulated by OpenCV within a large triangle of its own, which loses an edge of the "
        "hull here and there: of 300 nuclei two have another number of neighbours.",
        "The hull is whole, as the definition of the triangulation has it: a nucleus at the edge "
        "of a region may have one neighbour more.",
    ),
    (
        "Haralick features at another resolution than the image's",
        "Each object's picture is resampled from its own upper left corner.",
        "All objects are measured on one grid, so pixels are shifted by less than one against "
        "QuPath's, which changes the features of a nucleus by some percent, to either side. At the "
        "image's own resolution the pixels are the same.",
    ),
    (
        "Intensities in rectangles and ellipses",
        "Their masks are rounded to whole pixels first.",
        "By the centres of pixels, as in polygons.",
    ),
    (
        "Length of an ellipse",
        "In pixels, even where the image is calibrated (0.6.0).",
        "In µm.",
    ),
    (
        "Signed distances, overlapping annotations of a class",
        "Crossings are counted, so that the overlap is outside.",
        "It is inside.",
    ),
)
"""Where numbers differ from QuPath's: of what, how they are there, and here."""


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
    return "\n".join([INTRODUCTION, *_chapters(), *_differences()])


def _differences() -> Iterator[str]:
    yield "## Where numbers differ from QuPath's\n"
    yield "What is known; all else under QuPath's names is defined as there.\n"
    yield "| of what | in QuPath | here |\n|---|---|---|"
    yield from (f"| {' | '.join(row)} |" for row in DIFFERENCES)
    yield ""


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
