"""Measuring the nuclei of some regions again: their shape, and what is around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from qpbridge.engine.measuring.request import Surroundings
from qpbridge.hierarchy.subjects import hollow
from qpbridge.measurements.cells import CELL, NUCLEUS, RATIO, cell_measurements, stored_columns
from qpbridge.measurements.delaunay import delaunay_edges, delaunay_measurements
from qpbridge.measurements.distances import annotation_distances, structure_relations
from qpbridge.measurements.moments import moment_measurements
from qpbridge.measurements.shape import shape_measurements, shape_names
from qpbridge.measurements.spatial import local_density, nearest_neighbor, smoothed
from qpbridge.objects import FloatArray, GeometryArray, IntArray, ObjectKind, ObjectTable, Shapes

CHUNK = 2**15
"""Objects whose shapes are measured at a time; bounds the memory."""

_ON_PIXELS = re.compile(r"[^:]+: (?:Mean|Variance)|Chromatin: .+|[^:]+: [^:]+: Haralick .+")
"""Measurements that rest on pixels: read where they are, they are not taken again."""

_SMOOTHED = re.compile(r"(Smoothed: [^:]+: )?(.*)")

Columns = dict[str, FloatArray]


def shape_columns(nuclei: ObjectTable, mpp: tuple[float, float]) -> Columns:
    """Measure nuclei one by one; the names are those of a nucleus that is no cell.

    Parameters
    ----------
    nuclei
        Detections and cells (n).
    mpp
        µm per pixel (x, y).

    Returns
    -------
    dict
        By name, float64 (n,): QuPath's shape features, those by moments, and for cells those of
        the whole cell and `RATIO`. NaN where there is no nucleus, or no cell.
    """
    own = _in_chunks(nuclei.inner_shapes, mpp)
    empty = np.flatnonzero(hollow(nuclei))
    for column in own.values():
        column[empty] = np.nan
    rows = np.flatnonzero(nuclei.kind == ObjectKind.CELL)
    if not len(rows):
        return own
    whole = nuclei.take(rows)
    names, values = shape_measurements(whole.shapes, mpp)
    assert whole.nuclei is not None
    of_cells = dict(zip([CELL + name for name in names], values.T, strict=True))
    of_cells |= cell_measurements(whole.nuclei.geometries, whole.geometries)
    for name, column in of_cells.items():
        own[name] = np.full(len(nuclei), np.nan)
        own[name][rows] = column
    return own


def kept_columns(nuclei: ObjectTable) -> Columns:
    """Return what was measured on the pixels of nuclei, by the names of those that are no cells."""
    return {name: v for name, v in stored_columns(nuclei).items() if _ON_PIXELS.fullmatch(name)}


def surrounding_columns(
    points: FloatArray,
    group: IntArray,
    columns: Mapping[str, FloatArray],
    mpp: tuple[float, float],
    wanted: Surroundings,
) -> Columns:
    """Measure what is around nuclei, in each region for itself.

    Parameters
    ----------
    points
        float64 (n, 2), µm.
    group
        int64 (n,), the region that each is in: those of another one are no neighbours.
    columns
        What is smoothed.
    mpp, wanted
        µm per pixel; what to measure.
    """
    out: Columns = {}
    for rows in _groups(group):
        here = points[rows]
        found = nearest_neighbor(here)
        found |= delaunay_measurements(here, delaunay_edges(here, wanted.delaunay))
        found |= local_density(here, wanted.density)
        for fwhm in wanted.smooth:
            given = {name: column[rows] for name, column in columns.items()}
            found |= smoothed(here, given, (mpp[0] + mpp[1]) / 2, fwhm)
        for name, values in found.items():
            out.setdefault(name, np.full(len(points), np.nan))[rows] = values
    return out


def distance_columns(
    points: FloatArray,
    annotations: Mapping[str, GeometryArray],
    structures: Mapping[str, Shapes],
    mpp: tuple[float, float],
) -> Columns:
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
    out = annotation_distances(points, annotations, mpp, signed=True)
    for target, shapes in structures.items():
        if len(shapes):
            out |= structure_relations(target, points, shapes, mpp)[1]
    return out


def smoothable(columns: Mapping[str, FloatArray], mpp: tuple[float, float]) -> Columns:
    """Choose what is smoothed: QuPath's shape features, and mean intensities."""
    names = shape_names(mpp)
    return {k: v for k, v in columns.items() if k in names or k.endswith(": Mean")}


def name_for(kind: ObjectKind, name: str, own: Mapping[str, FloatArray]) -> str | None:
    """Name a measurement of a nucleus as QuPath does.

    Parameters
    ----------
    kind
        Detection or cell.
    name
        As the functions of this module have it.
    own
        Measurements of nuclei one by one, by name.

    Returns
    -------
    name
        None for what only cells have, of a detection. Cells have a prefix for what is of the
        nucleus alone, also where it is smoothed.
    """
    match = _SMOOTHED.fullmatch(name)
    assert match is not None
    smoothed_by, base = match[1] or "", match[2]
    of_cell = base == RATIO or base.startswith(CELL)
    if kind is not ObjectKind.CELL:
        return None if of_cell else name
    alone = not of_cell and (base in own or base.endswith(": Mean"))
    return f"{smoothed_by}{NUCLEUS}{base}" if alone else name


def _in_chunks(shapes: Shapes, mpp: tuple[float, float]) -> Columns:
    """Measure shapes, some at a time, on all processors."""

    def measure(start: int) -> Columns:
        some = shapes.take(np.arange(start, min(start + CHUNK, len(shapes))))
        names, values = shape_measurements(some, mpp)
        by_moments = moment_measurements(some, mpp)
        return {**dict(zip(names, values.T, strict=True)), **by_moments}

    with ThreadPoolExecutor() as threads:
        chunks = list(threads.map(measure, range(0, max(len(shapes), 1), CHUNK)))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _groups(group: IntArray) -> Iterator[IntArray]:
    order = np.argsort(group, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
