"""Slides: any supported image as one grid of RGB pixels at any resolution."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge.errors import QpbridgeError, SlideError
from qpbridge.slides.claims import check_is_file
from qpbridge.slides.describe import Description
from qpbridge.slides.resample import EXACT, Axis, resample
from qpbridge.slides.source import ArraySource, Bytes, Source, TiffSource, reason

T = TypeVar("T")

LEVEL_TOLERANCE = 1.01
"""A level that is coarser than asked by up to this factor still serves."""

BLOCK_PIXELS = 4 * 2**20
"""Source pixels that are resampled at a time; bounds the memory of a read."""


ZARR_MARKS = (".zattrs", ".zgroup", "zarr.json")
"""Files that make a folder a Zarr group, of format 2 and 3; one of them may stand for it."""


CZI_MAGIC = b"ZISRAWFILE"


class Level(NamedTuple):
    """One resolution of a slide: full-resolution pixels per pixel, and its size."""

    downsample: float
    width: int
    height: int


class Orientation(NamedTuple):
    """How the axes of an image lie on those of its file.

    Parameters
    ----------
    swap
        Whether x runs along the file's y, and y along its x.
    reverse_x, reverse_y
        Whether x, and y, run against the axis of the file that they lie on.
    """

    swap: bool = False
    reverse_x: bool = False
    reverse_y: bool = False


UPRIGHT = Orientation()


class Slide:
    """An open image, in the coordinates of QuPath's image server.

    Reading is safe from several threads at once. Use `open_slide`.

    Parameters
    ----------
    path
        The file.
    source
        Its pixels.
    bounds
        x, y, width, height of the server image in pixels of the source's largest level; None: all.
    orientation
        How the server image is turned.
    """

    def __init__(
        self,
        path: Path,
        source: Source,
        bounds: tuple[int, int, int, int] | None = None,
        orientation: Orientation = UPRIGHT,
    ) -> None:
        self.path = path
        self._source = source
        self.orientation = orientation
        description = source.description
        full_width, full_height = source.sizes[0]
        self.format = description.format
        """Kind of file: ``aperio``, ``leica``, ``ome-tiff``, ``generic-tiff``, ``png`` ..."""
        self.mpp = self._turned(description.mpp) if description.mpp else None
        """µm per pixel (x, y) as the file says, unchecked; None if it doesn't."""
        self.mpp_from = description.mpp_from if self.mpp else ""
        """Where in the file the pixel size is told."""
        self.associated = description.associated
        """Names of the pictures beside the image: label, macro, thumbnail."""
        self.series, self.images = description.series, description.images
        """Which of the images in the file it is, and all of them; no images: there is just one."""
        self.magnification = description.magnification
        """Of the objective, None if unknown."""
        self.bounds = bounds or (0, 0, full_width, full_height)
        """x, y, width, height of the server image in pixels of the slide's largest level."""
        self.width, self.height = self._turned((self.bounds[2], self.bounds[3]))
        self.tile_size = self._turned(source.tile_size)
        """Width and height of the tiles of the file."""
        self._factors = [
            (_factor(full_width, width), _factor(full_height, height))
            for width, height in source.sizes
        ]
        sizes = source.sizes
        if self.bounds[2:] != sizes[0]:
            sizes = tuple(
                (max(1, round(self.bounds[2] / x)), max(1, round(self.bounds[3] / y)))
                for x, y in self._factors
            )
        self.levels = tuple(
            Level((x * y) ** 0.5, *self._turned(size))
            for (x, y), size in zip(self._factors, sizes, strict=True)
        )
        """Resolutions in the file, finest first."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def cropped(self, x: int, y: int, width: int, height: int) -> Slide:
        """Return a part of the slide as a slide of its own, which shares the open file.

        Raises
        ------
        SlideError
            If the part reaches beyond the slide.
        """
        if x < 0 or y < 0 or x + width > self.width or y + height > self.height:
            raise SlideError(
                f"{self.path}: the region {x}, {y}, {width} x {height} reaches beyond the image "
                f"of {self.width} x {self.height} pixels; is it another file of the same name?"
            )
        if self.orientation.reverse_x:
            x = self.width - x - width
        if self.orientation.reverse_y:
            y = self.height - y - height
        (x, y), (w, h) = self._turned((x, y)), self._turned((width, height))
        bounds = (self.bounds[0] + x, self.bounds[1] + y, w, h)
        return Slide(self.path, self._source, bounds, self.orientation)

    def rotated(self, turns: int) -> Slide:
        """Return the slide turned clockwise by quarter turns; it shares the open file."""
        swap, reverse_x, reverse_y = self.orientation
        for _ in range(turns % 4):
            swap, reverse_x, reverse_y = not swap, not reverse_y, reverse_x
        return Slide(self.path, self._source, self.bounds, Orientation(swap, reverse_x, reverse_y))

    def flipped(self, *, x: bool = False, y: bool = False) -> Slide:
        """Return the slide mirrored left to right (x), or top to bottom (y), or both."""
        swap, reverse_x, reverse_y = self.orientation
        flipped = Orientation(swap, reverse_x != x, reverse_y != y)
        return Slide(self.path, self._source, self.bounds, flipped)

    def _turned(self, pair: tuple[T, T]) -> tuple[T, T]:
        """Change between the order of the file's axes and that of the image's."""
        return (pair[1], pair[0]) if self.orientation.swap else pair

    def grid_size(self, downsample: float) -> tuple[int, int]:
        """Return width and height of the grid at `downsample`; its last pixels may be partial."""
        return grid_size((self.width, self.height), downsample)

    def read_mirrored(self, x: int, y: int, width: int, height: int, downsample: float) -> Bytes:
        """Read as `read` does, but mirror the image at its edges instead of white beyond them."""
        wide, high = self.grid_size(downsample)
        if x >= 0 and y >= 0 and x + width <= wide and y + height <= high:
            return self.read(x, y, width, height, downsample)
        columns, rows = _mirrored(x, width, wide), _mirrored(y, height, high)
        left, top = int(columns.min()), int(rows.min())
        right, bottom = int(columns.max()) + 1, int(rows.max()) + 1
        there = self.read(left, top, right - left, bottom - top, downsample)
        return there[(rows - top)[:, None], columns - left]

    def read(self, x: int, y: int, width: int, height: int, downsample: float) -> Bytes:
        """Read a rectangle of the grid of pixels at `downsample`.

        Grid pixel (i, j) covers the server pixels from ``i * downsample`` to
        ``(i + 1) * downsample`` in x, likewise j in y. Its value doesn't depend on the rectangle it
        is read with. Where a level of the file fits exactly, its pixels come unchanged.

        Parameters
        ----------
        x, y, width, height
            In grid pixels; what lies beyond the image is white.
        downsample
            Server pixels per grid pixel.

        Returns
        -------
        numpy.ndarray
            uint8 (height, width, 3).

        Raises
        ------
        SlideError
            If the file is damaged there.
        """
        if downsample <= 0 or width < 0 or height < 0:
            raise ValueError(f"can't read {width} x {height} pixels at downsample {downsample}")
        out = np.full((height, width, 3), 255, np.uint8)
        grid_width, grid_height = self.grid_size(downsample)
        left, right = max(x, 0), min(x + width, grid_width)
        top, bottom = max(y, 0), min(y + height, grid_height)
        level = self._level(downsample)
        across, down = self._axes(level, downsample)
        side = max(1, int(BLOCK_PIXELS**0.5 / max(across.ratio, down.ratio)))
        wide = max(side, side * side // max(1, bottom - top))
        high = max(side, side * side // max(1, right - left))
        for j in range(top, bottom, high):
            for i in range(left, right, wide):
                w, h = min(wide, right - i), min(high, bottom - j)
                block = self._read_block(level, across, down, (i, j, w, h))
                out[j - y : j - y + h, i - x : i - x + w] = block
        return out

    def _read_block(
        self, level: int, across: Axis, down: Axis, box: tuple[int, int, int, int]
    ) -> Bytes:
        x, y, width, height = box
        columns, column_weights = across.taps(x, width)
        rows, row_weights = down.taps(y, height)
        left, top = int(columns.min()), int(rows.min())
        corner = self._turned((left, top))
        size = self._turned((int(columns.max()) + 1 - left, int(rows.max()) + 1 - top))
        pixels = self._source.read(level, *corner, *size)
        if self.orientation.swap:
            pixels = pixels.transpose(1, 0, 2)
        return resample(pixels, (rows - top, row_weights), (columns - left, column_weights))

    def thumbnail(self, max_width: int = 1000, max_height: int = 1000) -> Bytes:
        """Return the whole image, no larger than asked, uint8 (height, width, 3)."""
        downsample = max(self.width / max_width, self.height / max_height, 1.0)
        width, height = (
            min(limit, max(1, round(size / downsample)))
            for size, limit in ((self.width, max_width), (self.height, max_height))
        )
        return self.read(0, 0, width, height, downsample)

    def snap(self, downsample: float, tolerance: float = 0.02) -> float:
        """Return the downsample of a level that is so near that resampling gains nothing.

        Its pixels are read as they are, faster and sharper.
        """
        nearest = min((v.downsample for v in self.levels), key=lambda v: abs(v - downsample))
        return nearest if abs(nearest / downsample - 1) <= tolerance else downsample

    def _level(self, downsample: float) -> int:
        fitting = [
            i
            for i, level in enumerate(self.levels)
            if level.downsample <= downsample * LEVEL_TOLERANCE
        ]
        return max(fitting, key=lambda i: self.levels[i].downsample, default=0)

    def _axes(self, level: int, downsample: float) -> tuple[Axis, Axis]:
        _, reverse_x, reverse_y = self.orientation
        across, down = self._turned((0, 1))
        return (
            self._axis(level, across, downsample, reverse_x),
            self._axis(level, down, downsample, reverse_y),
        )

    def _axis(self, level: int, which: int, downsample: float, reverse: bool) -> Axis:
        """Describe x (0) or y (1) of the file."""
        factor = self._factors[level][which]
        start = self.bounds[which] + (self.bounds[2 + which] if reverse else 0)
        return Axis(downsample / factor, start / factor, self._source.sizes[level][which], reverse)


def slide_of_pixels(pixels: Bytes, mpp: float) -> Slide:
    """Make a slide of uint8 RGB pixels (h, w, 3) that are in memory, of `mpp` µm each."""
    return Slide(Path("pixels"), ArraySource(pixels, Description("pixels", (mpp, mpp))))


def open_slide(path: Path, *, crop_bounds: bool = True, series: int | None = None) -> Slide:
    """Open a brightfield image: whole slide, TIFF of any kind, PNG or JPEG.

    Parameters
    ----------
    path
        The file.
    crop_bounds
        Crop to the scanned part (``openslide.bounds-*``), as QuPath does unless its server has the
        argument ``--no-crop``.
    series
        Index of the image in a file that holds several; None: the slide among them, as QuPath
        chooses it (`qpbridge.slides.several.choose_image`).

    Raises
    ------
    SlideError
        If the file is missing, unreadable, truncated, or isn't RGB of 8 bits.
    """
    path = Path(path)
    try:
        source = _source(path, series)
        return Slide(path, source, source.description.bounds if crop_bounds else None)
    except QpbridgeError:
        raise
    except Exception as error:  # readers fail in many ways on broken files
        raise SlideError(
            f"{path}: not an image that can be read ({reason(error)}); the file is damaged or of "
            "a kind that is not supported: export it from QuPath as OME-TIFF"
        ) from error


def _source(path: Path, series: int | None) -> Source:
    """Choose the reader: ours where it gives the same pixels faster, else OpenSlide."""
    from qpbridge.slides.openslide_source import OURS, OpenSlideSource, detect

    root = path.parent if path.name in ZARR_MARKS else path
    if any((root / mark).is_file() for mark in ZARR_MARKS):
        from qpbridge.slides.zarr_source import ZarrSource

        return ZarrSource(root, series)
    check_is_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise SlideError(
            f"{path}: can't be read ({error.strerror}); check the path and your permissions"
        ) from error
    if head.startswith(CZI_MAGIC):
        from qpbridge.slides.czi_source import CziSource

        return CziSource(path, series)
    is_tiff = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    kind = detect(path)
    if kind is not None and kind not in OURS and not series:
        return OpenSlideSource(path)
    if is_tiff:
        return TiffSource(path, series)
    if kind is not None:
        raise SlideError(f"{path}: there is no image {series}, a slide of this kind has just one")
    return ArraySource.open(path)


def _factor(full: int, size: int) -> float:
    """Find the downsample of a level; whole where rounding to pixels can explain the difference.

    Scanners halve an image of odd size by leaving out or adding a pixel at the end, which doesn't
    stretch the rest.
    """
    whole = round(full / size)
    return float(whole) if abs(full / whole - size) <= 1 else full / size


def _mirrored(start: int, count: int, size: int) -> npt.NDArray[np.int64]:
    """Find the pixels of a line of `size` that stand for those from `start` on, in- or outside."""
    folded = np.arange(start, start + count) % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def grid_size(size: tuple[int, int], downsample: float) -> tuple[int, int]:
    """Return how many grid pixels cover an image of a width and height."""
    wide, high = (math.ceil(length / downsample - EXACT) for length in size)
    return wide, high
