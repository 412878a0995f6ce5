"""Pixels out of files: levels of 8-bit RGB that can be read by rectangle.

tiffslide says what a whole slide file is (vendor, µm/px, objective, bounds, how Leica scans are put
together). Its tiles are decoded here, straight from the file: five times as fast as through the
chunked array that tiffslide builds on, and in several threads at once.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image, UnidentifiedImageError

from qpbridge.errors import SlideError
from qpbridge.slides.claims import (
    check_neighbours,
    check_page,
    check_tile,
    check_whole,
    too_many,
    whole_file,
)
from qpbridge.slides.describe import Description, describe, properties_of
from qpbridge.slides.several import FileImage, choose_image
from qpbridge.texts import printable

# What it has to say about a broken file, line by line, is said in one sentence here.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

Bytes = npt.NDArray[np.uint8]

CACHE_BYTES = 64 * 2**20
"""Decoded tiles kept per slide: neighbouring regions share the tiles at their border."""

PICTURES = ("PNG", "JPEG", "JPEG2000", "BMP", "GIF", "WEBP", "PPM", "TGA")
"""Kinds of picture that are read as a whole; others start programs, or are no pictures."""

BAND = 64
"""Rows that are converted at a time."""

MAX_ASPECT_DRIFT = 0.02
"""A page whose width and height shrink by factors that differ more is no level of the pyramid."""


class Source(Protocol):
    """An image pyramid; every level is read in its own pixels."""

    description: Description
    sizes: tuple[tuple[int, int], ...]
    tile_size: tuple[int, int]

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the level, uint8 (height, width, 3)."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class ArraySource:
    """An image that is small enough to be held in memory (PNG, JPEG and their like)."""

    def __init__(self, pixels: Bytes, description: Description) -> None:
        self.pixels = pixels
        self.description = description
        self.sizes: tuple[tuple[int, int], ...] = ((pixels.shape[1], pixels.shape[0]),)
        self.tile_size = self.sizes[0]

    @classmethod
    def open(cls, path: Path) -> ArraySource:
        """Decode the whole image; transparent parts become white.

        Raises
        ------
        SlideError
            If it is not a colour image of 8 bits, or too large to be held in memory.
        """
        data = whole_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                image = Image.open(data, formats=PICTURES)
            except UnidentifiedImageError as error:
                raise SlideError(
                    f"{path}: not an image of a kind that is known, or damaged; export it from "
                    "QuPath as OME-TIFF"
                ) from error
            except Image.DecompressionBombError as error:  # from the header alone
                raise too_many(path) from error
            with image:
                check_whole(path, *image.size)
                if image.mode not in ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"):
                    raise _not_rgb(path, f"its pixels are of mode {image.mode}")
                kind = (image.format or path.suffix[1:]).lower()
                pixels = _rgb(image)
        return cls(pixels, Description(kind))

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the image, uint8 (height, width, 3)."""
        return self.pixels[y : y + height, x : x + width]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class _Part:
    """A page of a TIFF file, and where it lies in its level."""

    page: Any
    keyframe: Any
    x: int
    y: int

    @property
    def segment_size(self) -> tuple[int, int]:
        """Width and height of the tiles or strips."""
        key = self.keyframe
        if key.is_tiled:
            return key.tilewidth, key.tilelength
        return key.imagewidth, min(key.rowsperstrip, key.imagelength)


class TiffSource:
    """Any TIFF that holds 8-bit RGB: whole slides, OME-TIFF, plain ones in tiles or strips."""

    def __init__(self, path: Path, series: int | None = None) -> None:
        self.path = path
        self._cache: OrderedDict[tuple[int, int, int], Bytes] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()
        self._handles = threading.local()  # threads that share a handle would wait for one another
        self._opened: list[BinaryIO] = []
        from tiffslide import TiffSlide  # and with it zarr, which pictures do not need

        self._slide = TiffSlide(path)
        try:
            tiff = self._slide.ts_tifffile
            check_neighbours(path, tiff.ome_metadata)
            images = _images_of(tiff)
            properties = properties_of(self._slide) if not series else {}
            if series is None:
                series = _choose(path, tiff, images, properties)
                properties = properties if series == 0 else {}
            self._parts = _levels(path, tiff, properties, series)
            self._check()
            found = describe(tiff, properties, series)
            self.description = replace(found, series=series, images=images if tiff.is_ome else ())
        except BaseException:
            self.close()
            raise
        self.sizes = tuple(_level_sizes(self._parts, properties))
        self.tile_size: tuple[int, int] = self._parts[0][0].segment_size

    def close(self) -> None:
        """Close the file."""
        self._slide.close()
        for handle in self._opened:
            handle.close()

    def _check(self) -> None:
        """Refuse what isn't RGB, and files that end before their last tile."""
        length = self.path.stat().st_size
        if _next_page(self._slide.ts_tifffile) >= length:
            raise SlideError(
                f"{self.path}: the file is truncated: pages are missing at its end; copy it again"
            )
        for part in (p for parts in self._parts for p in parts):
            key = part.keyframe
            found = f"{key.samplesperpixel} channel(s) of type {key.dtype}, {key.photometric.name}"
            kinds = {"RGB": ((3, 4), (8,)), "YCBCR": ((3, 4), (8,)), "PALETTE": ((1,), (4, 8))}
            samples, bits = kinds.get(key.photometric.name, ((), ()))
            if (
                key.dtype != np.uint8
                or key.bitspersample not in bits
                or key.samplesperpixel not in samples
            ):
                raise _not_rgb(self.path, found)
            if 1 in samples and np.shape(key.colormap) != (3, 2**key.bitspersample):
                raise _not_rgb(self.path, f"{found}, without the palette")
            check_page(self.path, part.page, key, *part.segment_size)
            ends = np.add(part.page.dataoffsets, part.page.databytecounts, dtype=np.int64)
            if len(ends) and ends.max() > length:
                raise SlideError(
                    f"{self.path}: the file is truncated: it has {length} bytes, its tiles need "
                    f"{ends.max()}; copy it again"
                )

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the level, uint8 (height, width, 3)."""
        out = np.full((height, width, 3), 255, np.uint8)
        for number, part in enumerate(self._parts[level]):
            left, top = x - part.x, y - part.y
            for column, row, segment in self._segments(level, number, left, top, width, height):
                self._paste(out, segment, column - left, row - top)
        return out

    @staticmethod
    def _paste(out: Bytes, segment: Bytes, x: int, y: int) -> None:
        x0, y0 = max(x, 0), max(y, 0)
        x1 = min(x + segment.shape[1], out.shape[1])
        y1 = min(y + segment.shape[0], out.shape[0])
        if x1 > x0 and y1 > y0:
            out[y0:y1, x0:x1] = segment[y0 - y : y1 - y, x0 - x : x1 - x]

    def _segments(
        self, level: int, number: int, x: int, y: int, width: int, height: int
    ) -> Iterator[tuple[int, int, Bytes]]:
        """Yield x, y and pixels of the tiles of a part that a rectangle of it meets."""
        part = self._parts[level][number]
        key = part.keyframe
        tile_width, tile_height = part.segment_size
        across = -(-key.imagewidth // tile_width)
        right, bottom = min(x + width, key.imagewidth), min(y + height, key.imagelength)
        for row in range(max(y, 0) // tile_height, -(-bottom // tile_height)):
            for column in range(max(x, 0) // tile_width, -(-right // tile_width)):
                segment = self._segment(level, number, row * across + column)
                if segment is not None:
                    left, top = column * tile_width, row * tile_height
                    # Tiles at the end are padded beyond the page.
                    yield left, top, segment[: key.imagelength - top, : key.imagewidth - left]

    def _segment(self, level: int, number: int, index: int) -> Bytes | None:
        key = (level, number, index)
        with self._lock:
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
                return found
        part = self._parts[level][number]
        try:
            pixels = self._decode(part, index)
        except Exception as error:  # decoders fail in many ways on broken bytes
            raise SlideError(
                f"{self.path}: tile {index} of level {level} can't be decoded ({reason(error)}); "
                "the file is damaged: copy it again, or export the image anew"
            ) from error
        if pixels is None:
            return None
        with self._lock:
            self._cache[key] = pixels
            self._cached += pixels.nbytes
            # The last one stays, however large: a file in one strip would be decoded each time.
            while self._cached > CACHE_BYTES and len(self._cache) > 1:
                self._cached -= self._cache.popitem(last=False)[1].nbytes
        return pixels

    def _handle(self, path: str) -> BinaryIO:
        """Return this thread's own handle of a file; an image can be spread over several."""
        mine: dict[str, BinaryIO] = self._handles.__dict__
        if path not in mine:
            mine[path] = Path(path).open("rb")  # noqa: SIM115 (`close` does)
            with self._lock:
                self._opened.append(mine[path])
        return mine[path]

    def _decode(self, part: _Part, index: int) -> Bytes | None:
        """Decode one tile, uint8 (h, w, 3); None where the scanner left it out."""
        key, page = part.keyframe, part.page
        width, height = part.segment_size
        planes = key.samplesperpixel if key.planarconfig == 2 else 1
        step = len(page.dataoffsets) // planes
        jpeg = {}
        if page.jpegtables is not None:
            jpeg["jpegtables"] = page.jpegtables
        if key.jpegheader is not None:
            jpeg["jpegheader"] = key.jpegheader
        decoded = []
        for segment in range(index, index + planes * step, step):
            offset, count = page.dataoffsets[segment], page.databytecounts[segment]
            if not offset or not count:
                return None
            handle = self._handle(page.parent.filehandle.path)
            handle.seek(offset)
            data = handle.read(count)
            check_tile(data, int(key.compression), width, height)
            pixels, _, shape = key.decode(data, segment, **jpeg)
            decoded.append(pixels.reshape(pixels.shape[1:])[: shape[1], : shape[2]])
        tile: Bytes = np.concatenate(decoded, axis=2) if planes > 1 else decoded[0]
        if key.compression == tifffile.COMPRESSION.APERIO_JP2000_YCBC:
            tile = np.asarray(Image.fromarray(tile, "YCbCr").convert("RGB"))
        if key.photometric.name == "PALETTE":
            colors: Bytes = palette_of(key.colormap)[tile[..., 0]]
            return colors
        if tile.shape[2] == 3:
            return tile
        # Where nobody says what the fourth channel is, it is nothing that can be seen.
        meaning = key.extrasamples[0] if key.extrasamples else tifffile.EXTRASAMPLE.UNSPECIFIED
        if meaning == tifffile.EXTRASAMPLE.UNASSALPHA:
            return on_white(tile)
        if meaning == tifffile.EXTRASAMPLE.ASSOCALPHA:
            return premultiplied_on_white(tile)
        return np.ascontiguousarray(tile[..., :3])


def _rgb(image: Image.Image) -> Bytes:
    """Convert a picture to uint8 (height, width, 3), a band of rows at a time."""
    clear = "A" in image.getbands() or "transparency" in image.info
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height)))
        if clear:
            out[top : top + BAND] = on_white(np.asarray(band.convert("RGBA")))
        else:
            out[top : top + BAND] = np.asarray(band.convert("RGB"))
    return out


def _next_page(tiff: Any) -> int:
    """Read where the file says that a page follows its last readable one; 0: there is none."""
    with tiff.filehandle.lock:
        tiff.filehandle.seek(tiff.pages.next_page_offset)
        found = tiff.filehandle.read(tiff.tiff.offsetsize)
    return int.from_bytes(found, "little" if tiff.byteorder == "<" else "big")


def on_white(pixels: Bytes) -> Bytes:
    """Lay uint8 RGBA (h, w, 4) on white, as QuPath shows it."""
    return on_background(pixels, (255, 255, 255))


def premultiplied_on_white(pixels: Bytes) -> Bytes:
    """Lay uint8 RGBA (h, w, 4) on white whose colours are multiplied with alpha already."""
    glass = 255 - pixels[..., 3:]
    shown: Bytes = np.minimum(pixels[..., :3], 255 - glass) + glass
    return shown


def palette_of(colormap: npt.NDArray[np.uint16]) -> Bytes:
    """Read a TIFF's palette, uint16 (3, n), as uint8 (n, 3).

    Some programs write 8 bits of each colour where there should be 16.
    """
    wide = colormap.max() > 255
    return np.ascontiguousarray((colormap >> 8 if wide else colormap).T.astype(np.uint8))


def on_background(pixels: Bytes, color: tuple[int, int, int]) -> Bytes:
    """Lay uint8 RGBA (h, w, 4), not premultiplied, on a colour; uint8 (h, w, 3)."""
    alpha = pixels[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(pixels[..., :3])
    weight = alpha.astype(np.uint32)
    mixed = pixels[..., :3] * weight + np.array(color, np.uint32) * (255 - weight)
    return ((mixed + 127) // 255).astype(np.uint8)


def reason(error: Exception) -> str:
    """Say in a line what a library raised; some list all that they found."""
    if isinstance(error, tifffile.TiffFileError):
        return f"broken TIFF: {printable(str(error), most=200)}"
    return f"{type(error).__name__}: {printable(str(error), most=200)}"


def _not_rgb(path: Path, found: str) -> SlideError:
    return SlideError(
        f"{path}: not an RGB image of 8 bits ({found}); only brightfield images are supported, "
        "export it as RGB"
    )


def _images_of(tiff: Any) -> tuple[FileImage, ...]:
    """List the images of a TIFF."""
    return tuple(
        FileImage(s.name or "", s.keyframe.imagewidth, s.keyframe.imagelength, len(s.levels))
        for s in tiff.series
    )


def _choose(
    path: Path, tiff: Any, images: tuple[FileImage, ...], properties: dict[str, Any]
) -> int:
    """Choose the image that QuPath would show.

    Raises
    ------
    SlideError
        If QuPath would show a small one, and can't be told to show another.
    """
    if properties.get("tiffslide.vendor") not in (None, "generic-tiff"):
        return 0  # the first is the slide, or tiffslide knows which
    chosen = choose_image(images) if images else 0
    if chosen and not tiff.is_ome:
        raise SlideError(
            f"{path}: the first of its images has {images[0].width} x {images[0].height} px, "
            f"another {images[chosen].width} x {images[chosen].height}; QuPath would show the "
            "first: save the other one alone, as TIFF or OME-TIFF"
        )
    return chosen


def _levels(path: Path, tiff: Any, properties: dict[str, Any], series: int) -> list[list[_Part]]:
    """Find the pages of every level, largest first."""
    if not 0 <= series < len(tiff.series):
        raise SlideError(f"{path}: there is no image {series}, the file has {len(tiff.series)}")
    composition = properties.get("tiffslide.series-composition")
    if composition:
        located = composition["located_series"]
        depth = min(len(offsets) for offsets in located.values())
        return [
            [
                _Part(level[0], level.keyframe, offsets[i][1], offsets[i][0])
                for number, offsets in located.items()
                for level in [tiff.series[int(number)].levels[i]]
            ]
            for i in range(depth)
        ]
    chosen = tiff.series[properties.get("tiffslide.series-index", series)]
    planes = int(np.prod(chosen.shape)) // (chosen.keyframe.size or 1)
    if planes > 1:
        raise _not_rgb(path, f"it has {planes} planes, axes {chosen.axes}")
    levels = [[_Part(level[0], level.keyframe, 0, 0)] for level in chosen.levels]
    full = levels[0][0].keyframe

    def fits(part: _Part) -> bool:
        across = full.imagewidth / part.keyframe.imagewidth
        down = full.imagelength / part.keyframe.imagelength
        # Small levels are rounded to whole pixels, which alone makes the factors differ.
        slack = MAX_ASPECT_DRIFT + 1 / min(part.keyframe.imagewidth, part.keyframe.imagelength)
        return bool(abs(across / down - 1) <= slack)

    return [parts for parts in levels if fits(parts[0])]


def _level_sizes(parts: list[list[_Part]], properties: dict[str, Any]) -> list[tuple[int, int]]:
    composition = properties.get("tiffslide.series-composition")
    if composition:
        return [(shape[1], shape[0]) for shape in composition["level_shapes"]]
    return [(p[0].keyframe.imagewidth, p[0].keyframe.imagelength) for p in parts]
