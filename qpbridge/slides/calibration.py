"""Pixel sizes: which one holds, and whether it can be true.

Scanners have square pixels; where a file or a project says otherwise (x and y differ by more than
1 %), measurements use both as they are. A network sees the image on one square grid, so for it the
geometric mean counts: areas keep their size.
"""

from __future__ import annotations

from typing import Any

from qpbridge.checks import number
from qpbridge.errors import PixelSizeError

MIN_MPP, MAX_MPP = 0.01, 20.0
"""µm per pixel that a microscope slide can have."""


def pixel_size(
    image_name: str,
    project_mpp: tuple[float, float] | None,
    slide_mpp: tuple[float, float] | None,
    override: float | None = None,
) -> tuple[float, float]:
    """Decide the pixel size of an image.

    Parameters
    ----------
    image_name
        For the message.
    project_mpp
        µm per pixel (x, y) in the project, which a person may have corrected: before the slide's.
    slide_mpp
        What the file says.
    override
        Given by the user: before all.

    Returns
    -------
    tuple of float
        µm per pixel (x, y).

    Raises
    ------
    PixelSizeError
        If none is known, or the one that holds is impossible.
    RequestError
        If what the user gave is impossible.
    """
    check_mpp("mpp", override)
    if override is not None:
        return override, override
    known = project_mpp or slide_mpp
    if known is None:
        raise PixelSizeError(image_name)
    if not all(MIN_MPP <= value <= MAX_MPP for value in known):
        where = "the project" if project_mpp else "the image file"
        raise PixelSizeError(image_name, known, where, (MIN_MPP, MAX_MPP))
    return known


def check_mpp(field: str, value: Any) -> None:
    """Refuse what is no pixel size of a slide; None, not given, will do.

    Raises
    ------
    RequestError
        Also for NaN, and for a pair.
    """
    if value is not None:
        what = f"µm per pixel, between {MIN_MPP:g} and {MAX_MPP:g} (0.25 at 40x, 0.5 at 20x)"
        number(field, value, what, least=MIN_MPP, most=MAX_MPP)


def downsample_for(mpp: tuple[float, float], target: float) -> float:
    """Return how many pixels of `mpp` (x, y) µm make one of `target` µm, by the geometric mean."""
    return float(target / (mpp[0] * mpp[1]) ** 0.5)
