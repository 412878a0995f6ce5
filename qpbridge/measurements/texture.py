"""Texture measurements of many objects at once: Haralick features as QuPath's, and chromatin.

The thirteen features are those of QuPath's *Add intensity features* (facts read in the source of
QuPath 0.6: ``HaralickFeatureComputer``, ``HaralickFeatures``, ``CoocurranceMatrices``), after
Haralick, Shanmugam and Dinstein, IEEE Trans. Systems, Man, and Cybernetics 1973:

- 32 grey levels from 0 to 1.5 optical density, values beyond go to the first and the last;
- pairs of pixels one apart in four directions, both within the object, counted both ways;
- each feature is the mean of its four directions. An object that has no pair in one of them has no
  value, and none for a correlation where a direction shows a single grey level.

Three features follow QuPath's formulas where these leave the paper, so that values agree: the sum
features run over sums of grey levels that count from 0 and leave out the two lowest sums (all of a
pair's weight at both pixels in level 0, or 0 and 1), the sum variance is taken about the sum
average, and the difference variance is the sample variance of the distribution's 32 numbers.

The pixels are those that QuPath takes too, see `qpbridge.measurements.raster.filled_pixels`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.measurements.names import WHOLE, fill
from qpbridge.objects import FloatArray, IntArray, MeasurementTable

LEVELS = 32
"""QuPath's default number of grey levels."""

OD_RANGE = (0.0, 1.5)
"""The range that QuPath cuts into levels for stains, in units of optical density."""

CHUNK = 2**12
"""Objects whose co-occurrence matrices (8 KiB each) are held at a time; bounds the memory."""

DIRECTIONS = ((1, 0), (0, 1), (1, 1), (-1, 1))
"""Steps (x, y) from the first to the second pixel of a pair."""

HARALICK: Mapping[str, str] = {
    "Angular second moment": "sum of p²; high where few pairs of grey levels dominate",
    "Contrast": "mean of (i - j)²",
    "Correlation": "correlation of i and j, -1 to 1",
    "Sum of squares": "variance of i",
    "Inverse difference moment": "mean of 1 / (1 + (i - j)²); 1 where all pairs are equal",
    "Sum average": "mean of the sum i + j, by QuPath's sums",
    "Sum variance": "variance of the sum i + j about the sum average, by QuPath's sums",
    "Sum entropy": "entropy of the sum i + j in bits, by QuPath's sums",
    "Entropy": "entropy of p in bits",
    "Difference variance": "sample variance of the 32 probabilities of |i - j|",
    "Difference entropy": "entropy of |i - j| in bits",
    "Information measure of correlation 1": "(H(i, j) - H(i) - H(j)) / H(i), entropies in bits",
    "Information measure of correlation 2": "√(1 - exp(-2 (H(i) + H(j) - H(i, j))))",
}
"""QuPath's features in order; p is the probability of a pair of grey levels i and j."""

CHROMATIN_ENTROPY, CHROMATIN_CV = "Chromatin: Entropy", "Chromatin: CV"

FORMS = tuple(
    f"SIZE µm per pixel: CHANNEL: Haralick {name} (F{i})" for i, name in enumerate(HARALICK)
)
"""How they are called, after what says of which part of an object they are."""

DEFINITIONS: Mapping[str, str] = {
    **{
        form: (
            f"Haralick texture of CHANNEL at SIZE µm per pixel within the object, mean of four "
            f"directions: {text} (QuPath's Add intensity features)."
        )
        for form, text in zip(FORMS, HARALICK.values(), strict=True)
    },
    CHROMATIN_ENTROPY: (
        "Chromatin heterogeneity: Shannon entropy, in bits (0 to 5), of the hematoxylin optical "
        "densities of the nucleus in 32 levels from 0 to 1.5."
    ),
    CHROMATIN_CV: (
        "Chromatin heterogeneity: standard deviation (of a sample) of the hematoxylin optical "
        "densities of the nucleus over their mean."
    ),
}
"""One line for each measurement of this module, by the pattern of its name."""


def haralick_names(channel: str, mpp: float, part: str = WHOLE) -> tuple[str, ...]:
    """Return the names of the Haralick features as QuPath writes them.

    Parameters
    ----------
    channel
        Name of the channel or stain.
    mpp
        µm per pixel of the image that is measured.
    part
        `WHOLE` for the object itself, `NUCLEUS` for the nucleus of a cell.

    Returns
    -------
    tuple
        Thirteen names, such as ``ROI: 0.50 µm per pixel: Hematoxylin: Haralick Entropy (F8)``.
    """
    return tuple(part + fill(form, SIZE=f"{mpp:.2f}", CHANNEL=channel) for form in FORMS)


def haralick_features(
    channel: npt.NDArray[np.float32], owner: IntArray, pixel: IntArray, n: int
) -> FloatArray:
    """Compute the Haralick features of many objects, which may overlap.

    Parameters
    ----------
    channel
        float32 (H, W), hematoxylin or another stain in units of optical density.
    owner, pixel
        int64 (k,) each, which object has which pixel, by owner and then by pixel, as
        `qpbridge.measurements.raster.filled_pixels` gives them.
    n
        Number of objects.

    Returns
    -------
    numpy.ndarray
        float64 (n, 13), in the order of `HARALICK`; NaN where an object has no value.
    """
    levels = grey_levels(channel.reshape(-1)[pixel])
    out = np.empty((n, len(HARALICK)))
    bounds = np.searchsorted(owner, np.arange(0, n + CHUNK, CHUNK))
    for first, start, stop in zip(range(0, n, CHUNK), bounds[:-1], bounds[1:], strict=False):
        part = slice(start, stop)
        rows = min(CHUNK, n - first)
        key = (owner[part] - first) * channel.size + pixel[part]
        column = pixel[part] % channel.shape[1]
        total = np.zeros((rows, len(HARALICK)))
        for x, y in DIRECTIONS:
            a, b = _pairs(key, column, (x, y), channel.shape)
            total += _features(key[a] // channel.size, levels[part][a], levels[part][b], rows)
        out[first : first + rows] = total / len(DIRECTIONS)
    return out


def grey_levels(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Cut values (k,) into `LEVELS` levels, int64 (k,), from 0; those out of range go to the ends.

    NaN counts as the lowest level.
    """
    low, high = OD_RANGE
    steps = (np.asarray(values, np.float64) - low) / ((high - low) / LEVELS)
    return np.clip(np.where(np.isnan(steps), 0, steps), 0, LEVELS - 1).astype(np.int64)


def _pairs(
    key: IntArray, column: IntArray, step: tuple[int, int], size: tuple[int, ...]
) -> tuple[IntArray, IntArray]:
    """Find pairs of pixels of one object that are a step apart.

    Parameters
    ----------
    key
        int64 (k,), ``object * H * W + pixel``, ascending.
    column
        int64 (k,).
    step
        x and y.
    size
        H, W of the image.

    Returns
    -------
    first, second
        int64 (m,) each, positions in `key`.
    """
    height, width = size
    # The next pixel of the object may be the wanted one by number and yet lie in another row.
    start = np.flatnonzero((column + step[0] >= 0) & (column + step[0] < width))
    wanted = key[start] + step[1] * width + step[0]
    same = wanted // (height * width) == key[start] // (height * width)
    start, wanted = start[same], wanted[same]
    at = np.searchsorted(key, wanted)
    there = at < len(key)
    there[there] = key[at[there]] == wanted[there]
    return start[there], at[there]


def _features(owner: IntArray, i: IntArray, j: IntArray, n: int) -> FloatArray:
    """Compute the features of one direction from pairs of grey levels (m,) of n objects.

    The matrix is symmetric, so its marginal distributions are the same, and the entropies that the
    information measures of correlation compare with are twice the marginal one.
    """
    pairs = np.bincount(owner, minlength=n).astype(np.float64)
    pairs[pairs == 0] = np.nan

    def spread(level: IntArray, most: int) -> FloatArray:
        counts = np.bincount(owner * most + level, minlength=n * most).reshape(n, most)
        return counts / pairs[:, None]

    marginal = (spread(i, LEVELS) + spread(j, LEVELS)) / 2
    differences, sums = spread(np.abs(i - j), LEVELS), spread(i + j, 2 * LEVELS - 1)
    sums[:, :2] *= 0  # as QuPath has it; NaN stays
    level, total = np.arange(LEVELS), np.arange(2 * LEVELS - 1)

    mean = _expect(marginal, level)
    variance = _expect(marginal, np.square(level - mean[:, None]))
    covariance = np.bincount(owner, (i - mean[owner]) * (j - mean[owner]), n) / pairs
    sum_average = _expect(sums, total)
    sum_variance = _expect(sums, np.square(total - sum_average[:, None]))
    second_moment, entropy = _matrix_features(owner, i, j, pairs)
    marginal_entropy = _entropy(marginal)
    shared = np.maximum(2 * marginal_entropy - entropy, 0)
    with np.errstate(invalid="ignore"):
        return np.column_stack(
            [
                second_moment,
                _expect(differences, np.square(level)),
                covariance / variance,
                variance,
                _expect(differences, 1 / (1 + np.square(level))),
                sum_average,
                sum_variance,
                _entropy(sums),
                entropy,
                differences.var(axis=1, ddof=1),
                _entropy(differences),
                -shared / marginal_entropy,
                np.sqrt(1 - np.exp(-2 * shared)),
            ]
        )


def _matrix_features(
    owner: IntArray, i: IntArray, j: IntArray, pairs: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Angular second moment and entropy of co-occurrence matrices, float64 (n,) each."""
    n = len(pairs)
    cell = (owner * LEVELS + np.minimum(i, j)) * LEVELS + np.maximum(i, j)
    counts = np.bincount(cell, minlength=n * LEVELS**2)
    cell = np.flatnonzero(counts)
    whose = cell // LEVELS**2
    # Off the diagonal a pair's weight is halved between (i, j) and (j, i).
    halves = np.where(cell // LEVELS % LEVELS == cell % LEVELS, 1, 2)
    p = counts[cell] / (pairs[whose] * halves)
    nothing = 0 * pairs  # NaN without pairs
    moment = np.bincount(whose, halves * p * p, n) + nothing
    return moment, np.bincount(whose, -halves * p * np.log2(p), n) + nothing


def _expect(p: FloatArray, values: npt.NDArray[np.number]) -> FloatArray:
    """Mean of values under distributions, float64 (n, m) -> (n,).

    No matrix product: that rounds a row according to the rows beside it.
    """
    mean: FloatArray = (p * values).sum(axis=1)
    return mean


def _entropy(p: FloatArray) -> FloatArray:
    """Entropy in bits of distributions, float64 (n, m) -> (n,); NaN stays NaN."""
    entropy: FloatArray = 0 - (p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)
    return entropy


def chromatin_heterogeneity(
    hematoxylin: npt.NDArray[np.float32], owner: IntArray, pixel: IntArray, n: int
) -> MeasurementTable:
    """Measure how uneven the chromatin of nuclei is, by the first-order statistics of its stain.

    Entropy and coefficient of variation of the nucleus's optical densities, which are among the
    measures that Nielsen, Albregtsen and Danielsen review (Critical Reviews in Oncogenesis 2008).
    Both depend on how large a pixel is and on how thick the section is; compare only what was
    measured alike.

    For the parameters see `haralick_features`.

    Returns
    -------
    measurements
        `CHROMATIN_ENTROPY` in bits and `CHROMATIN_CV`; NaN for nuclei without a pixel, for the
        coefficient also where the mean isn't positive.
    """
    values = hematoxylin.reshape(-1)[pixel].astype(np.float64)
    count = np.bincount(owner, minlength=n).astype(np.float64)
    key = owner * LEVELS + grey_levels(hematoxylin.reshape(-1)[pixel])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.bincount(key, minlength=n * LEVELS).reshape(n, LEVELS) / count[:, None]
        mean = np.bincount(owner, values, n) / count
        squares = np.bincount(owner, np.square(values - mean[owner]), n)
        deviation = np.sqrt(squares / np.maximum(count - 1, 1))
        cv = np.where(mean > 0, deviation / mean, np.nan)
    return MeasurementTable.of({CHROMATIN_ENTROPY: _entropy(p), CHROMATIN_CV: cv})
