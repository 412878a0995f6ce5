"""What is known of one image file, whether it is in a project or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from qpbridge import checks
from qpbridge.errors import SlideError
from qpbridge.project.files.atomic import atomic_file
from qpbridge.slides.slide import open_slide
from qpbridge.slides.source import Bytes

THUMBNAIL = 1000
"""Pixels of the longer side of a thumbnail."""


class LevelInfo(TypedDict):
    """One resolution: full-resolution pixels per pixel, and its size."""

    downsample: float
    width: int
    height: int


class InFileInfo(TypedDict):
    """One of several images in a file."""

    name: str
    width: int
    height: int


class SlideInfo(TypedDict):
    """What a file says of its image; sizes in full-resolution pixels.

    Of a file with several `images`, `series` tells which one all else is about.
    """

    path: str
    format: str
    width: int
    height: int
    mpp: tuple[float, float] | None
    mpp_from: str
    magnification: float | None
    bounds: tuple[int, int, int, int]
    tile: tuple[int, int]
    levels: list[LevelInfo]
    associated: list[str]
    series: int
    images: list[InFileInfo]


def image_info(
    path: str | os.PathLike[str], *, thumbnail: str | os.PathLike[str] | None = None
) -> SlideInfo:
    """Tell what is known of an image file: a slide, not a project.

    Parameters
    ----------
    path
        The file, or the folder of an OME-Zarr.
    thumbnail
        A PNG or JPEG file to write the whole image into, at most 1000 pixels wide and high.

    Returns
    -------
    SlideInfo
        Format, size, µm per pixel and where these are from, objective, the part that was scanned,
        tiles, levels, and the pictures beside the image.

    Raises
    ------
    SlideError
        If the image can't be read, or the thumbnail can't be written.

    Examples
    --------
    >>> found = qpbridge.image_info(slide)
    >>> found["format"], found["levels"][0]["downsample"]
    ('aperio', 1.0)
    """
    with open_slide(Path(checks.path("path", path))) as slide:
        if thumbnail is not None:
            _write(slide.thumbnail(THUMBNAIL, THUMBNAIL), Path(checks.path("thumbnail", thumbnail)))
        return {
            "path": str(slide.path),
            "format": slide.format,
            "width": slide.width,
            "height": slide.height,
            "mpp": slide.mpp,
            "mpp_from": slide.mpp_from,
            "magnification": slide.magnification,
            "bounds": slide.bounds,
            "tile": slide.tile_size,
            "levels": [
                {"downsample": v.downsample, "width": v.width, "height": v.height}
                for v in slide.levels
            ],
            "associated": list(slide.associated),
            "series": slide.series,
            "images": [{"name": i.name, "width": i.width, "height": i.height} for i in slide.images]
            if len(slide.images) > 1
            else [],
        }


def _write(pixels: Bytes, path: Path) -> None:
    from PIL import Image

    if os.path.lexists(path):
        raise SlideError(f"{path}: is there already; choose another name for the thumbnail")
    Image.init()
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise SlideError(f"{path}: no kind of picture ends in {path.suffix!r}; try .png or .jpg")
    try:
        with atomic_file(path) as file:
            Image.fromarray(pixels).save(file, kind)
    except (OSError, ValueError, KeyError) as error:
        raise SlideError(f"{path}: the thumbnail can't be written ({error})") from error
