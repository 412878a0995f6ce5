"""Slides of every format, read at any resolution, in any rectangle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from slide_factory import halve, make_slide, pyramid
from tiffslide import TiffSlide

from qpbridge.errors import SlideError
from qpbridge.slides import Slide, open_slide
from qpbridge.slides.slide import slide_of_pixels

WIDTH, HEIGHT = 517, 403


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("slides")


@pytest.fixture(scope="module")
def slide(folder: Path) -> Slide:
    made = make_slide(folder / "pyramid.tif", width=WIDTH, height=HEIGHT, levels=3, lossless=True)
    return open_slide(made.path)


@pytest.mark.parametrize(
    ("name", "kind", "format_name", "n_levels"),
    [
        ("a.svs", "svs", "aperio", 3),
        ("a.tif", "tiff", "generic-tiff", 3),
        ("a.ome.tif", "ome", "ome-tiff", 3),
        ("s.tif", "strips", "generic-tiff", 1),
        ("a.png", "png", "png", 1),
    ],
)
def test_every_format_gives_its_pixels(
    folder: Path, name: str, kind: str, format_name: str, n_levels: int
) -> None:
    made = make_slide(
        folder / name, kind=kind, width=WIDTH, height=HEIGHT, levels=3, mpp=0.25, lossless=True
    )
    with open_slide(made.path) as slide:
        assert (slide.width, slide.height) == (WIDTH, HEIGHT)
        assert slide.format == format_name
        assert slide.mpp == (pytest.approx((0.25, 0.25)) if made.mpp else None)
        assert len(slide.levels) == n_levels
        for level, pixels in zip(slide.levels, pyramid(made.pixels, n_levels), strict=True):
            assert (level.width, level.height) == (pixels.shape[1], pixels.shape[0])
            read = slide.read(0, 0, level.width, level.height, level.downsample)
            np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("name", ["j.svs", "j.tif", "j.ome.tif", "j.jpg"])
def test_jpeg_formats_are_near_the_truth(folder: Path, name: str) -> None:
    made = make_slide(folder / name, width=WIDTH, height=HEIGHT)
    with open_slide(made.path) as slide:
        read = slide.read(0, 0, WIDTH, HEIGHT, 1)
    assert np.abs(read.astype(int) - made.pixels).mean() < 4


def test_metadata_of_an_aperio_slide(folder: Path) -> None:
    with open_slide(make_slide(folder / "m.svs", mpp=0.25).path) as slide:
        assert slide.magnification == 40
        assert slide.tile_size == (240, 240)
    with open_slide(make_slide(folder / "n.svs", mpp=None).path) as slide:
        assert slide.mpp is None
        assert slide.magnification is None


@pytest.mark.parametrize("unit", ["nm", "µm", "mm"])
def test_ome_units(folder: Path, unit: str) -> None:
    path = folder / f"unit_{unit}.ome.tif"
    size = 0.5 / {"nm": 1e-3, "µm": 1, "mm": 1e3}[unit]
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    metadata |= {"PhysicalSizeY": 2 * size, "PhysicalSizeYUnit": unit}
    pixels = np.zeros((64, 64, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", ome=True, metadata=metadata)
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.5, 1.0))


def test_planar_tiff_and_transparency(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    path = folder / "planar.tif"
    planar = np.moveaxis(pixels, 2, 0)
    tifffile.imwrite(path, planar, photometric="rgb", planarconfig="separate", rowsperstrip=32)
    with open_slide(path) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 70, 90, 1), pixels)

    alpha = np.dstack([pixels, np.full((90, 70), 255, np.uint8)])
    alpha[:10, :, 3] = 0
    Image.fromarray(alpha).save(folder / "alpha.png")
    tifffile.imwrite(folder / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("alpha.png", "alpha.tif"):
        with open_slide(folder / name) as slide:
            read = slide.read(0, 0, 70, 90, 1)
        assert (read[:10] == 255).all()
        np.testing.assert_array_equal(read[10:], pixels[10:])


def test_tiles_that_the_scanner_left_out_are_white(folder: Path) -> None:
    path = folder / "sparse.tif"
    tiles = [np.full((64, 64, 3), 90, np.uint8), None, None, np.full((64, 64, 3), 80, np.uint8)]
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(128, 128, 3),
        dtype=np.uint8,
        tile=(64, 64),
        photometric="rgb",
        compression="deflate",
    )
    with open_slide(path) as slide:
        read = slide.read(0, 0, 128, 128, 1)
    assert [read[i, j, 0] for i in (9, 99) for j in (9, 99)] == [90, 255, 255, 80]


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(-30, 260),
    y=st.integers(-30, 260),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    downsample=st.one_of(st.sampled_from([0.5, 1, 1.5, 2, 2.004, 3, 4, 8, 16]), st.floats(0.4, 20)),
)
def test_no_seams(slide: Slide, x: int, y: int, width: int, height: int, downsample: float) -> None:
    whole = slide.read(-30, -30, 410, 410, downsample)
    part = slide.read(x, y, width, height, downsample)
    crop = whole[y + 30 : y + 30 + height, x + 30 : x + 30 + width]
    np.testing.assert_array_equal(part, crop)


def test_blocks_leave_no_seams(slide: Slide, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = slide.read(-5, -5, 300, 300, 1.7)
    monkeypatch.setattr("qpbridge.slides.slide.BLOCK_PIXELS", 900)
    np.testing.assert_array_equal(slide.read(-5, -5, 300, 300, 1.7), whole)


@pytest.mark.parametrize("downsample", [2, 3, 4])
def test_whole_factors_average_blocks_like_pillow(folder: Path, downsample: int) -> None:
    made = make_slide(folder / "one.tif", kind="strips", width=540, height=432)
    with open_slide(made.path) as slide:
        read = slide.read(0, 0, 540 // downsample, 432 // downsample, downsample)
    expected = np.asarray(Image.fromarray(made.pixels).reduce(downsample), int)
    assert np.abs(read.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("downsample", [1.002, 1.3, 2, 5.4])
def test_resampling_averages_areas(folder: Path, downsample: float) -> None:
    """Compare with the integral of the image over each pixel of the grid."""
    made = make_slide(folder / "one.tif", kind="strips", width=540, height=432)
    w, h = int(540 / downsample), int(432 / downsample)
    with open_slide(made.path) as slide:
        read = slide.read(0, 0, w, h, downsample)
    expected = made.pixels.astype(float)
    for axis, count in enumerate((h, w)):
        edges = np.arange(count + 1) * downsample
        total = np.cumsum(expected, axis=axis)
        total = np.insert(total, 0, 0, axis=axis)
        integral = np.apply_along_axis(
            lambda line, at=edges: np.interp(at, np.arange(len(line)), line), axis, total
        )
        expected = np.diff(integral, axis=axis) / downsample
    assert np.abs(read - expected).max() < 0.51


def test_upsampling_is_linear_like_pillow(folder: Path) -> None:
    made = make_slide(folder / "up.tif", kind="strips", width=120, height=90)
    with open_slide(made.path) as slide:
        read = slide.read(0, 0, 240, 180, 0.5)
    expected = Image.fromarray(made.pixels).resize((240, 180), Image.Resampling.BILINEAR)
    assert np.abs(read.astype(int) - np.asarray(expected, int)).max() <= 1


def test_positions_do_not_shift(folder: Path) -> None:
    """The centre of mass of a bright square is where it is, at each resolution."""
    pixels = np.zeros((400, 600, 3), np.uint8)
    pixels[150:170, 301:331] = 255
    made = make_slide(folder / "square.tif", pixels=pixels, levels=3, lossless=True)
    with open_slide(made.path) as slide:
        for downsample in (0.7, 1, 1.9, 2, 2.3, 4, 5):
            w, h = round(600 / downsample), round(400 / downsample)
            read = slide.read(0, 0, w, h, downsample)[..., 0].astype(float)
            read[:, -2:] = read[-2:] = 0
            y, x = np.mgrid[:h, :w]
            centre = [float((v * read).sum() / read.sum() + 0.5) * downsample for v in (x, y)]
            assert centre == pytest.approx([316, 160], abs=0.03 * downsample)


def test_odd_sizes_keep_the_levels_in_step(folder: Path) -> None:
    """A level that lost its odd last column is not a stretched image."""
    pixels = np.random.default_rng(1).integers(0, 256, (333, 4443, 3), np.uint8)
    made = make_slide(folder / "odd.tif", pixels=pixels, levels=2, lossless=True)
    with open_slide(made.path) as slide:
        assert [level.downsample for level in slide.levels] == [1, 2]
        read = slide.read(0, 0, 2222, 167, 2)
        np.testing.assert_array_equal(read[:166, :2221], halve(pixels))
        # The half pixel at the end repeats its neighbour rather than turning white.
        np.testing.assert_array_equal(read[:, 2221], read[:, 2220])


def test_beyond_the_image_is_white(slide: Slide) -> None:
    assert (slide.read(-50, -50, 50, 50, 1) == 255).all()
    assert (slide.read(WIDTH, 0, 5, 5, 1) == 255).all()
    assert (slide.read(10_000, 10_000, 3, 3, 4) == 255).all()
    assert slide.read(0, 0, 0, 7, 2).shape == (7, 0, 3)


@pytest.mark.parametrize("name", ["r.svs", "r.tif", "r.ome.tif", "rj.svs", "rj.tif"])
def test_pixels_are_those_of_read_region(folder: Path, name: str) -> None:
    make_slide(folder / name, width=700, height=500, lossless="j" not in name)
    with open_slide(folder / name) as slide, TiffSlide(folder / name) as reference:
        for level, (downsample, width, height) in enumerate(slide.levels):
            for x, y in ((0, 0), (37, 211), (width // 2, height // 3)):
                w, h = min(256, width - x), min(200, height - y)
                if w <= 0 or h <= 0:
                    continue
                corner = round(x * downsample), round(y * downsample)
                expected = np.asarray(reference.read_region(corner, level, (w, h)).convert("RGB"))
                np.testing.assert_array_equal(slide.read(x, y, w, h, downsample), expected)


def test_threads_read_the_same(slide: Slide) -> None:
    boxes = [(x, y) for y in range(0, HEIGHT, 60) for x in range(0, WIDTH, 60)]
    expected = [slide.read(x, y, 90, 90, 1) for x, y in boxes]
    with open_slide(slide.path) as fresh, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda box: fresh.read(*box, 90, 90, 1), boxes))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_crop_and_snap(slide: Slide) -> None:
    part = slide.cropped(101, 50, 200, 150)
    assert (part.width, part.height) == (200, 150)
    np.testing.assert_array_equal(part.read(0, 0, 200, 150, 1), slide.read(101, 50, 200, 150, 1))
    assert (part.read(200, 0, 10, 10, 1) == 255).all()
    with pytest.raises(SlideError, match="beyond"):
        slide.cropped(500, 0, 100, 100)
    assert slide.snap(1.99) == 2
    assert slide.snap(1.9) == 1.9


def test_thumbnail(slide: Slide) -> None:
    small = slide.thumbnail(100, 100)
    assert small.shape == (78, 100, 3)
    assert slide.thumbnail(5000, 5000).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (np.zeros((64, 64, 3), np.uint16), {"photometric": "rgb"}),
        (np.zeros((64, 64), np.uint8), {"photometric": "minisblack"}),
        (np.zeros((3, 64, 64), np.uint8), {"photometric": "minisblack"}),
        (np.zeros((4, 64, 64, 3), np.uint8), {"photometric": "rgb"}),
    ],
)
@pytest.mark.parametrize("ome", [False, True])
def test_images_that_are_not_rgb(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, str], ome: bool
) -> None:
    path = tmp_path / "fluorescence.tif"
    tifffile.imwrite(path, pixels, ome=ome, **options)
    with pytest.raises(SlideError, match=r"fluorescence\.tif: not an RGB image .* export"):
        open_slide(path)


def test_gray_png(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "gray.png")
    with pytest.raises(SlideError, match=r"gray\.png: not an RGB image"):
        open_slide(tmp_path / "gray.png")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"none\.svs: can't be read \(No such file"):
        open_slide(tmp_path / "none.svs")
    with pytest.raises(SlideError, match="can't be read"):
        open_slide(tmp_path)


@pytest.mark.parametrize("name", ["t.svs", "t.tif", "t.ome.tif", "t.png", "t.jpg"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.7, 0.97])
def test_truncated_files(tmp_path: Path, name: str, part: float) -> None:
    path = make_slide(tmp_path / name, width=WIDTH, height=HEIGHT).path
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(SlideError, match=name) as error, open_slide(path) as slide:
        slide.read(0, 0, WIDTH, HEIGHT, 1)
    assert "copy it again" in str(error.value) or "export it" in str(error.value)


def test_damaged_tile_is_named(tmp_path: Path) -> None:
    path = make_slide(tmp_path / "hole.svs", width=WIDTH, height=HEIGHT).path
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    with open_slide(path) as slide:
        slide.read(0, 0, 100, 100, 1)
        with pytest.raises(SlideError, match=r"hole\.svs: tile 1 of level 0"):
            slide.read(0, 0, WIDTH, HEIGHT, 1)


def test_no_such_series(folder: Path) -> None:
    made = make_slide(folder / "series.tif", width=300, height=300)
    with pytest.raises(SlideError, match="no image 3, the file has 1"):
        open_slide(made.path, series=3)


def test_too_many_pixels_for_a_png(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_slide(tmp_path / "big.png", width=300, height=300).path
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(SlideError, match="tiled pyramidal TIFF"):
        open_slide(path)


def test_real_slides(shared: Path) -> None:
    sizes = {
        "OS-1-detail.ome.tif": (1101, 1101, 0.22710),
        "OS-2-ndpi.ome.tif": (2202, 2202, 0.22710),
        "OS-2-vsi.ome.tif": (1445, 1445, 0.34605),
        "TCGA-CR-7395-01A-01-TS1.svs": (4443, 3567, None),
    }
    for name, (width, height, mpp) in sizes.items():
        with open_slide(shared / "data" / "slides" / name) as slide:
            assert (slide.width, slide.height) == (width, height)
            assert slide.mpp == (None if mpp is None else pytest.approx((mpp, mpp), rel=1e-3))
            with tifffile.TiffFile(slide.path) as tiff:
                expected = tiff.series[0].levels[0].asarray()
            read = slide.read(300, 400, 700, 600, 1)
            np.testing.assert_array_equal(read, expected[400:1000, 300:1000])


@given(
    st.integers(-700, 700),
    st.integers(-700, 600),
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([0.7, 1.0, 2.0, 2.6]),
)
@settings(max_examples=30)
def test_beyond_its_edges_an_image_can_be_mirrored(
    slide: Slide, x: int, y: int, width: int, height: int, downsample: float
) -> None:
    wide, high = slide.grid_size(downsample)
    whole = slide.read(0, 0, wide, high, downsample)
    around = np.pad(whole, [(1024, 1024), (1024, 1024), (0, 0)], mode="symmetric")
    expected = around[1024 + y :, 1024 + x :][:height, :width]
    np.testing.assert_array_equal(slide.read_mirrored(x, y, width, height, downsample), expected)


def test_pixels_as_a_slide() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    with slide_of_pixels(pixels, 0.5) as slide:
        assert (slide.width, slide.height, slide.mpp) == (60, 40, (0.5, 0.5))
        np.testing.assert_array_equal(slide.read(0, 0, 60, 40, 1.0), pixels)
        np.testing.assert_array_equal(slide.read(2, 3, 1, 1, 4.0)[0, 0], block_mean(pixels))


def block_mean(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels[12:16, 8:12].mean(axis=(0, 1))).astype(np.uint8)
