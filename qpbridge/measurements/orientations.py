"""How unlike the directions of nuclei are: the entropy of their orientations in bins."""

from __future__ import annotations

import numpy as np

from qpbridge.objects import FloatArray, IntArray

BINS = 18
"""Orientations are counted in bins of ten degrees."""


def orientation_entropy_of(orientation: FloatArray) -> float:
    """Return the entropy in bits of the orientations (n,) of nuclei; NaN of less than two."""
    known = orientation[np.isfinite(orientation)]
    counts = np.bincount(binned(known), minlength=BINS)[None]
    return float(entropy(counts)[0]) if len(known) > 1 else np.nan


def binned(orientation: FloatArray) -> IntArray:
    """Tell the bin of each orientation (n,) in degrees."""
    return (orientation % 180 / (180 / BINS)).astype(np.int64) % BINS


def entropy(counts: IntArray) -> FloatArray:
    """Entropy in bits of rows of counts, int64 (n, m) -> float64 (n,)."""
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    bits: FloatArray = 0 - (p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)
    return bits
