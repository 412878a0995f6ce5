"""Files that hold several images: which one is the slide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BESIDE = frozenset(
    {"macro", "label", "overview", "thumbnail"}
    | {f"{what} image" for what in ("macro", "label", "overview", "thumbnail")}
    | {"macro mask image"}
)
"""What pictures beside a slide are called, in small letters, as QuPath has it."""

MUCH_SMALLER = 4
"""The first image is not the slide if another has this many times its pixels."""


class FileImage(NamedTuple):
    """One of the images in a file: its name, full resolution, and number of levels."""

    name: str
    width: int
    height: int
    levels: int = 1


def choose_image(images: Sequence[FileImage]) -> int:
    """Choose an image as QuPath does where nobody says which.

    That is the first that is no picture beside the slide, unless it is much smaller than another:
    then the largest.

    Parameters
    ----------
    images
        All of the file, at least one.

    Returns
    -------
    int
        Its index.
    """
    slides = [
        i
        for i, image in enumerate(images)
        if image.levels > 1 or image.name.strip("\0").lower() not in BESIDE
    ] or list(range(len(images)))
    largest = max(slides, key=lambda i: (_pixels(images[i]), -i))
    first = slides[0]
    return first if _pixels(images[first]) * MUCH_SMALLER > _pixels(images[largest]) else largest


def tell_choice(images: Sequence[FileImage], chosen: int) -> str:
    """Say which of several images was taken; empty where there is just one slide in the file."""
    if chosen == 0 and all(image.name.lower() in BESIDE for image in images[1:]):
        return ""
    others = ", ".join(_called(image, i) for i, image in enumerate(images) if i != chosen)
    return (
        f"the file holds {len(images)} images; {_called(images[chosen], chosen)} is taken, "
        f"not {others}"
    )


def _pixels(image: FileImage) -> int:
    return image.width * image.height


def _called(image: FileImage, number: int) -> str:
    name = f" {image.name!r}" if image.name else ""
    return f"image {number}{name} ({image.width} x {image.height} px)"
