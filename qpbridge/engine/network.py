"""A bundle's network on a device."""

from __future__ import annotations

import torch

from qpbridge.engine.run import Maps, Pixels
from qpbridge.models.bundle import Bundle
from qpbridge.models.network import choose_device


class TargetNetwork:
    """The network of a model, ready to run.

    Parameters
    ----------
    bundle
        The model.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self._network = bundle.network(self.device)

    def __call__(self, pixels: Pixels) -> Maps:
        """Run the network on a batch, uint8 (b, h, w, 3), and return its maps (b, c, h, w)."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
            maps: Maps = self._network(batch).cpu().numpy()
        return maps
