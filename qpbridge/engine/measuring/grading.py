"""What grading aids rest on in an image, and what they tell of its regions; research only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from qpbridge.engine.measuring.request import MeasureRequest
from qpbridge.hierarchy.drawn import drawn_annotations
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.subjects import hollow, locate
from qpbridge.measurements.grading import SYSTEMS, TUMOR_AREA, Aid, grade
from qpbridge.measurements.grading.prostate import PATTERNS, pattern_area
from qpbridge.objects import GeometryArray, IntArray, ObjectTable
from qpbridge.outlines import ENCLOSING, areas_um2, valid_areas


@dataclass(frozen=True, eq=False)
class Grading:
    """Which grading aids are computed, and what they rest on beside the objects.

    Parameters
    ----------
    systems
        Names of `qpbridge.measurements.grading.SYSTEMS`.
    reference_area
        Mean area of normal nuclei, µm^2; NaN: not known.
    epithelium
        Areas of the tumour's epithelium, full-resolution pixels.
    patterns
        Areas that a person annotated as Gleason patterns.
    """

    systems: Sequence[str] = ()
    reference_area: float = math.nan
    epithelium: GeometryArray = field(default_factory=lambda: np.zeros(0, object))
    patterns: Mapping[int, GeometryArray] = field(default_factory=dict)


def find_grading(
    objects: ObjectTable, nuclei: IntArray, mpp: tuple[float, float], request: MeasureRequest
) -> tuple[Grading, tuple[str, ...]]:
    """Find what grading rests on beside the objects of a region, and what of it is not there."""
    notes, reference = [], float("nan")
    if request.reference is not None:
        union = shapely.union_all(_areas(objects, request.reference))
        region = Region(-1, bytes(16), request.reference, None, union)
        table = locate("nuclei", objects, nuclei, [region]).table
        area = areas_um2(table.inner_shapes.geometries[~hollow(table)], mpp)
        if len(area):
            reference = float(area.mean())
        else:
            notes.append(f"no nuclei in annotations of class {request.reference!r}")
    epithelium = np.zeros(0, object)
    if request.epithelium is not None:
        epithelium = _areas(objects, request.epithelium)
        if not len(epithelium):
            notes.append(f"no annotations of class {request.epithelium!r}")
    wanted = PATTERNS if "gleason" in request.grading else ()
    patterns = {p: _areas(objects, f"Gleason {p}") for p in wanted}
    return Grading(request.grading, reference, epithelium, patterns), tuple(notes)


def grade_region(
    region: Region, summary: Mapping[str, float], grading: Grading, mpp: tuple[float, float]
) -> dict[str, Aid]:
    """Compute what can be told toward grades of a region, by the names of the systems.

    Parameters
    ----------
    region
        The region.
    summary
        All that is known of it.
    grading
        What to compute.
    mpp
        µm per pixel (x, y).
    """
    drawn = {TUMOR_AREA: grading.epithelium}
    drawn |= {pattern_area(pattern): found for pattern, found in grading.patterns.items()}
    known = dict(summary)
    for name, geometries in drawn.items():
        shared = shapely.intersection(region.geometry, shapely.union_all(geometries))
        area = float(areas_um2(shared, mpp))
        if area > 0:
            known[name] = area
    return {name: grade(name, known, grading.reference_area) for name in grading.systems}


def needed(systems: Sequence[str]) -> set[str]:
    """Names of the measurements of a region that grading aids rest on."""
    return {name for system in systems for name in SYSTEMS[system].needs}


def _areas(objects: ObjectTable, path_class: str) -> GeometryArray:
    """Find the areas of a class that a person drew."""
    wanted = objects.of_class(lambda c: c.is_called(path_class))
    wanted &= np.isin(objects.shapes.roi, ENCLOSING)
    rows = drawn_annotations(objects)
    return valid_areas(objects.shapes.take(rows[wanted[rows]]).geometries)
