"""What each measurement is, in a line: what the reference of measurements is made from.

Capitals in a name stand for something: STAIN for a stain, NAME and UNIT for a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from qpbridge.measure import (
    areas,
    cells,
    grading,
    hotspots,
    moments,
    positivity,
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

DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "Shape": SHAPE,
    "Intensity": {
        **INTENSITY,
        summary.PROBABILITY: "Mean foreground probability that the model gave to the object.",
    },
    "Cells": {**cells.DEFINITIONS, **cells.COMPARTMENTS},
    "Further features of nuclei": {
        name: f"{text.removesuffix('.')}."
        for name, text in {**moments.DEFINITIONS, **texture.DEFINITIONS}.items()
    },
    "Glands and vessels": areas.DEFINITIONS,
    "Nuclei of a region": summary.DEFINITIONS,
    "Hot spots of a region": hotspots.DEFINITIONS,
    "Positivity of a region": positivity.DEFINITIONS,
    **{f"Grading: {system.title}": system.definitions for system in grading.SYSTEMS.values()},
}
"""All definitions, by chapter."""
