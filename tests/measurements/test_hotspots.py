"""The densest field."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.measurements import hotspots as module
from qpbridge.measurements.hotspots import DEFINITIONS, densest_disc, hotspot_measurements


def brute_force(points: np.ndarray, radius: float) -> int:
    """Try every disc with a point in its centre, or with two points on its edge."""
    centres = list(points)
    for p, q in itertools.permutations(points, 2):
        half = (q - p) / 2
        length = np.hypot(*half)
        if 0 < length <= radius:
            across = np.array([-half[1], half[0]]) / length
            centres.append(p + half + across * np.sqrt(radius**2 - length**2))
    distance = np.linalg.norm(np.array(centres)[:, None] - points[None], axis=2)
    return int((distance <= radius * (1 + 1e-9)).sum(axis=1).max())


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), radius=st.floats(0.5, 8))
def test_no_disc_holds_more(seed: int, n: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 4, (n, 2)) + rng.integers(0, 2, (n, 1)) * 15
    found = densest_disc(points, radius)
    assert found.count == brute_force(points, radius)
    centre = np.array([found.x, found.y])
    assert (np.linalg.norm(points - centre, axis=1) <= radius * (1 + 1e-6)).sum() == found.count


def test_points_on_a_lattice_and_on_one_another() -> None:
    lattice = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0)), -1).reshape(-1, 2)
    assert densest_disc(lattice, 1.0).count == 5
    assert densest_disc(lattice, 0.75).count == 4  # between four of them
    assert densest_disc(np.repeat(lattice, 3, axis=0), 0.75).count == 12
    assert densest_disc(np.zeros((7, 2)), 1.0).count == 7
    assert densest_disc(np.array([[0.0, 0.0], [1e6, 1e6]]), 1.0).count == 1


@pytest.mark.parametrize("pairs", [1, 50, 10**6])
def test_how_many_at_a_time_changes_nothing(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(3).uniform(0, 100, (400, 2))
    expected = densest_disc(points, 9.0).count
    monkeypatch.setattr(module, "PAIRS", pairs)
    assert densest_disc(points, 9.0).count == expected


def test_measurements_by_hand() -> None:
    # radius 10 µm = 20 x 10 px: the three on the left fit together
    points = np.array([[0.0, 0.0], [30, 0], [15, 5], [300, 300]])
    values, spot = hotspot_measurements("vessels", points, (0.5, 1.0), 1e3, np.pi * 100)
    assert values == {
        "Vessels: Hotspot count": 3,
        "Vessels: Hotspot density per mm^2": pytest.approx(3 / np.pi * 1e4),
        "Vessels: Hotspot area µm^2": pytest.approx(np.pi * 100),
    }
    inside = np.hypot((points[:, 0] - spot.x) * 0.5, points[:, 1] - spot.y) <= 10
    assert inside.tolist() == [True, True, True, False]
    assert list(values) == list(DEFINITIONS)


def test_too_small_a_region_and_no_vessel() -> None:
    values, _ = hotspot_measurements("vessels", np.zeros((3, 2)), (1.0, 1.0), 1e5)
    assert np.isnan(values["Vessels: Hotspot count"])
    assert np.isnan(values["Vessels: Hotspot density per mm^2"])
    assert values["Vessels: Hotspot area µm^2"] == 0.74e6
    values, spot = hotspot_measurements("vessels", np.zeros((0, 2)), (1.0, 1.0), 1e6)
    assert values["Vessels: Hotspot density per mm^2"] == 0
    assert np.isnan(spot.x)
