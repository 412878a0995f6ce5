"""Slides through OpenSlide, and our own reader against it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
from click.testing import CliRunner
from slide_factory import halve, make_slide
from slides.vendors import write_ndpi

from qpbridge.cli import main
from qpbridge.errors import SlideError
from qpbridge.project import open_project
from qpbridge.slides import open_server, open_slide
from qpbridge.slides.openslide_source import OpenSlideSource, background_of, describe_properties
from qpbridge.slides.source import TiffSource, on_background

JPEG_DIFFERENCE = 3
"""Grey levels by which two JPEG decoders may differ, after conversion of colours and rounding."""


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "a.tif", width=900, height=700)


@pytest.fixture
def ndpi(truth, tmp_path) -> Path:
    levels = [truth.pixels]
    for _ in range(2):
        levels.append(halve(levels[-1]))
    path = tmp_path / "scan.ndpi"
    write_ndpi(path, levels, mpp=0.4415, lens=20)
    return path


def test_hamamatsu_is_read_with_its_own_pixel_size(ndpi, truth):
    with open_slide(ndpi) as slide:
        assert slide.format == "hamamatsu"
        assert slide.mpp == pytest.approx((0.4415, 0.4415), rel=1e-6)
        assert slide.magnification == 20
        assert [(v.downsample, v.width, v.height) for v in slide.levels] == [
            (1, 900, 700),
            (2, 450, 350),
            (4, 225, 175),
        ]
        found = slide.read(100, 50, 300, 200, 1).astype(int)
        assert np.abs(found - truth.pixels[50:250, 100:400]).mean() < JPEG_DIFFERENCE
        coarse = slide.read(25, 10, 70, 50, 4).astype(int)
        assert np.abs(coarse - halve(halve(truth.pixels))[10:60, 25:95]).mean() < JPEG_DIFFERENCE


def test_a_project_of_hamamatsu_can_be_made_and_segmented(ndpi, tmp_path):
    path = tmp_path / "p" / "project.qpproj"
    for command in (["create", path, ndpi, "--annotate-full"], ["segment", path, "--dry-run"]):
        done = CliRunner().invoke(main, [str(word) for word in command])
        assert done.exit_code == 0, done.output
    entry = open_project(path).images[0]
    assert entry.server.provider.endswith("OpenslideServerBuilder")
    assert entry.server.args == ()
    assert entry.server.mpp == pytest.approx((0.4415, 0.4415), rel=1e-6)
    with open_server(entry.image_path(), entry.server) as slide:
        assert (slide.width, slide.height) == (900, 700)


@pytest.mark.parametrize("name", ["boxes_0.dcm", "boxes_1.dcm"])
def test_dicom_is_found_by_any_of_its_files(shared, name):
    with open_slide(shared / "data" / "formats" / name) as slide:
        assert (slide.format, slide.width, slide.height) == ("dicom", 16, 16)
        assert slide.mpp == pytest.approx((0.499, 0.499))
        reference = openslide.OpenSlide(str(shared / "data" / "formats" / "boxes_0.dcm"))
        expected = np.asarray(reference.read_region((0, 0), 0, (16, 16)))[..., :3]
        np.testing.assert_array_equal(slide.read(0, 0, 16, 16, 1), expected)


def test_dicom_that_is_no_slide_is_refused(shared):
    path = shared / "data" / "formats" / "small_dicom.dcm"
    with pytest.raises(SlideError, match=r"small_dicom\.dcm: OpenSlide can't read this slide"):
        open_slide(path)


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "jpeg.svs"])
def test_our_reader_agrees_with_openslide(tmp_path, name):
    path = make_slide(tmp_path / name, width=700, height=500).path
    _assert_same(path)


@pytest.mark.parametrize(
    "name",
    [
        "formats/boxes.tiff",
        "formats/small.svs",
        "formats/gradient-zstd.tiff",
        "slides/TCGA-CR-7395-01A-01-TS1.svs",
    ],
)
def test_our_reader_agrees_with_openslide_on_real_files(shared, name):
    _assert_same(shared / "data" / name)


def _assert_same(path: Path) -> None:
    ours, theirs = TiffSource(path), OpenSlideSource(path)
    try:
        assert ours.sizes == theirs.sizes
        assert ours.description.mpp == pytest.approx(theirs.description.mpp)
        assert ours.description.magnification == theirs.description.magnification
        for level, (width, height) in enumerate(ours.sizes):
            w, h = min(width, 300), min(height, 300)
            x, y = (width - w) // 2, (height - h) // 2
            if theirs._slide.level_downsamples[level] % 1:  # then OpenSlide reads between pixels
                x = y = 0
            one, other = (s.read(level, x, y, w, h).astype(int) for s in (ours, theirs))
            assert np.abs(one - other).max() <= JPEG_DIFFERENCE
    finally:
        ours.close()
        theirs.close()


def test_properties_are_read_as_qupath_reads_them():
    described = describe_properties(
        {
            "openslide.vendor": "mirax",
            "openslide.mpp-x": "0.23",
            "openslide.mpp-y": "0.24",
            "openslide.objective-power": "40",
            "openslide.bounds-x": "100",
            "openslide.bounds-y": "200",
            "openslide.bounds-width": "3000",
            "openslide.bounds-height": "4000",
        }
    )
    assert described.format == "mirax"
    assert described.mpp == (0.23, 0.24)
    assert described.magnification == 40
    assert described.bounds == (100, 200, 3000, 4000)


@pytest.mark.parametrize("broken", ["", "abc", "0", "-1", "inf", "nan"])
def test_impossible_properties_are_unknown(broken):
    described = describe_properties(
        {
            "openslide.mpp-x": broken,
            "openslide.mpp-y": "0.25",
            "openslide.objective-power": broken,
            "openslide.bounds-x": "0",
            "openslide.bounds-y": "0",
            "openslide.bounds-width": broken,
            "openslide.bounds-height": "10",
        }
    )
    assert described.mpp is None and described.magnification is None and described.bounds is None


def test_what_was_not_scanned_has_the_color_that_the_slide_says():
    assert background_of({"openslide.background-color": "FF8000"}) == (255, 128, 0)
    assert background_of({"openslide.background-color": "no colour"}) == (255, 255, 255)
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, 1] = (10, 20, 30, 255)
    np.testing.assert_array_equal(
        on_background(pixels, (255, 128, 0)), [[[255, 128, 0], [10, 20, 30]]]
    )


def test_a_broken_scan_is_refused_by_name(ndpi):
    data = ndpi.read_bytes()
    start = data.index(b"\xff\xda")  # where the compressed pixels of the first level begin
    ndpi.write_bytes(data[: start + 200] + bytes(len(data) - start - 200))
    with pytest.raises(SlideError, match=r"scan\.ndpi"), open_slide(ndpi) as slide:
        slide.read(0, 0, slide.width, slide.height, 1)


def test_a_lone_mirax_index_is_refused(tmp_path):
    path = tmp_path / "lone.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(SlideError, match=r"lone\.mrxs"):
        open_slide(path)
