"""Neighbours by Delaunay triangulation, named and defined as QuPath's *Delaunay cluster features*.

Facts read in the source of QuPath 0.6 (``DelaunayTriangulation``), and checked with values that it
computed: nuclei are neighbours where the triangulation of their centroids joins them, by an edge
shorter than the limit if there is one; the triangles of a nucleus are all it forms with two
neighbours that are neighbours of each other. Up to two nuclei have no values. Of several nuclei
with the very same centroid only the last has some.

QuPath triangulates by OpenCV within a large triangle of its own, and so loses an edge of the convex
hull here and there; here the hull is whole. Without square pixels, QuPath triangulates in pixels,
here it is done in µm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.measurements.names import fill
from qpbridge.objects import FloatArray, IntArray, MeasurementTable, offsets

NEIGHBORS = "Delaunay: Num neighbors"
MEAN, MEDIAN = "Delaunay: Mean distance", "Delaunay: Median distance"
MAX, MIN = "Delaunay: Max distance", "Delaunay: Min distance"
MEAN_AREA, MAX_AREA = "Delaunay: Mean triangle area", "Delaunay: Max triangle area"
CLUSTER_SIZE, CLUSTER_MEAN = "Cluster size", "Cluster mean: NAME"

DEFINITIONS: Mapping[str, str] = {
    NEIGHBORS: "Number of neighbours in the Delaunay triangulation of the nuclei's centroids.",
    MEAN: "Mean distance to these neighbours, between centroids, µm.",
    MEDIAN: "Median distance to these neighbours, between centroids, µm.",
    MAX: "Distance to the furthest of these neighbours, between centroids, µm.",
    MIN: "Distance to the nearest of these neighbours, between centroids, µm.",
    MEAN_AREA: "Mean area of the triangles that the nucleus forms with pairs of neighbours, µm².",
    MAX_AREA: "Area of the largest of these triangles, µm².",
    CLUSTER_SIZE: "Number of nuclei that are connected with this one, itself included.",
    CLUSTER_MEAN: "Mean of the measurement NAME over the nuclei of the cluster.",
}
"""One line for each measurement of this module, by name; those of QuPath's Delaunay clustering."""


def delaunay_measurements(points: FloatArray, edges: IntArray) -> MeasurementTable:
    """Measure how nuclei lie among their neighbours.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm; NaN for objects without one.
    edges
        int64 (m, 2), from `delaunay_edges`.

    Returns
    -------
    measurements
        Number of neighbours; mean, median, largest and smallest distance to them in µm; mean and
        largest area of the triangles with them in µm²; by the names that `DEFINITIONS` explains.
        NaN for objects outside the triangulation, and for all but the number where there is no
        neighbour.
    """
    n = len(points)
    owner, other = np.concatenate([edges, edges[:, ::-1]]).T
    distance = np.hypot(*(points[owner] - points[other]).T)
    order = np.lexsort((distance, owner))
    owner, distance = owner[order], distance[order]
    count = np.bincount(owner, minlength=n)
    start = np.cumsum(count) - count
    values = np.full((7, n), np.nan)
    values[0, _triangulated(points)] = 0
    some = count > 0
    first, many = start[some], count[some]
    values[0, some] = many
    values[1, some] = np.add.reduceat(distance, first) / many if len(many) else 0
    low, high = distance[first + (many - 1) // 2], distance[first + many // 2]
    values[2:5, some] = (low + high) / 2, distance[first + many - 1], distance[first]

    corners = triangles(edges, n)
    a, b, c = points[corners.T]
    (ux, uy), (vx, vy) = (b - a).T, (c - a).T
    area = np.abs(ux * vy - uy * vx) / 2
    area, corner = np.repeat(area, 3), corners.ravel()
    number = np.bincount(corner, minlength=n)
    some = number > 0
    values[5, some] = np.bincount(corner, area, n)[some] / number[some]
    largest = np.zeros(n)
    np.maximum.at(largest, corner, area)
    values[6, some] = largest[some]
    names = (NEIGHBORS, MEAN, MEDIAN, MAX, MIN, MEAN_AREA, MAX_AREA)
    return MeasurementTable(names, values.T)


def cluster_measurements(
    points: FloatArray, edges: IntArray, measurements: MeasurementTable
) -> MeasurementTable:
    """Average measurements over clusters: nuclei that are connected, directly or by others.

    Parameters
    ----------
    points, edges
        As in `delaunay_measurements`; sensible only where the edges are limited.
    measurements
        What is averaged; NaN is left out.

    Returns
    -------
    measurements
        The mean of each measurement over the cluster, in its own unit, and the number of nuclei
        in the cluster, by the names that `DEFINITIONS` explains. NaN outside the triangulation.
    """
    from scipy.sparse import coo_matrix  # here, since who asks for names alone waits for it
    from scipy.sparse.csgraph import connected_components

    n = len(points)
    graph = coo_matrix((np.ones(len(edges), bool), edges.T), shape=(n, n))
    m, cluster = connected_components(graph, directed=False)
    outside = np.where(_triangulated(points), 0.0, np.nan)
    out = {}
    for name, values in measurements.items():
        given = np.isfinite(values)
        counts = np.bincount(cluster[given], minlength=m).astype(np.float64)
        counts[counts == 0] = np.nan
        mean = np.bincount(cluster[given], values[given], m) / counts
        out[fill(CLUSTER_MEAN, NAME=name)] = mean[cluster] + outside
    size = np.bincount(cluster, minlength=m)[cluster] + outside
    return MeasurementTable.of({**out, CLUSTER_SIZE: size})


def delaunay_edges(points: FloatArray, limit: float = np.inf) -> IntArray:
    """Find which points the Delaunay triangulation joins.

    Points on one line are joined one to the next.

    Parameters
    ----------
    points
        float64 (n, 2), µm; NaN for objects without a centroid.
    limit
        Edges as long as this, in µm, or longer are left out.

    Returns
    -------
    numpy.ndarray
        int64 (m, 2), pairs of rows, the smaller first, in ascending order.
    """
    rows = np.flatnonzero(_triangulated(points))
    if not len(rows):
        return np.zeros((0, 2), np.int64)
    # Far from the origin few digits are left for what Qhull computes.
    at = points[rows] - points[rows].mean(axis=0)
    from scipy.spatial import Delaunay, QhullError  # here, as above

    try:
        found = Delaunay(at)
    except QhullError:
        long = np.ptp(at, axis=0).argmax()
        along = np.lexsort((at[:, 1 - long], at[:, long]))
        pairs = np.column_stack([along[:-1], along[1:]])
    else:
        sides = found.simplices[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        # What is too near to another point for a triangle of its own is joined to that one.
        pairs = np.concatenate([sides, found.coplanar[:, [0, 2]]])
    pairs = np.sort(rows[pairs], axis=1)
    n = len(points)
    first, second = np.divmod(np.unique(pairs[:, 0] * n + pairs[:, 1]), n)
    short = np.hypot(*(points[first] - points[second]).T) < limit
    return np.column_stack([first[short], second[short]])


def _triangulated(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Which points have a place in the triangulation, bool (n,)."""
    there = np.isfinite(points[:, 0]) & np.isfinite(points[:, 1])
    if there.sum() <= 2:
        return np.zeros(len(points), bool)
    # The sort is stable: of equal points the last stays.
    order = np.lexsort(points.T)
    order = order[there[order]]
    same = (points[order[1:]] == points[order[:-1]]).all(axis=1)
    there[order[:-1][same]] = False
    return there


def triangles(edges: IntArray, n: int) -> IntArray:
    """Find all triples of points that are joined with each other.

    Parameters
    ----------
    edges
        int64 (m, 2), each once.
    n
        Number of points.

    Returns
    -------
    numpy.ndarray
        int64 (t, 3), each once.
    """
    # Each edge points to the end with more edges: then few leave any point, and of a triangle two
    # edges leave the same corner.
    rank = np.argsort(np.argsort(np.bincount(edges.ravel(), minlength=n), kind="stable"))
    ends = np.sort(rank[edges], axis=1)
    key = np.sort(ends[:, 0] * n + ends[:, 1])
    start, end = np.divmod(key, max(n, 1))
    last = np.cumsum(np.bincount(start, minlength=n))
    more = last[start] - np.arange(len(key)) - 1
    begin = offsets(more)
    one = np.repeat(np.arange(len(key)), more)
    two = np.arange(begin[-1]) - begin[one] + one + 1
    wanted = end[one] * n + end[two]
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    closed = key[at] == wanted
    corners = np.column_stack([start[one], end[one], end[two]])[closed]
    found: IntArray = np.argsort(rank)[corners]
    return found
