"""Metrics of instance maps by how far objects and their outlines are apart, in pixels.

An outline is the pixels of an object that have a neighbour (up, down, left, right) outside of it,
or lie on the edge of the image; distances are between pixel centres.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from qpbridge.evaluation.overlaps import IntArray, Labels, Overlaps, best_partners, dense

DIRECTIONS = np.array([(1, 0), (0, 1), (1, 1), (1, -1)]) / np.sqrt([[1], [1], [2], [2]])
"""Unit vectors in which the extent of objects is compared."""

ROUNDING = 1e-9
"""Pixels by which two ways to compute a distance may differ."""

FEW = 20_000
"""Pairs of points up to which all distances are computed; from there on a tree is faster."""


@dataclass(frozen=True, eq=False)
class ObjectPixels:
    """Where the objects of a map are.

    Attributes
    ----------
    numbers : int64 array, shape (H, W)
        0 is background, i + 1 is object i.
    count : int
        Of objects.
    """

    numbers: IntArray
    count: int

    @classmethod
    def of(cls, labels: Labels) -> ObjectPixels:
        """Take the objects of a map."""
        count, flat = dense(labels)
        return cls(flat.reshape(labels.shape), count)

    @cached_property
    def pixels(self) -> list[IntArray]:
        """Row and column of the pixels of each object, (k, 2)."""
        return self._by_object(self.numbers > 0)

    @cached_property
    def outlines(self) -> list[IntArray]:
        """The same of the outline of each object."""
        height, width = self.numbers.shape
        wide = np.pad(self.numbers, 1)
        edge = np.zeros(self.numbers.shape, bool)
        for row, column in ((0, 1), (2, 1), (1, 0), (1, 2)):
            edge |= wide[row : row + height, column : column + width] != self.numbers
        return self._by_object(edge & (self.numbers > 0))

    @cached_property
    def boxes(self) -> list[list[int]]:
        """First row, first column, and the row and column after the last, of each object."""
        points, start = np.concatenate(self.outlines), self._start
        low = np.minimum.reduceat(points, start)
        high = np.maximum.reduceat(points, start) + 1
        boxes: list[list[int]] = np.concatenate([low, high], axis=1).tolist()
        return boxes

    @cached_property
    def extents(self) -> npt.NDArray[np.float64]:
        """Least and largest position of each object in each of `DIRECTIONS`, (n, 8)."""
        along, start = np.concatenate(self.outlines) @ DIRECTIONS.T, self._start
        low, high = np.minimum.reduceat(along, start), np.maximum.reduceat(along, start)
        return np.concatenate([low, high], axis=1)

    @property
    def _start(self) -> IntArray:
        return np.cumsum([0, *(len(outline) for outline in self.outlines[:-1])])

    @cached_property
    def by_extent(self) -> cKDTree:
        """Search tree of `extents`."""
        return cKDTree(self.extents)

    def distances(self, index: int, points: IntArray) -> npt.NDArray[np.float64]:
        """Distance from each of some points (k, 2) to the nearest of an outline, (k,)."""
        outline = self.outlines[index]
        if len(points) * len(outline) <= FEW:
            nearest: npt.NDArray[np.float64] = cdist(points, outline, "sqeuclidean").min(axis=1)
            return np.sqrt(nearest)
        if index not in self._trees:
            self._trees[index] = cKDTree(outline)
        return np.asarray(self._trees[index].query(points)[0], np.float64)

    @cached_property
    def _trees(self) -> dict[int, cKDTree]:
        return {}

    def _by_object(self, wanted: npt.NDArray[np.bool_]) -> list[IntArray]:
        where = np.flatnonzero(wanted)
        owner = self.numbers.ravel()[where]
        where = where[np.argsort(owner, kind="stable")]
        points = np.stack(np.divmod(where, self.numbers.shape[1]), axis=1)
        return np.split(points, np.cumsum(np.bincount(owner, minlength=self.count + 1))[1:-1])


def boundary_scores(truth: Labels, prediction: Labels, table: Overlaps) -> tuple[float, float]:
    """Return the object-level Hausdorff distance and the average boundary distance.

    Hausdorff as in the GlaS challenge (Sirinukunwattana et al., Med Image Anal 35:489, 2017,
    section 5.3): the mean of two sums, over true objects, weighted by area, of the Hausdorff
    distance (between the sets of pixels) to the prediction that overlaps most; and the same over
    predictions. An object without any overlap is compared with the one that is nearest.

    The average boundary distance takes the same partners and weights, and for each pair the mean,
    over the pixels of both outlines, of the distance to the other outline.

    Parameters
    ----------
    truth, prediction
        Instance maps (H, W).
    table
        Their overlaps.

    Returns
    -------
    hausdorff, average
        In pixels; NaN where one side has no object.
    """
    if not len(table.truth_area) or not len(table.predicted_area):
        return float("nan"), float("nan")
    one, two = ObjectPixels.of(truth), ObjectPixels.of(prediction)

    @functools.cache  # mostly each is the other's partner
    def apart(i: int, j: int) -> tuple[float, float]:
        return _hausdorff(one, i, two, j), _average(one, i, two, j)

    forth = _weighted(one, two, table, apart)
    back = _weighted(two, one, table.mirrored, lambda j, i: apart(i, j))
    return (forth[0] + back[0]) / 2, (forth[1] + back[1]) / 2


def _weighted(
    one: ObjectPixels,
    two: ObjectPixels,
    table: Overlaps,
    apart: Callable[[int, int], tuple[float, float]],
) -> tuple[float, float]:
    pair = best_partners(table)
    partner = np.where(pair >= 0, table.predicted[pair], -1) if len(table.pixels) else pair
    weight = table.truth_area / table.truth_area.sum()
    distances = [
        apart(index, other if other >= 0 else _nearest(one, index, two))
        for index, other in enumerate(partner.tolist())
    ]
    hausdorff, average = weight @ np.array(distances)
    return float(hausdorff), float(average)


def _nearest(one: ObjectPixels, index: int, two: ObjectPixels) -> int:
    """Find which of the others is nearest to an object by Hausdorff distance, the first of several.

    No two objects are nearer than their extents in any direction differ, so few are looked at.
    """
    best, which, seen = np.inf, -1, 0
    while seen < two.count:
        ranks = np.arange(seen + 1, min(4 * seen + 4, two.count) + 1)
        least, others = two.by_extent.query(one.extents[index], ranks, p=np.inf)
        for bound, other in zip(least.tolist(), others.tolist(), strict=True):
            if bound > best + ROUNDING:
                return which
            distance = _hausdorff(one, index, two, other)
            if (distance, other) < (best, which):
                best, which = distance, other
        seen += len(ranks)
    return which


def _hausdorff(one: ObjectPixels, i: int, two: ObjectPixels, j: int) -> float:
    return max(_farthest(one, i, two, j), _farthest(two, j, one, i))


def _farthest(one: ObjectPixels, i: int, two: ObjectPixels, j: int) -> float:
    """Largest distance from a pixel of one object to the nearest of the other.

    From a pixel beyond the other's bounding box one can walk away from it until the object ends,
    so of such pixels only the outline matters. And of the pixels left, none matters that is nearer
    to some pixel of the other than the farthest one by more than the other's radius around it.
    """
    top, left, bottom, right = two.boxes[j]
    if len(one.pixels[i]) <= (bottom - top) * (right - left):
        points = one.pixels[i]
    else:
        inside = np.argwhere(one.numbers[top:bottom, left:right] == i + 1)
        points = np.concatenate([one.outlines[i], inside + np.array([top, left])])
    points = points[two.numbers[points[:, 0], points[:, 1]] != j + 1]
    if not len(points):
        return 0.0
    if len(points) * len(two.outlines[j]) <= FEW:
        return float(two.distances(j, points).max())
    middle = two.pixels[j][len(two.pixels[j]) // 2]
    distance = np.hypot(*(points - middle).T)
    radius = np.hypot(*(two.outlines[j] - middle).T).max()
    points = points[distance >= distance.max() - radius - ROUNDING]
    return float(two.distances(j, points).max())


def _average(one: ObjectPixels, i: int, two: ObjectPixels, j: int) -> float:
    forth = two.distances(j, one.outlines[i])
    back = one.distances(i, two.outlines[j])
    return float((forth.sum() + back.sum()) / (len(forth) + len(back)))
