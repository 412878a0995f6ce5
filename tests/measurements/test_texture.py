"""Texture, against loops that spell the formulas out and against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix

from qpbridge.measurements import texture
from qpbridge.measurements.names import NUCLEUS
from qpbridge.measurements.raster import covered_pixels
from qpbridge.measurements.texture import (
    CHROMATIN_CV,
    CHROMATIN_ENTROPY,
    DEFINITIONS,
    HARALICK,
    chromatin_heterogeneity,
    grey_levels,
    haralick_features,
    haralick_names,
)
from qpbridge.objects import Shapes

L = texture.LEVELS


def test_names_of_qupath() -> None:
    names = haralick_names("Hematoxylin", 0.5)
    assert names[0] == "ROI: 0.50 µm per pixel: Hematoxylin: Haralick Angular second moment (F0)"
    assert names[12] == (
        "ROI: 0.50 µm per pixel: Hematoxylin: Haralick Information measure of correlation 2 (F12)"
    )
    assert "µ".encode() == b"\xc2\xb5"
    assert len(names) == 13
    assert haralick_names("DAB", 2, NUCLEUS)[1].startswith("Nucleus: 2.00 µm per pixel: DAB: ")
    patterns = [p for p in DEFINITIONS if "Haralick" in p]
    assert [
        "ROI: " + p.replace("SIZE", "0.50").replace("CHANNEL", "Hematoxylin") for p in patterns
    ] == list(names)


def test_grey_levels() -> None:
    depth = 1.5 / 32
    values = np.array([-1, 0, depth * 0.99, depth * 1.01, 1.49, 1.5, 9, np.inf, np.nan], np.float32)
    assert grey_levels(values).tolist() == [0, 0, 0, 1, 31, 31, 31, 31, 0]


def formulas(p: np.ndarray) -> list[float]:
    """Haralick's features of one normalised matrix, term by term; sums of levels as QuPath's."""
    n = len(p)
    r = range(n)
    ln = np.log2
    px = [sum(p[i, j] for j in r) for i in r]
    py = [sum(p[i, j] for i in r) for j in r]
    plus = [sum(p[i, s - i] for i in r if 0 <= s - i < n) for s in range(2 * n - 1)]
    minus = [sum(p[i, j] for i in r for j in r if abs(i - j) == d) for d in r]
    mx = sum((i + 1) * px[i] for i in r)
    my = sum((j + 1) * py[j] for j in r)
    vx = sum((i + 1 - mx) ** 2 * px[i] for i in r)
    vy = sum((j + 1 - my) ** 2 * py[j] for j in r)
    every = [(i, j) for i in r for j in r]
    cross = sum((i + 1) * (j + 1) * p[i, j] for i, j in every) - mx * my
    hxy = -sum(p[i, j] * ln(p[i, j]) for i, j in every if p[i, j] > 0)
    hxy1 = -sum(p[i, j] * ln(px[i] * py[j]) for i, j in every if px[i] * py[j] > 0)
    hxy2 = -sum(px[i] * py[j] * ln(px[i] * py[j]) for i, j in every if px[i] * py[j] > 0)
    hx = -sum(v * ln(v) for v in px if v > 0)
    hy = -sum(v * ln(v) for v in py if v > 0)
    average = sum(s * plus[s] for s in range(2, 2 * n - 1))
    flat = vx < 1e-12
    return [
        sum(p[i, j] ** 2 for i, j in every),
        sum((i - j) ** 2 * p[i, j] for i, j in every),
        np.nan if flat else cross / np.sqrt(vx * vy),
        vx,
        sum(p[i, j] / (1 + (i - j) ** 2) for i, j in every),
        average,
        sum((s - average) ** 2 * plus[s] for s in range(2, 2 * n - 1)),
        -sum(plus[s] * ln(plus[s]) for s in range(2, 2 * n - 1) if plus[s] > 0),
        hxy,
        float(np.var(minus, ddof=1)),
        -sum(v * ln(v) for v in minus if v > 0),
        np.nan if flat else (hxy - hxy1) / max(hx, hy),
        float(np.sqrt(max(0, 1 - np.exp(-2 * (hxy2 - hxy))))),
    ]


def reference(channel: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean over four directions; the matrices are scikit-image's, outside is a level of its own."""
    level = np.full(channel.shape, L, np.uint8)
    level[mask] = grey_levels(channel[mask])
    angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
    counts = graycomatrix(level, [1], angles, levels=L + 1, symmetric=True)[:L, :L, 0]
    total = np.zeros(13)
    for d in range(4):
        matrix = counts[:, :, d].astype(float)
        if matrix.sum() == 0:
            return np.full(13, np.nan)
        total += formulas(matrix / matrix.sum())
    return total / 4


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = rng.normal(0.5, 0.3, size)
    smooth[1:, 1:] += smooth[:-1, :-1]
    return (smooth * 0.7).astype(np.float32)


def test_against_formulas() -> None:
    channel = picture((40, 52))
    donut = shapely.box(5, 5, 20, 22).difference(shapely.box(9, 9, 13, 15))
    two = shapely.MultiPolygon([shapely.box(40, 2, 46, 8), shapely.box(45.2, 12, 52, 30)])
    geometries = [
        shapely.Point(20, 20).buffer(9),
        shapely.Point(26, 22).buffer(7),
        donut,
        two,
        shapely.box(0, 30, 52, 40),
        shapely.box(47, 0, 60, 3),
        shapely.box(1, 1, 3, 3),
    ]
    shapes = Shapes.from_geometries(geometries)
    owner, pixel = covered_pixels(shapes, channel.shape)
    values = haralick_features(channel, owner, pixel, len(shapes))
    for k in range(len(shapes)):
        mask = np.zeros(channel.size, bool)
        mask[pixel[owner == k]] = True
        expected = reference(channel, mask.reshape(channel.shape))
        np.testing.assert_allclose(values[k], expected, rtol=1e-9, atol=1e-9)


masks = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=5, max_size=5)


@settings(max_examples=25)
@given(drawn=st.lists(masks, min_size=1, max_size=3), seed=st.integers(0, 99), few=st.booleans())
def test_any_mask(drawn: list[list[list[bool]]], seed: int, few: bool) -> None:
    channel = picture((5, 5), seed)
    if few:
        channel = np.where(channel > 0.5, 0.3, 0.01).astype(np.float32)
    found = [np.flatnonzero(np.array(mask)) for mask in drawn]
    owner = np.repeat(np.arange(len(found)), [len(f) for f in found])
    values = haralick_features(channel, owner, np.concatenate(found), len(found))
    for row, mask in zip(values, drawn, strict=True):
        expected = reference(channel, np.array(mask))
        np.testing.assert_allclose(row, expected, rtol=1e-7, atol=1e-7)


def test_flat_and_small_objects() -> None:
    channel = np.full((6, 8), 0.4, np.float32)
    pixel = np.array([0, 9, 10, 17, 18, 7, 8])
    owner = np.array([0, 1, 1, 1, 1, 3, 3])
    values = haralick_features(channel, owner, pixel, 5)
    # One pixel, no pixel, and two that follow each other by number but not in the picture.
    assert np.isnan(values[[0, 2, 3, 4]]).all()
    level = int(0.4 / 1.5 * 32)
    flat = dict(zip(HARALICK, values[1], strict=True))
    assert flat["Angular second moment"] == 1
    assert flat["Inverse difference moment"] == 1
    assert flat["Sum average"] == 2 * level
    assert flat["Difference variance"] == pytest.approx(1 / 32)
    assert np.isnan(flat["Correlation"])
    assert np.isnan(flat["Information measure of correlation 1"])
    zero = ("Contrast", "Sum of squares", "Sum variance", "Sum entropy", "Entropy")
    assert [flat[name] for name in zero] == [0] * 5
    assert flat["Information measure of correlation 2"] == 0


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = picture((80, 80), 4)
    centers = np.random.default_rng(1).uniform(0, 80, (50, 2))
    shapes = Shapes.from_geometries(shapely.buffer(shapely.points(centers), 5))
    owner, pixel = covered_pixels(shapes, channel.shape)
    whole = haralick_features(channel, owner, pixel, 50)
    monkeypatch.setattr(texture, "CHUNK", 7)
    np.testing.assert_array_equal(haralick_features(channel, owner, pixel, 50), whole)
    assert np.isfinite(whole).all()


def test_no_objects() -> None:
    nothing = np.zeros(0, np.int64)
    channel = np.zeros((3, 3), np.float32)
    assert haralick_features(channel, nothing, nothing, 0).shape == (0, 13)
    assert chromatin_heterogeneity(channel, nothing, nothing, 0)[CHROMATIN_CV].shape == (0,)
    assert np.isnan(chromatin_heterogeneity(channel, nothing, nothing, 2)[CHROMATIN_ENTROPY]).all()


def test_chromatin() -> None:
    channel = np.zeros((2, 8), np.float32)
    channel[0, :4] = [0.02, 0.2, 0.4, 0.8]
    channel[1, :3] = 0.7
    owner = np.array([0, 0, 0, 0, 1, 1, 1, 2, 4])
    pixel = np.array([0, 1, 2, 3, 8, 9, 10, 8, 15])
    found = chromatin_heterogeneity(channel, owner, pixel, 5)
    np.testing.assert_allclose(found[CHROMATIN_ENTROPY], [2, 0, 0, np.nan, 0])
    first = channel[0, :4].astype(float)
    expected = [first.std(ddof=1) / first.mean(), 0, 0, np.nan, np.nan]
    np.testing.assert_allclose(found[CHROMATIN_CV], expected, atol=1e-12)
    assert set(found) <= set(DEFINITIONS)
