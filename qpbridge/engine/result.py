"""From the nuclei found in some regions to what is written: measured, placed, summarized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import shapely

from qpbridge.engine.edit import Existing, RunRecord, find_existing, plan_edit, without_twins
from qpbridge.engine.merge import Found
from qpbridge.engine.regions import Region, assign_regions
from qpbridge.measure.summary import summarize_nuclei
from qpbridge.objects import ObjectKind, ObjectTable, PathClass
from qpbridge.project.model import Edit

NUCLEUS = PathClass(("Nucleus",), (110, 60, 160))
"""The class of nuclei."""


@dataclass(frozen=True, eq=False)
class Result:
    """What a run comes to in one image.

    Parameters
    ----------
    regions
        The regions.
    existing
        What is replaced, and what stays.
    found
        Number of new nuclei.
    summaries
        For each region, the measurements of its annotation.
    """

    regions: tuple[Region, ...]
    existing: Existing
    found: int
    summaries: tuple[dict[str, float], ...]


def plan_nuclei(
    objects: ObjectTable,
    regions: tuple[Region, ...],
    found: Found,
    names: Sequence[str],
    mpp: tuple[float, float],
    record: RunRecord,
) -> tuple[Edit, Result]:
    """Plan how the nuclei that were found go into an image.

    Parameters
    ----------
    objects
        What the image holds.
    regions
        The regions; nuclei whose centroid is in none of them are left out, and so are those that a
        person corrected after an earlier run.
    found
        Nuclei, with measurements called `names`.
    mpp
        µm per pixel (x, y).
    record
        What was run.
    """
    existing = find_existing(objects, regions, record.target)
    kept = objects.shapes.take(existing.changed).geometries
    geometries = found.shapes.geometries
    innermost, inside = assign_regions(shapely.centroid(geometries), regions)
    stay = (innermost >= 0) & without_twins(geometries, kept)
    found, innermost, inside = found.take(stay), innermost[stay], inside[:, stay]
    nuclei = ObjectTable.new(
        ObjectKind.DETECTION,
        found.shapes,
        path_class=NUCLEUS,
        measurement_names=names,
        measurements=found.measurements,
    )
    areas = [region.geometry.area * mpp[0] * mpp[1] for region in regions]
    summaries = tuple(
        summarize_nuclei(names, nuclei.measurements[member], area)
        for member, area in zip(inside, areas, strict=True)
    )
    edit = plan_edit(objects, regions, nuclei, record, summaries, innermost, existing)
    return edit, Result(regions, existing, len(nuclei), summaries)
