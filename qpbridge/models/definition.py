"""The network that a bundle defines, built without giving it the machine.

Of a bundle's configuration only the definition of the network is ever carried out, and only if it
names classes of MONAI's networks and of PyTorch and holds no ``$`` expression: a bundle can't run
code of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle.config_parser import ConfigParser
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.config import Config, plain_value, read_config
from qpbridge.models.weights import read_script, read_state

ALLOWED = ("monai.networks.", "torch.nn.")


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
    config = read_config(folder)
    source = folder / "configs" / "inference.json"
    definition = config.get("network_def", config.get("network"))
    if not isinstance(definition, Mapping):
        raise ModelError(f"{source}: no network_def in it, and no models/model.ts.")
    network = build_network(definition, config, source)
    try:
        network.load_state_dict(read_state(folder))
    except RuntimeError as error:
        raise ModelError(
            f"{folder / 'models' / 'model.pt'}: not of the network in inference.json ({error})."
        ) from error
    return network.eval()


def build_network(
    definition: Mapping[str, Any], config: Config | None = None, source: object = "network_def"
) -> nn.Module:
    """Build a network, with random weights.

    Parameters
    ----------
    definition
        As ``network_def`` in a bundle's inference.json: ``_target_`` and arguments.
    config
        Where ``@name`` in it is looked up.
    source
        For messages.

    Raises
    ------
    ModelError
        If it can't be built, or would run code of the bundle's own.
    """
    config = config or {}
    plain = {key: _argument(config, key, value, source) for key, value in definition.items()}
    target = str(plain.get("_target_", ""))
    if "." not in target:
        plain["_target_"] = f"monai.networks.nets.{target}"
    elif not target.startswith(ALLOWED):
        raise ModelError(
            f"{source}: the network is a {target!r}; only networks of MONAI and PyTorch are run. "
            "Export it to TorchScript (models/model.ts)."
        )
    if extra := [key for key in plain if key.startswith("_") and key != "_target_"]:
        raise ModelError(f"{source}: the network has {extra[0]} = {plain[extra[0]]!r}.")
    try:
        network = ConfigParser({"network_def": plain}).get_parsed_content("network_def")
    except Exception as error:  # whatever a network's own constructor says
        raise ModelError(f"{source}: the network can't be built ({error}).") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{source}: network_def is no network: {target}.")
    return network


def _argument(config: Config, key: str, value: Any, source: object) -> Any:
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
