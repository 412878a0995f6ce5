"""The decoders by name, as a bundle's metadata gives it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.decode.glands import decode_glands
from qpbridge.decode.hover import decode_hover
from qpbridge.decode.instances import Instances
from qpbridge.decode.lines import decode_lines
from qpbridge.decode.nuclei import decode_nuclei
from qpbridge.decode.semantic import decode_semantic
from qpbridge.decode.vessels import decode_vessels
from qpbridge.errors import ModelError

DECODERS: dict[str, Callable[..., Instances]] = {
    "nuclei": decode_nuclei,
    "glands": decode_glands,
    "vessels": decode_vessels,
    "lines": decode_lines,
    "hover": decode_hover,
    "semantic": decode_semantic,
}


def decode(name: str, maps: npt.NDArray[np.float32], **settings: Any) -> Instances:
    """Turn maps (C, H, W) into objects with the decoder called `name`.

    Raises
    ------
    ModelError
        If there is no such decoder, or it has no such settings.
    """
    if name not in DECODERS:
        raise ModelError(f"There is no decoder {name!r}; there are: {', '.join(sorted(DECODERS))}.")
    try:
        inspect.signature(DECODERS[name]).bind(maps, **settings)
    except TypeError as error:
        raise ModelError(f"The decoder {name!r} can't be used so: {error}.") from error
    return DECODERS[name](maps, **settings)
