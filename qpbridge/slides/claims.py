"""What an image file may claim: nothing is allocated, opened or waited for on its word alone."""

from __future__ import annotations

import io
import re
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import SlideError

SLACK = 16 * 2**20
"""Bytes of one tile, or pixels of an image, that need no justification."""

PIXELS_PER_BYTE = 25_000
"""Pixels that a byte of a file can stand for: in a slide all of whose tiles are left out."""

RATIOS = {1: 2, 5: 3000, 8: 1100, 32773: 130, 32946: 1100}
"""Bytes that a byte can unpack to, by TIFF's number of the compression (1: none); a last strip that
is shorter than it should be is no damage."""

ANY_RATIO = 20_000
"""The same for all others: JPEG, JPEG 2000 and their like."""

JPEG, JPEG_2000 = (6, 7), (33003, 33004, 33005, 34712)
"""Compressions whose tiles say again how large they are."""

MOST_WHOLE = 100_000_000
"""Pixels of an image that has to be held in memory as a whole."""

_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_FILE_NAME = re.compile(r"""\bFileName\s*=\s*["']([^"']*)["']""")


def check_is_file(path: Path) -> None:
    """Refuse what is no file: opening a pipe or a device can take for ever.

    Raises
    ------
    SlideError
        If it isn't one, or can't be looked at.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SlideError(
            f"{path}: can't be read ({reason}); check the path and your permissions"
        ) from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise SlideError(f"{path}: can't be read, it is {what}; give an image file")


def whole_file(path: Path) -> io.BytesIO:
    """Read a file that holds a picture: of its bytes no more than there are can be asked for.

    Raises
    ------
    SlideError
        If it is larger than any such picture.
    """
    if path.stat().st_size > 8 * MOST_WHOLE:
        raise SlideError(
            f"{path}: too large for a picture that is read as a whole, or of a kind that is not "
            "supported; export it from QuPath as OME-TIFF"
        )
    return io.BytesIO(path.read_bytes())


def check_whole(path: Path, width: int, height: int) -> None:
    """Refuse an image that can't be held in memory, or is larger than its file can be.

    Raises
    ------
    SlideError
        If it is.
    """
    if width * height > MOST_WHOLE:
        raise too_many(path)
    _check_area(path, width, height)


def too_many(path: Path) -> SlideError:
    """Make an error about a picture that can't be held in memory."""
    return SlideError(
        f"{path}: more than {MOST_WHOLE // 10**6} million pixels are too many for a file of this "
        "kind, which has to be held in memory as a whole; save it as a tiled pyramidal TIFF"
    )


def check_page(path: Path, page: Any, keyframe: Any, width: int, height: int) -> None:
    """Refuse a page of a TIFF whose numbers can't be true.

    Parameters
    ----------
    path
        The file, for the message and its length.
    page, keyframe
        `tifffile.TiffPage`, the latter with the format that the page shares.
    width, height
        Of a tile or strip.

    Raises
    ------
    SlideError
        If there are no pixels, fewer tiles than there must be, or more pixels than its bytes can
        be unpacked to.
    """
    across, down = keyframe.imagewidth, keyframe.imagelength
    if min(across, down, width, height) < 1:
        raise _damaged(path, f"{across} x {down} pixels in pieces of {width} x {height}")
    _check_area(path, across, down)
    planes = keyframe.samplesperpixel if keyframe.planarconfig == 2 else 1
    pieces = -(-across // width) * -(-down // height)
    there = min(len(page.dataoffsets), len(page.databytecounts))
    if there < pieces * planes:
        raise _damaged(path, f"{there} tiles where there must be {pieces * planes}")
    counts = np.asarray(page.databytecounts[: pieces * planes], np.int64)
    rows = np.full(pieces, height, np.int64)
    if not keyframe.is_tiled:
        rows[-1] = down - (pieces - 1) * height
    needed = np.tile(rows, planes) * width * (keyframe.samplesperpixel // planes)
    ratio = RATIOS.get(int(keyframe.compression), ANY_RATIO)
    most = SLACK * (keyframe.compression != 1) + ratio * counts.clip(min=0)
    hollow = (counts > 0) & (needed > np.maximum(most, 2**16))
    if (counts < 0).any() or hollow.any():
        raise _damaged(path, "tiles larger than what they are unpacked from can be")


def check_tile(data: bytes, compression: int, width: int, height: int) -> None:
    """Refuse a tile that says itself that it is far larger than a tile is.

    Raises
    ------
    ValueError
        If it does.
    """
    size = None
    if compression in JPEG:
        size = _jpeg_size(data)
    elif compression in JPEG_2000:
        size = _jpeg_2000_size(data)
    if size is not None and size[0] * size[1] > 4 * width * height + 2**16:
        raise ValueError(f"it claims {size[0]} x {size[1]} pixels in a tile of {width} x {height}")


def check_neighbours(path: Path, ome_xml: str | None) -> None:
    """Refuse an OME-TIFF that names files that are none, or are elsewhere, as its other parts.

    Raises
    ------
    SlideError
        If it does.
    """
    for name in set(_FILE_NAME.findall(ome_xml or "")):
        other = path.parent / name
        elsewhere = Path(name).name != name or "\\" in name
        if elsewhere or (other.exists() and not other.is_file()):
            raise _damaged(path, f"a part of it is said to be at {name[:100]!r}")


def _check_area(path: Path, width: int, height: int) -> None:
    length = path.stat().st_size
    if width * height > PIXELS_PER_BYTE * length + SLACK:
        raise _damaged(path, f"{width} x {height} pixels in {length:,} bytes")


def _damaged(path: Path, what: str) -> SlideError:
    return SlideError(f"{path}: {what}: the file is damaged; copy it again, or export it anew")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height from the header of a JPEG; None if there is none."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        at += 1 if marker == 0xFF else 2 + length
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    """Read width and height from the header of a JPEG 2000 code stream; None if there is none."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or at + 16 > len(data):
        return None
    width, height = struct.unpack(">II", data[at + 8 : at + 16])
    return width, height
