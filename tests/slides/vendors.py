"""Small files in the forms of vendors, for readers that no real file of theirs is at hand for."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Bytes = npt.NDArray[np.uint8]

SHORT, LONG, RATIONAL, FLOAT, SIGNED, ASCII = 3, 4, 5, 11, 9, 2


def write_ndpi(path: Path, levels: list[Bytes], *, mpp: float, lens: float) -> None:
    """Write Hamamatsu NDPI: a TIFF of one JPEG for each level, with tags of its own.

    The offset of the next directory has eight bytes, of which a plain TIFF reader sees four.
    """
    data = bytearray(b"II*\0" + bytes(8))
    previous = 4
    for i, pixels in enumerate(levels):
        jpeg = io.BytesIO()
        Image.fromarray(pixels).save(jpeg, "JPEG", quality=95, subsampling=0)
        strip = len(data)
        data += jpeg.getvalue() + bytes(-len(jpeg.getvalue()) % 2)
        resolution = len(data)
        data += struct.pack("<II", round(1e4 / mpp / 2**i * 1000), 1000)
        make = len(data)
        data += b"Hamamatsu\0"
        h, w = pixels.shape[:2]
        tags = [
            (256, LONG, 1, struct.pack("<I", w)),
            (257, LONG, 1, struct.pack("<I", h)),
            (258, SHORT, 1, struct.pack("<HH", 8, 0)),
            (259, SHORT, 1, struct.pack("<HH", 7, 0)),
            (262, SHORT, 1, struct.pack("<HH", 6, 0)),
            (271, ASCII, 10, struct.pack("<I", make)),
            (273, LONG, 1, struct.pack("<I", strip)),
            (277, SHORT, 1, struct.pack("<HH", 3, 0)),
            (278, LONG, 1, struct.pack("<I", h)),
            (279, LONG, 1, struct.pack("<I", len(jpeg.getvalue()))),
            (282, RATIONAL, 1, struct.pack("<I", resolution)),
            (283, RATIONAL, 1, struct.pack("<I", resolution)),
            (296, SHORT, 1, struct.pack("<HH", 3, 0)),
            (65420, LONG, 1, struct.pack("<I", 1)),
            (65421, FLOAT, 1, struct.pack("<f", lens / 2**i)),
            (65422, SIGNED, 1, struct.pack("<i", 0)),
            (65423, SIGNED, 1, struct.pack("<i", 0)),
            (65424, SIGNED, 1, struct.pack("<i", 0)),
        ]
        struct.pack_into("<I", data, previous, len(data))
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHI", tag, kind, n) + value for tag, kind, n, value in tags)
        previous = len(data)
        data += bytes(8 + 4 * len(tags))
    path.write_bytes(data)
