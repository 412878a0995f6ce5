"""Distances of nuclei to annotations, glands and vessels.

Names and signs as QuPath's *Signed distance to annotations 2D* (facts read in the source of QuPath
0.6, ``DistanceTools``): from the centroid of the nucleus to the nearest outline of the class, holes
included; negative within. Where two areas of a class
overlap, QuPath counts crossings and so takes the overlap for outside; here it is inside. All is
done in the plane: the caller passes what lies in the same z-slice and time point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.measurements.names import fill
from qpbridge.objects import (
    FloatArray,
    GeometryArray,
    IntArray,
    MeasurementTable,
    PathClass,
    Shapes,
    offsets,
)
from qpbridge.outlines import containing, repaired

CHUNK = 2**18
"""Points that are looked up at a time; bounds the memory."""

PIECE = 4
"""Edges of an outline that are searched as one; with more, points far from it take longer."""

TO_ANNOTATION = "Signed distance to annotation with CLASS µm"
TO_STRUCTURE = {
    target: (f"Signed distance to {one} outline µm", f"Signed distance to {one} lumen µm")
    for target, one in (("glands", "gland"), ("vessels", "vessel"))
}
"""Names of the distances to the outer outlines and to the lumina, by target."""


def _of_structure(one: str) -> tuple[str, str]:
    return (
        f"Distance from the nucleus's centroid to the nearest outer outline of a {one}, µm; "
        f"negative within the {one} or its lumen.",
        f"Distance from the nucleus's centroid to the nearest edge of a {one}'s lumen, µm; "
        "negative within the lumen.",
    )


DEFINITIONS: Mapping[str, str] = {
    TO_ANNOTATION: (
        "Distance from the nucleus's centroid to the nearest annotation of that class, µm; within "
        "an annotation minus the distance to the nearest outline (QuPath's Signed distance to "
        "annotations 2D)."
    ),
    **{
        name: text
        for target, names in TO_STRUCTURE.items()
        for name, text in zip(names, _of_structure(target.removesuffix("s")), strict=True)
    },
}
"""One line for each measurement of this module, by the pattern of its name."""


def annotation_distances(
    points: FloatArray,
    annotations: Mapping[str, Shapes | GeometryArray],
    mpp: tuple[float, float],
) -> MeasurementTable:
    """Measure how far nuclei are from the annotations of some classes.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm.
    annotations
        Those of each class, by its name; full-resolution pixels. See `by_class_name`.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    measurements
        Distance to the nearest annotation of each class in µm, negative within, by the names that
        `DEFINITIONS` explains; NaN without a centroid or an annotation of the class.
    """
    if not annotations:
        return MeasurementTable.empty(len(points))
    return MeasurementTable.of(
        {
            fill(TO_ANNOTATION, CLASS=name): signed_distance(points, _scaled(shapes, mpp))
            for name, shapes in annotations.items()
        }
    )


def by_class_name(
    geometries: GeometryArray, classes: Sequence[PathClass], class_index: npt.NDArray[np.integer]
) -> dict[str, GeometryArray]:
    """Sort annotations by the names in their classes, as QuPath does for distances.

    An annotation of the class ``Tumor: Positive`` counts for Tumor and for Positive. Classes that
    QuPath ignores give no name.

    Parameters
    ----------
    geometries
        Object array (n,).
    classes, class_index
        The distinct classes, and integers (n,) which one each has; -1: none.
    """
    used = [classes[i] for i in np.unique(class_index[class_index >= 0])]
    names = dict.fromkeys(name for c in used if not c.is_ignored for name in c.names)
    having = {name: [i for i, c in enumerate(classes) if name in c.names] for name in names}
    return {name: geometries[np.isin(class_index, some)] for name, some in having.items()}


def structure_relations(
    target: str, points: FloatArray, shapes: Shapes | GeometryArray, mpp: tuple[float, float]
) -> tuple[IntArray, MeasurementTable]:
    """Find in which gland or vessel nuclei lie, and how far from its outline and from a lumen.

    Parameters
    ----------
    target
        glands or vessels.
    points
        float64 (n, 2), centroids of nuclei in µm.
    shapes
        The glands or vessels, with their lumina as holes; full-resolution pixels.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    row
        int64 (n,), of the gland or vessel whose outer outline holds the nucleus, the smallest if
        there are several; -1: none.
    measurements
        Signed distances to the nearest outer outline and to the nearest lumen in µm, by the names
        that `DEFINITIONS` explains; NaN where there is none at all.
    """
    parts, owner = shapely.get_parts(_scaled(shapes, mpp), return_index=True)
    outer = shapely.polygons(shapely.get_exterior_ring(parts))
    rings, part = shapely.get_rings(parts, return_index=True)
    hole = np.zeros(len(rings), bool)
    hole[1:] = part[1:] == part[:-1]
    lumina = shapely.polygons(rings[hole])
    within = containing(points, outer)
    row = np.where(within >= 0, np.append(owner, -1)[within], -1)
    to_outline, to_lumen = TO_STRUCTURE[target]
    distances = {
        to_outline: signed_distance(points, outer),
        to_lumen: signed_distance(points, lumina),
    }
    return row, MeasurementTable.of(distances)


def signed_distance(points: FloatArray, geometries: GeometryArray) -> FloatArray:
    """Measure the distance of points to the nearest geometry.

    Parameters
    ----------
    points
        float64 (n, 2).
    geometries
        Areas, lines and points in the same units, object array (m,).

    Returns
    -------
    numpy.ndarray
        float64 (n,): within an area minus the distance to the nearest outline of any area; NaN for
        points that are not numbers, and where there is no geometry.
    """
    parts = shapely.get_parts(shapely.get_parts(geometries))
    kind = shapely.get_type_id(parts)
    areas = parts[kind == shapely.GeometryType.POLYGON]
    lines = parts[np.isin(kind, (shapely.GeometryType.LINESTRING, shapely.GeometryType.LINEARRING))]
    spots = parts[kind == shapely.GeometryType.POINT]
    outline = _nearest(points, _pieces(shapely.get_rings(areas)))
    other = _nearest(points, np.concatenate([_pieces(lines), spots]))
    within = containing(points, areas) >= 0
    return np.where(within, 0 - outline, np.fmin(outline, other))


def _nearest(points: FloatArray, geometries: GeometryArray) -> FloatArray:
    """Distance of points (n, 2) to the nearest geometry, float64 (n,); NaN without any."""
    out = np.full(len(points), np.nan)
    if not len(geometries):
        return out
    from scipy.spatial import cKDTree  # here, since who asks for names alone waits for it

    tree = shapely.STRtree(geometries)
    rows = np.flatnonzero(np.isfinite(points[:, 0]) & np.isfinite(points[:, 1]))
    # One after the other in the plane, not at random: what they look at is then still at hand.
    rows = rows[cKDTree(points[rows]).indices]
    for start in range(0, len(rows), CHUNK):
        some = rows[start : start + CHUNK]
        (at, _), distance = tree.query_nearest(
            shapely.points(points[some]), return_distance=True, all_matches=False
        )
        out[some[at]] = distance
    return out


def _pieces(lines: GeometryArray) -> GeometryArray:
    """Cut lines and rings into lines of at most `PIECE` edges."""
    coords, which = shapely.get_coordinates(lines, return_index=True)
    start = offsets(np.bincount(which, minlength=len(lines)))
    place = np.arange(len(coords)) - start[which]
    # A piece begins at every n-th vertex but the last, and ends where the next begins.
    begin = np.flatnonzero((place % PIECE == 0) & (place < np.diff(start)[which] - 1))
    end = np.minimum(begin + PIECE, start[which[begin] + 1] - 1)
    first = offsets(end - begin + 1)
    piece = np.repeat(np.arange(len(begin)), end - begin + 1)
    vertex = np.arange(first[-1]) - first[piece] + begin[piece]
    cut: GeometryArray = shapely.linestrings(coords[vertex], indices=piece)
    return cut


def _geometries(shapes: Shapes | GeometryArray) -> GeometryArray:
    return shapes.geometries if isinstance(shapes, Shapes) else np.asarray(shapes, dtype=object)


def _scaled(shapes: Shapes | GeometryArray, mpp: tuple[float, float]) -> GeometryArray:
    """Return valid geometries in µm, object array (n,)."""
    return repaired(shapely.transform(_geometries(shapes), lambda xy: xy * mpp))
