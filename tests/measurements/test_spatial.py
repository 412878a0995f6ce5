"""Surroundings of nuclei, against a real QuPath's and against loops over all pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.geometry

from qpbridge import MeasurementTable
from qpbridge.measurements import spatial
from qpbridge.measurements.orientations import orientation_entropy_of
from qpbridge.measurements.spatial import (
    DEFINITIONS,
    NEAREST,
    local_density,
    nearest_neighbor,
    orientation_entropy,
    smoothed,
)


def test_smoothed_values_of_qupath(shared: Path) -> None:
    folder = shared / "qupath" / "golden_delaunay"
    features = json.loads((folder / "objects_input.geojson").read_text())["features"]
    theirs = json.loads((folder / "smooth_25um.json").read_text())
    values = {o["id"]: o["measurements"] for o in theirs["objects"]}
    cells = [shapely.geometry.shape(f["geometry"]) for f in features]
    mpp = theirs["pixel_size"]
    points = shapely.get_coordinates(shapely.centroid(cells)) * mpp

    def column(name: str) -> np.ndarray:
        return np.array([values[f["id"]].get(name, np.nan) for f in features], float)

    given = {name: column(name) for name in features[0]["properties"]["measurements"]}
    found = dict(smoothed(points, MeasurementTable.of(given), mpp))
    assert list(found) == [n for n in values[features[0]["id"]] if n.startswith("Smoothed")]
    counts = column("Smoothed: 25 µm: Nearby detection counts")
    np.testing.assert_array_equal(found.pop("Smoothed: 25 µm: Nearby detection counts"), counts)
    for name, mine in found.items():
        # QuPath adds up in float32. The outlines are rounded to 0.01 px, those that it measured
        # weren't, so that some distances fall to the next pixel.
        expected = column(name)
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(expected))
        error = np.abs(mine / expected - 1)[~np.isnan(mine)]
        assert np.median(error) < 2e-7
        assert error.max() < 1e-2


def cloud(n: int = 120) -> np.ndarray:
    points = np.random.default_rng(n).uniform(0, 100, (n, 2)) + 5e4
    points[n // 3] = points[n // 2]
    points[n // 4] = np.nan
    return points


def distances(points: np.ndarray) -> np.ndarray:
    return np.hypot(*(points[:, None] - points).transpose(2, 0, 1))


def test_nearest_and_density_by_force() -> None:
    points = cloud()
    apart = distances(points)
    np.fill_diagonal(apart, np.nan)
    expected = np.array([np.nan if np.isnan(r).all() else np.nanmin(r) for r in apart])
    np.testing.assert_allclose(nearest_neighbor(points)[NEAREST], expected, atol=1e-9)
    assert nearest_neighbor(points)[NEAREST][40] == 0
    found = local_density(points, 10) | local_density(points, 12.5)
    assert list(found) == ["Local density 10 µm per mm^2", "Local density 12.5 µm per mm^2"]
    for radius, values in zip([10, 12.5], found.values(), strict=True):
        count = (apart <= radius).sum(axis=1)
        expected = np.where(np.isnan(points[:, 0]), np.nan, count / (np.pi * radius**2) * 1e6)
        np.testing.assert_allclose(values, expected)


@pytest.mark.parametrize("pairs", [2**22, 300, 1])
def test_smoothed_by_force(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    monkeypatch.setattr(spatial, "PAIRS", pairs)
    points, mpp, fwhm = cloud(), 0.25, 12.5
    rng = np.random.default_rng(0)
    a, b = rng.normal(5, 1, (2, len(points)))
    b[::3] = np.nan
    found = smoothed(
        points, MeasurementTable.of({"A": a, "B": b, "Smoothed: 10 µm: A": a}), mpp, fwhm
    )
    assert list(found) == [
        "Smoothed: 12.5 µm: A",
        "Smoothed: 12.5 µm: B",
        "Smoothed: 12.5 µm: Nearby detection counts",
    ]
    sigma = fwhm / 2.3548200450309493
    apart = distances(points)
    weight = np.exp(-((np.floor(apart / mpp + 0.5) * mpp) ** 2) / (2 * sigma**2))
    weight[~(apart <= 3 * sigma)] = 0
    for values, mine in zip((a, b), list(found.values())[:2], strict=True):
        there = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            expected = weight[:, there] @ values[there] / weight[:, there].sum(axis=1)
        expected[~there] = np.nan
        np.testing.assert_allclose(mine, expected, rtol=1e-9)
    nearby = (apart < fwhm).sum(axis=1) - 1.0
    nearby[np.isnan(points[:, 0])] = np.nan
    np.testing.assert_array_equal(list(found.values())[2], nearby)


@pytest.mark.parametrize("pairs", [2**22, 300])
def test_orientation_entropy_by_force(monkeypatch: pytest.MonkeyPatch, pairs: int) -> None:
    monkeypatch.setattr(spatial, "PAIRS", pairs)
    points = cloud()
    orientation = np.random.default_rng(1).uniform(0, 180, len(points))
    orientation[::5] = np.nan
    (values,) = orientation_entropy(points, orientation, 15).values()
    near = distances(points) <= 15
    for i, row in enumerate(near):
        angles = orientation[row & np.isfinite(orientation)]
        expected = np.nan
        if len(angles) > 1:
            p = np.unique(angles // 10, return_counts=True)[1] / len(angles)
            expected = -(p * np.log2(p)).sum()
        assert values[i] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_orientations_by_hand() -> None:
    points = np.zeros((4, 2))
    (values,) = orientation_entropy(points, np.array([5, 5, 185, 3.0]), 1).values()
    assert values.tolist() == [0] * 4
    (values,) = orientation_entropy(points, np.array([5, 15, 25, 179.9999]), 1).values()
    assert values.tolist() == [2] * 4
    assert orientation_entropy_of(np.array([5, 15, np.nan, 25, 180])) == pytest.approx(1.5)
    assert orientation_entropy_of(np.arange(5, 180, 10.0)) == pytest.approx(np.log2(18))
    for few in ([], [3.0], [3.0, np.nan]):
        assert np.isnan(orientation_entropy_of(np.array(few)))


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_few_nuclei(n: int) -> None:
    points = np.arange(2.0 * n).reshape(n, 2)
    one = np.ones(n)
    (nearest,) = nearest_neighbor(points).values()
    np.testing.assert_allclose(nearest, [np.nan] if n == 1 else [8**0.5] * n)
    (density,) = local_density(points, 3).values()
    counts = {0: [], 1: [0], 2: [1, 1], 3: [1, 2, 1]}[n]
    np.testing.assert_allclose(density, np.array(counts) / (9 * np.pi) * 1e6)
    mean, nearby = smoothed(points, MeasurementTable.of({"A": one}), 1, 3).values()
    np.testing.assert_allclose(mean, one)
    np.testing.assert_array_equal(nearby, counts)
    (entropy,) = orientation_entropy(points, one, 3).values()
    np.testing.assert_allclose(entropy, [np.nan] if n == 1 else [0] * n)
    assert list(smoothed(points, MeasurementTable.empty(n), 1, 3)) == [
        "Smoothed: 3 µm: Nearby detection counts"
    ]


def test_no_centroids() -> None:
    points = np.full((3, 2), np.nan)
    found = {
        **nearest_neighbor(points),
        **local_density(points, 5),
        **smoothed(points, MeasurementTable.of({"A": np.ones(3)}), 1),
        **orientation_entropy(points, np.ones(3), 5),
    }
    for values in found.values():
        assert np.isnan(values).all()


def test_every_measurement_is_defined() -> None:
    points, one = np.zeros((2, 2)), np.ones(2)
    found = {
        **nearest_neighbor(points),
        **local_density(points, 50),
        **smoothed(points, MeasurementTable.of({"NAME": one}), 1, 50),
        **orientation_entropy(points, one, 50),
    }
    patterns = [p.replace("RADIUS", "50").replace("FWHM", "50") for p in DEFINITIONS]
    assert list(found) == patterns
