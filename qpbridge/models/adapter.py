"""The network of a bundle that was not made for qpbridge: scaled for, and its maps put in order."""

from __future__ import annotations

import torch
from torch import nn

from qpbridge.models.config import Config
from qpbridge.models.maps import answer, checked_maps
from qpbridge.models.windows import Windows

HOVER = {
    "nucleus_prediction": "nucleus_prediction",
    "np": "nucleus_prediction",
    "horizontal_vertical": "horizontal_vertical",
    "hv": "horizontal_vertical",
    "type_prediction": "type_prediction",
    "tp": "type_prediction",
}
"""Names of the outputs of HoVer-Net, MONAI's and the short ones."""


class ForeignNetwork(nn.Module):
    """Scales RGB as a bundle's network expects it, and makes probabilities of what it returns.

    Parameters
    ----------
    network
        As `load_network` gives it.
    section
        As `describe` gives it.
    """

    subtract: torch.Tensor
    divide: torch.Tensor

    def __init__(self, network: nn.Module, section: Config) -> None:
        super().__init__()
        self.output, self.count = str(section["output"]), len(section["channels"])
        self.windows = Windows(FinalMaps(network, self.output), *section["window"])
        for name in ("subtract", "divide"):
            values = torch.tensor(section["input"][name], dtype=torch.float32)
            self.register_buffer(name, values.reshape(-1, 1, 1))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C, H, W), float32, for RGB (N, 3, H, W) in 0..255.

        Raises
        ------
        InferenceError
            If the network answers something else, or NaN.
        """
        maps: torch.Tensor = self.windows((rgb.float() - self.subtract) / self.divide)
        return checked_maps(maps, rgb, self.count)


class FinalMaps(nn.Module):
    """One tensor of final maps from whatever the network returns."""

    def __init__(self, network: nn.Module, output: str) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return maps (n, C, s, s): probabilities, and distances of a HoVer-Net."""
        raw = answer(self.network, pixels)
        if self.output == "hover":
            parts = {HOVER[name]: value for name, value in raw.items() if name in HOVER}
            foreground = parts["nucleus_prediction"].softmax(1)[:, 1:2]
            joined = [foreground, parts["horizontal_vertical"]]
            if "type_prediction" in parts:
                joined.append(parts["type_prediction"].softmax(1))
            return torch.cat(joined, 1)
        raw = raw[0] if isinstance(raw, list | tuple) else raw
        maps: torch.Tensor = raw
        if self.output == "sigmoid":
            return maps.sigmoid()
        return maps.softmax(1) if self.output == "softmax" else maps
