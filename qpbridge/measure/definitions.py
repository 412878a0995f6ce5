"""What each measurement is, in a line: what the reference of measurements is made from.

``python -m qpbridge.measure.definitions > docs/measurements.md`` writes it. Capitals in a name
stand for something: STAIN for a stain, NAME and UNIT for those of a measurement, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

from qpbridge.measure import (
    areas,
    cells,
    delaunay,
    distances,
    grading,
    hotspots,
    moments,
    positivity,
    spatial,
    summary,
    texture,
)

SHAPE: Mapping[str, str] = {
    "Area µm^2": "Area, holes not counted.",
    "Length µm": "Length of all outlines, those of holes too; of a line, its length.",
    "Circularity": "4 pi A / L² of the outer outline, holes filled: 1 for a disc; none in parts.",
    "Solidity": "Area, holes not counted, over that of the convex hull.",
    "Max diameter µm": "Diameter of the smallest enclosing circle.",
    "Min diameter µm": "Smallest distance of two parallel lines with the shape in between.",
}
"""QuPath's shape features; in px and px^2 where the image is not calibrated."""

INTENSITY: Mapping[str, str] = {
    "STAIN: Mean": "Mean of a stain's optical density over the object's pixels.",
    "STAIN: Median": "Median of the same.",
    "STAIN: Min": "Smallest of the same.",
    "STAIN: Max": "Largest of the same.",
    "STAIN: Std.Dev.": "Standard deviation of a sample (n - 1) of the same; 0 for one pixel.",
    "STAIN: Variance": "Its square.",
}
"""QuPath's intensities, after colour deconvolution with the image's own stains."""

_OF_REGIONS = (spatial.REGION_ENTROPY,)
"""Measurements of regions that are defined where those of nuclei are."""

DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "Shape": {**SHAPE, **moments.DEFINITIONS},
    "Intensity and texture": {
        **INTENSITY,
        summary.PROBABILITY: "Share of objects like it that are right, by the model's validation "
        "images; of models that were not calibrated, their mean foreground probability.",
        **texture.DEFINITIONS,
    },
    "Cells": {**cells.DEFINITIONS, **cells.COMPARTMENTS},
    "Around a nucleus": {
        **delaunay.DEFINITIONS,
        **{k: v for k, v in spatial.DEFINITIONS.items() if k not in _OF_REGIONS},
        **distances.DEFINITIONS,
    },
    "Glands and vessels, and those of a region": areas.DEFINITIONS,
    "Nuclei of a region": {
        **summary.DEFINITIONS,
        **{k: spatial.DEFINITIONS[k] for k in _OF_REGIONS},
    },
    "Hot spots of a region": hotspots.DEFINITIONS,
    "Positivity of a region": positivity.DEFINITIONS,
    **{f"Grading: {system.title}": system.definitions for system in grading.SYSTEMS.values()},
}
"""All definitions, by chapter."""

_PLACEHOLDERS = ("STAIN", "CHANNEL", "CLASS", "RADIUS", "FWHM", "SIZE")
_UNITS = ("", " µm", " µm^2", " °")
_COMPARTMENT = re.compile("|".join(name.removesuffix("NAME") for name in cells.COMPARTMENTS))

INTRODUCTION = f"""# Measurements

What the numbers are that `qpbridge segment` and `qpbridge measure` write, by the names that they
have in QuPath. {grading.DISCLAIMER}

- Capitals stand for something: STAIN or CHANNEL for a stain of the image, NAME and UNIT for those
  of another measurement, CLASS for a classification, RADIUS, FWHM and SIZE for numbers.
- Lengths are in µm and areas in µm², by the pixel size of the image in QuPath; densities are per
  mm² of the evaluated area.
- Measurements of nuclei that are cells begin with `Nucleus: `, `Cytoplasm: `, `Membrane: ` or
  `Cell: ` where QuPath has it so: `Nucleus: Area µm^2`, `Nucleus: Hematoxylin: Mean`.
- What is said of `Glands: ...` holds for `Vessels: ...`.
- A number that can't be told (no nucleus in the region, nothing to divide by) is NaN, and a name
  that would be NaN for all is left out.
- Neighbours of a nucleus are those in the same region, the outermost one.
- Sources are in brackets. Shapes, intensities, textures and Delaunay triangulation are defined as
  in QuPath 0.6.

This page is made from the program: `python -m qpbridge.measure.definitions > docs/measurements.md`.
"""


def find(name: str) -> str | None:
    """Return the definition of a measurement, as it is called on an object; None if it has none."""
    name = re.sub(r"^Vessels: (?!Hotspot|Centre|Width)", "Glands: ", name)
    for pattern, needs, text in _patterns():
        match = pattern.fullmatch(name)
        if match is None:
            continue
        unit = match.groupdict().get("UNIT")
        if not needs or any(find(match["NAME"] + u) for u in ([unit] if unit else _UNITS)):
            return text
    shorter = _COMPARTMENT.sub("", name, count=1) if _COMPARTMENT.match(name) else None
    return None if shorter is None else find(shorter)


@cache
def _patterns() -> list[tuple[re.Pattern[str], bool, str]]:
    """Patterns of names, whether NAME in it must be defined too, and definitions."""
    out = []
    for chapter in DEFINITIONS.values():
        for name, text in chapter.items():
            if _COMPARTMENT.match(name):
                continue  # a word in front, and not a measurement
            pattern = re.escape(name).replace(r"\ UNIT", r"(?P<UNIT> \S+)?")
            for word in _PLACEHOLDERS:
                pattern = re.sub(rf"\b{word}\b", "[^:]+", pattern)
            pattern = pattern.replace(r"ROI:\ ", r"(?:(?:ROI|Nucleus): )?")
            pattern = re.sub(r"\bNAME\b", "(?P<NAME>.+)", pattern)
            out.append((re.compile(pattern), "NAME" in name, text))
    return out


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
