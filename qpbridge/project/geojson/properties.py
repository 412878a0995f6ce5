"""The values in GeoJSON features, in the forms of all QuPath versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.ids import parse_id
from qpbridge.objects import PathClass
from qpbridge.project.colors import Rgb, unpack_argb
from qpbridge.project.json_text import as_text

MAX_CLASS_NAMES = 100
"""Parts that the name of a class may have: each is a class below another to QuPath."""

_NO_NUMBER = (TypeError, ValueError, OverflowError)
"""What `int` says of it."""

_HALF = re.compile("[\ud800-\udfff]")


def read_id(text: Any) -> bytes | None:
    """Read a UUID; None where it is something else, or nothing but zeros."""
    if type(text) is not str or len(text) != 36:
        return None
    identity = parse_id(text)
    return identity if identity is not None and any(identity) else None


def whole_text(text: str) -> tuple[str, bool]:
    """Replace half a character, which JSON can escape and no text in a file can be, by U+FFFD.

    Returns
    -------
    text, mended
        And whether there was one.
    """
    if text.isascii() or not _HALF.search(text):
        return text, False
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", text), True


def whole_texts(texts: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Do the same with the keys and values of a map; of keys that become alike the last stays."""
    keys = {key: whole_text(key) for key in texts}
    values = {
        key: whole_text(value) if isinstance(value, str) else (value, False)
        for key, value in texts.items()
    }
    mended = any(so for _, so in (*keys.values(), *values.values()))
    return {keys[key][0]: values[key][0] for key in texts}, mended


def short_id(identity: Any) -> str | None:
    """Return an id as it is in the file, whatever it is, for messages."""
    return identity[:80] if isinstance(identity, str) else None


def read_plane(plane: Any) -> tuple[int, int, int] | None:
    """Read c, z and t; None where there is no plane.

    Raises
    ------
    FormatError
        If no image has such a plane.
    """
    if not isinstance(plane, dict):
        return None
    try:
        c, z, t = int(plane.get("c", -1)), int(plane.get("z", 0)), int(plane.get("t", 0))
    except _NO_NUMBER:
        raise FormatError(f"a plane that is no number: {_shown(plane)}") from None
    if not all(-1 <= index < 2**31 for index in (c, z, t)):
        raise FormatError(f"a plane that no image has: {_shown(plane)}")
    return c, z, t


def read_class(value: Any) -> PathClass | None:
    """Read a classification in any of its forms; nested parents come before the name.

    Raises
    ------
    FormatError
        If it has no name, or far too many, or is something else altogether.
    """
    if not value or value == "Unclassified":
        return None
    if isinstance(value, str):
        full = PathClass.parse(value).names
        color = None
    elif not isinstance(value, dict):
        raise FormatError(f"a broken class, neither text nor object: {_shown(value)}")
    else:
        names = value.get("names") or value.get("name")
        if not names:
            return None
        color = read_color(value.get("color", value.get("colorRGB")))
        parts = names if isinstance(names, list) else str(names).split(":")
        above = read_class(value.get("parentClass"))
        full = (*(above.names if above else ()), *(str(part).strip() for part in parts))
        if not all(full):
            raise FormatError(f"a class without a name: {names!r}")
    if len(full) > MAX_CLASS_NAMES:
        raise FormatError(f"a class of {len(full):,} names below each other")
    return PathClass(full, color)


def read_color(value: Any) -> Rgb | None:
    """Read a colour, as one number or three or four; None where it is something else.

    Raises
    ------
    FormatError
        If its parts are no numbers, or outside of 0 to 255.
    """
    if isinstance(value, int):
        return unpack_argb(value)
    if isinstance(value, list) and len(value) in (3, 4):
        try:
            r, g, b = (int(v) for v in value[:3])
        except _NO_NUMBER:
            raise FormatError(f"a colour that is no number: {_shown(value)}") from None
        if not all(0 <= v <= 255 for v in (r, g, b)):
            raise FormatError(f"a colour outside of 0 to 255: {_shown(value)}")
        return r, g, b
    return None


def read_measurements(measurements: Any) -> dict[str, Any]:
    """Read measurements, a map or (before QuPath 0.4) a list, as a map.

    Raises
    ------
    FormatError
        If it is neither, or what is in the list has no name.
    """
    if not measurements:
        return {}
    if isinstance(measurements, list):
        for item in measurements:
            if not isinstance(item, dict) or "name" not in item:
                raise FormatError(f"a broken measurement, one without a name: {_shown(item)}")
        return {as_text(item["name"]): item.get("value") for item in measurements}
    if not isinstance(measurements, dict):
        raise FormatError(f"measurements that are no object: {_shown(measurements)}")
    return measurements


def _shown(value: Any) -> str:
    """Show a value in a message, in part if it is long."""
    return repr(value)[:40]


def as_numbers(values: list[list[Any]]) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
    """Turn measurements of objects (n, k) into numbers; where some are none, say what is wrong.

    Returns
    -------
    numbers, faults
        float64 (n, k), NaN where there is a fault; and by row, what it is.
    """
    # NumPy reads "NaN" and "Infinity" too, and None as NaN.
    try:
        return np.array(values, np.float64).reshape(len(values), len(values[0])), {}
    except _NO_NUMBER:
        numbers = np.full((len(values), len(values[0])), np.nan)
        faults = {}
        for i, row in enumerate(values):
            try:
                numbers[i] = np.array(row, np.float64).reshape(len(row))
            except _NO_NUMBER as error:
                faults[i] = f"has a measurement that is no number ({str(error)[:100]})"
        return numbers, faults
