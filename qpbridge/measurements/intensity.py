"""Intensity measurements of many objects at once, named and defined as QuPath's.

Standard deviation and variance are those of a sample (n - 1), and 0 for a single pixel, as values
that QuPath 0.6.0 computed show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qpbridge.measurements.color import deconvolve
from qpbridge.measurements.names import fill
from qpbridge.measurements.raster import covered_pixels
from qpbridge.objects import FloatArray, IntArray, MeasurementTable, Shapes, Stains

DEFINITIONS: Mapping[str, str] = {
    "STAIN: Mean": "Mean of a stain's optical density over the object's pixels.",
    "STAIN: Median": "Median of the same.",
    "STAIN: Min": "Smallest of the same.",
    "STAIN: Max": "Largest of the same.",
    "STAIN: Std.Dev.": "Standard deviation of a sample (n - 1) of the same; 0 for one pixel.",
    "STAIN: Variance": "Its square.",
}
"""QuPath's intensities, after colour deconvolution with the image's own stains."""

MEAN, VARIANCE = "STAIN: Mean", "STAIN: Variance"
"""Those that stand for all where few are told."""


def intensity_names(channels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the intensity measurements of some channels."""
    return tuple(fill(form, STAIN=channel) for channel in channels for form in DEFINITIONS)


def stains_of_shapes(
    rgb: npt.NDArray[np.uint8],
    stains: Stains,
    shapes: Shapes,
    origin: tuple[float, float] = (0.0, 0.0),
    downsample: float = 1.0,
) -> MeasurementTable:
    """Measure the stains (see `deconvolve`) of shapes, separating those only where shapes are.

    For the other parameters see `covered_pixels`; the window is that of `rgb`, uint8 (H, W, 3).
    Shapes may overlap; without a pixel they have NaN.
    """
    owner, pixel = covered_pixels(shapes, (rgb.shape[0], rgb.shape[1]), origin, downsample)
    values = deconvolve(rgb.reshape(-1, 3).take(pixel, axis=0), stains)
    columns = [statistics(v, owner, len(shapes)) for v in values]
    return MeasurementTable(intensity_names(stains.stain_names), np.concatenate(columns, axis=1))


def statistics(values: npt.NDArray[np.float32], owner: IntArray, n: int) -> FloatArray:
    """Compute mean, median, and so on (see `DEFINITIONS`) of groups of values.

    Parameters
    ----------
    values
        float32 (k,), finite.
    owner
        int64 (k,), which group each belongs to, ascending.
    n
        Number of groups.

    Returns
    -------
    numpy.ndarray
        float64 (n, 6); NaN for empty groups.
    """
    out = np.full((n, len(DEFINITIONS)), np.nan)
    counts = np.bincount(owner, minlength=n)
    there = counts > 0
    count = counts[there]
    if not len(count):
        return out
    start = np.cumsum(count) - count
    ordered = _sort_within(values, owner).astype(np.float64)
    mean = np.add.reduceat(ordered, start) / count
    squares = np.add.reduceat(np.square(ordered - np.repeat(mean, count)), start)
    variance = squares / np.maximum(count - 1, 1)
    low, high = start + (count - 1) // 2, start + count // 2
    out[there] = np.column_stack(
        [
            mean,
            (ordered[low] + ordered[high]) / 2,
            ordered[start],
            ordered[start + count - 1],
            np.sqrt(variance),
            variance,
        ]
    )
    return out


def _sort_within(values: npt.NDArray[np.float32], owner: IntArray) -> npt.NDArray[np.float32]:
    """Sort the values of each group: one sort of integers that hold the group above the value.

    The bits of floats order like integers once those of negative ones are inverted.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    sign = np.uint32(1 << 31)
    ordered = np.where(bits & sign, ~bits, bits | sign)
    key = owner.astype(np.uint64) << np.uint64(32) | ordered
    key.sort()
    ordered = key.astype(np.uint32)
    return np.where(ordered & sign, ordered ^ sign, ~ordered).view(np.float32)
