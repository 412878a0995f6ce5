"""Measuring what is around the nuclei of some regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from qpbridge.engine.measuring.request import Surroundings
from qpbridge.measurement_table import joined
from qpbridge.measurements import intensity
from qpbridge.measurements.delaunay import (
    CLUSTER_MEAN,
    cluster_measurements,
    delaunay_edges,
    delaunay_measurements,
)
from qpbridge.measurements.distances import annotation_distances, structure_relations
from qpbridge.measurements.moments import ORIENTATION
from qpbridge.measurements.names import CELL, NUCLEUS, SMOOTHED, fill, of_nucleus, recognized, short
from qpbridge.measurements.shape import shape_names
from qpbridge.measurements.spatial import (
    local_density,
    nearest_neighbor,
    orientation_entropy,
    smoothed,
)
from qpbridge.objects import (
    FloatArray,
    GeometryArray,
    IntArray,
    MeasurementTable,
    ObjectKind,
    Shapes,
)


def averaged(nuclei: MeasurementTable, mpp: tuple[float, float]) -> MeasurementTable:
    """Choose what is averaged over neighbours: QuPath's shape features, and mean intensities."""
    shape = shape_names(mpp)
    means = (intensity.MEAN, f"{CELL}{intensity.MEAN}")
    return nuclei.select([name for name in nuclei if name in shape or recognized(name, *means)])


def measure_surroundings(
    points: FloatArray,
    group: IntArray,
    nuclei: MeasurementTable,
    mpp: tuple[float, float],
    wanted: Surroundings,
) -> MeasurementTable:
    """Measure what is around nuclei, in each region for itself.

    Parameters
    ----------
    points
        float64 (n, 2), µm.
    group
        int64 (n,), the region that each is in: those of another one are no neighbours.
    nuclei
        What is known of them one by one.
    mpp, wanted
        µm per pixel; what to measure.
    """
    given = averaged(nuclei, mpp)
    found = [
        (rows, _around(points[rows], given.take(rows), nuclei[ORIENTATION][rows], mpp, wanted))
        for rows in _groups(group)
    ]
    names = found[0][1].names
    matrix = np.empty((len(points), len(names)), order="F")
    for rows, some in found:
        matrix[rows] = some.matrix
    return MeasurementTable(names, matrix)


def _around(
    points: FloatArray,
    given: MeasurementTable,
    orientation: FloatArray,
    mpp: tuple[float, float],
    wanted: Surroundings,
) -> MeasurementTable:
    """Measure what is around the nuclei of one region."""
    edges = delaunay_edges(points, wanted.delaunay)
    parts = [nearest_neighbor(points), delaunay_measurements(points, edges)]
    if wanted.clusters:
        parts.append(cluster_measurements(points, edges, given))
    parts += [local_density(points, radius) for radius in wanted.density]
    parts += [orientation_entropy(points, orientation, radius) for radius in wanted.orientation]
    parts += [smoothed(points, given, (mpp[0] + mpp[1]) / 2, fwhm) for fwhm in wanted.smooth]
    return joined(parts)


def measure_distances(
    points: FloatArray,
    annotations: Mapping[str, GeometryArray],
    structures: Mapping[str, Shapes],
    mpp: tuple[float, float],
) -> MeasurementTable:
    """Measure how far nuclei are from annotations, glands and vessels; negative within.

    Parameters
    ----------
    points
        float64 (n, 2), µm.
    annotations
        By the name of their class, full-resolution pixels.
    structures
        Glands and vessels, by target.
    mpp
        µm per pixel (x, y).
    """
    to_structures = [
        structure_relations(target, points, shapes, mpp)[1]
        for target, shapes in structures.items()
        if len(shapes)
    ]
    return joined([annotation_distances(points, annotations, mpp), *to_structures])


def names_on(
    kind: ObjectKind, nuclei: Iterable[str], wanted: Surroundings
) -> Mapping[str, str | None]:
    """Tell how objects of a kind call what is measured of nuclei, as QuPath has it.

    Cells have a prefix for what is of the nucleus alone, also where it is averaged over neighbours.

    Parameters
    ----------
    kind
        Detection or cell.
    nuclei
        Names of what is measured of nuclei one by one, as they are without a cell.
    wanted
        What is averaged.

    Returns
    -------
    names
        For names of the functions of this module those on the objects, None for what only cells
        have, of a detection. What is not there is called the same.
    """
    forms = ["NAME", CLUSTER_MEAN, *(fill(SMOOTHED, FWHM=short(fwhm)) for fwhm in wanted.smooth)]
    names: dict[str, str | None] = {}
    for name in nuclei:
        of_cell = of_nucleus(name) is None
        given = name if of_cell or kind is not ObjectKind.CELL else f"{NUCLEUS}{name}"
        lacks = of_cell and kind is not ObjectKind.CELL
        for form in forms:
            names[fill(form, NAME=name)] = None if lacks else fill(form, NAME=given)
    return names


def _groups(group: IntArray) -> Iterator[IntArray]:
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
