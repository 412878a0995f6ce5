"""What measuring again comes to in one image: which numbers go on which objects, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from qpbridge.engine.measuring.grading import (
    Grading,
    find_grading,
    grade_region,
    needed,
)
from qpbridge.engine.measuring.nuclei import (
    measure_distances,
    measure_shapes,
    measure_surroundings,
    names_on,
)
from qpbridge.engine.measuring.request import MeasuredRegion, MeasureReport, MeasureRequest
from qpbridge.engine.runs import provenance_key
from qpbridge.hierarchy.drawn import drawn_annotations, present_cores
from qpbridge.hierarchy.provenance import TARGETS, made_by_us
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.hierarchy.subjects import Located, find_subjects, locate
from qpbridge.hierarchy.targets import STRUCTURES
from qpbridge.measurements.distances import by_class_name
from qpbridge.measurements.grading import Aid
from qpbridge.measurements.morphometry import summarize_morphometry
from qpbridge.measurements.quality import SEARCHED
from qpbridge.measurements.regions import summarize, summarize_arrangement
from qpbridge.measurements.spatial import NEAREST
from qpbridge.measurements.stored import on_pixels, stored_of_nuclei
from qpbridge.measurements.structures import measure_again
from qpbridge.objects import FloatArray, IntArray, MeasurementTable, ObjectKind, ObjectTable
from qpbridge.project.interface import AnnotationUpdate, Edit, MeasurementUpdate

Pair = tuple[float, float]

TWINS, MANY_TWINS = 2.0, 0.1
"""Nuclei whose centroids are that near, µm, are one that was found twice; worth a note from this
share on."""


def plan_measurements(
    objects: ObjectTable,
    size: tuple[int, int],
    mpp: Pair,
    request: MeasureRequest,
    intensities: Callable[[ObjectTable, FloatArray], MeasurementTable] | None = None,
) -> tuple[Edit, MeasureReport]:
    """Measure what an image holds, and plan how it is written.

    Parameters
    ----------
    objects
        All objects of the image.
    size
        Of the image, full-resolution pixels.
    mpp
        µm per pixel (x, y).
    request
        What to measure.
    intensities
        Measures the pixels of nuclei, given with their centroids; None: they stay as they are.

    Returns
    -------
    edit
        Measurements of objects and of regions.
    report
        The same for people.
    """
    subjects = find_subjects(objects)
    regions = _regions(objects, subjects, size, request.selection)
    located = {t: locate(t, objects, subjects[t], regions) for t in TARGETS}
    nuclei = located["nuclei"]
    measured = {
        target: measure_again(target, located[target].table, nuclei.points, mpp)
        for target in STRUCTURES
    }
    own = measure_shapes(nuclei.table, mpp)
    if intensities is not None:
        own |= intensities(nuclei.table, nuclei.points)
    measured["nuclei"] = on_pixels(stored_of_nuclei(nuclei.table.measured)) | own
    around = _around(objects, subjects, nuclei, measured["nuclei"], mpp, request)

    grading, notes = find_grading(objects, subjects["nuclei"], mpp, request)
    summed = [
        _sum_up(objects, i, region, located, measured, mpp, request, grading)
        for i, region in enumerate(regions)
    ]
    own_and_around = own | around
    updates = _of_regions(regions, [region.measurements for region in summed])
    measure = [
        _update(
            nuclei.table.ids,
            own_and_around,
            np.flatnonzero(nuclei.table.kind == kind),
            names_on(kind, measured["nuclei"], request.surroundings),
        )
        for kind in (ObjectKind.DETECTION, ObjectKind.CELL)
    ]
    measure += [_of_structures(located[t].table.ids, measured[t], updates) for t in STRUCTURES]
    others = {t: ~made_by_us(located[t].table.ids, t) for t in TARGETS}
    return Edit(update=updates, measure=[m for m in measure if len(m.ids)]), MeasureReport(
        image="",
        status="written",
        regions=tuple(summed),
        counts={t: len(located[t].rows) for t in TARGETS},
        others={t: int(others[t].sum()) for t in TARGETS},
        notes=(*notes, *_twins(around)),
    )


def _twins(around: MeasurementTable) -> Iterator[str]:
    """Say so if many nuclei were found twice."""
    nearest = around[NEAREST]
    near = int((nearest < TWINS).sum())
    if near > MANY_TWINS * len(nearest):
        yield (
            f"{near:,} of {len(nearest):,} nuclei lie within {TWINS:g} µm of another: where two "
            "programs found the same nuclei, each counts twice; remove those of one"
        )


def _regions(
    objects: ObjectTable,
    subjects: Mapping[str, IntArray],
    size: tuple[int, int],
    selection: Selection,
) -> tuple[Region, ...]:
    """Select regions; a gland or vessel that a person drew is none, unless it is asked for."""
    regions = select_regions(objects, selection, *size)
    if selection.names_some:
        return regions
    structures = np.concatenate([subjects[target] for target in STRUCTURES])
    rest = tuple(r for r in regions if r.row not in structures)
    if not rest and len(present_cores(objects)):
        return select_regions(objects, Selection(tma=True), *size)
    return rest or regions


def _around(
    objects: ObjectTable,
    subjects: Mapping[str, IntArray],
    nuclei: Located,
    given: MeasurementTable,
    mpp: Pair,
    request: MeasureRequest,
) -> MeasurementTable:
    """Measure what is around nuclei."""
    points = nuclei.points * mpp
    found = measure_surroundings(points, nuclei.outermost, given, mpp, request.surroundings)
    if request.surroundings.distances:
        structures = {target: objects.take(subjects[target]).shapes for target in STRUCTURES}
        some = drawn_annotations(objects)
        some = np.setdiff1d(some, np.concatenate([subjects[target] for target in STRUCTURES]))
        classes = by_class_name(
            objects.shapes.take(some).geometries, objects.classes, objects.class_index[some]
        )
        found |= measure_distances(points, classes, structures, mpp)
    return found


def _sum_up(
    objects: ObjectTable,
    index: int,
    region: Region,
    located: Mapping[str, Located],
    measured: Mapping[str, MeasurementTable],
    mpp: Pair,
    request: MeasureRequest,
    grading: Grading,
) -> MeasuredRegion:
    """Sum up one region; a target that nobody looked for there is left out."""
    area = region.area(mpp) * _searched(objects, region)
    metadata = objects.metadata.get(region.row, {})
    summary: dict[str, float] = {}
    details: dict[str, float] = {}
    for target in TARGETS:
        members = located[target].members[index]
        if not len(members) and provenance_key(target) not in metadata:
            continue
        inside = measured[target].take(members)
        points = located[target].points[members]
        summary |= summarize(target, inside, area)
        summary |= summarize_arrangement(target, inside, points, area, mpp)
        if target == "nuclei" and (request.morphometry or request.grading):
            details = summarize_morphometry(inside, grading.reference_area)
    aids: dict[str, Aid] = {}
    if summary and (request.reference is None or str(region.path_class) != request.reference):
        aids = grade_region(region, {**details, **summary}, grading, mpp)
    wanted = set(details) if request.morphometry else needed(request.grading)
    summary |= {name: value for name, value in details.items() if name in wanted}
    for aid in aids.values():
        summary |= aid.measurements
    path_class = None if region.path_class is None else str(region.path_class)
    keys = {target: provenance_key(target) for target in TARGETS}
    found_by = {target: metadata[key] for target, key in keys.items() if key in metadata}
    return MeasuredRegion(region.label, path_class, found_by, summary, aids)


def _searched(objects: ObjectTable, region: Region) -> float:
    """Tell what part of a region was searched, as it was noted when it was; 1: all of it."""
    if region.row < 0 or SEARCHED not in objects.measured:
        return 1.0
    share = float(objects.measured[SEARCHED][region.row]) / 100
    return 1.0 if np.isnan(share) else share


def _of_regions(
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


def _of_structures(
    ids: npt.NDArray[np.uint8], measured: MeasurementTable, updates: dict[bytes, AnnotationUpdate]
) -> MeasurementUpdate:
    """Write measurements on glands or vessels; of those that are regions too, into `updates`."""
    both = np.array([uid.tobytes() in updates for uid in ids], bool)
    for row in np.flatnonzero(both).tolist():
        key = ids[row].tobytes()
        own = dict(zip(measured, measured.matrix[row].tolist(), strict=True))
        updates[key] = replace(updates[key], measurements={**own, **updates[key].measurements})
    return _update(ids, measured, np.flatnonzero(~both), {})


def _update(
    ids: npt.NDArray[np.uint8],
    measured: MeasurementTable,
    rows: IntArray,
    names: Mapping[str, str | None],
) -> MeasurementUpdate:
    """Write measurements of some objects, but for what could not be computed of any.

    `names` has what they are called on these objects; None: they don't have it.
    """
    called = {name: given for name in measured if (given := names.get(name, name)) is not None}
    some = measured.take(rows)
    known = {name for name in called if np.isfinite(some[name]).any()}
    return MeasurementUpdate(
        ids[rows],
        some.select([name for name in called if name in known]).renamed(called.__getitem__),
        [given for name, given in called.items() if name not in known] if len(rows) else [],
    )
