"""The network of a bundle that was not made for qpbridge: built, scaled for, and its maps named.

Of its configuration only the definition of the network is ever carried out, and only if it names
classes of MONAI and PyTorch and holds no ``$`` expression: a bundle can't run code of its own here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle.config_parser import ConfigParser
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.config import Config, plain_value, read_config
from qpbridge.models.weights import read_script, read_state
from qpbridge.models.windows import Windows

ALLOWED = ("monai.networks.", "torch.nn.")
HOVER = {
    "nucleus_prediction": "nucleus_prediction",
    "np": "nucleus_prediction",
    "horizontal_vertical": "horizontal_vertical",
    "hv": "horizontal_vertical",
    "type_prediction": "type_prediction",
    "tp": "type_prediction",
}
"""Names of the outputs of HoVer-Net, MONAI's and the short ones."""


def load_network(folder: Path) -> nn.Module:
    """Build the network of a bundle, with its weights; float32, evaluation mode.

    TorchScript (models/model.ts) comes before a definition with weights.

    Raises
    ------
    ModelError
        If there is neither, or they don't fit.
    """
    script = folder / "models" / "model.ts"
    if script.is_file():
        return read_script(script)
    network = _build(folder, read_config(folder))
    try:
        network.load_state_dict(read_state(folder))
    except RuntimeError as error:
        raise ModelError(
            f"{folder / 'models' / 'model.pt'}: not of the network in inference.json ({error})."
        ) from error
    return network.eval()


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
        self.output = str(section["output"])
        self.windows = Windows(Maps(network, self.output), *section["window"])
        for name in ("subtract", "divide"):
            values = torch.tensor(section["input"][name], dtype=torch.float32)
            self.register_buffer(name, values.reshape(-1, 1, 1))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C, H, W), float32, for RGB (N, 3, H, W) in 0..255."""
        maps: torch.Tensor = self.windows((rgb.float() - self.subtract) / self.divide)
        return maps


class Maps(nn.Module):
    """One tensor of final maps from whatever the network returns."""

    def __init__(self, network: nn.Module, output: str) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return maps (n, C, s, s): probabilities, and distances of a HoVer-Net."""
        raw = self.network(pixels)
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


def _build(folder: Path, config: Config) -> nn.Module:
    source = folder / "configs" / "inference.json"
    definition = config.get("network_def", config.get("network"))
    if not isinstance(definition, Mapping):
        raise ModelError(f"{source}: no network_def in it, and no models/model.ts.")
    plain = {key: _argument(config, key, value, source) for key, value in definition.items()}
    target = str(plain.get("_target_", ""))
    if "." not in target:
        plain["_target_"] = f"monai.networks.nets.{target}"
    elif not target.startswith(ALLOWED):
        raise ModelError(
            f"{source}: the network is a {target!r}; only classes of MONAI and PyTorch are run. "
            "Export it to TorchScript (models/model.ts)."
        )
    try:
        network = ConfigParser({"network_def": plain}).get_parsed_content("network_def")
    except Exception as error:  # whatever a network's own constructor says
        raise ModelError(f"{source}: the network can't be built ({error}).") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{source}: network_def is no network: {target}.")
    return network


def _argument(config: Config, key: str, value: Any, source: Path) -> Any:
    if isinstance(value, Mapping):
        for name, content in value.items():
            known = name == "_target_" and str(content).startswith(ALLOWED)
            if name.startswith("_") and not known:
                raise ModelError(f"{source}: {key} of the network has {name} = {content!r}.")
        return {k: _argument(config, k, v, source) for k, v in value.items()}
    if isinstance(value, list):
        return [_argument(config, key, v, source) for v in value]
    found = plain_value(config, value)
    if found is None and value is not None:
        raise ModelError(
            f"{source}: {key} of the network is {value!r}, which would run code; state its value."
        )
    if isinstance(found, Mapping | list) and found is not value:
        return _argument(config, key, found, source)
    return found
