"""What qpbridge looks for: the classes of its objects, and what they are placed below."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.hierarchy.provenance import made_by_us
from qpbridge.hierarchy.regions import Region
from qpbridge.objects import GeometryArray, IntArray, ObjectKind, ObjectTable, PathClass
from qpbridge.outlines import each_held, valid_areas

CLASSES = {
    "nuclei": PathClass(("Nucleus",), (110, 60, 160)),
    "glands": PathClass(("Gland",), (30, 150, 110)),
    "vessels": PathClass(("Vessel",), (230, 110, 30)),
}
"""The class of each target's objects; none is one that QuPath comes with."""

STRUCTURES = ("glands", "vessels")
"""Targets whose annotations hold other objects."""


def ids_below(
    objects: ObjectTable,
    regions: tuple[Region, ...],
    innermost: IntArray,
    points: GeometryArray,
) -> npt.NDArray[np.uint8]:
    """Find the annotations that small objects go below.

    Parameters
    ----------
    objects
        What the image holds.
    regions
        The regions.
    innermost
        int64 (n,), the region of each object.
    points
        Its centroid, shapely points (n,).

    Returns
    -------
    ids
        uint8 (n, 16): of the region, or of the gland or vessel of ours below it that holds the
        point.
    """
    below = np.array([np.frombuffer(region.id, np.uint8) for region in regions])[innermost]
    region_row = np.array([region.row for region in regions], np.int64)[innermost]
    rows = np.flatnonzero(
        (objects.kind == ObjectKind.ANNOTATION) & made_by_us(objects.ids, *STRUCTURES)
    )
    for i, held in each_held(points, valid_areas(objects.shapes.take(rows).geometries)):
        here = held[region_row[held] == objects.parent[rows[i]]]
        below[here] = objects.ids[rows[i]]
    return below
