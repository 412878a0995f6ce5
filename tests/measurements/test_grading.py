"""Grading aids: cut-offs, what is missing, and that nothing is told without a ground."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import shapely

from qpbridge.measurements.grading import DEFINITIONS, DISCLAIMER, SYSTEMS, TUMOR_AREA, grade
from qpbridge.measurements.grading.breast import nottingham_grade, nuclear_score, tubule_score
from qpbridge.measurements.grading.gut import colorectal_grade, gastric_grade, tier
from qpbridge.measurements.grading.kidney import size_grade
from qpbridge.measurements.grading.prostate import grade_group, main_patterns
from qpbridge.measurements.hotspots import hotspot_measurements
from qpbridge.measurements.morphometry import summarize_morphometry
from qpbridge.measurements.regions import summarize_nuclei, summarize_structures
from qpbridge.measurements.shape import shape_measurements
from qpbridge.measurements.structures import (
    lumen_measurements,
    neighbour_measurements,
    outline_measurements,
)
from qpbridge.objects import MeasurementTable, Shapes

NAN = math.nan


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (tubule_score, {0: 3, 9.99: 3, 10: 2, 75: 2, 75.01: 1, 100: 1}),
        (nuclear_score, {1: 1, 1.49: 1, 1.5: 2, 2: 2, 2.01: 3}),
        (nottingham_grade, {3: 1, 5: 1, 6: 2, 7: 2, 8: 3, 9: 3}),
        (colorectal_grade, {0: 4, 4.9: 4, 5: 3, 49.9: 3, 50: 2, 95: 2, 95.1: 1}),
        (gastric_grade, {0: 3, 49.9: 3, 50: 2, 95: 2, 95.1: 1}),
        (tier, {0: 2, 49.9: 2, 50: 1, 100: 1}),
        (size_grade, {8: 1, 12.4: 1, 12.5: 2, 17.4: 2, 17.5: 3, 30: 3}),
    ],
)
def test_cut_offs(function: Callable[[float], float], expected: dict[float, int]) -> None:
    assert {value: function(value) for value in expected} == expected
    assert math.isnan(function(NAN))


@pytest.mark.parametrize(
    ("primary", "secondary", "group"),
    [
        (3, 3, 1),
        (3, 4, 2),
        (4, 3, 3),
        (4, 4, 4),
        (3, 5, 4),
        (5, 3, 4),
        (4, 5, 5),
        (5, 4, 5),
        (5, 5, 5),
    ],
)
def test_grade_groups(primary: int, secondary: int, group: int) -> None:
    assert grade_group(primary, secondary) == group


@pytest.mark.parametrize(
    ("areas", "patterns"),
    [
        ((100, 0, 0), (3, 3)),
        ((70, 30, 0), (3, 4)),
        ((40, 60, 0), (4, 3)),
        ((96, 4, 0), (3, 3)),
        ((3, 97, 0), (4, 4)),
        ((60, 30, 10), (3, 5)),
        ((60, 36, 4), (3, 4)),
        ((50, 50, 0), (4, 3)),
        ((0, 0, 1), (5, 5)),
        ((0, 0, 0), (NAN, NAN)),
    ],
)
def test_main_patterns(areas: tuple[float, ...], patterns: tuple[float, float]) -> None:
    found = main_patterns(dict(zip((3, 4, 5), areas, strict=True)))
    np.testing.assert_array_equal(found, patterns)


def test_nottingham_by_hand() -> None:
    aid = grade("nottingham", {"Glands: Area %": 80, "Nuclei: Area mean µm^2": 75}, 30.0)
    assert aid.measurements == {
        "Nottingham: Gland formation %": 80,
        "Nottingham: Tubule score": 1,
        "Nottingham: Nuclear area ratio": 2.5,
        "Nottingham: Nuclear score": 3,
        "Nottingham: Lowest grade": 1,  # 1 + 3 + 1
        "Nottingham: Highest grade": 2,  # 1 + 3 + 3
    }
    assert aid.absent == ()
    assert any("Mitoses" in text for text in aid.missing)
    assert aid.disclaimer == DISCLAIMER


@pytest.mark.parametrize(
    ("summary", "grades", "absent"),
    [
        ({"Glands: Area %": 5}, (1, 3), 1),  # 3 + 1 + 1, 3 + 3 + 3
        ({"Nuclei: Area/reference area ratio": 3}, (1, 3), 1),
        ({"Glands: Area %": 5, "Nuclei: Area/reference area ratio": 3}, (2, 3), 0),
        ({"Glands: Area %": 90, "Nuclei: Area/reference area ratio": 1}, (1, 1), 0),
        ({}, (NAN, NAN), 2),
    ],
)
def test_how_far_the_grade_is_open(
    summary: dict[str, float], grades: tuple[float, float], absent: int
) -> None:
    aid = grade("nottingham", summary)
    found = [aid.measurements[f"Nottingham: {name} grade"] for name in ("Lowest", "Highest")]
    np.testing.assert_array_equal(found, grades)
    assert len(aid.absent) == absent


@pytest.mark.parametrize("system", ["nottingham", "colorectal", "gastric"])
def test_stroma_does_not_count_where_the_tumour_is_known(system: str) -> None:
    name = f"{system.capitalize()}: Gland formation %"
    summary = {"Glands: Area %": 20.0, "Evaluated area µm^2": 1e6}
    assert grade(system, summary).measurements[name] == 20
    assert grade(system, {**summary, TUMOR_AREA: 4e5}).measurements[name] == pytest.approx(50)
    assert grade(system, {**summary, TUMOR_AREA: 1e5}).measurements[name] == 100
    assert math.isnan(grade(system, {**summary, TUMOR_AREA: 0.0}).measurements[name])


def test_gleason_by_hand() -> None:
    summary = {
        "Glands: Outline solidity mean": 0.8,
        "Glands: Circularity mean": 0.5,
        "Gleason 3: Area µm^2": 60.0,
        "Gleason 4: Area µm^2": 40.0,
    }
    found = grade("gleason", summary).measurements
    assert found["Gleason: Inverse solidity"] == 1.25
    assert found["Gleason: Inverse compactness"] == 2
    assert found["Gleason: Pattern 4 %"] == 40
    assert found["Gleason: Grade group"] == 2
    assert math.isnan(grade("gleason", {}).measurements["Gleason: Grade group"])


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_names_whatever_is_there(system: str) -> None:
    nothing, zeros = grade(system, {}), grade(system, dict.fromkeys(SYSTEMS[system].needs, 0.0))
    assert list(nothing.measurements) == list(zeros.measurements)
    assert list(nothing.measurements) == list(SYSTEMS[system].definitions)
    assert all(math.isnan(value) for value in nothing.measurements.values())
    assert len(nothing.absent) == len(SYSTEMS[system].needs) and not zeros.absent
    assert all("measure it" not in text for text in nothing.absent)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_goes_with_the_numbers(system: str) -> None:
    aid = grade(system, {})
    text = str(aid)
    assert aid.missing and aid.limits and aid.sources
    assert DISCLAIMER in text and "research" in text
    assert all(part in text for part in (*aid.missing, *aid.limits, *aid.sources))


def test_what_they_need_is_what_summaries_give() -> None:
    """No system waits for a name that nothing writes."""
    ring = shapely.Point(0, 0).buffer(50).difference(shapely.Point(0, 0).buffer(30))
    glands = Shapes.from_geometries([ring, shapely.box(60, 0, 90, 30)])
    mpp = (1.0, 1.0)
    values = shape_measurements(glands, mpp) | lumen_measurements("glands", glands, mpp)
    values |= outline_measurements("glands", glands, mpp)
    values |= neighbour_measurements("glands", glands, mpp)
    vessels = shape_measurements(glands, mpp)
    names = ("Area µm^2", "Max diameter µm", "Min diameter µm", "Nucleus/Cell area ratio")
    nuclei = MeasurementTable(names, np.ones((3, 4)))
    summary = {
        **summarize_structures("glands", values, 1e6),
        **summarize_structures("vessels", vessels, 1e6),
        **hotspot_measurements("vessels", np.zeros((2, 2)), mpp, 1e6)[0],
        **summarize_nuclei(nuclei, 1e6),
        **summarize_morphometry(nuclei, reference_area=2.0),
        "Nuclei: Orientation entropy": 1.0,
    }
    for system in SYSTEMS:
        assert grade(system, summary).absent == ()


def test_what_could_not_be_told_is_not_asked_for_again() -> None:
    aid = grade("mvd", {"Vessels: Hotspot count": NAN, "Vessels: Density per mm^2": 3.0})
    assert aid.absent == (
        "Vessels: Hotspot count (too little in this region to tell)",
        "Vessels: Hotspot density per mm^2 (segment vessels)",
    )


def test_unknown_system() -> None:
    with pytest.raises(KeyError):
        grade("feelings", {})


def test_definitions() -> None:
    assert len(DEFINITIONS) == sum(len(system.definitions) for system in SYSTEMS.values())
    assert all(text.endswith(".") and "\n" not in text for text in DEFINITIONS.values())
