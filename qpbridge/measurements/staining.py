"""How an image is stained, estimated from its pixels: H&E or H-DAB, and its stain vectors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge import checks
from qpbridge.measurements.color import H_DAB, H_E, optical_density
from qpbridge.objects import FloatArray, ImageType, Stains

Bytes = npt.NDArray[np.uint8]

DARK, LIGHT = 25, 220
"""Grey levels below which a pixel is no tissue, and above which it is glass; as in QuPath."""

STAINED, STRONG = 0.2, 0.4
"""Optical density (length of the vector) from which on a pixel is stained, and strongly so."""

LEAST_STAINED = 0.01
"""Share of the pixels that must be stained for the image to be judged."""

BROWN, NOT_BROWN = 0.03, 0.01
"""Share of the stained pixels that are strong and brown: at least, where there is DAB, and at most
where there is none."""

PINK, NOT_PINK = 0.2, 0.15
"""The same of pink and purple ones, which hold eosin."""

REDDISH = 0.75
"""Density of red by that of green, below which there is eosin; hematoxylin alone has 0.9."""

MOST_DARK = 0.1
"""Share of dark pixels that a section may have, though there be no glass."""

PALEST = 100
"""Grey level that the brightest pixels have at least, in each channel, where brown is DAB."""

FAINTEST, STRONGEST, IGNORED = 0.05, 1.0, 0.01
"""Of stain vectors: the least density of each channel and the largest density of a pixel that
counts, and the share of pixels left out at both ends; QuPath's defaults."""

TINT = 0.85
"""How dark glass is in any channel at least, by its brightest one."""

DIMMEST_GLASS = 180
"""Grey level, in each channel, above which the most frequent colour is taken for that of glass."""


TYPES = {
    "h&e": ImageType.BRIGHTFIELD_H_E,
    "he": ImageType.BRIGHTFIELD_H_E,
    "h-dab": ImageType.BRIGHTFIELD_H_DAB,
    "hdab": ImageType.BRIGHTFIELD_H_DAB,
    "brightfield": ImageType.BRIGHTFIELD_OTHER,
    "fluorescence": ImageType.FLUORESCENCE,
    "other": ImageType.OTHER,
}
"""What users call the types of images."""

SHOWN = {
    ImageType.BRIGHTFIELD_H_E: "Brightfield (H&E)",
    ImageType.BRIGHTFIELD_H_DAB: "Brightfield (H-DAB)",
    ImageType.BRIGHTFIELD_OTHER: "Brightfield (other)",
    ImageType.FLUORESCENCE: "Fluorescence",
    ImageType.OTHER: "Other",
    ImageType.UNSET: "Not set",
}
"""What QuPath calls them."""

ESTIMATE = "estimate"
"""Stands for the type that the pixels tell, if they do."""

PICTURE = 1000
"""Pixels of the longer side of the picture that types are estimated from."""


def as_type(field: str, value: Any) -> ImageType | None:
    """Read the type of an image as users give it; None: it is to be estimated.

    Raises
    ------
    RequestError
        If there is no such type.
    """
    if isinstance(value, ImageType) and value is not ImageType.UNSET:
        return value
    word = value.lower() if isinstance(value, str) else value
    if word == ESTIMATE:
        return None
    names = {kind.value.lower(): kind for kind in TYPES.values()}
    known = {**TYPES, **names}
    return known[checks.choice(field, word, (*known, ESTIMATE))]


class Staining(NamedTuple):
    """What an image seems to be stained with.

    Attributes
    ----------
    image_type
        What QuPath would take it for, or better.
    sure
        Whether the pixels leave no doubt.
    """

    image_type: ImageType
    sure: bool


def estimate_type(picture: Bytes) -> Staining:
    """Estimate the type of an image from a small picture of it.

    QuPath compares the mean colour of what is neither dark nor light with its default stains, and
    takes much H&E in which hematoxylin prevails for H-DAB. That guess is kept where the single
    pixels don't tell: where they do, brown ones tell DAB, pink ones without any brown H&E.

    Parameters
    ----------
    picture
        uint8 (h, w, 3), the whole image, small.

    Returns
    -------
    Staining
        Of dark or unstained pictures ``OTHER``, and not sure.
    """
    pixels = picture.reshape(-1, 3)
    dark, light = (pixels < DARK).all(axis=1), (pixels > LIGHT).all(axis=1)
    rest = pixels[~dark & ~light]
    if dark.sum() > max(light.sum(), MOST_DARK * len(pixels)) or not len(rest):
        return Staining(ImageType.OTHER, False)
    guess = _as_qupath(rest.mean(axis=0))
    white = np.percentile(pixels[~dark], 99, axis=0)
    glass = np.maximum(white, max(1.0, TINT * white.max()))  # where all is tissue, it is its colour
    density = -np.log10(np.maximum(rest, 1) / glass)
    length = np.linalg.norm(density, axis=1)
    stained = length > STAINED
    if stained.sum() < LEAST_STAINED * len(pixels):
        return Staining(guess, False)
    red, green, blue = density[stained].T
    brown = float(((blue > green) & (length[stained] > STRONG)).mean())
    pink = float(((red < REDDISH * green) & (blue < green)).mean())
    if brown >= BROWN and pink <= NOT_PINK and white.min() >= PALEST:
        return Staining(ImageType.BRIGHTFIELD_H_DAB, True)
    if brown <= NOT_BROWN and pink >= PINK:
        return Staining(ImageType.BRIGHTFIELD_H_E, True)
    return Staining(guess, False)


def _as_qupath(mean: FloatArray) -> ImageType:
    """Tell H&E from H-DAB by the mean colour of an image: in H&E eosin is nearest."""
    density = -np.log10(np.maximum(mean, 1) / 255)
    hematoxylin, eosin = (_angle(density, np.array(v)) for v in H_E.vectors)
    dab = _angle(density, np.array(H_DAB.vectors[1]))
    is_h_e = eosin <= dab and eosin <= hematoxylin
    return ImageType.BRIGHTFIELD_H_E if is_h_e else ImageType.BRIGHTFIELD_H_DAB


def _angle(one: FloatArray, other: FloatArray) -> float:
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return math.acos(min(1.0, float(one @ other) / length)) if length else math.pi


def estimate_stains(pixels: Bytes, stains: Stains) -> Stains:
    """Estimate two stain vectors as QuPath's *Estimate stain vectors* does.

    It is Macenko's method (2009) but for the last step: the vectors are those of two pixels, near
    the ends of the fan of colours in the plane of the two principal components.

    Parameters
    ----------
    pixels
        uint8 (h, w, 3), the part of the image that is looked at.
    stains
        Of the image so far, two: they tell the names, and which vector is which.

    Returns
    -------
    Stains
        With the most frequent colour as background, if that is bright, or else the background of
        `stains`.

    Raises
    ------
    ValueError
        If hardly any pixel is stained, or there are not two stains.
    """
    if len(stains.stain_names) != 2:
        raise ValueError("stain vectors can be estimated of two stains only")
    smooth = _smoothed(_smoothed(pixels)).reshape(-1, 3)
    mode = tuple(float(255 - np.bincount(c, minlength=256)[::-1].argmax()) for c in smooth.T)
    bright = min(mode) >= DIMMEST_GLASS
    background = (mode[0], mode[1], mode[2]) if bright else stains.background
    table = optical_density(background).astype(np.float32)
    density = np.stack([lut[v] for lut, v in zip(table, smooth.T, strict=True)])
    counts = (density >= FAINTEST).all(axis=0) & ((density**2).sum(axis=0) <= STRONGEST**2)
    density = density[:, counts].astype(np.float64)
    if density.shape[1] < 2:
        raise ValueError("hardly any pixel is stained")
    _, axes = np.linalg.eigh(np.cov(density, bias=True))
    # An axis has no direction of its own. With the mean colour on the positive side of both the fan
    # does not lie across the angle of 180 degrees.
    axes = axes * np.copysign(1.0, density.mean(axis=1) @ axes)
    second, first = axes[:, 1], axes[:, 2]
    order = np.argsort(np.arctan2(first @ density, second @ density), kind="stable")
    n = len(order)
    ends = (int(IGNORED * n + 0.5), min(n - 1, int((1 - IGNORED) * n + 0.5)))
    one, other = (density[:, order[i]] / np.linalg.norm(density[:, order[i]]) for i in ends)
    if _are_swapped(one, other, stains):
        one, other = other, one
    name = stains.name.removesuffix("default") + "estimated"
    vectors = tuple((float(v[0]), float(v[1]), float(v[2])) for v in (one, other))
    return Stains(
        name if stains.name.endswith("default") else stains.name,
        stains.stain_names,
        vectors,
        background,
    )


def _are_swapped(one: FloatArray, other: FloatArray, stains: Stains) -> bool:
    """Whether two vectors are those of the stains the other way round."""
    if stains.stain_names == H_E.stain_names:  # hematoxylin is the bluer one
        return bool(one[0] < other[0])
    first, second = (np.array(v) for v in stains.vectors)
    straight = min(_angle(one, first), _angle(other, second))
    return min(_angle(one, second), _angle(other, first)) < straight


def _smoothed(pixels: Bytes) -> Bytes:
    """Average 3 x 3 pixels, rounded down, as Java does; those at the border stay."""
    total = np.zeros((max(0, pixels.shape[0] - 2), max(0, pixels.shape[1] - 2), 3), np.uint16)
    for row in range(3):
        for column in range(3):
            total += pixels[row : row + total.shape[0], column : column + total.shape[1]]
    out = pixels.copy()
    out[1:-1, 1:-1] = total // 9
    return out
