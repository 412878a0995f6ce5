"""What a network makes of pixels, looked at before anybody believes it."""

from __future__ import annotations

import torch

from qpbridge.errors import InferenceError


def checked_maps(maps: torch.Tensor, rgb: torch.Tensor, count: int) -> torch.Tensor:
    """Return maps (N, count, H, W) of pixels (N, 3, H, W), if that is what they are.

    Raises
    ------
    InferenceError
        If their shape is another, or they hold NaN or infinity: a region without an answer is not
        one without objects.
    """
    expected = (len(rgb), count, *rgb.shape[2:])
    if tuple(maps.shape) != expected:
        raise InferenceError(
            f"its maps have the shape {tuple(maps.shape)}, where {expected} was expected"
        )
    if not bool(torch.isfinite(maps).all()):
        raise InferenceError("it answers NaN or infinity: damaged weights, or no image for it")
    return maps
