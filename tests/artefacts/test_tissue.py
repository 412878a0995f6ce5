"""Outlines of tissue, on slides where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from PIL import Image, ImageDraw
from slide_factory import make_slide

from qpbridge.artefacts.tissue import tissue_mask, tissue_outline
from qpbridge.slides import open_slide

WIDTH, HEIGHT = 1200, 900
HOLE = shapely.Point(450, 425).buffer(100)
TISSUE = (
    shapely.Point(450, 425).buffer(275).union(shapely.Point(775, 550).buffer(175)).difference(HOLE)
)


@pytest.fixture(scope="module")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> npt.NDArray[np.uint8]:
    path = tmp_path_factory.mktemp("tissue") / "plain.png"
    return make_slide(path, width=WIDTH, height=HEIGHT, spacing=25, radius=4, tissue=TISSUE).pixels


def outline(
    folder: Path, pixels: npt.NDArray[np.uint8], mpp: float | None = 1.0
) -> shapely.Geometry:
    """Write a slide, find its tissue, and check what holds of any outline."""
    made = make_slide(folder / "slide.tif", pixels=pixels, levels=2, mpp=mpp, lossless=True)
    with open_slide(made.path) as slide:
        found = tissue_outline(slide)
    image = shapely.box(0, 0, pixels.shape[1], pixels.shape[0])
    for piece in found:
        assert piece.geom_type == "Polygon"
        assert image.covers(piece)
        rounded = shapely.transform(piece, lambda xy: np.round(xy, 2))
        assert rounded.is_valid
        assert rounded.equals_exact(piece, 1e-6)
    assert [p.area for p in found] == sorted((p.area for p in found), reverse=True)
    together = shapely.MultiPolygon(found)
    assert together.is_valid
    return together


def overlap(a: shapely.Geometry, b: shapely.Geometry) -> float:
    return float(a.intersection(b).area / a.union(b).area)


@pytest.mark.parametrize("mpp", [2.0, None])
def test_tissue_with_a_hole(
    tmp_path: Path, pixels: npt.NDArray[np.uint8], mpp: float | None
) -> None:
    found = outline(tmp_path, pixels, mpp)
    assert overlap(found, TISSUE) > (0.85 if mpp is None else 0.93)
    assert len(found.geoms) == 1
    assert len(found.geoms[0].interiors) == 1
    assert len(shapely.get_coordinates(found)) < 400


def test_pale_tissue(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    pale = 245 - (245 - pixels.astype(float)) * 0.25
    assert overlap(outline(tmp_path, pale.round().astype(np.uint8)), TISSUE) > 0.85


def test_tinted_glass(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    tinted = (pixels * np.array([0.99, 0.96, 0.91])).round().astype(np.uint8)
    assert overlap(outline(tmp_path, tinted), TISSUE) > 0.92


def test_brown_stain(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    shapely.prepare(TISSUE)
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    inside = shapely.contains_xy(TISSUE, x, y)
    amount = inside * np.where((x // 60 + y // 45) % 3 == 0, 0.5, 0.1)
    brown = 245 * 10 ** -(amount[..., None] * [0.269, 0.568, 0.778])
    assert overlap(outline(tmp_path, brown.round().astype(np.uint8)), TISSUE) > 0.9


def test_pens_borders_and_specks_are_left_out(
    tmp_path: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    draw.line([(95, 60), (1100, 80)], fill=(20, 120, 60), width=50)
    draw.line([(75, 825), (1100, 850)], fill=(30, 60, 170), width=50)
    draw.ellipse([1000, 200, 1180, 380], outline=(15, 15, 15), width=50)
    draw.rectangle([0, 0, 60, HEIGHT], fill=(0, 0, 0))
    draw.ellipse([975, 600, 995, 620], fill=(150, 60, 140))
    found = outline(tmp_path, np.asarray(image))
    assert overlap(found, TISSUE) > 0.93
    assert len(found.geoms) == 1


def test_glass_alone_has_none(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(238, 3, (900, 1200, 3))
    assert outline(tmp_path, noise.round().astype(np.uint8)).is_empty
    assert outline(tmp_path, np.full((50, 60, 3), 255, np.uint8)).is_empty


def test_tissue_alone_fills_the_image(tmp_path: Path) -> None:
    made = make_slide(tmp_path / "full.svs", width=900, height=700, mpp=0.25)
    with open_slide(made.path) as slide:
        found = tissue_outline(slide)
    assert len(found) == 1
    assert found[0].area > 0.98 * 900 * 700


def test_mask_follows_the_pixels() -> None:
    picture = np.full((80, 100, 3), 244, np.uint8)
    picture[20:60, 30:70] = (200, 120, 170)
    mask = tissue_mask(picture, 10.0)
    assert mask.shape == (80, 100)
    assert mask[25:55, 35:65].all()
    assert not mask[:15].any()
    assert not mask[:, 80:].any()


def test_real_slides(shared: Path) -> None:
    share = {
        "OS-1-detail.ome.tif": (0.97, 1.0),
        "OS-2-ndpi.ome.tif": (0.6, 0.85),
        "OS-2-vsi.ome.tif": (0.6, 0.85),
        "TCGA-CR-7395-01A-01-TS1.svs": (0.58, 0.7),
    }
    for name, (low, high) in share.items():
        with open_slide(shared / "data" / "slides" / name) as slide:
            found = tissue_outline(slide)
            part = sum(p.area for p in found) / (slide.width * slide.height)
        assert low <= part <= high, name
        assert len(found) <= 4
