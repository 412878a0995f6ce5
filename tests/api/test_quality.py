"""Annotations that qpbridge draws for a person to correct: the tissue, and what is ignored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotations
from slide_factory import make_slide

import qpbridge

MPP = 0.5
INK = np.s_[300:500, 300:600]
INK_BOX = shapely.box(300, 300, 600, 500)
TISSUE = shapely.box(100, 100, 800, 600)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = make_slide(tmp_path / "a.png", tissue=TISSUE)
    pixels = made.pixels.copy()
    pixels[INK] = (20, 120, 40)
    pixels[:, -60:] = 0
    make_slide(tmp_path / "slide.tif", pixels=pixels, mpp=MPP, lossless=True)
    file = tmp_path / "p" / "project.qpproj"
    qpbridge.create_project(file, tmp_path / "slide.tif")
    return file


def objects(path: Path) -> qpbridge.ObjectTable:
    return qpbridge.open_project(path)[0].read().objects


def add(path: Path, box: shapely.Polygon, name: str) -> None:
    qpbridge.open_project(path)[0].apply(qpbridge.Edit(add=annotations((box, name, name))))


def test_tissue_is_drawn_once(path: Path) -> None:
    (report,) = qpbridge.annotate(path)
    assert (report.status, report.annotations) == ("written", 1)
    drawn = objects(path)
    assert drawn.names == {0: "Tissue"}
    found = drawn.geometries[0]
    aside = INK_BOX.buffer(80)  # the edge of ink is left out broadly
    true, beside = TISSUE.difference(aside), found.difference(aside)
    assert beside.intersection(true).area / beside.union(true).area > 0.8
    assert found.intersection(INK_BOX).area < 0.01 * INK_BOX.area
    (again,) = qpbridge.annotate(path)
    assert (again.status, again.annotations) == ("read", 1)
    assert np.array_equal(objects(path).ids, drawn.ids)


def test_changed_tissue_stays(path: Path) -> None:
    qpbridge.annotate(path)
    project = qpbridge.open_project(path)
    qpbridge.edit.move(project[0], objects(path).ids[0], 30, 0)
    moved = objects(path).geometries[0]
    qpbridge.annotate(path)
    assert len(objects(path)) == 2
    assert any(g.equals(moved) for g in objects(path).geometries)


def test_tissue_within_a_class(path: Path) -> None:
    half = shapely.box(0, 0, 450, 700)
    add(path, half, "Tumor")
    (report,) = qpbridge.annotate(path, within="Tumor")
    assert report.annotations == 1
    drawn = objects(path)
    (row,) = np.flatnonzero(drawn.parent >= 0)
    assert str(drawn.path_class(drawn.parent[row])) == "Tumor"
    assert half.buffer(0.01).covers(drawn.geometries[row])
    with pytest.raises(qpbridge.SelectionError, match="Stroma"):
        qpbridge.annotate(path, within="Stroma")
    assert qpbridge.segment(path, within="Tumor", device="cpu", dry_run=True)


def test_quality_is_told_and_drawn(path: Path) -> None:
    (told,) = qpbridge.quality(path)
    assert told.status == "read" and len(objects(path)) == 0
    (region,) = told.regions
    assert region.name == "whole image"
    ink, fill = (region.measurements[f"Quality: {name} %"] for name in ("Ink", "Black fill"))
    assert ink == pytest.approx(100 * INK_BOX.area / 630_000, abs=0.7)
    assert fill == pytest.approx(100 * 60 / 900, abs=0.7)
    assert any("ink" in text for text in told.warnings)

    (drawn,) = qpbridge.quality(path, annotate=True)
    there = objects(path)
    assert drawn.annotations == len(there) >= 2
    assert {str(c) for c in map(there.path_class, range(len(there)))} == {"Ignore*"}
    assert {"Ink", "Black fill"} <= set(there.names.values())
    qpbridge.quality(path, annotate=True)
    assert np.array_equal(objects(path).ids, there.ids)


def test_a_corrected_quality_stays_and_counts(path: Path) -> None:
    add(path, TISSUE, "Tumor")
    qpbridge.quality(path, annotate=True)
    before = objects(path)
    (ink,) = (row for row, name in before.names.items() if name == "Ink")
    project = qpbridge.open_project(path)
    qpbridge.edit.move(project[0], before.ids[ink], 0, -150)
    moved = objects(path)
    qpbridge.quality(path, annotate=True)
    assert sorted(objects(path).names.values()) == sorted(moved.names.values())
    (report,) = qpbridge.segment(path, device="cpu")
    (region,) = report.regions
    # what was moved away from is searched: a person said so
    searched = (
        TISSUE.difference(
            shapely.union_all(moved.geometries[moved.of_class(lambda c: c.is_ignored)])
        ).area
        * MPP**2
    )
    assert region.measurements["Evaluated area µm^2"] == pytest.approx(searched, rel=1e-3)


def test_a_deleted_quality_is_not_drawn_again(path: Path) -> None:
    add(path, TISSUE, "Tumor")
    qpbridge.quality(path, annotate=True)

    def names() -> list[str]:
        there = objects(path)
        return [there.names[row] for row in np.flatnonzero(there.of_class(lambda c: c.is_ignored))]

    before = names()
    assert {"Ink", "Black fill"} <= set(before)
    (ink,) = (row for row, name in objects(path).names.items() if name == "Ink")
    qpbridge.edit.delete(qpbridge.open_project(path)[0], objects(path).ids[ink])
    (plan,) = qpbridge.segment(path, device="cpu", dry_run=True)
    assert plan.message == ""  # all is known that will be left out
    for _ in range(2):
        (report,) = qpbridge.quality(path, annotate=True)
        assert report.deleted == ("Ink",)
        assert sorted(names()) == sorted(set(before) - {"Ink"})
    (fill,) = (row for row, name in objects(path).names.items() if name == "Black fill")
    qpbridge.edit.delete(qpbridge.open_project(path)[0], objects(path).ids[fill])
    (report,) = qpbridge.quality(path, annotate=True)
    assert set(report.deleted) == {"Ink", "Black fill"}
    (report,) = qpbridge.quality(path, annotate=True, restore_deleted=True)
    assert report.deleted == ()
    assert sorted(names()) == sorted(before)
    with pytest.raises(qpbridge.RequestError, match="`annotate`"):
        qpbridge.quality(path, restore_deleted=True)
