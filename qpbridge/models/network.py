"""A bundle's network as the engine runs it: pixels in, final maps out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from qpbridge.errors import InferenceError, ModelError
from qpbridge.models.maps import answer, checked_maps

OFFSETS = ("offset_x", "offset_y")
"""Names of the maps that together are a direction in the image."""


class MapNetwork(nn.Module):
    """RGB in 0..255 to final maps.

    Parameters
    ----------
    network
        Takes ``1 - RGB / 255`` (so that padding with zeros is empty white slide) and returns raw
        maps.
    channels
        Per map: ``name``, optionally ``activation`` ("sigmoid") and ``scale`` (a factor).
    half
        Type of 16 bits that the network runs in where that does no harm (`half_precision`).
    turns
        The maps are the mean of those of as many views of the image, turned by equal angles; 1, 2
        or 4: better, and as many times slower. ``offset_x`` and ``offset_y`` are turned back as a
        direction.
    """

    scale: torch.Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: Sequence[Mapping[str, Any]],
        half: torch.dtype | None = None,
        turns: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.precision, self.turns = network, half, turns
        names = [channel["name"] for channel in channels]
        self.offsets = [names.index(name) for name in OFFSETS if name in names]
        self.sigmoid = [
            index for index, c in enumerate(channels) if c.get("activation") == "sigmoid"
        ]
        scale = torch.tensor([float(c.get("scale", 1.0)) for c in channels])
        self.register_buffer("scale", scale[:, None, None])

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C, H, W), float32, for RGB (N, 3, H, W)."""
        maps = self._maps(rgb)
        for k in range(4 // self.turns, 4, 4 // self.turns):
            turned = torch.rot90(self._maps(torch.rot90(rgb, k, (2, 3))), -k, (2, 3))
            for _ in range(k if self.offsets else 0):
                x, y = turned[:, self.offsets].unbind(1)
                turned[:, self.offsets] = torch.stack([-y, x], 1)
            maps += turned
        return maps / self.turns

    def _maps(self, rgb: torch.Tensor) -> torch.Tensor:
        with torch.autocast(rgb.device.type, self.precision, enabled=self.precision is not None):
            pixels = rgb.to(dtype=self.scale.dtype, memory_format=torch.channels_last)
            raw = answer(self.network, 1 - pixels / 255)
        if not isinstance(raw, torch.Tensor):
            raise InferenceError(f"it answers a {type(raw).__name__}, where maps were expected")
        raw = checked_maps(raw.float(), rgb, len(self.scale))
        for index in self.sigmoid:
            raw[:, index] = raw[:, index].sigmoid()
        maps: torch.Tensor = raw * self.scale
        return maps


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the type of 16 bits that a device computes fast in, or None.

    Where a processor only pretends to know bfloat16, it is slow.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return None


def fold_batch_norm(network: nn.Module) -> None:
    """Put each frozen batch norm of MONAI's convolution blocks into the convolution before it."""
    for block in list(network.modules()):
        norm = getattr(getattr(block, "adn", None), "N", None)
        convolution = getattr(block, "conv", None)
        if isinstance(norm, nn.modules.batchnorm._BatchNorm) and isinstance(
            convolution, nn.Conv2d | nn.ConvTranspose2d
        ):
            transposed = isinstance(convolution, nn.ConvTranspose2d)
            block.conv = fuse_conv_bn_eval(convolution, norm, transposed)
            block.adn.N = nn.Identity()  # type: ignore[union-attr]


def choose_device(name: str) -> torch.device:
    """Turn the user's word for a device into one; ``auto`` is a GPU (NVIDIA's, or Apple's) or not.

    Raises
    ------
    ModelError
        If it is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"`device` {name}: not available here; use 'cpu' or 'auto'") from error
    return device


def choose_devices(names: str) -> tuple[torch.device, ...]:
    """Turn the user's words for one or several devices, with commas between, into these.

    Raises
    ------
    ModelError
        If one is not there, or one is the CPU and others are not: it would be idle, or in the way.
    """
    devices = tuple(dict.fromkeys(choose_device(name.strip()) for name in names.split(",")))
    if len(devices) > 1 and any(device.type == "cpu" for device in devices):
        raise ModelError(f"`device` {names}: either the CPU or GPUs, not both at a time")
    return devices
