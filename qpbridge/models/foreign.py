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
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.adapter import HOVER, FinalMaps
from qpbridge.models.config import Config, config_path, is_finite, plain_value, read_config
from qpbridge.models.definition import load_network
from qpbridge.models.limits import bounded_memory
from qpbridge.models.schema import MAX_MAPS, MAX_SIDE, MPP, Fields

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
    folder: Path,
    metadata: Config,
    *,
    target: str | None = None,
    mpp: float | None = None,
    script: bytes | None = None,
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
    script
        Its TorchScript, if it has any; empty: which must not be run.

    Raises
    ------
    ModelError
        With the reason, if it can't be used.
    """
    source = folder / "configs" / "metadata.json"
    whole = Fields(source, metadata)
    config = Fields(config_path(folder), read_config(folder))
    formats = whole.inner("network_data_format")
    inputs, outputs = _named_fields(formats, "inputs"), _named_fields(formats, "outputs")
    image = next(iter(inputs.values()))
    if image.values.get("num_channels", 3) != 3:
        given = image.values["num_channels"]
        raise ModelError(f"{source}: {image.name} takes {given} channels; RGB has 3.")
    own = whole.inner("qpbridge")
    side = _side(config, image)
    scaling = _scaling(config)
    probe = (
        _guess(side, outputs)
        if script == b""
        else _probe(load_network(folder, script), side, source)
    )
    hover = probe.output == "hover"
    given = next((f.number("mpp", *MPP) for f in (own, whole, image) if "mpp" in f.values), mpp)
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
    margin = (side - probe.side) // 2 if probe.side < side else side // 8
    section = {
        "target": own.values.get("target") or _target(whole, outputs, hover, target),
        "decoder": "hover" if hover else "semantic",
        "mpp": float(given),
        "window": [side, margin],
        "stride": side - 2 * margin,
        "halo": side - 2 * margin,
        "input": scaling,
        "output": probe.output,
        "decode": {},
        "notice": notice,
    }
    names = _hover_channels(probe.maps) if hover else [f"class {i}" for i in range(probe.maps)]
    section["channels"] = [{"name": name} for name in names]
    section["classes"] = (
        _classes(outputs.get(_named(outputs, "type_prediction")), probe.maps - 3, "Type")
        if hover
        else _classes(next(iter(outputs.values())), probe.maps, "Class")
    )
    return {**section, **own.values}


def _named_fields(formats: Fields, name: str) -> dict[str, Fields]:
    section = formats.inner(name)
    if not section.values:
        raise ModelError(f"{section.path}: no {section.name} in it: what the network expects.")
    return {key: section.inner(key) for key in section.values}


def _side(config: Fields, image: Fields) -> int:
    """Side of the windows: the inferer's, else what the metadata says, else 256."""
    inferer = config.inner("inferer") if "inferer" in config else None
    fields, key = image, "spatial_shape"
    shape = image.values.get("spatial_shape", [256, 256])
    if inferer is not None:
        roi = plain_value(config.values, inferer.values.get("roi_size"))
        if roi is not None:
            fields, key, shape = inferer, "roi_size", roi
    sides = [shape] * 2 if isinstance(shape, int) else shape
    expected = f"a square in two dimensions, of 16 to {MAX_SIDE} pixels"
    if not isinstance(sides, list) or len(sides) != 2:
        fields.refuse(key, expected)
    numbers = [int(s) if re.fullmatch(r"\d{1,9}", str(s)) else 256 for s in sides]
    numeric = all(isinstance(s, str) or (is_finite(s) and s == int(s)) for s in sides)
    if not numeric or numbers[0] != numbers[1] or not 16 <= numbers[0] <= MAX_SIDE:
        fields.refuse(key, expected)
    return numbers[0]


def _scaling(config: Fields) -> dict[str, list[float]]:
    """How RGB in 0..255 is scaled: (RGB - subtract) / divide, by channel.

    Bundles take tensors in whatever range their preprocessing leaves; without any that is known,
    0..1 is usual.
    """
    preprocessing = config.inner("preprocessing") if "preprocessing" in config else config
    factor, shift, seen = 1 / 255, 0.0, False
    subtract, divide = [0.0] * 3, [1.0] * 3
    for transform in preprocessing.each("transforms", 200):
        known = {key: plain_value(config.values, v) for key, v in transform.values.items()}
        values = Fields(transform.path, known, transform.name)
        name = str(known.get("_target_", "")).rsplit(".", 1)[-1].removesuffix("d")
        if name == "ScaleIntensityRange":
            a_min, a_max, b_min, b_max = (
                values.number(key, -1e6, 1e6) for key in ("a_min", "a_max", "b_min", "b_max")
            )
            if a_min == a_max:
                values.refuse("a_max", f"another than a_min ({a_min:g})")
            if b_min == b_max:
                values.refuse("b_max", f"another than b_min ({b_min:g})")
            factor = (b_max - b_min) / (a_max - a_min)
            shift, seen = b_min - a_min * factor, True
        elif name == "NormalizeIntensity" and "subtrahend" in values:
            subtract = _three(values, "subtrahend", -1e6)
            divide = _three(values, "divisor", 1e-6) if "divisor" in values else [1.0] * 3
            factor, seen = (factor, True) if seen else (1.0, True)
        elif name in PER_IMAGE:
            raise ModelError(
                f"{config.path}: {name} scales each image by itself, so that tiles would "
                "disagree; state constants (ScaleIntensityRange, or subtrahend and divisor)."
            )
    # ((rgb * factor + shift) - subtract) / divide
    return {
        "subtract": [(s - shift) / factor for s in subtract],
        "divide": [d / factor for d in divide],
    }


def _three(values: Fields, key: str, least: float) -> list[float]:
    given = values.values[key]
    numbers = given if isinstance(given, list) else [given]
    if len(numbers) not in (1, 3) or not all(is_finite(v) and least <= v <= 1e6 for v in numbers):
        values.refuse(key, f"one number or three, from {least:g} to 1e6")
    return [float(v) for v in numbers] * (3 // len(numbers))


class _Probe(NamedTuple):
    """What the network makes of one window: side and number of its maps, and their meaning."""

    side: int
    maps: int
    output: str


def _probe(network: nn.Module, side: int, source: Path) -> _Probe:
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode(), bounded_memory(source, side):
            raw = network(noise)
            output = _output(raw)
            maps = FinalMaps(network, output)(noise)
    except ModelError:
        raise
    except Exception as error:  # whatever a network says of what it doesn't take
        raise ModelError(
            f"{source}: the network can't be run on RGB of {side} x {side} pixels ({error})."
        ) from error
    if maps.ndim != 4 or maps.shape[2] != maps.shape[3] or not 1 <= maps.shape[2] <= side:
        raise ModelError(f"{source}: the network's maps have the shape {tuple(maps.shape)}.")
    return _Probe(int(maps.shape[2]), int(maps.shape[1]), output)


def _guess(side: int, outputs: Mapping[str, Fields]) -> _Probe:
    """Say what a network is likely to make of one window, from what its metadata says."""
    hover = {HOVER[name]: fields for name, fields in outputs.items() if name in HOVER}
    first = next(iter(outputs.values()))
    shape = first.values.get("spatial_shape")
    stated = shape[0] if isinstance(shape, list) and shape and isinstance(shape[0], int) else side
    inner = stated if 0 < stated <= side else side
    if len(hover) > 1:
        types = hover.get("type_prediction")
        return _Probe(inner, 3 + (_stated_maps(types) if types is not None else 0), "hover")
    count = max(1, _stated_maps(first))
    return _Probe(inner, count, "softmax" if count > 1 else "sigmoid")


def _stated_maps(output: Fields) -> int:
    if "num_channels" in output:
        return output.whole("num_channels", 1, MAX_MAPS)
    return len(output.inner("channel_def").values)


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
    metadata: Fields, outputs: Mapping[str, Fields], hover: bool, wanted: str | None
) -> str:
    if hover:
        return "nuclei"
    if wanted is not None:
        return wanted
    told = [metadata.values.get(k, "") for k in ("name", "task", "description")]
    text = json.dumps([told, [o.values.get("channel_def", "") for o in outputs.values()]]).lower()
    named = [t for t, words in TARGET_WORDS.items() if any(word in text for word in words)]
    if len(named) != 1:
        raise ModelError(
            f"{metadata.path}: doesn't say what the network finds; say it with `target`."
        )
    return named[0]


def _named(outputs: Mapping[str, Fields], name: str) -> str:
    return next((key for key in outputs if HOVER.get(key) == name), "")


def _hover_channels(count: int) -> list[str]:
    return ["foreground", "horizontal", "vertical", *(f"type {i}" for i in range(count - 3))]


def _classes(output: Fields | None, count: int, fallback: str) -> list[dict[str, Any]]:
    """Names and colours of the classes of a softmax but for its background; of one map, none."""
    if count < 3 and fallback == "Class":
        return []
    names = output.inner("channel_def") if output is not None else None
    if names is not None and len(names.values) != count:
        names = None
    titles = [
        names.text(str(i), 200) if names is not None and str(i) in names else f"{fallback} {i}"
        for i in range(1, count)
    ]
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
