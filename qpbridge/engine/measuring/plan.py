"""What measuring again comes to in one image: which numbers go on which objects, as a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from qpbridge.engine.edit import updates_of
from qpbridge.engine.measuring.grading import (
    Grading,
    find_grading,
    grade_region,
    needed,
)
from qpbridge.engine.measuring.nuclei import (
    measure_distances,
    measure_surroundings,
    names_on,
)
from qpbridge.engine.measuring.request import MeasuredRegion, MeasureReport, MeasureRequest
from qpbridge.engine.measuring.shapes import measure_shapes
from qpbridge.engine.measuring.summaries import (
    Counted,
    locate_all,
    looked_for,
    measure_structures,
    searched_share,
    summarize_region,
)
from qpbridge.engine.runs import provenance_key
from qpbridge.errors import SelectionError
from qpbridge.hierarchy.drawn import drawn_annotations, present_cores
from qpbridge.hierarchy.provenance import TARGETS, made_by_us
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.hierarchy.subjects import Located, find_subjects, locate
from qpbridge.hierarchy.targets import STRUCTURES
from qpbridge.measurements.distances import by_class_name
from qpbridge.measurements.grading import Aid
from qpbridge.measurements.morphometry import summarize_morphometry
from qpbridge.measurements.region_names import COUNT, of_region
from qpbridge.measurements.spatial import NEAREST
from qpbridge.measurements.stored import on_pixels, stored_of_nuclei
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
    every = find_subjects(objects)
    regions = _regions(objects, every, size, request.selection)
    subjects = _of_classes(objects, every, request.classes)
    located = locate_all(objects, subjects, regions)
    left_out = np.setdiff1d(every["nuclei"], subjects["nuclei"])
    nuclei, measured = located["nuclei"], measure_structures(located, mpp)
    own = measure_shapes(nuclei.table, mpp)
    if intensities is not None:
        own |= intensities(nuclei.table, nuclei.points)
    measured["nuclei"] = on_pixels(stored_of_nuclei(nuclei.table.measured)) | own
    around = _around(objects, subjects, nuclei, measured["nuclei"], mpp, request)

    grading, notes = find_grading(objects, subjects["nuclei"], mpp, request)
    summed = [
        _sum_up(objects, i, region, Counted(located, measured), mpp, request, grading)
        for i, region in enumerate(regions)
    ]
    own_and_around = own | around
    updates = updates_of(regions, [region.measurements for region in summed])
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
        left_out=len(locate("nuclei", objects, left_out, regions).rows),
        notes=(*notes, *_twins(around)),
    )


def _of_classes(
    objects: ObjectTable, every: Mapping[str, IntArray], classes: Sequence[str]
) -> Mapping[str, IntArray]:
    """Leave out nuclei of other classes, if some are asked for; there must be one, or no nucleus.

    Raises
    ------
    SelectionError
        If there are nuclei, and none is of these classes.
    """
    if not classes or not len(every["nuclei"]):
        return every
    chosen = find_subjects(objects, classes)
    if not len(chosen["nuclei"]):
        index = np.unique(objects.class_index[every["nuclei"]])
        there = ", ".join(repr(str(objects.classes[i])) for i in index if i >= 0) or "none"
        wanted = " or ".join(map(repr, classes))
        raise SelectionError(f"no detections or cells of class {wanted}; there are: {there}")
    return chosen


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
    counted: Counted,
    mpp: Pair,
    request: MeasureRequest,
    grading: Grading,
) -> MeasuredRegion:
    """Sum up one region, with all that is asked for."""
    area = region.area(mpp) * searched_share(objects, region)
    summary = summarize_region(index, counted, area, looked_for(objects, region), mpp)
    members = counted.located["nuclei"].members[index]
    details: dict[str, float] = {}
    if of_region("nuclei", COUNT) in summary and (request.morphometry or request.grading):
        inside = counted.measured["nuclei"].take(members)
        details = summarize_morphometry(inside, grading.reference_area)
    aids: dict[str, Aid] = {}
    if summary and (request.reference is None or str(region.path_class) != request.reference):
        aids = grade_region(region, {**details, **summary}, grading, mpp)
    wanted = set(details) if request.morphometry else needed(request.grading)
    summary |= {name: value for name, value in details.items() if name in wanted}
    for aid in aids.values():
        summary |= aid.measurements
    path_class = None if region.path_class is None else str(region.path_class)
    metadata = objects.metadata.get(region.row, {})
    keys = {target: provenance_key(target) for target in TARGETS}
    found_by = {target: metadata[key] for target, key in keys.items() if key in metadata}
    return MeasuredRegion(region.label, path_class, found_by, summary, aids)


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
