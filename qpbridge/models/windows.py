"""Networks that want one size of input, or whose output is smaller, on input of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Windows(nn.Module):
    """Runs a network on a grid of windows, and puts the middles of its outputs together.

    Parameters
    ----------
    network
        From (n, 3, side, side) to maps (n, C, s, s), s not above `side`; of these, the middle
        `side` - 2 * `margin` pixels are used.
    side
        Of the windows, in pixels.
    margin
        On each side of a window, what is context only.
    """

    BATCH = 8

    def __init__(self, network: nn.Module, side: int, margin: int) -> None:
        super().__init__()
        self.network, self.side, self.margin = network, side, margin
        self.step = side - 2 * margin

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C, H, W) for (N, 3, H, W), H and W multiples of the step."""
        batch, channels, height, width = pixels.shape
        rows, columns = height // self.step, width // self.step
        wide = F.pad(pixels, (self.margin,) * 4, mode="replicate")
        windows = F.unfold(wide, self.side, stride=self.step)
        windows = windows.transpose(1, 2).reshape(-1, channels, self.side, self.side)
        maps = torch.cat([self._middle(part) for part in torch.split(windows, self.BATCH)])
        size = self.step
        return (
            maps.reshape(batch, rows, columns, -1, size, size)
            .permute(0, 3, 1, 4, 2, 5)
            .reshape(batch, -1, height, width)
        )

    def _middle(self, windows: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.network(windows)
        cut = (maps.shape[-1] - self.step) // 2
        return maps[..., cut : cut + self.step, cut : cut + self.step]
