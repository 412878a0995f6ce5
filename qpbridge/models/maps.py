"""What a network makes of pixels, looked at before anybody believes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qpbridge.errors import InferenceError


def answer(network: nn.Module, pixels: torch.Tensor) -> Any:
    """Return what a network makes of pixels.

    Raises
    ------
    InferenceError
        If it fails for any other reason than too little memory.
    """
    try:
        return network(pixels)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a network says of what it doesn't take
        raise InferenceError(f"it can't be run: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Return what an error says, or its kind, if it says nothing."""
    return str(error) or type(error).__name__


def failed(bundle: Path, size: Sequence[int], error: Exception) -> InferenceError:
    """Say which model's network failed, on pixels of which size (H, W), and why."""
    height, width = size
    return InferenceError(
        f"{bundle}: the network failed on {width} x {height} pixels ({reason(error)})"
    )


def checked_maps(maps: torch.Tensor, rgb: torch.Tensor, count: int) -> torch.Tensor:
    """Return maps (N, count, H, W) of pixels (N, 3, H, W), if that is what they are.

    Raises
    ------
    InferenceError
        If their shape is another, or they hold NaN or infinity: a region without an answer is not
        one without objects.
    """
    check_shape(maps, rgb, count)
    if not bool(torch.isfinite(maps).all()):
        raise InferenceError("it answers NaN or infinity: damaged weights, or no image for it")
    return maps


def check_shape(maps: torch.Tensor, rgb: torch.Tensor, count: int) -> None:
    """Refuse maps that are not (N, count, H, W) for pixels (N, 3, H, W).

    Raises
    ------
    InferenceError
        With both shapes.
    """
    expected = (len(rgb), count, *rgb.shape[2:])
    if tuple(maps.shape) != expected:
        raise InferenceError(
            f"its maps have the shape {tuple(maps.shape)}, where {expected} was expected"
        )
