"""MONAI bundles that were not made for qpbridge: what they expect, and what their maps mean.

Everything is read from ``configs/metadata.json`` and ``configs/inference.json`` (or ``.yaml``), and
from what the network makes of one picture of noise.
"""

from __future__ import annotations

import colorsys
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from qpbridge.errors import ModelError
from qpbridge.models.adapter import HOVER, FinalMaps
from qpbridge.models.config import Config, plain_value, read_config
from qpbridge.models.definition import load_network

HOVER_MPP = 0.25
TARGET_WORDS = {"nuclei": ("nucle", "cell"), "glands": ("gland",), "vessels": ("vessel",)}
CLASS_COLORS = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    "Other": (255, 200, 0),
}
"""QuPath's own classes."""

PER_IMAGE = ("ScaleIntensity", "NormalizeIntensity", "ScaleIntensityRangePercentiles")


def describe(
    folder: Path, metadata: Config, *, target: str | None = None, mpp: float | None = None
) -> dict[str, Any]:
    """Work out the section ``qpbridge`` that a bundle lacks.

    Parameters
    ----------
    folder
        The bundle.
    metadata
        Its metadata.
    target
        What the user wants it for, if it doesn't say.
    mpp
        µm per pixel that it expects, if it doesn't say.

    Raises
    ------
    ModelError
        With the reason, if it can't be used.
    """
    source = folder / "configs" / "metadata.json"
    config = read_config(folder)
    inputs = _section(metadata, source, "inputs")
    outputs = _section(metadata, source, "outputs")
    image = next(iter(inputs.values()))
    if int(image.get("num_channels", 3)) != 3:
        raise ModelError(f"{source}: takes {image['num_channels']} channels; RGB has 3.")
    side = _side(config, image, source)
    probe = _probe(folder, side, source)
    hover = probe.output == "hover"
    own = dict(metadata.get("qpbridge", {}))
    given = own.get("mpp", metadata.get("mpp", image.get("mpp", mpp)))
    notice = ""
    if given is None and hover:
        given = HOVER_MPP
        notice = (
            f"doesn't say its µm per pixel: {HOVER_MPP:g} is assumed (`model_mpp` says another)"
        )
    if given is None:
        raise ModelError(
            f"{source}: doesn't say how many µm per pixel the network expects; say it with "
            "`model_mpp` (0.25 at 40x, 0.5 at 20x)."
        )
    subtract, divide = _scaling(config, folder)
    margin = (side - probe.side) // 2 if probe.side < side else side // 8
    section = {
        "target": own.get("target") or _target(metadata, outputs, hover, target, source),
        "decoder": "hover" if hover else "semantic",
        "mpp": float(given),
        "window": [side, margin],
        "stride": side - 2 * margin,
        "halo": side - 2 * margin,
        "input": {"subtract": subtract, "divide": divide},
        "output": probe.output,
        "decode": {},
        "notice": notice,
    }
    names = _hover_channels(probe.maps) if hover else [f"class {i}" for i in range(probe.maps)]
    section["channels"] = [{"name": name} for name in names]
    section["classes"] = (
        _classes(outputs.get(_named(outputs, "type_prediction"), {}), probe.maps - 3, "Type")
        if hover
        else _classes(next(iter(outputs.values())), probe.maps, "Class")
    )
    return {**section, **own}


def _section(metadata: Config, source: Path, name: str) -> Config:
    section = metadata.get("network_data_format", {}).get(name)
    if not isinstance(section, dict) or not section:
        raise ModelError(
            f"{source}: no network_data_format.{name} in it: what the network expects."
        )
    return section


def _side(config: Config, image: Config, source: Path) -> int:
    """Side of the windows: the inferer's, else what the metadata says, else 256."""
    roi = plain_value(config, config.get("inferer", {}).get("roi_size"))
    shape = roi if roi is not None else image.get("spatial_shape", [256, 256])
    sides = [shape] * 2 if isinstance(shape, int) else list(shape)
    numbers = [int(side) if re.fullmatch(r"\d+", str(side)) else 256 for side in sides]
    if len(numbers) != 2 or numbers[0] != numbers[1] or not 16 <= numbers[0] <= 4096:
        raise ModelError(
            f"{source}: takes images of {sides}; a square in two dimensions was expected."
        )
    return numbers[0]


def _scaling(config: Config, folder: Path) -> tuple[list[float], list[float]]:
    """How RGB in 0..255 is scaled: (RGB - subtract) / divide, by channel.

    Bundles take tensors in whatever range their preprocessing leaves; without any that is known,
    0..1 is usual.
    """
    transforms = config.get("preprocessing", {}).get("transforms", [])
    factor, shift, seen = 1 / 255, 0.0, False
    subtract, divide = [0.0] * 3, [1.0] * 3
    for transform in transforms:
        name = str(transform.get("_target_", "")).rsplit(".", 1)[-1].removesuffix("d")
        if name == "ScaleIntensityRange":
            a_min, a_max, b_min, b_max = (
                float(plain_value(config, transform.get(key)) or 0)
                for key in ("a_min", "a_max", "b_min", "b_max")
            )
            factor = (b_max - b_min) / (a_max - a_min)
            shift, seen = b_min - a_min * factor, True
        elif name == "NormalizeIntensity" and transform.get("subtrahend") is not None:
            subtract = _three(plain_value(config, transform["subtrahend"]))
            divide = _three(plain_value(config, transform.get("divisor", 1.0)))
            factor, seen = (factor, True) if seen else (1.0, True)
        elif name in PER_IMAGE:
            raise ModelError(
                f"{folder / 'configs'}: {name} scales each image by itself, so that tiles would "
                "disagree; state constants (ScaleIntensityRange, or subtrahend and divisor)."
            )
    # ((rgb * factor + shift) - subtract) / divide
    return (
        [(s - shift) / factor for s in subtract],
        [d / factor for d in divide],
    )


def _three(value: Any) -> list[float]:
    values = [float(v) for v in value] if isinstance(value, list) else [float(value)] * 3
    return values * 3 if len(values) == 1 else values


class _Probe(NamedTuple):
    """What the network makes of one window: side and number of its maps, and their meaning."""

    side: int
    maps: int
    output: str


def _probe(folder: Path, side: int, source: Path) -> _Probe:
    network = load_network(folder)
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            raw = network(noise)
            output = _output(raw)
            maps = FinalMaps(network, output)(noise)
    except (RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{source}: the network can't be run on RGB of {side} x {side} pixels ({error})."
        ) from error
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3]:
        raise ModelError(f"{source}: the network's maps have the shape {tuple(maps.shape)}.")
    return _Probe(int(maps.shape[2]), int(maps.shape[1]), output)


def _output(raw: Any) -> str:
    """Tell what the network returns: the maps of a HoVer-Net, probabilities, or logits."""
    if isinstance(raw, Mapping):
        return "hover"
    first = raw[0] if isinstance(raw, list | tuple) else raw
    share = first if first.shape[1] == 1 else first.sum(1)
    within = bool((first >= 0).all() and (first <= 1).all())
    if within and (first.shape[1] == 1 or bool(torch.allclose(share, torch.ones(1), atol=1e-3))):
        return "probability"
    return "sigmoid" if first.shape[1] == 1 else "softmax"


def _target(
    metadata: Config, outputs: Config, hover: bool, wanted: str | None, source: Path
) -> str:
    if hover:
        return "nuclei"
    if wanted is not None:
        return wanted
    text = json.dumps([metadata.get(k, "") for k in ("name", "task", "description")])
    text = (text + json.dumps([o.get("channel_def", "") for o in outputs.values()])).lower()
    named = [t for t, words in TARGET_WORDS.items() if any(word in text for word in words)]
    if len(named) != 1:
        raise ModelError(f"{source}: doesn't say what the network finds; say it with `target`.")
    return named[0]


def _named(outputs: Config, name: str) -> str:
    return next((key for key in outputs if HOVER.get(key) == name), "")


def _hover_channels(count: int) -> list[str]:
    return ["foreground", "horizontal", "vertical", *(f"type {i}" for i in range(count - 3))]


def _classes(output: Config, count: int, fallback: str) -> list[dict[str, Any]]:
    """Names and colours of the classes of a softmax but for its background; of one map, none."""
    if count < 3 and fallback == "Class":
        return []
    names = output.get("channel_def", {})
    if len(names) != count:
        names = {}
    titles = [str(names.get(str(i), f"{fallback} {i}")) for i in range(1, count)]
    return [
        {"name": name, "color": list(color)}
        for name, color in zip(map(_title, titles), _colors(titles), strict=True)
    ]


def _title(name: str) -> str:
    plain = name.replace("_", " ").strip()
    return plain[:1].upper() + plain[1:]


def _colors(names: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """QuPath's own colours for its own classes, else hues that are far apart."""
    for index, name in enumerate(names):
        hue = (0.08 + index * (math.sqrt(5) - 1) / 2) % 1
        red, green, blue = (round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.75, 0.8))
        yield CLASS_COLORS.get(_title(name), (red, green, blue))
