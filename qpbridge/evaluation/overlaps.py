"""The sparse table of overlaps that all metrics of instance maps are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import FloatArray, GeometryArray

Labels = npt.NDArray[np.integer]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Overlaps:
    """Sparse contingency table of two instance maps, objects renumbered from 0.

    Attributes
    ----------
    truth_area, predicted_area : int64 arrays, shapes (n,) and (m,)
        Pixels per object.
    truth, predicted, pixels : int64 arrays, shape (k,)
        The pairs that share pixels, and how many they share.
    size : int
        Pixels of the map, or of the part of it that counts.
    """

    truth_area: IntArray
    predicted_area: IntArray
    truth: IntArray
    predicted: IntArray
    pixels: IntArray
    size: int

    @property
    def union(self) -> IntArray:
        """Pixels in either object of each pair, (k,)."""
        return self.truth_area[self.truth] + self.predicted_area[self.predicted] - self.pixels

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each pair, (k,)."""
        return self.pixels / self.union

    @property
    def mirrored(self) -> Overlaps:
        """The same with truth and prediction exchanged."""
        return Overlaps(
            self.predicted_area, self.truth_area, self.predicted, self.truth, self.pixels, self.size
        )


def overlaps(truth: Labels, prediction: Labels, size: int | None = None) -> Overlaps:
    """Count the pixels that each pair of objects shares.

    Parameters
    ----------
    truth, prediction
        Instance maps (H, W).
    size
        How many of their pixels count, if not all: there is no object in the others.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"Shapes differ: truth {truth.shape}, prediction {prediction.shape}.")
    one, truth_dense = dense(truth)
    two, predicted_dense = dense(prediction)
    width = two + 1
    pairs, pixels = np.unique(truth_dense * width + predicted_dense, return_counts=True)
    rows, columns = pairs // width, pairs % width
    both = (rows > 0) & (columns > 0)
    return Overlaps(
        truth_area=np.bincount(rows, pixels, one + 1)[1:].astype(np.int64),
        predicted_area=np.bincount(columns, pixels, two + 1)[1:].astype(np.int64),
        truth=rows[both] - 1,
        predicted=columns[both] - 1,
        pixels=pixels[both].astype(np.int64),
        size=truth.size if size is None else size,
    )


def outline_overlaps(truth: GeometryArray, prediction: GeometryArray) -> Overlaps:
    """Compute the areas that pairs of objects share, of their outlines.

    Parameters
    ----------
    truth, prediction
        Valid polygons or multipolygons (n,) and (m,).

    Returns
    -------
    overlaps
        In thousandths of a square pixel, in the order of the outlines; `Overlaps.size` is the area
        of all together.
    """
    predicted, true = shapely.STRtree(truth).query(prediction, predicate="intersects")
    shared = _thousandths(shapely.area(shapely.intersection(truth[true], prediction[predicted])))
    there = shared > 0
    areas, found = (_thousandths(shapely.area(outlines)) for outlines in (truth, prediction))
    size = int(areas.sum() + found.sum() - shared.sum())
    return Overlaps(areas, found, true[there], predicted[there], shared[there], size)


def best_partners(table: Overlaps) -> IntArray:
    """Find for each true object the pair with the prediction that it shares most pixels with.

    Returns
    -------
    pair
        int64 (n,), index into the pairs of the table, the first of several; -1: it shares none.
    """
    order = np.lexsort((-table.pixels, table.truth))
    pair = np.full(len(table.truth_area), -1, np.int64)
    first = np.r_[True, np.diff(table.truth[order]) > 0][: len(order)]
    pair[table.truth[order[first]]] = order[first]
    return pair


def _thousandths(areas: FloatArray) -> IntArray:
    return np.round(1000 * areas).astype(np.int64)


def dense(labels: Labels) -> tuple[int, IntArray]:
    """Return the number of objects, and labels renumbered 1..n in one dimension."""
    flat = labels.ravel()
    if flat.size and flat.min() >= 0 and flat.max() < 4 * flat.size + 1024:
        there = np.zeros(int(flat.max()) + 1, bool)
        there[flat] = True
        there[0] = False
        number = np.cumsum(there) * there
        return int(there.sum()), number[flat]
    values, index = np.unique(flat, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    values = values[values != 0]
    return len(values), index.ravel().astype(np.int64) + shift
