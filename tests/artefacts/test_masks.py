"""What can't be tissue, on pictures where it is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from scipy import ndimage
from slide_factory import make_slide

from qpbridge.artefacts.masks import Kind
from qpbridge.artefacts.reading import NO_TISSUE, QualityMap, read_quality
from qpbridge.artefacts.tissue import tissue_outline
from qpbridge.slides import open_slide

Bytes = npt.NDArray[np.uint8]
MPP = 0.5
INKS = {
    "black": (25, 25, 30),
    "blue": (30, 40, 150),
    "navy": (25, 25, 90),
    "green": (20, 120, 40),
    "dark green": (10, 60, 35),
    "red": (190, 15, 30),
    "flat dark": (70, 30, 60),
}


def quality(folder: Path, pixels: Bytes) -> QualityMap:
    made = make_slide(folder / "slide.tif", pixels=pixels, mpp=MPP, levels=2, lossless=True)
    with open_slide(made.path) as slide:
        return read_quality(slide, (MPP, MPP))


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Bytes:
    path = tmp_path_factory.mktemp("quality") / "plain.png"
    return make_slide(path, width=900, height=700).pixels


def share(area: shapely.Geometry, box: shapely.Polygon) -> float:
    return float(shapely.intersection(area, box).area / box.area)


def test_tissue_is_neither_fill_nor_ink_nor_out_of_focus(tmp_path: Path, tissue: Bytes) -> None:
    kinds = quality(tmp_path, tissue).kinds
    assert np.isin(kinds, (Kind.OTHER, Kind.BLURRED)).all()
    assert (kinds[4:-4, 4:-4] == Kind.BLURRED).mean() < 0.05  # the margin has no nuclei


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("name", INKS)
def test_ink_on_tissue(tmp_path: Path, tissue: Bytes, name: str, noise: float) -> None:
    pixels = tissue.astype(float)
    pixels[200:400, 300:600] = INKS[name]
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    found = quality(tmp_path, pixels.clip(0, 255).round().astype(np.uint8))
    ink = found.outline(*NO_TISSUE)
    box = shapely.box(300, 200, 600, 400)
    assert share(ink, box) > 0.85
    assert ink.difference(box.buffer(12)).is_empty


@pytest.mark.parametrize("name", ["black", "blue", "green", "red"])
def test_ink_over_tissue(tmp_path: Path, tissue: Bytes, name: str) -> None:
    """Light goes through tissue and ink: over pale tissue ink is not dark."""
    pixels = tissue.astype(float)
    pixels[200:400, 300:600] *= np.divide(INKS[name], 243)
    found = quality(tmp_path, pixels.round().astype(np.uint8))
    ink = found.outline(*NO_TISSUE)
    box = shapely.box(300, 200, 600, 400)
    assert share(ink, box) > 0.95
    assert ink.difference(box.buffer(12)).is_empty


def test_sheets_of_dab_are_no_ink(tmp_path: Path, tissue: Bytes) -> None:
    dab = np.array([0.268, 0.570, 0.776])
    pixels = tissue.astype(float)
    pixels[200:400, 300:600] *= 10 ** (-1.4 * dab)  # darker than any pen
    found = quality(tmp_path, pixels.round().astype(np.uint8))
    assert found.outline(*NO_TISSUE).is_empty


def test_pale_fibres_are_not_empty(tmp_path: Path) -> None:
    """Where a picture shows no glass, the palest tissue has the colours of glass; not its look."""
    rng = np.random.default_rng(0)
    fibres = ndimage.gaussian_filter(rng.normal(0, 1, (700, 900)), (2, 8))
    pale = np.array([226, 217, 224]) + 5 * (fibres / fibres.std())[..., None]
    pale += rng.normal(0, 1, pale.shape)
    kinds = quality(tmp_path, pale.clip(0, 255).round().astype(np.uint8)).kinds
    assert (kinds == Kind.EMPTY).mean() < 0.05
    pale[200:500, 300:600] = rng.normal(243, 1.5, (300, 300, 3))
    found = quality(tmp_path, pale.clip(0, 255).round().astype(np.uint8))
    empty, hole = found.outline(Kind.EMPTY), shapely.box(300, 200, 600, 500)
    assert share(empty, hole) > 0.9
    assert empty.difference(hole.buffer(16)).area < 0.02 * 900 * 700


@pytest.mark.parametrize("noise", [0, 6])
@pytest.mark.parametrize("width", [30, 200])
def test_a_black_frame_is_fill(tmp_path: Path, tissue: Bytes, width: int, noise: float) -> None:
    pixels = np.full_like(tissue, 0).astype(float) + noise * 2
    pixels += np.random.default_rng(0).normal(0, noise, pixels.shape)
    inner = np.s_[width:-width, width:-width]
    pixels[inner] = tissue[inner]
    found = quality(tmp_path, pixels.clip(0, 255).round().astype(np.uint8))
    fill = found.outline(Kind.FILL)
    box = shapely.box(width, width, 900 - width, 700 - width)
    frame = shapely.box(0, 0, 900, 700).difference(box)
    assert share(fill, frame) > 0.85  # the map has pixels of 4 µm
    assert fill.difference(frame.buffer(8)).is_empty
    assert found.outline(Kind.INK).area < 0.001 * 900 * 700


def test_fill_becomes_white_and_tissue_stays(tmp_path: Path, tissue: Bytes) -> None:
    black, white = tissue.copy(), tissue.copy()
    frame = np.ones(tissue.shape[:2], bool)
    frame[150:-150, 150:-150] = False
    black[frame], white[frame] = 0, 255
    found = quality(tmp_path, black)
    assert np.array_equal(found.whitened(black, (0, 0), 1.0), white)
    part = found.whitened(black[100:300, 120:400], (120, 100), 1.0)
    assert np.array_equal(part, white[100:300, 120:400])
    assert found.whitened(tissue[200:300, 200:300], (200, 200), 1.0) is not None
    shares = found.shares(shapely.box(0, 0, 900, 700))
    assert shares[Kind.FILL] == pytest.approx(frame.mean(), abs=0.02)


@pytest.mark.parametrize("name", ["blue", "green", "red"])
def test_hidden_ink_becomes_white_and_tissue_stays(
    tmp_path: Path, tissue: Bytes, name: str
) -> None:
    inked, white = tissue.copy(), tissue.copy()
    inked[203:405, 301:599], white[203:405, 301:599] = INKS[name], 255
    found = quality(tmp_path, inked)
    assert np.array_equal(found.whitened(inked, (0, 0), 1.0), inked)
    hidden = found.hiding(shapely.Polygon())
    assert hidden.digest() != found.digest()
    whitened = hidden.whitened(inked, (0, 0), 1.0)
    assert (whitened[203:405, 301:599] == 255).all()
    other = (whitened != white).any(axis=2)
    assert other.mean() < 0.005  # dark nuclei at its very edge
    other[195:413, 293:607] = False
    assert not other.any()
    mirrored = np.pad(inked, ((300, 0), (0, 0), (0, 0)), "symmetric")
    assert (hidden.whitened(mirrored, (0, -300), 1.0)[:90, 320:580] == 255).all()
    searched = shapely.box(300, 200, 450, 410)  # where a person said that it is tissue
    half = found.hiding(searched).whitened(inked, (0, 0), 1.0)
    assert np.array_equal(half[220:390, 320:430], inked[220:390, 320:430])
    assert (half[220:390, 470:580] == 255).all()


def test_out_of_focus(tmp_path: Path, tissue: Bytes) -> None:
    pixels = tissue.copy()
    half = ndimage.gaussian_filter(tissue.astype(float), (3 / MPP, 3 / MPP, 0))
    pixels[:, 450:] = half[:, 450:].round()
    blurred = quality(tmp_path, pixels).kinds == Kind.BLURRED
    middle = blurred.shape[1] // 2
    assert blurred[8:-8, middle + 8 : -8].mean() > 0.9
    assert blurred[8:-8, 8 : middle - 8].mean() < 0.02


def test_glass_is_empty(tmp_path: Path) -> None:
    hole = shapely.box(300, 200, 600, 500)
    whole = shapely.box(0, 0, 900, 700)
    path = tmp_path / "slide.tif"
    make_slide(path, mpp=MPP, tissue=whole.difference(hole), lossless=True)
    with open_slide(path) as slide:
        found = read_quality(slide, (MPP, MPP))
        part = read_quality(slide, (MPP, MPP), shapely.box(250, 150, 650, 550))
    empty = found.outline(Kind.EMPTY)
    assert share(empty, hole) > 0.9
    assert empty.difference(hole.buffer(8)).is_empty
    assert part.shares(hole)[Kind.EMPTY] > 0.9
    assert part.downsample == found.downsample


@pytest.mark.parametrize("name", ["black_pen.tif", "blue_pen.tif", "green_pen.tif"])
def test_cases_of_pens(shared: Path, name: str) -> None:
    with open_slide(shared / "cases" / "pen" / name) as slide:
        found = read_quality(slide, (MPP, MPP))
        assert np.isin(found.kinds, NO_TISSUE).all()
        assert tissue_outline(slide) == []


def test_real_slides_hold_no_ink(shared: Path) -> None:
    """Tissue in H&E and IHC is not taken for ink or fill, and is in focus."""
    for name in ("OS-1-detail.ome.tif", "OS-2-ndpi.ome.tif", "OS-2-vsi.ome.tif"):
        with open_slide(shared / "data" / "slides" / name) as slide:
            found = read_quality(slide, slide.mpp or (0.25, 0.25))
            shares = found.shares(shapely.box(0, 0, slide.width, slide.height))
        assert shares[Kind.INK] + shares[Kind.FILL] < 0.002, name
        assert shares[Kind.BLURRED] < 0.2, name
