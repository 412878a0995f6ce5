"""What a row of a table can be: an object, a region (drawn, or a TMA core), or an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.errors import SelectionError
from qpbridge.hierarchy.drawn import drawn_annotations, missing_cores, present_cores
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.hierarchy.subjects import find_subjects, locate
from qpbridge.measurements.names import AREA, LENGTH
from qpbridge.measurements.region_names import COUNT, EVALUATED_AREA, of_region
from qpbridge.measurements.stored import stored_of_nuclei
from qpbridge.objects import IntArray, MeasurementTable, ObjectTable
from qpbridge.project.interface import ImageEntry
from qpbridge.tables.column_types import Column, Columns, number, texts
from qpbridge.tables.columns import IMAGE, ROOT_NAME, object_columns
from qpbridge.tables.scores import class_scores, is_detection

_ANY_SIZE = 2**31
"""Pixels, where a project doesn't say how large an image is."""


def object_rows(entry: ImageEntry, table: ObjectTable, of_class: Sequence[str] = ()) -> Columns:
    """Make a row for each object of an image, or for each of some classes."""
    rows = np.flatnonzero(_of_class(table, of_class)) if of_class else None
    return object_columns(table, entry.name, entry.server.mpp, rows)


def region_rows(entry: ImageEntry, table: ObjectTable, of_class: Sequence[str] = ()) -> Columns:
    """Make a row for each annotation that qpbridge did not make, and for each TMA core.

    Those that are marked as missing are among these, as in QuPath.
    """
    rows = np.union1d(_regions(table), missing_cores(table))
    if of_class:
        rows = rows[_of_class(table, of_class)[rows]]
    return object_columns(table, entry.name, entry.server.mpp, rows)


def _of_class(table: ObjectTable, names: Sequence[str]) -> npt.NDArray[np.bool_]:
    return table.of_class(lambda path_class: path_class.is_of(*names))


def image_rows(entry: ImageEntry, table: ObjectTable, of_class: Sequence[str] = ()) -> Columns:
    """Make the row of an image: QuPath's counts, and what is in all searched regions together.

    The sums are those that qpbridge writes on a region (`qpbridge.measurements.regions`),
    taken again over the union of the regions that it searched: what lies in nested regions counts
    once. Objects that a person added, changed or deleted since count as they are now.
    """
    detections = table.class_index[is_detection(table)]
    columns = {
        IMAGE: _text(entry.name),
        "Object type": _text(ROOT_NAME),
        "Name": Column("text", lambda: texts(np.array([-1]), [])),
    }
    counts = np.bincount(
        np.where(detections < 0, len(table.classes), detections), minlength=len(table.classes) + 1
    )[None]
    for name, score in class_scores(table).items():
        columns[name] = number(score.kind, score.compute(counts)[0])
    drawn = _regions(table)
    columns["Num regions"] = number("int", len(drawn))
    size = entry.server.width or _ANY_SIZE, entry.server.height or _ANY_SIZE
    for name, value in _sums(table, drawn, size, entry.server.mpp):
        columns[name] = number("float", value)
    return columns


def _regions(table: ObjectTable) -> IntArray:
    """Find what a person drew, and TMA cores that are there, int64 (n,), ascending."""
    return np.union1d(drawn_annotations(table, every_plane=True), present_cores(table))


ROWS: dict[str, Callable[..., Columns]] = {
    "objects": object_rows,
    "regions": region_rows,
    "images": image_rows,
}
"""By the name that the command line has for them."""


def _sums(
    table: ObjectTable,
    drawn: IntArray,
    size: tuple[int, int],
    mpp: tuple[float, float] | None,
) -> Iterator[tuple[str, float]]:
    """Sum up what was found for each target, as the regions do, where any was searched for it."""
    subjects: Mapping[str, IntArray] | None = None
    for target in TARGETS:
        regions, evaluated = _searched(table, target, drawn, *size)
        if not regions:
            continue
        # which takes time to import
        from qpbridge.measurements.regions import summarize, summarize_arrangement

        subjects = find_subjects(table) if subjects is None else subjects
        found = locate(target, table, subjects[target], regions)
        unknown = np.full(len(found.rows), np.nan)
        measured = MeasurementTable.of({AREA: unknown, LENGTH: unknown})
        measured |= stored_of_nuclei(found.table.measured)
        sums = summarize(target, measured, evaluated)
        sums |= summarize_arrangement(target, measured, found.points, evaluated, mpp)
        yield from ((name, value) for name, value in sums.items() if name in table.measured)


def _searched(
    table: ObjectTable, target: str, drawn: IntArray, width: int, height: int
) -> tuple[tuple[Region, ...], float]:
    """Find the regions that were searched for a target, and the area of their union in µm^2."""
    count = of_region(target, COUNT)
    if count not in table.measured or EVALUATED_AREA not in table.measured:
        return (), 0.0
    rows = drawn[np.flatnonzero(~np.isnan(table.measurement(count)[drawn]))]
    ids = tuple(str(table.uuid(int(row))) for row in rows)
    try:
        regions = select_regions(table, Selection(selected=ids), width, height) if ids else ()
    except SelectionError:  # what was searched is out of the image now
        return (), 0.0
    measured = table.measurement(EVALUATED_AREA)[[region.row for region in regions]].sum()
    geometries = np.array([region.geometry for region in regions], dtype=object)
    drawn_area = shapely.area(geometries).sum()
    union = shapely.union_all(geometries).area
    return regions, float(measured * union / drawn_area) if len(regions) else 0.0


def _text(text: str) -> Column:
    return Column("text", lambda: texts(np.array([0]), [text]))
