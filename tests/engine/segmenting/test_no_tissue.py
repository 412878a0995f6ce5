"""What can't be tissue takes no part in a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from slide_factory import make_slide

import qpbridge
from qpbridge.measurements import quality
from qpbridge.measurements.region_names import EVALUATED_AREA

MPP = 0.5
INNER = np.s_[120:580, 150:750]


def segmented(
    folder: Path, pixels: np.ndarray, **options: bool
) -> tuple[qpbridge.ObjectTable, qpbridge.ImageReport]:
    folder.mkdir(exist_ok=True)
    make_slide(folder / "slide.tif", pixels=pixels, mpp=MPP, lossless=True)
    project = qpbridge.create_project(
        folder / "p" / "project.qpproj", folder / "slide.tif", annotate="full"
    )
    (report,) = qpbridge.segment(project, device="cpu", **options)
    assert report.status == "written", report
    return project[0].read().objects, report


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return make_slide(tmp_path_factory.mktemp("plain") / "a.png", width=900, height=700).pixels


def test_a_black_frame_is_as_a_white_one(tmp_path: Path, pixels: np.ndarray) -> None:
    found = {}
    for name, level in (("black", 0), ("white", 255)):
        framed = np.full_like(pixels, level)
        framed[INNER] = pixels[INNER]
        found[name] = segmented(tmp_path / name, framed)
    black, white = (found[name][0] for name in ("black", "white"))
    interior = shapely.box(150, 120, 750, 580).buffer(-16)

    def inside(objects: qpbridge.ObjectTable) -> list[bytes]:
        rows = np.flatnonzero(objects.kind != qpbridge.ObjectKind.ANNOTATION)
        some = objects.take(rows)
        held = shapely.contains_xy(interior, *some.shapes.centroids().T)
        return sorted(uid.tobytes() for uid in some.ids[held])

    assert len(inside(white)) > 100
    assert inside(black) == inside(white)
    outside = black.shapes.centroids()[black.kind != qpbridge.ObjectKind.ANNOTATION]
    assert shapely.contains_xy(shapely.box(142, 112, 758, 588), *outside.T).all()
    (region,) = found["black"][1].regions
    area = 600 * 460 * MPP**2
    assert region.measurements[EVALUATED_AREA] == pytest.approx(area, rel=0.05)
    assert region.measurements[quality.FILL] == pytest.approx(100 * (1 - 276 / 630), abs=2)
    assert any("black fill" in text for text in found["black"][1].warnings)
    assert region.measurements[quality.SEARCHED] == pytest.approx(100 * 276 / 630, abs=2)


def test_nothing_but_ink(tmp_path: Path) -> None:
    objects, report = segmented(tmp_path, np.full((300, 300, 3), (30, 40, 150), np.uint8))
    assert len(objects) == 1
    assert report.found == 0
    (region,) = report.regions
    assert region.measurements[EVALUATED_AREA] == 0
    assert region.measurements[quality.INK] == 100


def test_measure_takes_the_same_area(tmp_path: Path, pixels: np.ndarray) -> None:
    framed = np.zeros_like(pixels)
    framed[INNER] = pixels[INNER]
    before, _ = segmented(tmp_path, framed)
    project = qpbridge.open_project(tmp_path / "p" / "project.qpproj")
    qpbridge.measure(project)
    after = project[0].read().objects
    for name in (EVALUATED_AREA, "Nuclei: Count", "Nuclei: Density per mm^2"):
        assert after.measured[name][0] == pytest.approx(before.measured[name][0], rel=1e-6)


@pytest.mark.parametrize("colour", [(20, 120, 40), (30, 40, 150)])
def test_ink_changes_nothing_beside_it(
    tmp_path: Path, pixels: np.ndarray, colour: tuple[int, int, int]
) -> None:
    found = {}
    for name, painted in (("ink", colour), ("white", (255, 255, 255))):
        inked = pixels.copy()
        inked[200:400, 300:600] = painted
        objects, report = segmented(tmp_path / name, inked)
        nuclei = objects.take(np.flatnonzero(objects.kind != qpbridge.ObjectKind.ANNOTATION))
        x, y = nuclei.shapes.centroids().T
        assert not shapely.contains_xy(shapely.box(304, 204, 596, 396), x, y).any()
        beside = ~shapely.contains_xy(shapely.box(284, 184, 616, 416), x, y)
        found[name] = sorted(uid.tobytes() for uid in nuclei.ids[beside]), report.warnings
    assert len(found["white"][0]) > 200
    assert found["ink"][0] == found["white"][0]
    assert any("ink" in text for text in found["ink"][1])


def test_artefacts_are_searched_on_demand(tmp_path: Path, pixels: np.ndarray) -> None:
    inked = pixels.copy()
    inked[200:400, 300:600] = inked[200:400, 300:600] * (np.array([20, 120, 40]) / 243)
    found = {}
    for keep in (False, True):
        _, report = segmented(tmp_path / str(keep), inked, keep_artefacts=keep)
        (region,) = report.regions
        found[keep] = region.measurements, report
    (cut, left_out), (whole, searched) = found[False], found[True]
    assert cut[quality.INK] == whole[quality.INK] > 5
    assert cut[quality.SEARCHED] < 95
    assert whole[quality.SEARCHED] == 100
    assert whole[EVALUATED_AREA] == pytest.approx(900 * 700 * MPP**2)
    assert any("was left out" in text for text in left_out.warnings)
    assert any("was searched all the same" in text for text in searched.warnings)
    assert searched.settings["artefacts"] == "searched too"


def test_a_plan_says_what_it_can_not_know(tmp_path: Path, pixels: np.ndarray) -> None:
    make_slide(tmp_path / "slide.tif", pixels=pixels, mpp=MPP)
    project = qpbridge.create_project(
        tmp_path / "p" / "project.qpproj", tmp_path / "slide.tif", annotate="full"
    )
    (plan,) = qpbridge.segment(project, device="cpu", dry_run=True)
    assert "ink are not known yet" in str(plan)
    (plan,) = qpbridge.segment(project, device="cpu", dry_run=True, keep_artefacts=True)
    assert "ink" not in str(plan)


def test_predict_leaves_out_the_same(pixels: np.ndarray) -> None:
    inked = pixels[:300, :400].copy()
    inked[100:200, 100:300] = inked[100:200, 100:300] * (np.array([190, 15, 30]) / 243)
    box = shapely.box(104, 104, 296, 196)
    inside = {}
    for keep in (False, True):
        found = qpbridge.predict(inked, MPP, keep_artefacts=keep, device="cpu")
        centroids = found.objects.shapes.centroids()
        inside[keep] = int(shapely.contains_xy(box, *centroids.T).sum())
    assert inside[False] == 0 < inside[True]
