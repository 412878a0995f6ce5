"""Slides through OpenSlide: what our own TIFF reader does not know.

MIRAX, Hamamatsu NDPI and VMS, Ventana BIF, Sakura, Philips and Trestle TIFF, and DICOM.
OpenSlide's handles may be used by several threads at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide

from qpbridge.errors import SlideError
from qpbridge.slides.describe import Description, positive
from qpbridge.slides.source import CACHE_BYTES, Bytes, on_background

OURS = frozenset({"aperio", "generic-tiff", "leica"})
"""Formats that `qpbridge.slides.source.TiffSource` reads as well, and faster."""

WHITE = (255, 255, 255)


def detect(path: Path) -> str | None:
    """Tell OpenSlide's name of a file's format; None if OpenSlide does not know it."""
    found: str | None = openslide.OpenSlide.detect_format(str(path))
    return found


class OpenSlideSource:
    """A slide that OpenSlide reads; a `qpbridge.slides.source.Source`.

    Parameters
    ----------
    path
        The file; of a slide in several files (MIRAX, VMS, DICOM) any that OpenSlide takes.

    Raises
    ------
    SlideError
        If OpenSlide can't read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # DICOM and MIRAX look for their other files beside the real one
            self._slide = openslide.OpenSlide(str(path.resolve()))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{path}: OpenSlide can't read this slide ({error}); the file is damaged, or files "
                "that belong to it are missing: copy all of it again"
            ) from error
        self._slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        properties = self._slide.properties
        self.description = replace(
            describe_properties(properties), associated=tuple(self._slide.associated_images)
        )
        self.sizes: tuple[tuple[int, int], ...] = self._slide.level_dimensions
        self.tile_size = (
            _whole(properties.get("openslide.level[0].tile-width")) or 256,
            _whole(properties.get("openslide.level[0].tile-height")) or 256,
        )
        self._background = background_of(properties)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the level, uint8 (height, width, 3)."""
        downsample = self._slide.level_downsamples[level]
        corner = round(x * downsample), round(y * downsample)
        try:
            pixels = np.asarray(self._slide.read_region(corner, level, (width, height)))
        except openslide.OpenSlideError as error:
            raise SlideError(
                f"{self.path}: the region at {x}, {y} of level {level} can't be decoded ({error}); "
                "the file is damaged: copy it again, or export the image anew"
            ) from error
        return on_background(pixels, self._background)


def describe_properties(properties: Mapping[str, str]) -> Description:
    """Describe a slide from OpenSlide's properties, as QuPath does.

    Parameters
    ----------
    properties
        By name, ``openslide.mpp-x`` and so on.
    """
    x, y = (positive(properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
    box = [_whole(properties.get(f"openslide.bounds-{k}")) for k in ("x", "y", "width", "height")]
    left, top, width, height = box
    bounds = None
    if left is not None and top is not None and width and height:
        bounds = left, top, width, height
    return Description(
        format=properties.get("openslide.vendor", "openslide"),
        mpp=None if x is None or y is None else (x, y),
        magnification=positive(properties.get("openslide.objective-power")),
        bounds=bounds,
        mpp_from="OpenSlide's properties",
    )


def background_of(properties: Mapping[str, str]) -> tuple[int, int, int]:
    """Tell the colour of what was not scanned; white where the slide does not say."""
    found = re.fullmatch(r"#?([0-9a-fA-F]{6})", properties.get("openslide.background-color", ""))
    if found is None:
        return WHITE
    red, green, blue = bytes.fromhex(found[1])
    return red, green, blue


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
