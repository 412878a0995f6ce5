"""Positive and negative cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.measurements.positivity import (
    THRESHOLDS,
    base_class,
    classify_intensity,
    intensity_class,
)
from qpbridge.objects import PathClass
from qpbridge.project.colors import default_color

NUCLEUS = PathClass(("Nucleus",), (110, 60, 160))
TUMOR = PathClass(("Tumor",), (1, 2, 3))
LEVELS = ("Positive", "Negative", "1+", "2+", "3+")


def parse(*names: str | None) -> tuple[list[PathClass], np.ndarray]:
    """Objects of these classes."""
    classes = [PathClass.parse(name) for name in dict.fromkeys(filter(None, names))]
    index = [-1 if name is None else classes.index(PathClass.parse(name)) for name in names]
    return classes, np.array(index, np.int32)


def spell(classes: tuple[PathClass, ...], index: np.ndarray) -> list[str | None]:
    return [None if i < 0 else str(classes[i]) for i in index]


@pytest.mark.parametrize(
    ("given_class", "value", "one", "three"),
    [
        ("Nucleus", 0.1, "Nucleus: Negative", "Nucleus: Negative"),
        ("Nucleus", 0.2, "Nucleus: Positive", "Nucleus: 1+"),
        ("Nucleus", 0.39, "Nucleus: Positive", "Nucleus: 1+"),
        ("Nucleus", 0.4, "Nucleus: Positive", "Nucleus: 2+"),
        ("Nucleus", 0.6, "Nucleus: Positive", "Nucleus: 3+"),
        ("Nucleus", -0.1, "Nucleus: Negative", "Nucleus: Negative"),
        ("Nucleus", np.nan, "Nucleus", "Nucleus"),
        (None, 0.3, "Positive", "1+"),
        (None, 0.1, "Negative", "Negative"),
        (None, np.nan, None, None),
        ("Positive", 0.1, "Negative", "Negative"),
        ("Positive", np.nan, None, None),
        ("Tumor: CD3: 3+", 0.1, "Tumor: CD3: Negative", "Tumor: CD3: Negative"),
        ("Tumor: 1+: Negative", 0.7, "Tumor: Positive", "Tumor: 3+"),
        ("Tumor: 2+", np.nan, "Tumor", "Tumor"),
        ("Ignore*", 0.7, "Ignore*", "Ignore*"),
        ("Ignore*: Positive", 0.1, "Ignore*: Positive", "Ignore*: Positive"),
    ],
)
def test_the_class_of_one_object(
    given_class: str | None, value: float, one: str | None, three: str | None
) -> None:
    classes, index = parse(given_class)
    for thresholds, expected in ((THRESHOLDS[:1], one), (THRESHOLDS, three)):
        found = classify_intensity(classes, index, np.array([value]), thresholds)
        assert spell(*found) == [expected]


def test_many_at_once() -> None:
    classes, index = parse("Nucleus", None, "Nucleus", "Tumor", "Nucleus")
    found, which = classify_intensity(classes, index, np.array([0.1, 0.3, 0.5, 0.9, np.nan]))
    assert spell(found, which) == [
        "Nucleus: Negative",
        "Positive",
        "Nucleus: Positive",
        "Tumor: Positive",
        "Nucleus",
    ]
    assert list(found[:2]) == classes and which.dtype == np.int32
    assert len(found) == len(set(found)) == 6


def test_nothing() -> None:
    classes, index = classify_intensity([], np.zeros(0, np.int32), np.zeros(0))
    assert classes == () and len(index) == 0


@given(st.lists(st.tuples(st.integers(-1, 2), st.floats(0, 1)), max_size=20))
def test_a_second_time_changes_nothing(rows: list[tuple[int, float]]) -> None:
    classes = [NUCLEUS, TUMOR, PathClass(("Ignore*",))]
    index = np.array([r[0] for r in rows], np.int32)
    values = np.array([r[1] for r in rows])
    first = classify_intensity(classes, index, values, THRESHOLDS)
    again = classify_intensity(*first, values, THRESHOLDS)
    assert spell(*again) == spell(*first)
    assert [c.color for c in again[0]] == [c.color for c in first[0]]


@pytest.mark.parametrize(
    "thresholds", [(), (0.2, 0.4), (0.4, 0.2, 0.6), (0.2, 0.2, 0.3), (np.nan,)]
)
def test_thresholds_that_make_no_sense(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="threshold"):
        classify_intensity([], np.zeros(0, np.int32), np.zeros(0), thresholds)


def test_colours() -> None:
    assert intensity_class(NUCLEUS, "Positive").color == (82, 45, 120)
    assert intensity_class(NUCLEUS, "Negative").color == (137, 75, 200)
    assert intensity_class(NUCLEUS, "3+").color == (44, 24, 64)
    assert intensity_class(None, "Negative").color == (112, 112, 225)
    # below Tumor the colours are fixed, whatever its own
    assert intensity_class(TUMOR, "1+").color == (255, 215, 0)
    assert intensity_class(PathClass(("Some",)), "1+").color is None


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("base", [None, "Tumor", "Stroma", "Tumor: CD3"])
def test_the_same_colours_as_the_project_gives(base: str | None, name: str) -> None:
    if base is None:
        parent = None
    else:
        parent = PathClass.parse(base, default_color(PathClass.parse(base).names))
    derived = intensity_class(parent, name)
    assert derived.color == default_color(derived.names)


def test_base_classes() -> None:
    assert base_class(NUCLEUS) is NUCLEUS
    assert base_class(PathClass.parse("Positive")) is None
    assert base_class(PathClass.parse("Tumor: CD3: Negative")) == PathClass(("Tumor", "CD3"))
    assert base_class(PathClass.parse("Positive: CD3")) == PathClass.parse("Positive: CD3")
