"""What in an image can be measured: nuclei, glands and vessels, whoever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.hierarchy.drawn import on_first_plane
from qpbridge.hierarchy.provenance import TARGETS, made_by_us
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.targets import CLASSES, STRUCTURES
from qpbridge.objects import (
    FloatArray,
    IntArray,
    ObjectKind,
    ObjectTable,
    RoiKind,
)
from qpbridge.outlines import ENCLOSING, each_held, valid_areas


def find_subjects(objects: ObjectTable, classes: Sequence[str] = ()) -> Mapping[str, IntArray]:
    """Find the objects that count as nuclei, glands and vessels.

    Those that qpbridge made, changed since or not. Beside them, of what a person or QuPath made:
    annotations and detections of the classes Gland and Vessel; and as nuclei all other detections
    and cells that enclose an area, except of classes that QuPath ignores. Tiles are none.

    Parameters
    ----------
    objects
        All objects of an image.
    classes
        Full names: of nuclei only these, and what derives from them, count.  [default: all]

    Returns
    -------
    rows
        int64 (n,) by target, ascending; of the first z-slice and time point.
    """
    usable = np.isin(objects.shapes.roi, ENCLOSING) & on_first_plane(objects)
    ours = {target: usable & made_by_us(objects.ids, target) for target in TARGETS}
    others = usable & ~made_by_us(objects.ids)
    structures = others & np.isin(objects.kind, (ObjectKind.ANNOTATION, ObjectKind.DETECTION))
    nuclei = others & np.isin(objects.kind, (ObjectKind.DETECTION, ObjectKind.CELL))
    nuclei &= ~objects.of_class(lambda c: c.is_ignored)
    rows = {}
    for target in STRUCTURES:
        (name,) = CLASSES[target].names
        named = structures & _called(objects, name)
        rows[target] = np.flatnonzero(ours[target] | named)
        nuclei &= ~named
    nuclei |= ours["nuclei"]
    if classes:
        nuclei &= objects.of_class(lambda c: c.is_of(*classes))
    return {"nuclei": np.flatnonzero(nuclei), **rows}


def hollow(objects: ObjectTable) -> npt.NDArray[np.bool_]:
    """Tell which objects are cells without nucleus."""
    cells: npt.NDArray[np.bool_] = objects.kind == ObjectKind.CELL
    if objects.nuclei is not None:
        cells &= objects.nuclei.roi == RoiKind.EMPTY
    return cells


@dataclass(frozen=True, eq=False)
class Located:
    """The objects of a target that lie in regions.

    Parameters
    ----------
    rows
        int64 (n,), in the image's objects.
    table
        The objects (n).
    points
        float64 (n, 2), their centroids, full-resolution pixels; of a cell that of its nucleus.
    members
        For each region, int64 (k,), which of them are in it; a cell by its own centroid.
    outermost
        int64 (n,), the largest region that holds each.
    """

    rows: IntArray
    table: ObjectTable
    points: FloatArray
    members: tuple[IntArray, ...]
    outermost: IntArray


def locate(target: str, objects: ObjectTable, rows: IntArray, regions: Sequence[Region]) -> Located:
    """Find the objects of a target that lie in regions: nuclei by centroid, others by a point in.

    A cell lies where the centroid of its outline does, as QuPath has it, not that of its nucleus.

    Parameters
    ----------
    target
        Of `qpbridge.hierarchy.provenance.TARGETS`.
    objects, rows
        All objects, and which of them count.
    regions
        The regions.
    """
    table = objects.take(rows)
    points = table.inner_shapes.centroids()
    if target == "nuclei":
        inner = shapely.points(table.shapes.centroids())
    else:
        inner = shapely.point_on_surface(valid_areas(table.geometries))
    holders = np.array([region.geometry for region in regions], dtype=object)
    held = [np.zeros(0, np.int64)] * len(regions)
    outermost = np.full(len(rows), -1, np.int64)
    for i, some in each_held(inner, holders):
        held[i] = np.sort(some)
        outermost[some[outermost[some] < 0]] = i
    stay = np.flatnonzero(outermost >= 0)
    number = np.full(len(rows), -1, np.int64)
    number[stay] = np.arange(len(stay))
    return Located(
        rows[stay],
        table if len(stay) == len(rows) else table.take(stay),
        points[stay],
        tuple(number[some] for some in held),
        outermost[stay],
    )


def _called(objects: ObjectTable, name: str) -> npt.NDArray[np.bool_]:
    """Tell which objects are of a class, or one derived from it."""
    return objects.of_class(lambda path_class: path_class.names[0] == name)
