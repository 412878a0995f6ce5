"""Images that lie: mutations of the tags of TIFF files, and of the bytes of all kinds of image.

By hand, for longer::

    PYTHONPATH=.:tests python -m slides.fuzz_tiff FIRST COUNT
"""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from PIL import Image
from project.processes import Trouble, fuzz_by_hand, run_guarded
from slide_factory import make_slide

from qpbridge.api.image_info import image_info
from qpbridge.errors import SlideError
from qpbridge.slides import open_slide

NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 64, 255, 256, 257, 4096, 65535, 65536, 2**24),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**64 - 1),
)
TAGS = (
    *(254, 256, 257, 258, 259, 262, 266, 269, 270, 273, 274, 277, 278, 279, 282, 284, 296, 317),
    *(320, 322, 323, 324, 325, 330, 338, 339, 347, 513, 514, 530, 532, 33550, 34665, 65420, 65421),
)
COMPRESSIONS = (
    *(1, 2, 5, 6, 7, 8, 32773, 32946, 33003, 33005, 34712, 34892, 34925, 34933, 50000, 50001),
    50002,
)
XML = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels BigEndian="false" DimensionOrder="XYCZT" ID="Pixels:0" '
    'SizeC="{c}" SizeT="{t}" SizeX="{x}" SizeY="{y}" SizeZ="{z}" Type="uint8">'
    '<TiffData IFD="0" PlaneCount="{n}"><UUID FileName="{name}">urn:uuid:{u}</UUID></TiffData>'
    "</Pixels></Image></OME>"
)


class Entry(NamedTuple):
    """Where an entry of a directory lies in a TIFF, and the parts of it."""

    at: int
    tag: int
    type: int
    big: bool
    order: str


def samples(folder: Path) -> dict[str, bytes]:
    """Small images of many kinds, by the ending of their name."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    pixels[:64] = 230
    made = {"slide.svs": make_slide(folder / "a.svs", width=300, height=220).path.read_bytes()}
    forms = {
        "strips.tif": {"rowsperstrip": 16},
        "tiles.tif": {"tile": (32, 32), "compression": "deflate", "predictor": 2},
        "lzw.tif": {"compression": "lzw", "rowsperstrip": 40},
        "big.tif": {"bigtiff": True, "tile": (64, 64), "compression": "packbits"},
        "motorola.tif": {"byteorder": ">", "compression": "zstd"},
        "planes.tif": {"planarconfig": "separate", "tile": (32, 32)},
        "jpeg.tif": {"compression": "jpeg", "tile": (64, 64)},
        "jp2.tif": {"compression": "jpeg2000", "tile": (64, 64)},
        "webp.tif": {"compression": "webp", "tile": (64, 64)},
    }
    for name, options in forms.items():
        data = np.moveaxis(pixels, 2, 0) if "planes" in name else pixels
        tifffile.imwrite(folder / name, data, photometric="rgb", metadata=None, **options)
        made[name] = (folder / name).read_bytes()
    with tifffile.TiffWriter(folder / "b.ome.tif") as tiff:
        tiff.write(pixels, photometric="rgb", tile=(32, 32), subifds=1, compression="jpeg")
        tiff.write(pixels[::2, ::2], photometric="rgb", tile=(32, 32), subfiletype=1)
    made["pyramid.ome.tif"] = (folder / "b.ome.tif").read_bytes()
    for kind in ("png", "jpeg", "bmp", "gif", "webp", "jp2", "ppm"):
        out = io.BytesIO()
        form = {"jp2": "JPEG2000"}.get(kind, kind.upper())
        Image.fromarray(pixels).save(out, form)
        made[f"picture.{kind}"] = out.getvalue()
    return made


def entries(data: bytes) -> list[Entry]:
    """All entries of the directories of a TIFF, those below others too; none of other files."""
    if data[:2] not in (b"II", b"MM"):
        return []
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, head, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (first,) = struct.unpack_from(order + word, data, 8 if big else 4)
    found, left, seen = [], [first], set()
    while left:
        at = left.pop()
        if not at or at in seen or at + 8 > len(data):
            continue
        seen.add(at)
        (count,) = struct.unpack_from(order + head, data, at)
        start = at + struct.calcsize(order + head)
        for i in range(count):
            here = start + i * size
            tag, kind = struct.unpack_from(order + "HH", data, here)
            found.append(Entry(here, tag, kind, big, order))
            if tag == 330 and struct.unpack_from(order + word, data, here + 4)[0] == 1:
                left.append(struct.unpack_from(order + word, data, here + (12 if big else 8))[0])
        left.append(struct.unpack_from(order + word, data, start + count * size)[0])
    return found


def mutant(data: bytes, choose: random.Random) -> bytes:
    """Change an image in one to three ways."""
    out = bytearray(data)
    known = entries(data)
    for _ in range(choose.choice((1, 1, 2, 3))):
        way = choose.randrange(12) if known else choose.choice((8, 8, 9, 9, 10))
        if way < 5:
            _lie(out, choose.choice(known), choose)
        elif way == 5:
            one, other = choose.choice(known), choose.choice(known)
            size = 20 if one.big else 12
            out[one.at : one.at + size] = data[other.at : other.at + size]
        elif way == 6:  # the next directory, somewhere
            last = choose.choice(known)
            word = "Q" if last.big else "I"
            at = last.at + (20 if last.big else 12)
            if at + 8 <= len(out):
                to = choose.choice((8, 16, last.at, choose.randrange(len(out)), 2**32 - 1))
                struct.pack_into(last.order + word, out, at, to)
        elif way == 7:
            _describe(out, known, choose)
        elif way == 8:
            at = choose.randrange(min(len(out), choose.choice((64, 600, 10**6))))
            out[at] = choose.choice((0, 1, 0x7F, 0x80, 0xFF, choose.randrange(256)))
        elif way == 9:
            at = choose.randrange(min(len(out), choose.choice((64, 600, 10**6))))
            number = choose.choice(NUMBERS) & 0xFFFFFFFF
            out[at : at + 4] = struct.pack(choose.choice("<>") + "I", number)
        elif way == 10:
            del out[choose.randrange(1, len(out)) :]
            break
        else:
            out += bytes(choose.choice((1, 1000, 100_000)))
    return bytes(out)


def _lie(out: bytearray, entry: Entry, choose: random.Random) -> None:
    """Let an entry of a directory say something else."""
    order, word = entry.order, "Q" if entry.big else "I"
    value_at = entry.at + (12 if entry.big else 8)
    mask = 2 ** (64 if entry.big else 32) - 1
    part = choose.randrange(8)
    if part == 0:
        struct.pack_into(order + "H", out, entry.at, choose.choice(TAGS))
    elif part == 1:
        struct.pack_into(order + "H", out, entry.at + 2, choose.randrange(20))
    elif part == 2:
        struct.pack_into(order + word, out, entry.at + 4, choose.choice(NUMBERS) & mask)
    elif entry.tag == 259:
        struct.pack_into(order + "H", out, value_at, choose.choice(COMPRESSIONS))
    elif entry.type == 3 and choose.random() < 0.7:
        struct.pack_into(order + "H", out, value_at, choose.choice(NUMBERS) & 0xFFFF)
    else:
        struct.pack_into(order + word, out, value_at, choose.choice(NUMBERS) & mask)


def _describe(out: bytearray, known: list[Entry], choose: random.Random) -> None:
    """Put another description behind the end of the file."""
    texts = [
        XML.format(
            **{key: choose.choice((0, 1, 3, 96, 128, 2**31, -1, "a")) for key in "ctxyzn"},
            name=choose.choice(("b.tif", "../../x.tif", "/dev/zero", "fifo.tif", "image", "")),
            u="0" * 32,
        ),
        "Aperio Image Library v12\n" + "|".join(f"{k} = {v}" for k, v in (("MPP", "x"), ("A", ""))),
        "Aperio|AppMag = 1e400|MPP = -1|MPP = nan",
        "<OME><Image/></OME>",
        "<?xml version='1.0'?><scn><collection/></scn>",
        '{"shape": [1, 2147483647, 2147483647, 3]}',
        "ImageJ=1.11a\nimages=100000\nslices=-1\n",
        "Philips\0\0" + "<" * 5000,
        "\N{GREEK SMALL LETTER MU}" * 100,
    ]
    text = choose.choice(texts).encode()[: choose.choice((10, 10**6))] + b"\0"
    entry = next((e for e in known if e.tag == 270), choose.choice(known))
    at, word = len(out), "Q" if entry.big else "I"
    out += text
    form = entry.order + "HH" + word * 2
    struct.pack_into(form, out, entry.at, 270, 2, len(text), at)


def check(folder: Path, names: dict[str, bytes], seed: int) -> bool:
    """Read an image as `create` and `segment` do: it is refused in a few words, or it can be."""
    choose = random.Random(seed)
    name = choose.choice(sorted(names))
    path = folder / f"image-{name}"
    path.write_bytes(mutant(names[name], choose))
    try:
        return can_be_used(path)
    finally:
        path.unlink()


def can_be_used(path: Path) -> bool:
    """Use an image as `info IMAGE`, `create` and `segment` do; False: refused in a few words."""
    try:
        image_info(path)
        with open_slide(path) as slide:
            slide.thumbnail(200, 200)
            side = min(64, slide.width), min(64, slide.height)
            slide.read(slide.width - side[0], slide.height - side[1], *side, 1.0)
    except SlideError as error:
        text = str(error)
        assert str(path) in text and text.count("\n") < 3 and len(text) < 600 + len(str(path)), text
        assert "Memory" not in text, text  # the guard's limit is what kept it from being taken
        return False
    return True


def fuzz(folder: Path, first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` mutants; returns how many could be read."""
    names = samples(folder)
    return run_guarded(lambda seed: check(folder, names, seed), range(first, first + count))


if __name__ == "__main__":
    fuzz_by_hand(fuzz)
