"""The summary of a region."""

from __future__ import annotations

import re

import numpy as np
import pytest

from qpbridge.measurements import hotspots, morphometry, regions
from qpbridge.measurements.morphometry import describe, summarize_morphometry
from qpbridge.measurements.names import with_statistic
from qpbridge.measurements.region_names import EVALUATED_AREA, FORMS, SUMMARY_NAMES
from qpbridge.measurements.regions import summarize_nuclei
from qpbridge.objects import MeasurementTable

NAMES = ("Area µm^2", "Solidity", "Max diameter µm")


def test_by_hand() -> None:
    rows = np.array([[30.0, 1, 6.0], [50.0, 1, 10.0], [40.0, 1, 8.0], [40.0, 1, 8.0]])
    found = summarize_nuclei(MeasurementTable(NAMES, rows), 2e4)
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
    none = summarize_nuclei(MeasurementTable(NAMES, np.zeros((0, 3))), 0.0)
    assert none["Nuclei: Count"] == 0
    assert none["Evaluated area µm^2"] == 0
    assert all(np.isnan(none[name]) for name in SUMMARY_NAMES[1:6])
    empty = summarize_nuclei(MeasurementTable(NAMES, np.zeros((0, 3))), 1e6)
    assert empty["Nuclei: Density per mm^2"] == 0
    one = summarize_nuclei(MeasurementTable(NAMES, np.array([[30.0, 1.0, 7.0]])), 1e6)
    assert one["Nuclei: Area mean µm^2"] == 30
    assert np.isnan(one["Nuclei: Area SD µm^2"])
    assert np.isnan(one["Nuclei: Area CV"])


def test_morphometry_by_hand() -> None:
    rows = np.array([[30.0, 1, 6.0], [50.0, 1, 10.0], [40.0, 1, 8.0], [40.0, 1, 8.0]])
    found = summarize_morphometry(MeasurementTable(NAMES, rows))
    expected = {
        "Nuclei: Area mean µm^2": 40,
        "Nuclei: Area SD µm^2": np.sqrt(200 / 3),
        "Nuclei: Area CV": np.sqrt(200 / 3) / 40,
        "Nuclei: Area p10 µm^2": 33,
        "Nuclei: Area p90 µm^2": 47,
        "Nuclei: Solidity mean": 1,
        "Nuclei: Solidity CV": 0,
        "Nuclei: Max diameter p90 µm": 9.4,
        "Nuclei: Equivalent diameter above 10 µm %": 0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert len(found) == 5 * 4 + 3
    # what both tell is the same
    short = summarize_nuclei(MeasurementTable(NAMES, rows), 2e4)
    assert all(short[name] == found[name] for name in set(short) & set(found))


def test_the_same_names_whatever_is_there() -> None:
    some, none = (summarize_morphometry(MeasurementTable(NAMES, np.ones((n, 3)))) for n in (3, 0))
    assert list(some) == list(none)
    assert np.isnan(list(none.values())).all()


def test_large_nuclei() -> None:
    # circles of these diameters
    diameter = np.array([8.0, 12.0, 16.0, 24.0])
    area = np.pi / 4 * diameter**2
    rows = np.column_stack([area, diameter, [8.0, 6.0, 16.0, 24.0]])
    names = ("Area µm^2", "Max diameter µm", "Min diameter µm")
    found = summarize_morphometry(MeasurementTable(names, rows), np.pi / 4 * 49)
    shares = [found[f"Nuclei: Equivalent diameter above {d} µm %"] for d in (10, 15, 20)]
    assert shares == [75, 50, 25]
    assert found["Nuclei: Above 11 x 7 µm %"] == 50
    assert found["Nuclei: Area/reference area ratio"] == pytest.approx(np.mean(diameter**2) / 49)
    assert found["Nuclei: Area above 5x reference %"] == 50
    assert found["Nuclei: Equivalent diameter mean µm"] == pytest.approx(15)


def test_which_measurements_are_summarized() -> None:
    names = (
        "Detection probability",
        "Area µm^2",
        "DAB: Mean",
        "DAB: Max",
        "DAB: Variance",
        "Orientation °",
        "Smoothed: 25 µm: Area µm^2",
    )
    found = summarize_morphometry(MeasurementTable(names, np.ones((3, 7))))
    means = [name for name in found if " mean" in name]
    assert means == [
        "Nuclei: Area mean µm^2",
        "Nuclei: DAB: Mean mean",
        "Nuclei: DAB: Variance mean",
        "Nuclei: Equivalent diameter mean µm",
    ]


@pytest.mark.parametrize(
    ("name", "statistic", "expected"),
    [
        ("Area µm^2", "mean", "Area mean µm^2"),
        ("Area µm^2", "CV", "Area CV"),
        ("Max diameter µm", "p90", "Max diameter p90 µm"),
        ("Area px^2", "SD", "Area SD px^2"),
        ("Circularity", "SD", "Circularity SD"),
        ("DAB: Mean", "p10", "DAB: Mean p10"),
        ("Nucleus/Cell area ratio", "mean", "Nucleus/Cell area ratio mean"),
    ],
)
def test_names(name: str, statistic: str, expected: str) -> None:
    assert with_statistic(name, statistic) == expected


def test_what_is_missing_does_not_count() -> None:
    assert tuple(describe(np.array([1.0, np.nan, 3.0])).values()) == pytest.approx(
        (2, np.sqrt(2), np.sqrt(2) / 2, 1.2, 2.8)
    )
    assert np.isnan(list(describe(np.array([np.nan])).values())).all()


def test_definitions_name_what_is_written() -> None:
    names = ("Area µm^2", "Max diameter µm", "Min diameter µm")
    found = summarize_nuclei(MeasurementTable(names, np.ones((2, 3))), 1.0)
    found |= summarize_morphometry(MeasurementTable(names, np.ones((2, 3))), 1.0)
    plain = [name for name in found if not re.search(r" (mean|SD|CV|p10|p90)( |$)", name)]
    assert len(plain) == 9 and set(plain) <= {*regions.NUCLEI, *morphometry.DEFINITIONS}


def test_all_that_is_told_of_regions_goes_with_its_objects() -> None:
    """What is defined of a region is what `outdated` takes away, and the area that all share."""
    each = {name for name in SUMMARY_NAMES if re.search(r" (mean|SD|CV|p90)( |$)", name)}
    assert {*regions.NUCLEI, *morphometry.DEFINITIONS} | each == {*FORMS["nuclei"], EVALUATED_AREA}
    assert {*regions.STRUCTURES, *hotspots.DEFINITIONS} == {*FORMS["glands"], *FORMS["vessels"]}
