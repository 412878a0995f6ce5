"""What a run comes to in one image: what is written, and what its regions are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.engine.edit import Existing, find_existing, plan_edit, without_twins
from qpbridge.engine.measuring.summaries import summarize_after
from qpbridge.engine.runs import RunRecord
from qpbridge.hierarchy.regions import Region, assign_regions
from qpbridge.hierarchy.targets import ids_below
from qpbridge.objects import ObjectTable, Shapes
from qpbridge.outlines import valid_areas, without_holes
from qpbridge.prediction.finders import Finder
from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.project.interface import Edit


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
        Number of new objects.
    summaries
        For each region, the measurements of its annotation.
    lost
        What is taken away that nobody asked for, in sentences.
    lost_measurements
        Number of objects that go for good, with measurements that somebody added.
    """

    regions: tuple[Region, ...]
    existing: Existing
    found: int
    summaries: tuple[dict[str, float], ...]
    lost: tuple[str, ...] = ()
    lost_measurements: int = 0


def plan_result(
    finder: Finder,
    objects: ObjectTable,
    regions: tuple[Region, ...],
    found: TileObjects,
    record: RunRecord,
    existing: Existing | None = None,
) -> tuple[Edit, Result]:
    """Plan how what was found goes into regions of an image.

    Parameters
    ----------
    finder
        What found it.
    objects
        What the image holds.
    regions
        The regions.
    found
        As the finder's `merge` gave it.
    record
        What was run.
    existing
        Objects that make room, or stay; None: those in the regions.
    """
    target = finder.bundle.target
    existing = existing or find_existing(objects, regions, target)
    kept = objects.take(existing.changed).inner_shapes

    def is_free(new: Shapes) -> npt.NDArray[np.bool_]:
        one, other = new, kept.geometries
        if target != "nuclei":
            one = Shapes.from_geometries(without_holes(new.geometries))
            other = without_holes(valid_areas(other))
        return without_twins(one, other) & ~existing.settled.taken(new)

    new, region = finder.place(found, regions, kept, is_free)
    if target == "nuclei":  # below which region a cell goes says its own centroid, as in QuPath
        centroids = shapely.points(new.shapes.centroids())
        innermost, _ = assign_regions(centroids, regions)
        below = ids_below(objects, regions, np.where(innermost < 0, region, innermost), centroids)
    else:
        below = np.array([np.frombuffer(r.id, np.uint8) for r in regions])[region]
    summaries = summarize_after(objects, existing.replaced, new, target, regions, finder.mpp)
    edit = plan_edit(objects, regions, new, record, summaries, below, existing)
    return edit, Result(regions, existing, len(new), summaries)
