"""What to train on, and what to say of it: read from a TOML file beside the model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpbridge.errors import QpbridgeError
from qpbridge.evaluate.labelled import DataSource

NETWORK: Mapping[str, Any] = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 4,
    "channels": [24, 32, 64, 128, 192],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
    "norm": ["BATCH", {}],
    "act": ["RELU", {"inplace": True}],
    "bias": False,
}
SOURCE_KEYS = ("folder", "mpp", "pattern", "weight")


@dataclass(frozen=True)
class Recipe:
    """Everything a training run is made of, except time, seed and place.

    Attributes
    ----------
    mpp
        Pixel size that the network works at, in µm.
    train, validation
        Sources; no image of the second is ever trained on.
    network
        MONAI definition of the network.
    decode
        Keyword arguments of the decoder, for the bundle.
    about
        Keys that are copied into the bundle's metadata (description, license, authors, ...).
    """

    mpp: float
    train: tuple[DataSource, ...]
    validation: tuple[DataSource, ...]
    network: Mapping[str, Any] = field(default_factory=lambda: NETWORK)
    decode: Mapping[str, float] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)


def read_recipe(path: Path, root: Path) -> Recipe:
    """Read a recipe; its folders are relative to `root`.

    Raises
    ------
    QpbridgeError
        If it isn't TOML, or something that it needs is missing.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return Recipe(
            mpp=float(content["mpp"]),
            train=tuple(_source(entry, root) for entry in content["train"]),
            validation=tuple(_source(entry, root) for entry in content.get("validation", ())),
            network=content.get("network", NETWORK),
            decode=content.get("decode", {}),
            about=content.get("about", {}),
        )
    except (OSError, ValueError, TypeError) as error:
        raise QpbridgeError(f"{path}: can't be read as a recipe ({error}).") from error
    except KeyError as error:
        raise QpbridgeError(f"{path}: the recipe lacks {error}.") from error


def _source(entry: Mapping[str, Any], root: Path) -> DataSource:
    return DataSource(
        folder=root / entry["folder"],
        mpp=float(entry["mpp"]) if "mpp" in entry else None,
        pattern=entry.get("pattern", "*"),
        weight=float(entry.get("weight", 1.0)),
        about=tuple((str(k), str(v)) for k, v in entry.items() if k not in SOURCE_KEYS),
    )
