"""The definitions that the reference is made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from qpbridge.measurements import intensity, shape
from qpbridge.measurements.definitions import DEFINITIONS, find, reference
from qpbridge.measurements.intensity import intensity_names
from qpbridge.measurements.names import NUCLEUS
from qpbridge.measurements.shape import shape_names
from qpbridge.measurements.texture import haralick_names


def test_what_is_measured_is_defined() -> None:
    assert tuple(shape.DEFINITIONS) == shape_names((1.0, 1.0))
    assert tuple(intensity.DEFINITIONS) == intensity_names(["STAIN"])


def test_one_line_each_and_once() -> None:
    lines = [(name, text) for chapter in DEFINITIONS.values() for name, text in chapter.items()]
    assert all(text.endswith(".") and "\n" not in text and "  " not in text for _, text in lines)
    assert len({name for name, _ in lines}) == len(lines)
    assert all("μ" not in name for name, _ in lines)  # the micro sign, never Greek mu


def test_the_reference_page_is_current() -> None:
    """If not: python -m qpbridge.measurements.definitions > docs/measurements.md."""
    page = Path(__file__).parents[2] / "docs" / "measurements.md"
    assert page.read_text(encoding="utf-8") == reference()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Area µm^2", "holes not counted"),
        ("Nucleus: Area µm^2", "holes not counted"),
        ("Hematoxylin: Mean", "optical density"),
        ("Nucleus: DAB: Std.Dev.", "sample"),
        ("Nuclei: Area mean µm^2", "Mean over the nuclei"),
        ("Nuclei: Area CV", "anisonucleosis"),
        ("Nuclei: Cell: Area p90 µm^2", "90th"),
        ("Nuclei: Hematoxylin: Mean SD", "sample"),
        ("Vessels: Area %", "lumina included"),
        ("Vessels: Wall thickness mean µm", "Mean of NAME"),
        ("Vessels: Hotspot count", "disc"),
        ("Vessels: Centre line length µm", "all vessels"),
        ("Smoothed: 25 µm: Nucleus: Eosin: Mean", "Gaussian"),
        ("Smoothed: 25 µm: Nearby detection counts", "nearer than FWHM"),
        ("Local density 50 µm per mm^2", "circle"),
        ("Signed distance to annotation with Tumor µm", "minus the distance"),
        (haralick_names("Hematoxylin", 0.5)[3], "variance of i"),
        (haralick_names("Hematoxylin", 0.5, NUCLEUS)[7], "entropy"),
        ("Nuclei: 0.50 µm per pixel: Hematoxylin: Haralick Entropy (F8) SD", "sample"),
        ("Membrane: Eosin: Max", "Largest"),
        ("Nottingham: Tubule score", "75 %"),
    ],
)
def test_names_are_found_by_their_patterns(name: str, part: str) -> None:
    text = find(name)
    assert text is not None and part in text


@pytest.mark.parametrize("name", ["my score", "Nuclei: my score", "Smoothed: 25 µm: mine", "", ":"])
def test_other_names_are_not_defined(name: str) -> None:
    assert find(name) is None
