"""What the objects of regions add up to: one way, whether they were just found or were there.

A region tells of all that counts in it (`qpbridge.hierarchy.subjects`), whoever made it: what a run
writes on an annotation is what measuring again would.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qpbridge.engine.measuring.shapes import measure_nuclei
from qpbridge.engine.runs import provenance_key
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.subjects import Located, find_subjects, locate
from qpbridge.hierarchy.targets import STRUCTURES
from qpbridge.measurements.names import LINE, LINE_WIDTH
from qpbridge.measurements.quality import SEARCHED
from qpbridge.measurements.regions import summarize, summarize_arrangement
from qpbridge.measurements.structures import measure_again
from qpbridge.objects import IntArray, MeasurementTable, ObjectTable, Shapes, concatenate_shapes

Pair = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Counted:
    """What counts in regions, by target.

    Parameters
    ----------
    located
        The objects, and where they lie.
    measured
        What is known of each of them, by the names that summaries take.
    """

    located: Mapping[str, Located]
    measured: Mapping[str, MeasurementTable]


def locate_all(
    objects: ObjectTable, subjects: Mapping[str, IntArray], regions: Sequence[Region]
) -> dict[str, Located]:
    """Find where the objects that count lie, by target."""
    return {target: locate(target, objects, subjects[target], regions) for target in TARGETS}


def measure_structures(located: Mapping[str, Located], mpp: Pair) -> dict[str, MeasurementTable]:
    """Measure glands and vessels, and how the nuclei lie in them, by target."""
    nuclei = located["nuclei"].points
    return {
        target: measure_again(target, located[target].table, nuclei, mpp) for target in STRUCTURES
    }


def looked_for(objects: ObjectTable, region: Region) -> set[str]:
    """Tell for which targets a region was searched, as is noted on it."""
    noted = objects.metadata.get(region.row, {})
    return {target for target in TARGETS if provenance_key(target) in noted}


def searched_share(objects: ObjectTable, region: Region) -> float:
    """Tell what part of a region was searched, as was noted when it was; 1: all of it."""
    if region.row < 0 or SEARCHED not in objects.measured:
        return 1.0
    share = float(objects.measured[SEARCHED][region.row]) / 100
    return 1.0 if np.isnan(share) else share


def summarize_region(
    number: int, counted: Counted, area: float, searched: Collection[str], mpp: Pair
) -> dict[str, float]:
    """Sum up what counts in one region; a target that nobody looked for there is left out.

    Parameters
    ----------
    number
        Of the region, among those that `counted` is located in.
    counted
        What counts.
    area
        Of the part that was searched, µm^2.
    searched
        The targets that it was searched for.
    mpp
        µm per pixel (x, y).
    """
    summary: dict[str, float] = {}
    for target in TARGETS:
        located = counted.located[target]
        members = located.members[number]
        if len(members) or target in searched:
            inside, points = counted.measured[target].take(members), located.points[members]
            summary |= summarize(target, inside, area)
            summary |= summarize_arrangement(target, inside, points, area, mpp)
    return summary


def summarize_after(
    objects: ObjectTable,
    replaced: IntArray,
    new: ObjectTable,
    target: str,
    regions: Sequence[Region],
    mpp: Pair,
) -> tuple[dict[str, float], ...]:
    """Sum up regions as they are after a run, and tell what they show.

    Parameters
    ----------
    objects, replaced
        What the image holds, and int64 (k,), the rows that go.
    new
        What comes.
    target
        What all regions were searched for.
    regions
        As they were searched.
    mpp
        µm per pixel (x, y).
    """
    after = _with(objects.take(np.setdiff1d(np.arange(len(objects)), replaced)), new)
    located = locate_all(after, find_subjects(after), [region.whole() for region in regions])
    nuclei = measure_nuclei(located["nuclei"].table, mpp)
    counted = Counted(located, {"nuclei": nuclei, **measure_structures(located, mpp)})
    summaries = []
    for number, region in enumerate(regions):
        area = region.whole().area(mpp) * (region.shares.get(SEARCHED, 100.0) / 100)
        searched = {target, *looked_for(objects, region)}
        summary = summarize_region(number, counted, area, searched, mpp)
        summaries.append({**summary, **region.shares})
    return tuple(summaries)


def _with(staying: ObjectTable, new: ObjectTable) -> ObjectTable:
    """Put new objects behind those that stay, with no more than what counting takes."""
    n = len(staying) + len(new)
    lines = [name for name in (LINE, LINE_WIDTH) if name in {*staying.measured, *new.measured}]
    columns = {
        name: np.concatenate(
            [t.measured.get(name, np.full(len(t), np.nan)) for t in (staying, new)]
        )
        for name in lines
    }
    index = np.where(new.class_index < 0, -1, new.class_index + len(staying.classes))
    inner = [t.nuclei or Shapes.empty(len(t)) for t in (staying, new)]
    return ObjectTable(
        kind=np.concatenate([staying.kind, new.kind]),
        shapes=concatenate_shapes([staying.shapes, new.shapes]),
        nuclei=concatenate_shapes(inner),
        ids=np.concatenate([staying.ids, new.ids]),
        classes=(*staying.classes, *new.classes),
        class_index=np.concatenate([staying.class_index, index]).astype(np.int32),
        parent=np.full(n, -1, np.int64),
        plane=np.concatenate([staying.plane, new.plane]),
        measured=MeasurementTable.of(columns) if columns else MeasurementTable.empty(n),
        locked=np.concatenate([staying.locked, new.locked]),
    )
