"""Zeiss CZI, through Zeiss's own library: each scene is an image, as in QuPath's Bio-Formats."""

from __future__ import annotations

import math
import threading
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import SlideError, require_extra
from qpbridge.slides.describe import Description, positive
from qpbridge.slides.several import FileImage, choose_image
from qpbridge.slides.source import Bytes

SMALLEST_LEVEL = 512
"""Pixels of the longer side below which there are no coarser levels."""

WHITE = (1.0, 1.0, 1.0)


class CziSource:
    """A scene of a CZI file; a `qpbridge.slides.source.Source`.

    The library reads at any zoom, from the pyramid in the file; here that is levels by halves.

    Parameters
    ----------
    path
        The file.
    series
        Index of the scene; None: the largest, unless the first is nearly as large.

    Raises
    ------
    MissingExtraError
        If the package pylibCZIrw is not installed.
    SlideError
        If the file can't be read, has no such scene, or is not RGB of 8 bits in one plane.
    """

    def __init__(self, path: Path, series: int | None = None) -> None:
        self.path = path
        self._czi = require_extra("pylibCZIrw.czi", "czi", "CZI files")
        self._mine = threading.local()  # a handle is not for several threads
        self._opened: list[Any] = []
        self._lock = threading.Lock()
        try:
            reader = self._reader()
            scenes = reader.scenes_bounding_rectangle or {0: reader.total_bounding_rectangle}
            box, kinds = reader.total_bounding_box, reader.pixel_types
            text = reader.raw_metadata
        except Exception as error:  # the library has errors of its own
            raise SlideError(
                f"{path}: this CZI can't be read ({error}); the file is damaged: copy it again"
            ) from error
        numbers = sorted(scenes)
        images = tuple(FileImage("", *scenes[number][2:]) for number in numbers)
        if series is None:
            series = choose_image(images)
        if series >= len(numbers):
            raise SlideError(f"{path}: there is no image {series}, the file has {len(scenes)}")
        planes = [axis for axis in "ZT" if box.get(axis, (0, 1))[1] > 1]
        if set(kinds.values()) != {"Bgr24"} or planes:
            found = ", ".join(sorted(set(kinds.values())))
            several = " in several planes" if planes else ""
            raise SlideError(
                f"{path}: not an RGB image of 8 bits ({found}{several}); only brightfield images "
                "are supported, export it as RGB"
            )
        self._scene = numbers[series] if reader.scenes_bounding_rectangle else None
        self._x, self._y, width, height = scenes[numbers[series]]
        count = max(1, math.ceil(math.log2(max(width, height) / SMALLEST_LEVEL)) + 1)
        self.sizes: tuple[tuple[int, int], ...] = tuple(
            (max(1, width >> i), max(1, height >> i)) for i in range(count)
        )
        self.tile_size = (512, 512)
        self.description = replace(_describe(text), series=series, images=images)

    def close(self) -> None:
        """Close the file."""
        for reader in self._opened:
            reader.close()

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the level, uint8 (height, width, 3)."""
        scale = 2**level
        box = (self._x + x * scale, self._y + y * scale, width * scale, height * scale)
        try:
            pixels = self._reader().read(
                roi=box, scene=self._scene, zoom=1 / scale, background_pixel=WHITE
            )
        except Exception as error:  # the library has errors of its own
            raise SlideError(
                f"{self.path}: the region at {x}, {y} of level {level} can't be decoded ({error}); "
                "the file is damaged: copy it again, or export the image anew"
            ) from error
        return np.ascontiguousarray(pixels[:height, :width, ::-1])  # it gives blue first

    def _reader(self) -> Any:
        if not hasattr(self._mine, "reader"):
            self._mine.reader = self._czi.CziReader(str(self.path))
            with self._lock:
                self._opened.append(self._mine.reader)
        return self._mine.reader


def _describe(text: str) -> Description:
    """Read pixel size and objective from CZI's XML; it has metres."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return Description("czi")
    size = [
        positive(root.findtext(f".//Scaling/Items/Distance[@Id='{axis}']/Value")) for axis in "XY"
    ]
    x, y = (None if metres is None else metres * 1e6 for metres in size)
    return Description(
        "czi",
        mpp=None if x is None or y is None else (x, y),
        mpp_from="Scaling in the metadata",
        magnification=positive(root.findtext(".//Objectives/Objective/NominalMagnification")),
    )
