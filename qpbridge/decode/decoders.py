"""The decoders by name, as a bundle's metadata gives it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.decode.instances import Instances
from qpbridge.errors import ModelError

Decoder = Callable[..., Instances]


def _load(name: str) -> Decoder:
    decoder: Decoder = vars(importlib.import_module(f"qpbridge.decode.{name}"))[f"decode_{name}"]
    return decoder


DECODERS: dict[str, Callable[[], Decoder]] = {
    name: partial(_load, name)
    for name in ("nuclei", "glands", "vessels", "lines", "hover", "semantic")
}
"""What gives each decoder: only the one that is used is imported, most need scikit-image."""


def decode(name: str, maps: npt.NDArray[np.float32], **settings: Any) -> Instances:
    """Turn maps (C, H, W) into objects with the decoder called `name`.

    Raises
    ------
    ModelError
        If there is no such decoder, or it has no such settings.
    """
    if name not in DECODERS:
        raise ModelError(f"There is no decoder {name!r}; there are: {', '.join(sorted(DECODERS))}.")
    decoder = DECODERS[name]()
    try:
        inspect.signature(decoder).bind(maps, **settings)
    except TypeError as error:
        raise ModelError(f"The decoder {name!r} can't be used so: {error}.") from error
    return decoder(maps, **settings)


def foreground(name: str, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the foreground probability (H, W) that the decoder called `name` takes from maps."""
    inverse = name == "semantic" and len(maps) > 1  # there the first one is of the background
    level: npt.NDArray[np.float32] = 1 - maps[0] if inverse else maps[0]
    return level
