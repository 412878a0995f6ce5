"""The network that a bundle defines, built without giving it the machine.

Of a bundle's configuration only the definition of the network is ever carried out: classes of
MONAI's and PyTorch's networks, each itself and by its own name, called with plain data. No
expression is evaluated, and nothing that such a class could take for code, a file, or the address
of one is passed on.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.config import SCRIPT, Config, config_path, expand, read_config
from qpbridge.models.limits import bounded_building
from qpbridge.models.script import read_script
from qpbridge.models.weights import read_state, size_of_weights

ROOMS = (
    "monai.networks.nets",
    "monai.networks.blocks",
    "monai.networks.layers",
    "torch.nn.modules",
)
"""Packages whose networks are built."""

SHORT = {"": "monai.networks.nets", "torch.nn": "torch.nn.modules"}
"""Where names without a package, and those of a package that only passes them on, are looked up."""

LOADERS = (
    "monai.networks.blocks.backbone_fpn_utils",
    "monai.networks.blocks.fcn",
    "monai.networks.blocks.hyena",
    "monai.networks.blocks.text_embedding",
    "monai.networks.nets.cell_sam_wrapper",
    "monai.networks.nets.hyena_nd_unetr",
    "monai.networks.nets.milmodel",
    "monai.networks.nets.netadapter",
    "monai.networks.nets.torchvision_fc",
    "monai.networks.nets.transchex",
)
"""Modules in these whose networks are made by other packages, of names and files."""

_LOADS = re.compile(
    r"pretrained|progress|((?<!use_)checkpoint|weights|url|file|dir|(?<!drop_)path)$"
)
"""Names of arguments that make a network download or read something."""

_TEXT = re.compile(r"[A-Za-z0-9_+ -]{0,100}")
"""Names of activations, norms, modes; never a path, a dotted name or an expression."""

SAYS_NOTHING = (("_disabled_", False), ("_mode_", "default"))
"""Of MONAI's keys beside ``_target_``, those that change nothing; ``_desc_`` is a remark."""

MAX_NUMBER = 2**16
MAX_ITEMS = 64
MAX_LEVELS = 8


def load_network(folder: Path, script: bytes | None = None) -> nn.Module:
    """Build the network of a bundle, with its weights; float32, evaluation mode.

    Parameters
    ----------
    folder
        The bundle.
    script
        Its TorchScript, if the user trusts it.

    Raises
    ------
    ModelError
        If there is neither, or they don't fit.
    """
    if script:
        return read_script(script, folder / SCRIPT)
    config, source = read_config(folder), config_path(folder)
    definition = config.get("network_def", config.get("network"))
    if not isinstance(definition, Mapping):
        raise ModelError(f"{source}: no network_def in it, and no models/model.ts.")
    network = build_network(definition, config, source, size_of_weights(folder))
    state, weights = read_state(folder)
    try:
        network.load_state_dict(state)
    except Exception as error:  # RuntimeError, and others where a name or a shape is odd
        raise ModelError(f"{weights}: not of the network in {source.name} ({error}).") from error
    return network.eval()


def build_network(
    definition: Mapping[str, Any],
    config: Config | None = None,
    source: object = "network_def",
    weights: int | None = None,
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
    weights
        Bytes of the file with its weights, if there is one.

    Raises
    ------
    ModelError
        If it can't be built, or would run or read anything else.
    """
    try:
        plain = expand(config or {}, definition)
    except ValueError as error:
        raise ModelError(f"{source}: network_def can't be read: {error}.") from error
    if "_target_" not in plain:
        raise ModelError(f"{source}: network_def has no _target_.")
    with bounded_building(source, weights):
        network = _build(plain, "network_def", source)
    if not isinstance(network, nn.Module):
        raise ModelError(f"{source}: network_def is no network: {plain['_target_']!r}.")
    if any(values.device.type != "cpu" for values in (*network.parameters(), *network.buffers())):
        raise ModelError(f"{source}: network_def names a device; which one is the user's to say.")
    return network


def find_class(name: object, field: str, source: object) -> type[nn.Module]:
    """Find the class of a network by its name, which must be that of the class itself.

    Nothing but a module of `ROOMS` is imported, and nothing is reached through a module that merely
    uses it.

    Raises
    ------
    ModelError
        If it is none of MONAI's or PyTorch's networks.
    """
    package, _, last = str(name).rpartition(".")
    package = SHORT.get(package, package)
    if _is_room(package) and all(map(str.isidentifier, str(name).split("."))):
        found: object = None
        with contextlib.suppress(ImportError):  # no such module, or one that lacks what it needs
            found = getattr(importlib.import_module(package), last, None)
        if isinstance(found, type) and issubclass(found, nn.Module) and _is_at_home(found):
            return found
    raise ModelError(
        f"{source}: {field} is a {str(name)[:200]!r}; only networks of MONAI and PyTorch are run. "
        "Export it to TorchScript (models/model.ts instead of weights)."
    )


def _is_room(module: str) -> bool:
    return module in ROOMS or module.startswith(tuple(f"{room}." for room in ROOMS))


def _is_at_home(network: type[nn.Module]) -> bool:
    """Whether a class is what its own module has by its own name, and that module is a room."""
    module = network.__module__
    return (
        _is_room(module)
        and module not in LOADERS
        and vars(sys.modules[module]).get(network.__qualname__) is network
    )


def _build(value: Any, field: str, source: object, level: int = 0) -> Any:
    """Build what a value defines, from the inside out."""
    if level > MAX_LEVELS or (isinstance(value, list | dict) and len(value) > MAX_ITEMS):
        raise ModelError(
            f"{source}: {field} has over {MAX_ITEMS} values or {MAX_LEVELS} levels, which no "
            "network has."
        )
    if isinstance(value, list):
        return [_build(v, f"{field}[{i}]", source, level + 1) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return _data(value, field, source)
    arguments = {}
    for key, content in value.items():
        if key == "_target_" or (key, content) in SAYS_NOTHING or key == "_desc_":
            continue
        if key.startswith("_") or not key.isidentifier():
            raise ModelError(f"{source}: {field} has {key} = {str(content)[:100]!r}.")
        if _LOADS.search(key) and content not in (None, False):
            raise ModelError(
                f"{source}: {field}.{key} is {str(content)[:100]!r}, which would download or read "
                "files; a bundle brings its weights along (models/model.pt)."
            )
        arguments[key] = _build(content, f"{field}.{key}", source, level + 1)
    if "_target_" not in value:
        return arguments
    network = find_class(value["_target_"], field, source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return network(**{**_loads_nothing(network), **arguments})
    except ModelError:
        raise
    except Exception as error:  # whatever a network's own constructor says
        raise ModelError(f"{source}: {field} can't be built ({error}).") from error


def _data(value: Any, field: str, source: object) -> Any:
    large = isinstance(value, int | float) and not abs(value) <= MAX_NUMBER
    if large or (isinstance(value, str) and not _TEXT.fullmatch(value)):
        raise ModelError(f"{source}: {field} is {str(value)[:100]!r}, which no network takes.")
    return value


def _loads_nothing(network: type[nn.Module]) -> dict[str, bool]:
    """Return the arguments that keep a network from downloading what it would by itself."""
    parameters = inspect.signature(network).parameters.values()
    return {p.name: False for p in parameters if _LOADS.search(p.name) and p.default is True}
