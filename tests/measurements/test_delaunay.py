"""Delaunay neighbours, against a real QuPath's and against search by force."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge import MeasurementTable
from qpbridge.measurements.delaunay import (
    CLUSTER_MEAN,
    CLUSTER_SIZE,
    DEFINITIONS,
    MAX,
    MAX_AREA,
    MEAN,
    MEAN_AREA,
    MEDIAN,
    MIN,
    NEIGHBORS,
    cluster_measurements,
    delaunay_edges,
    delaunay_measurements,
    triangles,
)
from qpbridge.measurements.names import recognize


def measure(points: np.ndarray, limit: float = np.inf) -> MeasurementTable:
    return delaunay_measurements(points, delaunay_edges(points, limit))


@pytest.mark.parametrize("case", ["delaunay_default", "delaunay_limit20um"])
def test_values_of_qupath(shared: Path, case: str) -> None:
    folder = shared / "qupath" / "golden_delaunay"
    features = json.loads((folder / "objects_input.geojson").read_text())["features"]
    theirs = json.loads((folder / f"{case}.json").read_text())
    values = {o["id"]: o["measurements"] for o in theirs["objects"]}
    nuclei = [shapely.geometry.shape(f["nucleusGeometry"]) for f in features]
    points = shapely.get_coordinates(shapely.centroid(nuclei)) * theirs["pixel_size"]
    parameters = theirs["parameters"]
    edges = delaunay_edges(points, parameters["distanceThresholdMicrons"] or np.inf)
    found = delaunay_measurements(points, edges)
    if parameters["addClusterMeasurements"]:
        area = [values[f["id"]]["Nucleus: Area"] for f in features]
        given = MeasurementTable.of({"Nucleus: Area": area, **found})
        found |= cluster_measurements(points, edges, given)
    else:
        assert len(found) == 7
    number = [values[f["id"]][NEIGHBORS] for f in features]
    same = found[NEIGHBORS] == number
    # QuPath loses one edge of the hull, and the triangle on it.
    lost = np.flatnonzero(~same)
    assert len(lost) in (0, 2)
    corners = triangles(edges, len(points))
    alike = same.copy()
    alike[corners[np.isin(corners, lost).sum(axis=1) == 2]] = False
    assert (~alike).sum() in (0, 3)
    # The outlines are rounded to 0.01 px, those that QuPath measured weren't.
    tolerance = dict.fromkeys((MEAN, MEDIAN, MAX, MIN), 0.005)
    tolerance |= dict.fromkeys((MEAN_AREA, MAX_AREA), 0.1)
    for name, mine in found.items():
        expected = np.array([values[f["id"]].get(name, np.nan) for f in features], float)
        atol = tolerance.get((recognize(CLUSTER_MEAN, name) or {"NAME": name})["NAME"], 0)
        rows = alike if "area" in name else same
        np.testing.assert_allclose(mine[rows], expected[rows], rtol=1e-9, atol=atol)


def test_every_measurement_is_defined() -> None:
    points = np.random.default_rng(0).random((9, 2))
    found = measure(points)
    clusters = cluster_measurements(
        points, delaunay_edges(points), MeasurementTable.of({"NAME": points[:, 0]})
    )
    assert [*found, *sorted(clusters, reverse=True)] == list(DEFINITIONS)


def joined_by_force(points: np.ndarray) -> set[tuple[int, int]]:
    """Join the corners of all triangles whose circumcircle is empty."""
    points = points - points.mean(axis=0)
    edges: set[tuple[int, int]] = set()
    for triple in combinations(range(len(points)), 3):
        a, b, c = points[list(triple)]
        matrix = 2 * np.array([b - a, c - a])
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        center = np.linalg.solve(matrix, [b @ b - a @ a, c @ c - a @ a])
        apart = np.hypot(*(points - center).T)
        if (apart >= np.hypot(*(a - center)) - 1e-9).all():
            edges |= set(combinations(triple, 2))
    return edges


@pytest.mark.parametrize("n", [3, 4, 5, 12, 30])
@pytest.mark.parametrize("far", [0, 1e5])
def test_edges_by_force(n: int, far: float) -> None:
    points = np.random.default_rng(n).uniform(0, 100, (n, 2)) + far
    edges = delaunay_edges(points)
    assert edges.dtype == np.int64
    assert list(map(tuple, edges.tolist())) == sorted(joined_by_force(points))


@pytest.mark.parametrize("limit", [np.inf, 25.0])
def test_measurements_by_force(limit: float) -> None:
    points = np.random.default_rng(7).uniform(0, 100, (40, 2))
    points[3] = np.nan
    found = measure(points, limit)
    kept = np.delete(np.arange(40), 3)
    joined = np.zeros((40, 40), bool)
    for a, b in joined_by_force(points[kept]):
        i, j = kept[[a, b]]
        joined[i, j] = joined[j, i] = np.hypot(*(points[i] - points[j])) < limit
    for i in kept:
        near = np.flatnonzero(joined[i])
        assert found[NEIGHBORS][i] == len(near)
        distance = np.hypot(*(points[near] - points[i]).T)
        if len(near):
            statistics = {MEAN: np.mean, MEDIAN: np.median, MAX: np.max, MIN: np.min}
            for name, statistic in statistics.items():
                assert found[name][i] == pytest.approx(statistic(distance))
        area = [
            shapely.Polygon(points[[i, j, k]]).area
            for j, k in combinations(near, 2)
            if joined[j, k]
        ]
        assert found[MEAN_AREA][i] == pytest.approx(np.mean(area) if area else np.nan, nan_ok=True)
        assert found[MAX_AREA][i] == pytest.approx(max(area, default=np.nan), nan_ok=True)
    assert all(np.isnan(values[3]) for values in found.values())


@settings(max_examples=50)
@given(
    edges=st.sets(
        st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda e: e[0] < e[1]), max_size=30
    )
)
def test_triangles_by_force(edges: set[tuple[int, int]]) -> None:
    found = triangles(np.array(sorted(edges), np.int64).reshape(-1, 2), 10)
    expected = {t for t in combinations(range(10), 3) if set(combinations(t, 2)) <= edges}
    assert sorted(map(tuple, np.sort(found, axis=1).tolist())) == sorted(expected)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few(n: int) -> None:
    points = np.arange(2.0 * n).reshape(n, 2)
    for values in measure(points).values():
        assert values.shape == (n,)
        assert np.isnan(values).all()
    clusters = cluster_measurements(
        points, delaunay_edges(points), MeasurementTable.of({"A": np.ones(n)})
    )
    assert np.isnan(clusters[CLUSTER_SIZE]).all()


def test_on_one_line() -> None:
    points = np.array([[0, 0], [6, 8], [3, 4], [30, 40]], float) + 1e4
    found = measure(points)
    assert found[NEIGHBORS].tolist() == [1, 2, 2, 1]
    np.testing.assert_allclose(found[MEAN], [5, 22.5, 5, 40])
    assert np.isnan(found[MEAN_AREA]).all()
    for x in (0.0, 1e-15):
        upright = np.array([[1, 1], [1 - x, 3], [1 + x, 2]])
        assert delaunay_edges(upright).tolist() == [[0, 2], [1, 2]]


def test_of_equal_points_the_last_counts() -> None:
    corners = np.array([[0, 0], [10, 0], [0, 10], [10, 11.0]])
    points = np.concatenate([corners, corners[:2], corners[:1]])
    found = measure(points)
    there = [2, 3, 5, 6]
    assert np.flatnonzero(~np.isnan(found[NEIGHBORS])).tolist() == there
    alone = measure(points[there])
    for name, values in found.items():
        np.testing.assert_array_equal(values[there], alone[name])
    # Three objects, two places: they are neighbours all the same.
    assert delaunay_edges(np.array([[1.0, 1], [1, 1], [5, 1]])).tolist() == [[1, 2]]
    assert delaunay_edges(np.ones((4, 2))).tolist() == []
    assert measure(np.ones((4, 2)))[NEIGHBORS][3] == 0


def test_points_of_a_grid_all_have_neighbours() -> None:
    """Four corners on one circle, and points too near to another for a triangle of their own."""
    points = np.stack(np.meshgrid(np.arange(30.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    points = np.concatenate([points, points[:5] + 1e-14 + 1e-15 * points[:5]]) + 0.0
    found = measure(points)
    there = ~np.isnan(found[NEIGHBORS])
    assert there.sum() >= 600
    assert (found[NEIGHBORS][there] >= 1).all()


def test_clusters() -> None:
    points = np.array([[0, 0], [3, 0], [0, 3], [50, 50], [53, 50], [200, 0], [np.nan, 0]])
    edges = delaunay_edges(points, 10)
    values = np.array([1, 2, 6, 5, np.nan, np.nan, 7])
    found = cluster_measurements(points, edges, MeasurementTable.of({"A": values}))
    np.testing.assert_array_equal(found[CLUSTER_SIZE], [3, 3, 3, 2, 2, 1, np.nan])
    np.testing.assert_array_equal(found["Cluster mean: A"], [3, 3, 3, 5, 5, np.nan, np.nan])
