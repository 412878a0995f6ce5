"""Weights from files, without running code that is in them."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from qpbridge.errors import ModelError
from qpbridge.models.archive import check_tensors_archive
from qpbridge.models.config import WEIGHTS
from qpbridge.models.maps import reason
from qpbridge.models.memory import machine_memory

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which checkpoints keep the weights."""

State = dict[str, torch.Tensor]


def read_state(folder: Path) -> tuple[State, Path]:
    """Read models/model.pt or models/model.safetensors of a bundle, tensors as float32.

    Returns
    -------
    state, path
        The tensors by name, and the file they are from.

    Raises
    ------
    ModelError
        If both are missing, damaged, or hold something else than tensors.
    """
    path = _weights_path(folder)
    try:
        if not path.is_file():
            raise FileNotFoundError
        size = path.stat().st_size
        if size > machine_memory() // 4:
            raise ModelError(f"{path}: {size / 1e9:.2g} GB are more than this machine's memory.")
        safe = path.suffix == ".safetensors"
        content = _read_safetensors(path) if safe else _read_tensors(path, size)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing. Install the model again.") from error
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than tensors, and to read it would run code that is in it. "
            "Save the state_dict alone (torch.save(network.state_dict(), ...)), or safetensors."
        ) from error
    except ModelError:
        raise
    except Exception as error:  # what damaged files raise has no common class
        raise ModelError(f"{path}: damaged ({reason(error)}).") from error
    return _floats(path, content, size), path


def size_of_weights(folder: Path) -> int | None:
    """Return the bytes of the file with the weights of a bundle; None if there is none."""
    path = _weights_path(folder)
    return path.stat().st_size if path.is_file() else None


def _weights_path(folder: Path) -> Path:
    weights, safe = (folder / "models" / name for name in WEIGHTS)
    return safe if safe.is_file() and not weights.is_file() else weights


def _read_tensors(path: Path, size: int) -> Any:
    with zipfile.ZipFile(path) as archive:
        check_tensors_archive(archive, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise ModelError(
            f"{path}: needs the package safetensors: pip install safetensors"
        ) from error
    return load_file(path)


def _floats(path: Path, content: Any, size: int) -> State:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise ModelError(f"{path}: damaged, or something else than named tensors.")
    for name, value in content.items():
        if not _is_plain(value):
            raise ModelError(
                f"{path}: {name!r} is no plain tensor of real numbers; save the weights as these."
            )
    if sum(value.numel() for value in content.values()) > 4 * size + 1_000_000:
        raise ModelError(f"{path}: its tensors would be larger than the file.")
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in content.items()
    }


def _is_plain(value: Any) -> bool:
    return (
        type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and not value.is_complex()
    )
