"""QuPath's image servers: which pixels of the file an annotation's coordinates mean.

What is wrapped around a file's own server moves its coordinates. Crops are followed; anything else
that moves or changes pixels is refused: better no result than a shifted one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qpbridge.errors import SlideError
from qpbridge.slides.slide import Slide, open_slide

if TYPE_CHECKING:
    from qpbridge.project.model import Server


def open_server(path: Path, server: Server) -> Slide:
    """Open an image as the QuPath server that a project describes.

    Parameters
    ----------
    path
        Where the file is now.
    server
        From the project.

    Returns
    -------
    Slide
        In the coordinates of the server.

    Raises
    ------
    SlideError
        If the file can't be read, the server does something that is not supported, or the image
        hasn't the size that the project says.
    """
    regions = []
    builder = server.builder
    for wrapper in server.wrappers:
        if wrapper == "cropped":
            regions.append(builder["region"])
        elif not (wrapper == "rotated" and builder.get("rotation") == "ROTATE_NONE"):
            raise SlideError(
                f"{path}: QuPath shows this image through a server that is {wrapper!r}, which is "
                "not supported; export it from QuPath as OME-TIFF and add that to the project"
            )
        builder = builder["builder"]
    slide = open_slide(path, crop_bounds=_crops(server), series=_series(path, server.args))
    sizes = {(slide.width, slide.height)}
    for region in reversed(regions):
        slide = slide.cropped(*(int(region[key]) for key in ("x", "y", "width", "height")))
        sizes.add((slide.width, slide.height))
    expected = server.width, server.height
    if None not in expected and expected not in sizes:
        slide.close()
        raise SlideError(
            f"{path}: the image has {slide.width} x {slide.height} pixels, the project says "
            f"{expected[0]} x {expected[1]}; is it another file, or another image in the file?"
        )
    return slide


def _crops(server: Server) -> bool:
    """Whether QuPath crops to the scanned part: OpenSlide does, unless told not to."""
    by_openslide = not server.provider or "openslide" in server.provider.lower()
    return by_openslide and "--no-crop" not in server.args


def _series(path: Path, args: tuple[str, ...]) -> int:
    for name, value in zip(args, [*args, ""][1:], strict=True):
        if name == "--dims":
            raise SlideError(f"{path}: a server with --dims is not supported; remove it in QuPath")
        if name == "--series":
            if not value.isdecimal():
                raise SlideError(f"{path}: --series {value!r} in the project is no number")
            return int(value)
    return 0
