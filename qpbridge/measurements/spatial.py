"""What surrounds each nucleus: nearest neighbour, density, smoothed measurements, disorder.

All functions take centroids in µm. A surrounding is cut off where the region ends: nuclei near its
edge have fewer neighbours, and nothing is added for those that were not looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from qpbridge.measurements.names import SMOOTHED, fill, recognize, short
from qpbridge.measurements.orientations import BINS, binned, entropy
from qpbridge.objects import FloatArray, IntArray, MeasurementTable

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

PAIRS = 2**22
"""Pairs of neighbours (some 50 bytes each) that are held at a time; bounds the memory."""

NEAREST = "Nearest neighbor distance µm"
LOCAL_DENSITY = "Local density RADIUS µm per mm^2"
NEARBY = "Smoothed: FWHM µm: Nearby detection counts"
ENTROPY = "Orientation entropy RADIUS µm"

DEFINITIONS: Mapping[str, str] = {
    NEAREST: "Distance to the nearest other nucleus, between centroids, µm.",
    LOCAL_DENSITY: (
        "Other nuclei with their centroid within RADIUS of this one's, over the area of that "
        "circle, per mm²."
    ),
    SMOOTHED: (
        "Mean of the measurement NAME over the objects around, itself included, weighted by a "
        "Gaussian of their distance with this full width at half maximum (QuPath's Add smoothed "
        "features)."
    ),
    NEARBY: (
        "Number of other objects nearer than FWHM, between centroids (QuPath's Add smoothed "
        "features)."
    ),
    ENTROPY: (
        "Shannon entropy, in bits (0 to 4.17), of the orientations in bins of 10° of all nuclei "
        "within RADIUS, itself included: 0 where they lie parallel (after Lee et al., Cell "
        "Orientation Entropy, MICCAI 2013, who take it of pairs of neighbours)."
    ),
}
"""One line for each measurement of this module, by the form of its name."""


def nearest_neighbor(points: FloatArray) -> MeasurementTable:
    """Measure the distance to the nearest other nucleus.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm; NaN for objects without one.

    Returns
    -------
    measurements
        `NEAREST`, between centroids, µm; NaN without a centroid or another nucleus.
    """
    rows, tree = _tree(points)
    out = np.full(len(points), np.nan)
    if len(rows) > 1:
        out[rows] = tree.query(tree.data, [2], workers=-1)[0][:, 0]
    return MeasurementTable.of({NEAREST: out})


def local_density(points: FloatArray, radius: float) -> MeasurementTable:
    """Count the nuclei around each nucleus.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm; NaN for objects without one.
    radius
        µm.

    Returns
    -------
    measurements
        Other nuclei within the radius over the circle's area, per mm²; NaN without a centroid.
    """
    rows, tree = _tree(points)
    density = np.full(len(points), np.nan)
    if len(rows):
        count = tree.query_ball_point(tree.data, radius, return_length=True, workers=-1)
        density[rows] = (count - 1) / (np.pi * radius**2) * 1e6
    return MeasurementTable.of({fill(LOCAL_DENSITY, RADIUS=short(radius)): density})


def smoothed(
    points: FloatArray, measurements: MeasurementTable, mpp: float, fwhm: float = 25.0
) -> MeasurementTable:
    """Smooth measurements over the objects around, as QuPath's *Add smoothed features*.

    Facts read in the source of QuPath 0.6 (``SmoothFeaturesPlugin``): objects count up to three
    standard deviations away, at distances rounded to whole pixels; an object without a value keeps
    none. QuPath takes the centroids of whole cells here, not of nuclei, and does each annotation's
    objects for themselves.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm; NaN for objects without one.
    measurements
        What is smoothed; what is smoothed already is passed over.
    mpp
        µm per pixel, the mean of x and y.
    fwhm
        Full width of the Gaussian at half its maximum, µm; QuPath's default is 25.

    Returns
    -------
    measurements
        The weighted mean of each measurement, in its own unit, and the number of other objects
        nearer than `fwhm`, by the names that `DEFINITIONS` explains.
    """
    from scipy.sparse import csr_array  # here, since who asks for names alone waits for it

    n = len(points)
    names = [name for name in measurements if recognize(SMOOTHED, name) is None]
    sigma = fwhm / np.sqrt(8 * np.log(2))
    steps = np.arange(int(3 * sigma / mpp + 0.5) + 2) * mpp
    weight = np.exp(-np.square(steps / sigma) / 2)
    values = measurements.select(names).matrix
    there = np.isfinite(values)
    values[~there] = 0
    gaps = np.flatnonzero(~there.all(axis=0))
    known = there[:, gaps].astype(np.float64)
    out, nearby = np.full((n, len(names)), np.nan), np.full(n, np.nan)
    for rows, at, other, distance in _surroundings(points, 3 * sigma):
        nearby[rows] = np.bincount(at[distance < fwhm], minlength=len(rows)) - 1
        weights = weight[(distance / mpp + 0.5).astype(np.int64)]
        around = csr_array((weights, (at, other)), (len(rows), n))
        total = np.repeat(around.sum(axis=1)[:, None], len(names), axis=1)
        total[:, gaps] = around @ known
        with np.errstate(invalid="ignore", divide="ignore"):
            out[rows] = around @ values / total
    out[~there] = np.nan
    return MeasurementTable(
        (
            *(fill(SMOOTHED, FWHM=short(fwhm), NAME=name) for name in names),
            fill(NEARBY, FWHM=short(fwhm)),
        ),
        np.column_stack([out, nearby]),
    )


def orientation_entropy(
    points: FloatArray, orientation: FloatArray, radius: float
) -> MeasurementTable:
    """Measure how unlike the directions of neighbouring nuclei are.

    Parameters
    ----------
    points
        float64 (n, 2), centroids in µm; NaN for objects without one.
    orientation
        float64 (n,), degrees, of an axis (180 is 0); NaN for nuclei without one.
    radius
        µm.

    Returns
    -------
    measurements
        Entropy in bits of the orientations within the radius; NaN where less than two of these
        nuclei have an orientation.
    """
    known = np.isfinite(orientation)
    bins = np.where(known, binned(np.where(known, orientation, 0)), BINS)
    out = np.full(len(points), np.nan)
    for rows, at, other, _ in _surroundings(points, radius):
        counts = np.bincount(at * (BINS + 1) + bins[other], minlength=len(rows) * (BINS + 1))
        # The last bin holds those without an orientation.
        found = counts.reshape(len(rows), BINS + 1)[:, :BINS]
        out[rows] = np.where(found.sum(axis=1) > 1, entropy(found), np.nan)
    return MeasurementTable.of({fill(ENTROPY, RADIUS=short(radius)): out})


def _tree(points: FloatArray) -> tuple[IntArray, cKDTree]:
    """Return the rows that have a centroid, and a tree of their points."""
    from scipy.spatial import cKDTree  # here, as above

    rows = np.flatnonzero(np.isfinite(points[:, 0]) & np.isfinite(points[:, 1]))
    return rows, cKDTree(points[rows])


def _surroundings(
    points: FloatArray, radius: float
) -> Iterator[tuple[IntArray, IntArray, IntArray, FloatArray]]:
    """Find who is how far away, for some points at a time.

    Parameters
    ----------
    points
        float64 (n, 2).
    radius
        How far to look, inclusive.

    Yields
    ------
    rows
        int64 (m,), the points; those without coordinates are in none.
    at, other, distance
        (k,) each: which of `rows`, the row of a point within the radius, and how far it is. The
        point itself (0) is included.
    """
    rows, tree = _tree(points)
    # The tree's own order keeps neighbours together.
    waiting = [np.asarray(tree.indices)] if len(rows) else []
    while waiting:
        some = waiting.pop()
        part = type(tree)(tree.data[some])
        if len(some) > 1 and part.count_neighbors(tree, radius) > PAIRS:
            waiting += np.array_split(some, 2)
            continue
        found = part.sparse_distance_matrix(tree, radius, output_type="ndarray")
        yield rows[some], found["i"], rows[found["j"]], found["v"]
