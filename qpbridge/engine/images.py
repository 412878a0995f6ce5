"""From an image entry of a project to its pixels."""

from __future__ import annotations

from qpbridge.errors import SlideError
from qpbridge.project.model import ImageEntry
from qpbridge.slides.geometry import require_plain
from qpbridge.slides.slide import Slide, open_slide


def open_image(entry: ImageEntry) -> Slide:
    """Open the image of an entry, in the coordinates that QuPath uses for it.

    Raises
    ------
    SlideError
        If the file is missing or unreadable, if QuPath sees the image through a transformation
        that qpbridge doesn't know, or if the file is not the one that the project was made with.
    """
    server = entry.server
    require_plain(server)
    args = dict(zip(server.args, server.args[1:], strict=False))
    slide = open_slide(
        entry.image_path(),
        crop_bounds="--no-crop" not in server.args,
        series=int(args.get("--series", 0)),
    )
    expected = (server.width, server.height)
    if None not in expected and expected != (slide.width, slide.height):
        slide.close()
        raise SlideError(
            f"{slide.path}: the image is {slide.width} x {slide.height} px, but the project says "
            f"{server.width} x {server.height} for {entry.name!r}; is it another file of that name?"
        )
    return slide
