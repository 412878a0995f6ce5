"""What a run changes in a project, planned as a value: what goes, what comes, what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.engine.added import carried_over
from qpbridge.engine.memory import Memory, Places, within
from qpbridge.engine.runs import RunRecord, provenance_key
from qpbridge.hierarchy.provenance import Origin, made_by_us, mint_ids, origins
from qpbridge.hierarchy.regions import Region, assign_regions
from qpbridge.ids import are_among
from qpbridge.measurements import quality
from qpbridge.measurements.outdated import outdated
from qpbridge.objects import GeometryArray, ObjectTable, Shapes
from qpbridge.project.interface import AnnotationUpdate, Edit


@dataclass(frozen=True, eq=False)
class Existing:
    """What is in an image already, as far as a run for one target is concerned.

    Parameters
    ----------
    replaced
        int64 (k,), rows of objects of ours that make room.
    changed
        int64 (m,), rows of objects of ours that a person changed since: they stay.
    settled
        Where no object is put again: a person deleted or moved what was found there.
    deleted
        How many of these a person deleted.
    """

    replaced: npt.NDArray[np.int64]
    changed: npt.NDArray[np.int64]
    settled: Places = field(default_factory=Places.none)
    deleted: int = 0


def find_existing(
    objects: ObjectTable,
    regions: Sequence[Region] | None,
    target: str,
    memory: Memory | None = None,
) -> Existing:
    """Find qpbridge's own objects of a target in some regions.

    An object is in a region if its centroid is (of a cell, that of its nucleus), or if it lies
    below the region's annotation (which may have been reshaped since). ``regions=None`` is
    everywhere. What a person deleted or moved is known as far as it is in `memory`.
    """
    rows = np.flatnonzero(made_by_us(objects.ids, target))
    if regions is not None and len(rows):
        centroids = objects.take(rows).inner_shapes.centroids()
        innermost, _ = assign_regions(shapely.points(centroids), regions)
        below = np.isin(objects.parent[rows], [r.row for r in regions if r.row >= 0])
        rows = rows[(innermost >= 0) | below]
    ours = origins(objects.take(rows), target) == Origin.OURS
    existing = Existing(rows[ours], rows[~ours])
    if memory is None or regions is None:
        return existing
    gone = memory.deleted(objects, target)
    here = are_among(memory.places.ids, objects.ids)
    here &= ~are_among(memory.places.ids, objects.ids[existing.replaced])
    places, gone = memory.places.take(gone | here), gone[gone | here]
    inside = within(places, regions) >= 0
    return replace(existing, settled=places.take(inside), deleted=int((gone & inside).sum()))


def without_twins(new: Shapes, kept: GeometryArray) -> npt.NDArray[np.bool_]:
    """Tell which new outlines are not there already in a form that a person corrected.

    Parameters
    ----------
    new
        Polygons, n of them; geometries are made of those near a kept one only.
    kept
        Shapely polygons (m,).

    Returns
    -------
    free
        bool (n,), False where a kept outline and a new one hold each other's centroid, one way
        round at least.
    """
    free = np.ones(len(new), bool)
    if not len(new) or not len(kept):
        return free
    low, high = new.bounds()
    boxes = shapely.box(*low.T, *high.T)
    near = np.unique(shapely.STRtree(boxes).query(kept, predicate="intersects")[1])
    some = new.take(near).geometries
    for holders, held, axis in ((some, kept, 1), (kept, some, 0)):
        pairs = shapely.STRtree(holders).query(shapely.centroid(held), predicate="intersects")
        free[near[pairs[axis]]] = False
    return free


def plan_edit(
    objects: ObjectTable,
    regions: Sequence[Region],
    found: ObjectTable,
    record: RunRecord,
    summaries: Sequence[Mapping[str, float]],
    below: npt.NDArray[np.uint8],
    existing: Existing,
) -> Edit:
    """Plan the change to one image.

    Parameters
    ----------
    objects
        What the image holds now.
    regions
        The regions that were segmented.
    found
        New objects, each in a region.
    record
        What was run.
    summaries
        For each region, measurements of its annotation.
    below
        uint8 (n, 16), ids of the annotations that the new objects go below.
    existing
        What is replaced, and what stays.
    """
    metadata = {provenance_key(record.target): record.summary()}
    staying = np.delete(objects.ids, existing.replaced, axis=0)
    new = replace(found, ids=mint_ids(found, record.target, staying))
    known = set(objects.measurement_names)
    updates = {region.id: AnnotationUpdate() for region in regions if region.row >= 0}
    for key, update in (updates | updates_of(regions, summaries)).items():
        told = {*update.measurements, *update.forget}
        stale = [*outdated(known, record.target, told), *(known & set(quality.DEFINITIONS) - told)]
        updates[key] = replace(update, metadata=metadata, forget=[*update.forget, *stale])
    return Edit(
        remove=objects.ids[existing.replaced],
        add=carried_over(objects, existing.replaced, new),
        add_below=below,
        update=updates,
        steps=(record.step(),),
    )


def updates_of(
    regions: Sequence[Region], summaries: Sequence[Mapping[str, float]]
) -> dict[bytes, AnnotationUpdate]:
    """Write summaries on annotations, but for what could not be computed in any region."""
    known = {name for s in summaries for name, value in s.items() if not np.isnan(value)}
    return {
        region.id: AnnotationUpdate(
            measurements={name: v for name, v in summary.items() if name in known},
            forget=[name for name in summary if name not in known],
        )
        for region, summary in zip(regions, summaries, strict=True)
        if region.row >= 0 and summary
    }
