"""TIFFs with a fourth channel, or with a palette, look as QuPath and Pillow show them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from qpbridge.slides import open_slide

PIXELS = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
ALPHA = np.full((90, 70, 1), 255, np.uint8)
ALPHA[:10], ALPHA[10:20] = 0, 128


def read(path):
    with open_slide(path) as slide:
        return slide.read(0, 0, slide.width, slide.height, 1)


@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 32, "compression": "deflate"}])
def test_associated_alpha_is_not_multiplied_twice(tmp_path, layout):
    on_white = np.rint(PIXELS * (ALPHA / 255) + 255 * (1 - ALPHA / 255))
    plain, multiplied = tmp_path / "plain.tif", tmp_path / "multiplied.tif"
    for path, pixels, kind in (
        (plain, PIXELS, "unassalpha"),
        (multiplied, np.rint(PIXELS * (ALPHA / 255)).astype(np.uint8), "assocalpha"),
    ):
        four = np.concatenate([pixels, ALPHA], axis=2)
        tifffile.imwrite(path, four, photometric="rgb", extrasamples=[kind], **layout)
        assert np.abs(read(path) - on_white).max() <= 1


def test_a_fourth_channel_of_unknown_meaning_is_not_seen(tmp_path):
    path = tmp_path / "a.tif"
    four = np.concatenate([PIXELS, np.zeros_like(ALPHA)], axis=2)
    tifffile.imwrite(path, four, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read(path), PIXELS)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_palette_tiff_is_read_as_a_palette_png(tmp_path, compression):
    picture = Image.fromarray(PIXELS).quantize(200)
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), read(tmp_path / "a.png"))


def test_a_palette_of_eight_bits(tmp_path):
    index, colors = PIXELS[..., 0], np.random.default_rng(1).integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", index, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), colors.T[index])
