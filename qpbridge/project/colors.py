"""Colours of classes: QuPath's packed integers, and the colour of a class that was given none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

Rgb = tuple[int, int, int]

STANDARD: dict[str, Rgb] = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    "Other": (255, 200, 0),
    "Region*": (0, 0, 180),
    "Ignore*": (180, 180, 180),
    "Image": (128, 128, 128),
}
"""The classes that QuPath gives a fixed colour."""

# Name: (colour below Tumor, brightness relative to the parent below any other class).
_INTENSITY: dict[str, tuple[Rgb, float]] = {
    "Positive": ((200, 50, 50), 0.75),
    "Negative": ((90, 90, 180), 1.25),
    "1+": ((255, 215, 0), 0.9),
    "2+": ((225, 150, 50), 0.6),
    "3+": ((200, 50, 50), 0.4),
}

DEFAULT_CLASSES = (
    "Tumor",
    "Stroma",
    "Immune cells",
    "Necrosis",
    "Other",
    "Region*",
    "Ignore*",
    "Positive",
    "Negative",
)
"""The classes that a new QuPath project starts with, in order."""


def default_color(names: Sequence[str]) -> Rgb:
    """Return the colour that QuPath (0.4 and later) gives a class without one.

    Parameters
    ----------
    names
        From the most general to the most specific, as in `PathClass.names`.
    """
    *parents, name = names
    if not parents and name in STANDARD:
        return STANDARD[name]
    if name in _INTENSITY:
        below_tumor, factor = _INTENSITY[name]
        if not parents:
            return _scaled(below_tumor, 1.25)
        if parents == ["Tumor"]:
            return below_tumor
        return _scaled(default_color(parents), factor)
    numbers = _java_random("\n".join(names))
    while True:
        color = next(numbers), next(numbers), next(numbers)
        if max(color) >= 40:
            return color


def pack_argb(color: Rgb) -> int:
    """Pack into the signed 32-bit integer 0xAARRGGBB of QuPath's JSON, opaque."""
    r, g, b = color
    return (0xFF << 24 | r << 16 | g << 8 | b) - (1 << 32)


def unpack_argb(packed: int) -> Rgb:
    """Take red, green, blue (0 to 255) out of a packed integer, signed or not."""
    return packed >> 16 & 255, packed >> 8 & 255, packed & 255


def _scaled(color: Rgb, factor: float) -> Rgb:
    r, g, b = (min(int(value * factor), 255) for value in color)
    return r, g, b


def _java_random(text: str) -> Iterator[int]:
    """Draw ``nextInt(256)`` of a java.util.Random seeded with the hash code of a String."""
    utf16 = text.encode("utf-16-be", "surrogatepass")
    seed = 0
    for i in range(0, len(utf16), 2):
        seed = (seed * 31 + int.from_bytes(utf16[i : i + 2], "big")) & 0xFFFFFFFF
    if seed >= 1 << 31:
        seed -= 1 << 32
    mask = (1 << 48) - 1
    state = (seed ^ 0x5DEECE66D) & mask
    while True:
        state = (state * 0x5DEECE66D + 0xB) & mask
        yield state >> 40
