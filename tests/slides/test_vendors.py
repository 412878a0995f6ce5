"""Vendors' own ways: Leica's scattered scans, Aperio's JPEG 2000 in YCbCr."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from slide_factory import halve, make_slide

from qpbridge.slides import open_slide

Bytes = npt.NDArray[np.uint8]

NM = 500
"""Size of a pixel of the Leica scan."""

WIDTH, HEIGHT = 1000, 900
"""Of the whole glass slide, in pixels of the scan."""

DIMENSIONS = (
    '<pixels sizeX="{w}" sizeY="{h}"><dimension sizeX="{w}" sizeY="{h}" r="0" ifd="{ifd}"/>'
    '<dimension sizeX="{w2}" sizeY="{h2}" r="1" ifd="{ifd2}"/></pixels>'
    '<view sizeX="{vw}" sizeY="{vh}" offsetX="{x}" offsetY="{y}"/>'
)
SETTINGS = (
    "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
    "<illuminationSettings><numericalAperture>0.4</numericalAperture>"
    "<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings>"
)


def _image(pixels: Bytes, box: tuple[int, int, int, int], ifd: int, settings: str = "") -> str:
    h, w = pixels.shape[:2]
    vw, vh, x, y = (value * NM for value in box)
    dimensions = DIMENSIONS.format(
        w=w, h=h, w2=w // 2, h2=h // 2, ifd=ifd, ifd2=ifd + 1, vw=vw, vh=vh, x=x, y=y
    )
    return (
        '<image name="i"><creationDate>2020</creationDate><device model="m" version="1"/>'
        f"{dimensions}{settings}</image>"
    )


def _write_leica(path: Path, macro: Bytes, parts: list[tuple[Bytes, int, int]]) -> None:
    images = [_image(macro, (WIDTH, HEIGHT, 0, 0), 0)]
    for i, (pixels, x, y) in enumerate(parts):
        box = (pixels.shape[1], pixels.shape[0], x, y)
        images.append(_image(pixels, box, 2 * i + 2, SETTINGS))
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" sizeX="{WIDTH * NM}" sizeY="{HEIGHT * NM}">'
        f"{''.join(images)}</collection></scn>"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for pixels in (macro, *(part for part, _, _ in parts)):
            for level in (pixels, halve(pixels)):
                file.write(
                    level,
                    description=text,
                    photometric="rgb",
                    metadata=None,
                    compression="deflate",
                    tile=(128, 128),
                )
                text = ""


def test_leica_is_cropped_to_its_bounds(tmp_path: Path) -> None:
    first = make_slide(tmp_path / "1.png", width=400, height=300, seed=1).pixels
    second = make_slide(tmp_path / "2.png", width=240, height=200, seed=2).pixels
    macro = np.full((90, 100, 3), 200, np.uint8)
    path = tmp_path / "a.scn"
    _write_leica(path, macro, [(first, 200, 100), (second, 500, 500)])
    glass = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    glass[100:400, 200:600] = first
    glass[500:700, 500:740] = second

    with open_slide(path) as slide:
        assert slide.format == "leica"
        assert slide.mpp == pytest.approx((0.5, 0.5))
        assert slide.magnification == 20
        assert slide.bounds == (200, 100, 540, 600)
        assert (slide.width, slide.height) == (540, 600)
        scanned = glass[100:700, 200:740]
        np.testing.assert_array_equal(slide.read(0, 0, 540, 600, 1), scanned)
        np.testing.assert_array_equal(slide.read(0, 0, 270, 300, 2), halve(scanned))
        assert (slide.read(540, 0, 50, 50, 1) == 255).all()
    with open_slide(path, crop_bounds=False) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, WIDTH, HEIGHT, 1), glass)


def test_aperio_jpeg_2000_in_ycbcr(tmp_path: Path) -> None:
    pixels = make_slide(tmp_path / "a.png", width=512, height=512).pixels
    ycbcr = np.asarray(Image.fromarray(pixels).convert("YCbCr"))
    tiles = [
        imagecodecs.jpeg2k_encode(
            ycbcr[y : y + 256, x : x + 256].copy(),
            level=0,
            reversible=True,
            codecformat="j2k",
            mct=False,
        )
        for y in (0, 256)
        for x in (0, 256)
    ]
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path,
        iter(tiles),
        shape=(512, 512, 3),
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb",
        compression=tifffile.COMPRESSION.APERIO_JP2000_YCBC,
        metadata=None,
        description="Aperio Image Library v10.0.50\n512x512 (256x256) J2K/YUV16 Q=70|MPP = 0.25",
    )
    with open_slide(path) as slide:
        read = slide.read(0, 0, 512, 512, 1)
    assert np.abs(read.astype(int) - pixels).max() <= 3
