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
    from qpbridge.project.interface import Server


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
    moves = _moves(path, server)
    file = open_slide(path, crop_bounds=_crops(server), series=_series(path, server))
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


def check_followed(path: Path, server: Server) -> None:
    """Find out without opening the file whether its server can be followed.

    Raises
    ------
    SlideError
        If the server does something that is not supported.
    """
    _moves(path, server)
    _series(path, server)


def _moves(path: Path, server: Server) -> list[Callable[[Slide], Slide]]:
    """Translate all that is wrapped around a file's own server, outermost first."""
    moves = []
    builder: Any = server.builder
    for wrapper in server.wrappers:
        move = _move(wrapper, builder)
        if move is None:
            detail = {"rotated": "rotation", "flipped": "flip", "cropped": "region"}.get(wrapper)
            shown = f" ({detail}: {builder.get(detail)!r:.80})" if detail else ""
            raise SlideError(
                f"{path}: QuPath shows this image through a server that is {wrapper!r}{shown}, "
                "which is not supported; export it from QuPath as OME-TIFF and add that to the "
                "project"
            )
        moves.append(move)
        builder = builder.get("builder")
    return moves


def _move(wrapper: str, builder: Mapping[str, Any]) -> Callable[[Slide], Slide] | None:
    """Translate one wrapper of a server; None if it is unknown, or wraps nothing."""
    if not isinstance(builder.get("builder"), Mapping):
        return None
    if wrapper == "cropped":
        box = _box(builder.get("region"))
        return None if box is None else lambda slide: slide.cropped(*box)
    if wrapper == "rotated" and builder.get("rotation") in ROTATIONS:
        turns = ROTATIONS.index(builder["rotation"])
        return lambda slide: slide.rotated(turns)
    if wrapper == "flipped" and builder.get("flip") in tuple(FLIPS):
        x, y = FLIPS[builder["flip"]]
        return lambda slide: slide.flipped(x=x, y=y)
    if wrapper == "pyramidize":  # adds coarse levels, which are read from the fine one as well
        return lambda slide: slide
    return None


def _box(region: Any) -> tuple[int, int, int, int] | None:
    """Read a region of the first plane; None if it is none."""
    if not isinstance(region, Mapping):
        return None
    box = [_whole(region.get(key)) for key in ("x", "y", "width", "height")]
    x, y, width, height = box
    if x is None or y is None or not width or not height or width < 0 or height < 0:
        return None
    on_first_plane = all(_whole(region.get(key, 0)) == 0 for key in ("z", "t"))
    return (x, y, width, height) if on_first_plane else None


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


def _crops(server: Server) -> bool:
    """Whether QuPath crops to the scanned part: OpenSlide does, unless told not to."""
    by_openslide = not server.provider or "openslide" in server.provider.lower()
    return by_openslide and "--no-crop" not in server.args


def _series(path: Path, server: Server) -> int | None:
    """Read which image of the file is meant, from the arguments of Bio-Formats' server.

    Where these don't say, it is the one that Bio-Formats' server chooses; others know just one.
    """
    # A value follows its option, or stands behind '='.
    words = [
        word for arg in server.args for word in (arg.split("=", 1) if arg[:1] == "-" else [arg])
    ]
    values = dict(zip(words, [*words[1:], ""], strict=False))
    if "--dims" in values:
        raise SlideError(f"{path}: a server with --dims is not supported; remove it in QuPath")
    series = values.get("--series", values.get("-s"))
    if series is None:
        if "--name" in values or "-n" in values:
            raise SlideError(
                f"{path}: the project names the image in the file by --name, which is not "
                "supported; add the image to the project again in QuPath"
            )
        by_bioformats = not server.provider or "bioformats" in server.provider.lower()
        return None if by_bioformats else 0
    if not series.isdecimal():
        raise SlideError(f"{path}: --series {series!r} in the project is no number")
    return int(series)
