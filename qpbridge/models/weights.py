"""Weights from files, without running code that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qpbridge.errors import ModelError

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which checkpoints keep the weights."""


def read_state(folder: Path) -> dict[str, torch.Tensor]:
    """Read models/model.pt or models/model.safetensors of a bundle, tensors as float32.

    Raises
    ------
    ModelError
        If both are missing, damaged, or hold something else than tensors.
    """
    safe = folder / "models" / "model.safetensors"
    weights = folder / "models" / "model.pt"
    if safe.is_file() and not weights.is_file():
        return _floats(safe, _read_safetensors(safe))
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"{weights}: missing. Install the model again.") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{weights}: holds more than tensors, and to read it would run code that is in it. "
            "Save the state_dict alone (torch.save(network.state_dict(), ...)), or safetensors."
        ) from error
    except (RuntimeError, ValueError, EOFError, AttributeError) as error:
        raise ModelError(f"{weights}: damaged ({error}).") from error
    return _floats(weights, content)


def read_script(path: Path) -> nn.Module:
    """Read a TorchScript network.

    Raises
    ------
    ModelError
        If it is damaged.
    """
    try:
        network: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: damaged, or no TorchScript ({error}).") from error
    return network.float().eval()


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ModelError(
            f"{path}: needs the package safetensors: pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except Exception as error:  # its errors have no common class
        raise ModelError(f"{path}: damaged ({error}).") from error


def _floats(path: Path, content: Any) -> dict[str, torch.Tensor]:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = isinstance(content, Mapping) and all(
        isinstance(value, torch.Tensor) for value in content.values()
    )
    if not tensors:
        raise ModelError(f"{path}: damaged, or something else than named tensors.")
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in content.items()
    }
