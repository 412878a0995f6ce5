"""Metrics of instance maps by how far objects and their outlines are apart, in pixels.

An outline is the pixels of an object that have a neighbour (up, down, left, right) outside of it,
or lie on the edge of the image; distances are between pixel centres.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from qpbridge.evaluate.overlaps import IntArray, Labels, Overlaps, best_partners, dense

BRUTE = 50_000
"""Pairs of points up to which all distances are computed; from there on a tree is faster."""


@dataclass(frozen=True, eq=False)
class Places:
    """Where the objects of a map are.

    Attributes
    ----------
    pixels : int64 array, shape (k, 2)
        Row and column of all their pixels, object by object.
    start : int64 array, shape (n + 1,)
        Object i has ``pixels[start[i]:start[i + 1]]``.
    outline : bool array, shape (k,)
        Whether a pixel is on the outline of its object.
    other : int64 array, shape (k,)
        The object of the other map that the pixel is in; -1: none.
    """

    pixels: IntArray
    start: IntArray
    outline: npt.NDArray[np.bool_]
    other: IntArray

    def of(self, index: int) -> slice:
        """Pixels of one object."""
        return slice(self.start[index], self.start[index + 1])


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
    one, two = _places(truth, prediction), _places(prediction, truth)

    @functools.cache  # mostly each is the other's partner
    def apart(i: int, j: int) -> tuple[float, float]:
        return _hausdorff(one, i, two, j), _average(one, i, two, j)

    forth = _weighted(one, two, table, apart)
    back = _weighted(two, one, table.mirrored, lambda j, i: apart(i, j))
    return (forth[0] + back[0]) / 2, (forth[1] + back[1]) / 2


def _places(labels: Labels, others: Labels) -> Places:
    count, flat = dense(labels)
    numbered = flat.reshape(labels.shape)
    wide = np.pad(numbered, 1)
    edge = np.zeros(numbered.shape, bool)
    for rows, columns in ((0, 1), (2, 1), (1, 0), (1, 2)):
        beside = wide[rows : rows + labels.shape[0], columns : columns + labels.shape[1]]
        edge |= beside != numbered
    inside = np.flatnonzero(flat)
    inside = inside[np.argsort(flat[inside], kind="stable")]
    start = np.cumsum(np.bincount(flat[inside], minlength=count + 1))
    pixels = np.stack(np.divmod(inside, labels.shape[1]), axis=1)
    return Places(
        pixels.astype(np.int64),
        start.astype(np.int64),
        edge.ravel()[inside],
        dense(others)[1][inside] - 1,
    )


def _weighted(
    one: Places, two: Places, table: Overlaps, apart: Callable[[int, int], tuple[float, float]]
) -> tuple[float, float]:
    pair = best_partners(table)
    weight = table.truth_area / table.truth_area.sum()
    distances = np.zeros((len(pair), 2))
    with_partner = np.flatnonzero(pair >= 0)
    for index, partner in zip(
        with_partner.tolist(), table.predicted[pair[with_partner]].tolist(), strict=True
    ):
        distances[index] = apart(index, partner)
    lonely = np.flatnonzero(pair < 0)
    if len(lonely):
        bound = np.abs(_boxes(one)[lonely][:, None] - _boxes(two)[None]).max(axis=2)
        for index, least in zip(lonely.tolist(), bound, strict=True):
            distances[index] = apart(index, _nearest(one, index, two, least))
    hausdorff, average = (weight[:, None] * distances).sum(axis=0)
    return float(hausdorff), float(average)


def _nearest(one: Places, index: int, two: Places, least: npt.NDArray[np.integer]) -> int:
    """Find which of the others is nearest to an object by Hausdorff distance.

    Parameters
    ----------
    one, index
        The object.
    two
        The others.
    least
        (m,), what each distance is at least.
    """
    best, which = np.inf, -1
    for other in np.argsort(least, kind="stable").tolist():
        if least[other] >= best:
            break
        distance = _hausdorff(one, index, two, other)
        if distance < best:
            best, which = distance, other
    return which


def _boxes(places: Places) -> IntArray:
    """Bounding boxes (n, 4): least row and column, largest row and column.

    No two objects are nearer by Hausdorff distance than any side of one's box is to the other's.
    """
    low = np.minimum.reduceat(places.pixels, places.start[:-1], axis=0)
    high = np.maximum.reduceat(places.pixels, places.start[:-1], axis=0)
    return np.concatenate([low, high], axis=1)


def _hausdorff(one: Places, i: int, two: Places, j: int) -> float:
    return max(_farthest(one, i, two, j), _farthest(two, j, one, i))


def _farthest(one: Places, i: int, two: Places, j: int) -> float:
    """Largest distance from a pixel of one object to the nearest of the other."""
    here = one.of(i)
    outside = one.pixels[here][one.other[here] != j]
    return float(_distances(outside, _outline(two, j)).max(initial=0.0))


def _average(one: Places, i: int, two: Places, j: int) -> float:
    a, b = _outline(one, i), _outline(two, j)
    return float(np.concatenate([_distances(a, b), _distances(b, a)]).mean())


def _outline(places: Places, index: int) -> IntArray:
    here = places.of(index)
    return places.pixels[here][places.outline[here]]


def _distances(points: IntArray, goals: IntArray) -> npt.NDArray[np.float64]:
    """Distance from each point (k, 2) to the nearest goal, (k,)."""
    if len(points) * len(goals) > BRUTE:
        distance, _ = cKDTree(goals).query(points)
        return np.asarray(distance, np.float64)
    squares = (points[:, None, 0] - goals[:, 0]) ** 2 + (points[:, None, 1] - goals[:, 1]) ** 2
    nearest: npt.NDArray[np.float64] = np.sqrt(squares.min(axis=1))
    return nearest
