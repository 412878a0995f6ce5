"""What must hold for a bundle's metadata.json and inference.json, checked before anything is used.

Nothing here needs torch. A wrong value is a `ModelError` that names file, field and value.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from qpbridge.errors import ModelError
from qpbridge.models.config import Config, is_finite
from qpbridge.objects import ImageType

TARGETS = ("nuclei", "glands", "vessels")
OUTPUTS = ("hover", "probability", "sigmoid", "softmax")

MPP = (0.01, 20.0)
"""µm per pixel that a network can expect, as of slides."""

MAX_SIDE = 4096
"""Largest window, stride and halo, in pixels."""

MAX_MAPS = 256


class Decoder(NamedTuple):
    """What a decoder (`qpbridge.decode`) takes.

    Attributes
    ----------
    maps
        How many, in words.
    takes
        Whether it takes so many.
    settings
        Names, and the least and largest value of each.
    """

    maps: str
    takes: Callable[[int], bool]
    settings: Mapping[str, tuple[float, float]]


_SHARE, _AREA, _LENGTH = (0.0, 1.0), (0.0, 1e9), (0.0, 100.0)
_COMMON = {"threshold": _SHARE, "min_area_um2": _AREA, "min_probability": _SHARE}
_AREAS = {
    **_COMMON,
    "core_threshold": (-1.0, 1.0),
    "opening_um": _LENGTH,
    "closing_um": _LENGTH,
    "min_core_um2": _AREA,
    "min_lumen_um2": _AREA,
}
DECODERS = {
    "nuclei": Decoder(
        "four maps",
        lambda n: n == 4,
        {**_COMMON, "vote_sigma_um": (0.05, 100.0), "spacing_um": _LENGTH, "min_votes": (0.0, 1e6)},
    ),
    "glands": Decoder("three maps", lambda n: n == 3, _AREAS),
    "vessels": Decoder("three maps", lambda n: n == 3, _AREAS),
    "lines": Decoder("one map", lambda n: n == 1, _COMMON),
    "hover": Decoder(
        "three maps, or five and more",
        lambda n: n > 2 and n != 4,
        {"threshold": _SHARE, "edge": (0.0, 100.0), "min_core_um2": _AREA, "min_area_um2": _AREA},
    ),
    "semantic": Decoder(
        "one map or more", lambda n: n > 0, {"threshold": _SHARE, "min_area_um2": _AREA}
    ),
}

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


class Fields:
    """Takes values out of a mapping of a file, each of the type and in the range that it must have.

    Parameters
    ----------
    path
        The file, for messages.
    values
        The mapping.
    name
        Its name within the file; empty: all of it.
    """

    def __init__(self, path: Path, values: Any, name: str = "") -> None:
        self.path, self.name = path, name
        if not isinstance(values, Mapping):
            raise ModelError(f"{path}: {name} is {_short.repr(values)}; expected a mapping.")
        self.values: Config = values

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Say that a value is not what was expected."""
        field = f"{self.name}.{key}" if self.name else key
        if key not in self.values:
            raise ModelError(f"{self.path}: {field} is missing; expected {expected}.")
        given = _short.repr(self.values[key])
        raise ModelError(f"{self.path}: {field} is {given}; expected {expected}.")

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def check(self, key: str, expected: str, holds: Callable[[Any], bool]) -> Any:
        """Take a value for which something holds."""
        value = self.values.get(key)
        if not holds(value):
            self.refuse(key, expected)
        return value

    def inner(self, key: str) -> Fields:
        """Take a mapping; an empty one if there is none."""
        field = f"{self.name}.{key}" if self.name else key
        return Fields(self.path, self.values.get(key, {}), field)

    def each(self, key: str, most: int) -> list[Fields]:
        """Take a list of mappings; an empty one if there is none."""
        items = self.values.get(key, [])
        if not isinstance(items, list) or len(items) > most:
            self.refuse(key, f"a list of at most {most} mappings")
        field = f"{self.name}.{key}" if self.name else key
        return [Fields(self.path, item, f"{field}[{i}]") for i, item in enumerate(items)]

    def text(self, key: str, most: int = 10_000) -> str:
        """Take a text."""
        expected = f"a text of 1 to {most} characters"
        text: str = self.check(
            key, expected, lambda v: isinstance(v, str) and len(v.strip()) > 0 and len(v) <= most
        )
        return text

    def number(self, key: str, low: float, high: float, *, above: float = -math.inf) -> float:
        """Take a number from `low` to `high`, and larger than `above`."""
        least = f"above {above:g}" if above >= low else f"{low:g}"
        value: float = self.check(
            key,
            f"a number from {least} to {high:g}",
            lambda v: is_finite(v) and low <= v <= high and v > above,
        )
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """Take a whole number from `low` to `high`."""
        value: int = self.check(
            key, f"a whole number from {low} to {high}", lambda v: _is_whole(v, low, high)
        )
        return value

    def choice(self, key: str, known: Collection[Any]) -> Any:
        """Take one of some values."""
        expected = " or ".join(map(repr, known))
        return self.check(
            key, expected, lambda v: isinstance(v, str | int) and v in known and v is not True
        )

    def flag(self, key: str) -> None:
        """Check that a value is true or false."""
        self.check(key, "true or false", lambda v: isinstance(v, bool))


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def check_metadata(metadata: Config, path: Path) -> None:
    """Check all of a bundle's metadata that is read, its section ``qpbridge`` among it.

    Raises
    ------
    ModelError
        With the first value that is wrong.
    """
    whole = Fields(path, metadata)
    whole.text("version", 100)
    for key in ("license", "name", "task", "description"):
        if key in whole:
            whole.text(key, 100_000)
    check_section(whole.inner("qpbridge"))


def check_section(own: Fields) -> None:
    """Check the section ``qpbridge``, of the bundle or worked out for it."""
    target = own.choice("target", TARGETS)
    own.number("mpp", *MPP)
    stride = own.whole("stride", 1, MAX_SIDE)
    own.whole("halo", 0, MAX_SIDE)
    if "window" in own.values:
        _check_window(own, stride)
    for key, known in (("turns", (1, 2, 4)), ("image_type", [kind.value for kind in ImageType])):
        if key in own.values:
            own.choice(key, known)
    if "nucleus_um2" in own.values:
        own.number("nucleus_um2", 0.1, 100_000)
    for key in ("nominal_mpp", "commercial_use"):
        if key in own.values:
            own.flag(key)
    for key in ("notice", "limits"):
        own.check(key, "a text", lambda v: v is None or isinstance(v, str))
    channels = own.each("channels", MAX_MAPS)
    for channel in channels:
        channel.text("name", 100)
        if "scale" in channel.values:
            channel.number("scale", -1e6, 1e6)
        if "activation" in channel.values:
            channel.choice("activation", ("sigmoid",))
    _check_decoder(own, str(own.values.get("decoder", target)), len(channels))
    for one in own.each("classes", MAX_MAPS):
        one.text("name", 200)
        one.check("color", "three whole numbers from 0 to 255", _is_color)
    _check_story(own)


def _check_window(own: Fields, stride: int) -> None:
    def fits(value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) == 2
            and all(_is_whole(v, 0, MAX_SIDE) for v in value)
            and value[0] - 2 * value[1] == stride
        )

    own.check("window", f"[side, margin] with side - 2 margin = stride ({stride})", fits)
    own.choice("output", OUTPUTS)
    scaling = own.inner("input")
    for key in ("subtract", "divide"):
        scaling.check(key, "three numbers" + ", not 0" * (key == "divide"), _are_three(key))


def _are_three(key: str) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list)
        and len(value) == 3
        and all(is_finite(v) and (v != 0 or key == "subtract") for v in value)
    )


def _check_decoder(own: Fields, name: str, maps: int) -> None:
    if name not in DECODERS:
        own.refuse("decoder", " or ".join(map(repr, DECODERS)))
    decoder = DECODERS[name]
    if not decoder.takes(maps):
        own.refuse("channels", f"{decoder.maps}, of which the decoder {name!r} makes objects")
    settings = own.inner("decode")
    for key in settings.values:
        if key not in decoder.settings:
            settings.refuse(key, f"no such value, but {', '.join(decoder.settings)}")
        settings.number(key, *decoder.settings[key])


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(_is_whole(v, 0, 255) for v in value)


def _check_story(own: Fields) -> None:
    """Check what is only told: scores, data, training."""
    scores = own.inner("scores")
    for title in scores.values:
        each = scores.inner(title)
        for key in each.values:
            each.check(key, "a number", lambda v: v is None or isinstance(v, int | float))
    own.inner("training")
    data = own.inner("data")
    for kind in data.values:
        if isinstance(data.values[kind], list):
            for source in data.each(kind, 10_000):
                for key in ("title", "folder", "licence", "citation"):
                    source.check(key, "a text", lambda v: v is None or isinstance(v, str))
