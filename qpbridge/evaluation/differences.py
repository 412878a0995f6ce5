"""Whether one model is better than another by more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge.evaluation.labelled import Sample

ENOUGH = 8
"""Fewer images than this say little of chance: then their tiles are compared."""

TILE_UM = 100.0
"""About the edge of such a tile: some fifty nuclei, or a gland."""

LEAST = 6
"""Fewer pairs can't tell a gain from chance: all of five go the same way in 1 of 16 cases."""

RESAMPLES = 9999


class Difference(NamedTuple):
    """What a score became, on the same images or tiles.

    Attributes
    ----------
    before, after
        Mean of the score.
    low, high
        95 % interval of `after - before`; NaN where fewer than `LEAST` were compared.
    compared
        How many were compared: those on which both have the score.
    """

    before: float
    after: float
    low: float
    high: float
    compared: int

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Compare two scores of the same images, pair by pair.

    The interval is the percentile interval of the bootstrap: pairs are drawn again and again, with
    replacement (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Parameters
    ----------
    before, after
        A score of each image (n,), by the one and by the other; NaN: it has none.

    Examples
    --------
    >>> found = paired_difference([0.5, 0.6, 0.4] * 2, [0.6, 0.7, 0.6] * 2)
    >>> round(found.after - found.before, 3), found.beyond_chance
    (0.133, True)
    """
    pairs = np.array([before, after], float)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    count = pairs.shape[1]
    if not count:
        return Difference(math.nan, math.nan, math.nan, math.nan, 0)
    first, second = pairs.mean(axis=1).tolist()
    if count < LEAST:
        return Difference(first, second, math.nan, math.nan, count)
    low, high = _interval(pairs[1] - pairs[0])
    return Difference(first, second, low, high, count)


def _interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    from scipy.stats import bootstrap  # takes a second to import

    found = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=0
    ).confidence_interval
    return float(found.low), float(found.high)


def in_tiles(samples: Sequence[Sample]) -> list[Sample]:
    """Cut images into tiles of about the same size, where they are too few to compare.

    Returns
    -------
    list of Sample
        The samples themselves where they are `ENOUGH`.
    """
    if len(samples) >= ENOUGH:
        return list(samples)
    return [tile for sample in samples for tile in _tiles(sample)]


def _tiles(sample: Sample) -> Iterator[Sample]:
    height, width = sample.labels.shape
    rows, columns = (max(round(n * sample.mpp / TILE_UM), 1) for n in (height, width))
    if rows * columns == 1:
        yield sample
        return
    for row in range(rows):
        for column in range(columns):
            window = (
                slice(row * height // rows, (row + 1) * height // rows),
                slice(column * width // columns, (column + 1) * width // columns),
            )
            if sample.known is None or sample.known[window].any():
                yield replace(
                    sample,
                    name=f"{sample.name} ({row}, {column})",
                    image=sample.image[window],
                    labels=sample.labels[window],
                    known=None if sample.known is None else sample.known[window],
                    lumen=None if sample.lumen is None else sample.lumen[window],
                    place=None,  # what the border cuts is cut in the truth as well
                )
