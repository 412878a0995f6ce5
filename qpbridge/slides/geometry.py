"""QuPath's image servers: which pixels of the file an annotation's coordinates mean.

What is wrapped around a file's own server moves its coordinates. Crops, quarter turns and flips
are followed; anything else that moves or changes pixels is refused: better no result than a shifted
one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpbridge.errors import SlideError
from qpbridge.slides.slide import Slide, open_slide

if TYPE_CHECKING:
    from qpbridge.project.model import Server


ROTATIONS = ("ROTATE_NONE", "ROTATE_90", "ROTATE_180", "ROTATE_270")
"""QuPath's names of clockwise quarter turns."""

FLIPS = {
    "NONE": (False, False),
    "HORIZONTAL": (True, False),
    "VERTICAL": (False, True),
    "BOTH": (True, True),
}
"""QuPath's names of flips: whether x, and y, are mirrored."""


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
    moves: list[Callable[[Slide], Slide]] = []
    builder = server.builder
    for wrapper in server.wrappers:
        move = _move(wrapper, builder)
        if move is None:
            raise SlideError(
                f"{path}: QuPath shows this image through a server that is {wrapper!r}, which is "
                "not supported; export it from QuPath as OME-TIFF and add that to the project"
            )
        moves.append(move)
        builder = builder["builder"]
    file = open_slide(path, crop_bounds=_crops(server), series=_series(path, server.args))
    try:
        slide = file
        for move in reversed(moves):
            slide = move(slide)
        # Which of the wrapped servers the stored size is of depends on QuPath's version.
        known = {(file.width, file.height), (slide.width, slide.height)}
        expected = server.width, server.height
        if None not in expected and expected not in known:
            raise SlideError(
                f"{path}: the image has {slide.width} x {slide.height} pixels, the project says "
                f"{expected[0]} x {expected[1]}; is it another file, or another image in the file?"
            )
    except SlideError:
        file.close()
        raise
    return slide


def _move(wrapper: str, builder: Mapping[str, Any]) -> Callable[[Slide], Slide] | None:
    """Translate one wrapper of a server; None if it is unknown."""
    if wrapper == "cropped":
        region = builder["region"]
        box = [int(region[key]) for key in ("x", "y", "width", "height")]
        return lambda slide: slide.cropped(*box)
    if wrapper == "rotated" and builder.get("rotation") in ROTATIONS:
        turns = ROTATIONS.index(builder["rotation"])
        return lambda slide: slide.rotated(turns)
    if wrapper == "flipped" and builder.get("flip") in FLIPS:
        x, y = FLIPS[builder["flip"]]
        return lambda slide: slide.flipped(x=x, y=y)
    return None


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
