"""The definitions that the reference is made from."""

from __future__ import annotations

from qpbridge.measure.definitions import DEFINITIONS, INTENSITY, SHAPE
from qpbridge.measure.intensity import intensity_names
from qpbridge.measure.shape import shape_names


def test_what_is_measured_is_defined() -> None:
    assert tuple(SHAPE) == shape_names((1.0, 1.0))
    assert tuple(INTENSITY) == intensity_names(["STAIN"])


def test_one_line_each_and_once() -> None:
    lines = [(name, text) for chapter in DEFINITIONS.values() for name, text in chapter.items()]
    assert all(text.endswith(".") and "\n" not in text and "  " not in text for _, text in lines)
    assert len({name for name, _ in lines}) == len(lines)
    assert all("μ" not in name for name, _ in lines)  # the micro sign, never Greek mu
