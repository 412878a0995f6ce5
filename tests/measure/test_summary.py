"""The summary of a region."""

from __future__ import annotations

import numpy as np
import pytest

from qpbridge.measure.summary import SUMMARY_NAMES, summarize_nuclei

NAMES = ("Area µm^2", "Solidity", "Max diameter µm")


def test_by_hand() -> None:
    rows = np.array([[30.0, 1, 6.0], [50.0, 1, 10.0], [40.0, 1, 8.0], [40.0, 1, 8.0]])
    found = summarize_nuclei(NAMES, rows, 2e4)
    deviation = np.sqrt(200 / 3)
    assert found == pytest.approx(
        {
            "Nuclei: Count": 4,
            "Nuclei: Density per mm^2": 200,
            "Nuclei: Area mean µm^2": 40,
            "Nuclei: Area SD µm^2": deviation,
            "Nuclei: Area CV": deviation / 40,
            "Nuclei: Max diameter p90 µm": 9.4,
            "Evaluated area µm^2": 2e4,
        }
    )
    assert tuple(found) == SUMMARY_NAMES


def test_nothing_to_divide_by() -> None:
    none = summarize_nuclei(NAMES, np.zeros((0, 3)), 0.0)
    assert none["Nuclei: Count"] == 0
    assert none["Evaluated area µm^2"] == 0
    assert all(np.isnan(none[name]) for name in SUMMARY_NAMES[1:6])
    empty = summarize_nuclei(NAMES, np.zeros((0, 3)), 1e6)
    assert empty["Nuclei: Density per mm^2"] == 0
    one = summarize_nuclei(NAMES, np.array([[30.0, 1.0, 7.0]]), 1e6)
    assert one["Nuclei: Area mean µm^2"] == 30
    assert np.isnan(one["Nuclei: Area SD µm^2"])
    assert np.isnan(one["Nuclei: Area CV"])
