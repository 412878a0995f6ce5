"""Images that lie about themselves, or are no files: a sentence, soon and in little memory."""

from __future__ import annotations

import os
import socket
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from slides import fuzz_formats, fuzz_tiff

from qpbridge.errors import SlideError
from qpbridge.slides import open_slide

PIXELS = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
HUGE = 2**31 - 1


def tiff(path: Path, changes: dict[str, int], **options: object) -> Path:
    """A small TIFF some tags of which lie."""
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+b") as file:
        for tag, value in changes.items():
            file.pages[0].tags[tag].overwrite(value, erase=False)
    return path


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"RowsPerStrip": 0}, {"rowsperstrip": 16}),
        ({"TileWidth": 0}, {"tile": (32, 32)}),
        ({"TileLength": 0}, {"tile": (32, 32)}),
        ({"ImageWidth": 0}, {}),
        ({"ImageLength": 0}, {"tile": (32, 32)}),
        ({"ImageWidth": HUGE, "ImageLength": HUGE}, {}),
        ({"ImageWidth": HUGE, "ImageLength": HUGE}, {"tile": (32, 32), "compression": "jpeg"}),
        ({"ImageWidth": 4000, "ImageLength": 4000}, {"compression": "zlib"}),
        ({"ImageLength": 20_000, "RowsPerStrip": 20_000}, {}),
        ({"ImageLength": 5_000_000, "RowsPerStrip": 5_000_000}, {"compression": "lzw"}),
        ({"TileWidth": 2**20, "TileLength": 2**20}, {"tile": (32, 32), "compression": "jpeg"}),
    ],
)
def test_numbers_that_can_not_be_true(
    tmp_path: Path, changes: dict[str, int], options: dict[str, object]
) -> None:
    path = tiff(tmp_path / "a.tif", changes, **options)
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(SlideError, match=r"a\.tif: .*damaged"), open_slide(path) as slide:
            slide.thumbnail(1000, 600)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 5


def test_a_tile_that_says_it_is_far_larger_than_a_tile(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", tile=(64, 64), compression="jpeg")
    data = path.read_bytes()
    frame = data.index(b"\xff\xc0")
    lying = data[: frame + 5] + struct.pack(">HH", 65500, 65500) + data[frame + 9 :]
    path.write_bytes(lying)
    with open_slide(path) as slide, pytest.raises(SlideError, match="65500 x 65500 pixels in a"):
        slide.read(0, 0, 64, 64, 1.0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path: Path, width: int, height: int) -> Path:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side", [13_000, 60_000, HUGE])
def test_a_picture_too_large_to_be_held(tmp_path: Path, side: int) -> None:
    with pytest.raises(SlideError, match=r"more than 100 million pixels are too many .*tiled"):
        open_slide(png(tmp_path / "a.png", side, side))


def test_a_picture_larger_than_its_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(SlideError, match=r"8000 x 8000 pixels in [\d,]+ bytes.*damaged"):
        open_slide(png(tmp_path / "a.png", 8000, 8000))


def test_no_picture_takes_more_memory_than_twice_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = Image.new("RGBA", (3000, 3000), (200, 100, 150, 128))
    picture.putpixel((2999, 2999), (10, 20, 30, 255))
    picture.save(path)
    tracemalloc.start()  # which doesn't see Pillow's own pixels, 4 bytes each
    try:
        with open_slide(path) as slide:
            assert tracemalloc.get_traced_memory()[1] < 2 * 3 * 3000**2
            last = slide.read(2998, 2999, 2, 1, 1.0)
    finally:
        tracemalloc.stop()
    assert last.tolist() == [[[227, 177, 202], [10, 20, 30]]]


def test_a_chunk_that_claims_gigabytes(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", 64, 64)
    data = bytearray(path.read_bytes())
    data[33:37] = b"\x7f\0\0\0"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(SlideError, match=r"a\.png"):
            open_slide(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_thousands_of_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(5000):
            file.write(PIXELS[:16, :16], photometric="rgb", metadata=None, contiguous=False)
    start = time.process_time()
    with pytest.raises(SlideError, match="5000 planes"):
        open_slide(path)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "missing", "nul"])
@pytest.mark.parametrize("ending", [".svs", ".png", ".ome.tif"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "nul":
        path = tmp_path / "a\0b"
    with pytest.raises(SlideError, match="can't be read"):
        open_slide(path)


@pytest.mark.parametrize("name", ["fifo.tif", "../a.tif", "/dev/zero", "..\\a.tif", "folder"])
def test_an_ome_tiff_whose_parts_are_no_files(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo.tif")
    (tmp_path / "folder").mkdir()
    path = tmp_path / "a.ome.tif"
    text = fuzz_tiff.XML.format(c=3, t=1, z=1, x=64, y=64, n=1, name=name, u="0" * 32)
    tifffile.imwrite(path, PIXELS, photometric="rgb", description=text, metadata=None)
    with pytest.raises(SlideError, match="a part of it is said to be at"):
        open_slide(path)


def test_broken_files_are_told_in_a_line_and_nothing_else_is_printed(tmp_path, capfd) -> None:
    names = fuzz_tiff.samples(tmp_path)
    capfd.readouterr()
    for seed in range(60):
        fuzz_tiff.check(tmp_path, names, seed)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_mutants_are_read_or_refused(tmp_path: Path) -> None:
    readable, troubles = fuzz_tiff.fuzz(tmp_path, first=0, count=400)
    assert not troubles, "\n".join(map(str, troubles))
    assert 80 < readable < 240  # neither mild nor deadly


def test_mutants_of_other_formats_are_read_or_refused(tmp_path: Path) -> None:
    readable, troubles = fuzz_formats.fuzz(tmp_path, first=0, count=100)
    assert not troubles, "\n".join(map(str, troubles))
    assert 10 < readable < 60


@pytest.mark.slow
def test_many_mutants_of_other_formats_are_read_or_refused(tmp_path: Path) -> None:
    _, troubles = fuzz_formats.fuzz(tmp_path, first=1000, count=5_000)
    assert not troubles, "\n".join(map(str, troubles))


@pytest.mark.slow
def test_many_mutants_are_read_or_refused(tmp_path: Path) -> None:
    _, troubles = fuzz_tiff.fuzz(tmp_path, first=1000, count=10_000)
    assert not troubles, "\n".join(map(str, troubles))
