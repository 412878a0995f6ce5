"""Colour deconvolution, masks and intensities, against a real QuPath's and against loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from golden_measurements import Golden, read_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.measurements.color import H_DAB, H_E, deconvolve, stain_matrix
from qpbridge.measurements.intensity import (
    intensity_names,
    stains_of_shapes,
    statistics,
)
from qpbridge.measurements.raster import covered_pixels, rasterize
from qpbridge.objects import RoiKind, Shapes, Stains, concatenate_shapes

CASES = {"he_calibrated": H_E, "he_uncalibrated": H_E, "hdab_calibrated": H_DAB}


def measured(channels, shapes, origin=(0.0, 0.0), downsample=1.0) -> np.ndarray:
    """Measure channels (C, H, W) on the pixels that QuPath's masks of shapes would cover."""
    owner, pixel = covered_pixels(shapes, channels.shape[1:], origin, downsample)
    values = channels.reshape(len(channels), -1)[:, pixel]
    return np.concatenate([statistics(v, owner, len(shapes)) for v in values], axis=1)


def _polygons(golden: Golden) -> np.ndarray:
    return np.flatnonzero(np.isin(golden.shapes.roi, (RoiKind.POLYGON, RoiKind.GEOMETRY)))


@pytest.mark.parametrize("case", CASES)
def test_stain_matrix_of_qupath(shared: Path, case: str) -> None:
    golden = read_golden(shared / "qupath" / "golden_measurements" / case)
    inverse = np.linalg.inv(stain_matrix(CASES[case]))
    np.testing.assert_allclose(inverse, golden.stains["inverse"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_masks_and_intensities_of_qupath(shared: Path, case: str) -> None:
    golden = read_golden(shared / "qupath" / "golden_measurements" / case)
    rows = _polygons(golden)
    shapes = golden.shapes.take(rows)
    owner, _ = covered_pixels(shapes, golden.image.shape[:2])
    found = np.bincount(owner, minlength=len(rows))
    expected = np.array([golden.objects[i]["mask"]["pixels"] for i in rows])
    # In one object a pixel centre lies on an edge, as near as floating point can tell.
    assert np.abs(found - expected).max() <= 1
    same = found == expected
    assert (~same).sum() <= 1

    stains = CASES[case]
    channels = np.concatenate(
        [np.moveaxis(golden.image, 2, 0).astype(np.float32), deconvolve(golden.image, stains)]
    )
    names = ("Red", "Green", "Blue", *stains.stain_names)
    values = measured(channels, shapes)
    assert same.sum() > 50
    for k, name in enumerate(intensity_names(names)):
        theirs = np.array([golden.value(int(i), name) for i in rows])
        np.testing.assert_allclose(values[same, k], theirs[same], rtol=1e-9, atol=1e-9)


def test_stains_of_three_and_another_white() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)
    three = Stains("x", ("A", "B", "C"), ((1, 0, 0), (0, 2, 0), (0, 0, 3)), (240, 250, 255))
    density = -np.log10(np.maximum(rgb, 1) / [240, 250, 255])
    expected = np.moveaxis(np.maximum(density, 0), 2, 0)
    np.testing.assert_allclose(deconvolve(rgb, three), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="2 or 3"):
        deconvolve(rgb, replace(three, vectors=three.vectors[:1]))


def test_stains_mixed_by_hand_come_apart() -> None:
    amount = np.random.default_rng(1).uniform(0.1, 0.6, (2, 40, 50))
    vectors = stain_matrix(H_E)[:2]
    density = np.einsum("shw,sc->hwc", amount, vectors)
    rgb = np.rint(255 * 10**-density).astype(np.uint8)
    np.testing.assert_allclose(deconvolve(rgb, H_E), amount, atol=0.02)


def test_statistics_by_loop() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(0, 1, 500).astype(np.float32)
    values[::17] = 0.0
    owner = np.sort(rng.integers(0, 60, 500) * (rng.integers(0, 2, 500) + 1))
    found = statistics(values, owner, 125)
    for group, row in enumerate(found):
        mine = values[owner == group].astype(np.float64)
        if not len(mine):
            assert np.isnan(row).all()
            continue
        spread = mine.var(ddof=1) if len(mine) > 1 else 0.0
        expected = [mine.mean(), np.median(mine), mine.min(), mine.max(), spread**0.5, spread]
        np.testing.assert_allclose(row, expected, rtol=1e-12, atol=1e-12)


def test_by_hand() -> None:
    assert intensity_names(("Hematoxylin", "Eosin"))[:7] == (
        "Hematoxylin: Mean",
        "Hematoxylin: Median",
        "Hematoxylin: Min",
        "Hematoxylin: Max",
        "Hematoxylin: Std.Dev.",
        "Hematoxylin: Variance",
        "Eosin: Mean",
    )
    owner = np.array([0, 0, 0, 2, 2])
    values = statistics(np.array([1, 2, 6, 5, 7], np.float32), owner, 3)
    np.testing.assert_allclose(values[0], [3, 2, 1, 6, 7**0.5, 7], rtol=1e-12)
    assert np.isnan(values[1]).all()
    np.testing.assert_allclose(values[2, :4], [6, 6, 5, 7], rtol=1e-12)


def test_no_objects_no_pixels() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    for n in (0, 3):
        found = stains_of_shapes(picture, H_E, Shapes.empty(n))
        assert found.matrix.shape == (n, 12)
        assert np.isnan(found.matrix).all()


coordinates = st.tuples(st.integers(-12, 60), st.integers(-12, 60))


@settings(max_examples=80, deadline=None)
@given(
    rings=st.lists(st.lists(coordinates, min_size=3, max_size=9), min_size=1, max_size=5),
    origin=st.tuples(st.integers(-8, 8), st.integers(-8, 8)),
    downsample=st.sampled_from([0.5, 1.0, 1.37, 3.0]),
)
def test_pixels_are_those_with_their_centre_inside(
    rings: list[list[tuple[int, int]]], origin: tuple[int, int], downsample: float
) -> None:
    """Off the pixel grid, so that no centre is on an edge; self-crossing rings are even-odd."""
    closed = [np.add([*ring, ring[0]], 0.0137) * [1.0019, 1.0023] for ring in rings]
    offsets = np.cumsum([0, *(len(ring) for ring in closed)])
    shapes = Shapes.from_rings(np.concatenate(closed), offsets)
    size = (23, 31)
    owner, pixel = covered_pixels(shapes, size, origin, downsample)
    assert (np.diff(owner) >= 0).all()
    y, x = np.mgrid[: size[0], : size[1]]
    at_x = (x + 0.5 + origin[0]) * downsample
    at_y = (y + 0.5 + origin[1]) * downsample
    for i, ring in enumerate(closed):
        inside = np.zeros(size, bool)
        for (x1, y1), (x2, y2) in pairwise(ring):
            if y1 == y2:
                continue
            crossed = (np.minimum(y1, y2) <= at_y) & (at_y < np.maximum(y1, y2))
            inside ^= crossed & (x1 + (at_y - y1) * (x2 - x1) / (y2 - y1) < at_x)
        np.testing.assert_array_equal(np.sort(pixel[owner == i]), np.flatnonzero(inside))


def test_neighbours_share_no_pixel() -> None:
    """A plane cut into triangles with corners on pixel centres: each pixel belongs to one."""
    rng = np.random.default_rng(5)
    corners = shapely.MultiPoint(np.unique(rng.integers(0, 40, (60, 2)), axis=0) + 0.5)
    triangles = shapely.get_parts(shapely.delaunay_triangles(corners))
    owner, pixel = covered_pixels(Shapes.from_geometries(triangles), (41, 41))
    assert len(np.unique(pixel)) == len(pixel)
    assert len(pixel) == pytest.approx(corners.convex_hull.area, rel=0.05)
    assert set(owner) <= set(range(len(triangles)))


def test_holes_parts_rectangles_and_kinds_without_area() -> None:
    donut = shapely.box(2, 2, 12, 12).difference(shapely.box(5, 5, 9, 9))
    two = shapely.MultiPolygon([shapely.box(20, 0, 22, 3), shapely.box(24, 0, 25, 3)])
    shapes = concatenate_shapes(
        [
            Shapes.from_geometries([shapely.LineString([(0, 0), (9, 9)]), donut]),
            Shapes.corners(RoiKind.RECTANGLE, 15, 2, 18, 5),
            Shapes.from_geometries([two]),
            Shapes.corners(RoiKind.ELLIPSE, 0, 20, 20, 40),
        ]
    )
    owner, _ = covered_pixels(shapes, (50, 50))
    counts = np.bincount(owner, minlength=5)
    assert counts[:4].tolist() == [0, 100 - 16, 9, 9]
    assert counts[4] == pytest.approx(100 * np.pi, rel=0.02)
    labels = rasterize(shapes, (50, 50))
    assert labels.dtype == np.int32
    assert np.bincount(labels.ravel())[1:].tolist() == counts.tolist()


def test_overlapping_shapes_are_measured_alike() -> None:
    box = shapely.box(3, 4, 9, 8)
    channels = np.random.default_rng(3).normal(size=(1, 20, 20)).astype(np.float32)
    values = measured(channels, Shapes.from_geometries([box, box]))
    np.testing.assert_array_equal(values[0], values[1])
    assert values[0, 0] == pytest.approx(channels[0, 4:8, 3:9].mean(), rel=1e-6)


def test_stains_are_those_of_the_whole_picture() -> None:
    rng = np.random.default_rng(7)
    rgb = rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    circles = shapely.buffer(shapely.points(rng.uniform(0, 80, (12, 2))), 9)
    shapes = Shapes.from_geometries(circles)
    found = stains_of_shapes(rgb, H_DAB, shapes, (1.5, -2), 2.0)
    assert found.names == intensity_names(H_DAB.stain_names)
    expected = measured(deconvolve(rgb, H_DAB), shapes, (1.5, -2), 2.0)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-6)
