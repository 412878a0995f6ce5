"""Building and trying a network of somebody else's within bounds that this machine can bear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as registry
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from qpbridge.errors import InferenceError, ModelError
from qpbridge.models.maps import check_shape
from qpbridge.models.memory import machine_memory

MAX_MODULES = 20_000
"""Parts of a network; the largest of MONAI's have some thousand."""

MAX_TENSORS = 100_000
"""Tensors that are made while a network is built; the largest of MONAI's make some thousand."""

MAX_OPERATIONS, _PER_PLACE = 2e12, 2e7
"""Multiplications for one window, a minute on a slow processor; more by its pixels if it is large:
a HoVer-Net takes 2e6 for each.
"""

_SHARE = 4
"""A network, and each of its maps, may take this part of the memory: others are there as well."""

_UNPACKED, _SLACK = 4, 2**28
"""Bytes of a parameter for one in the file, and bytes of what isn't kept in files."""

_REMADE = 4
"""Times that parameters may be made until a network is built: copied, or made and thrown away."""

_LEAST, _PER_PIXEL = 256_000_000, 80_000
"""Bytes of a map: 20,000 values for each pixel of the window, and what small windows may have."""


@contextmanager
def bounded_memory(source: object, side: int) -> Iterator[None]:
    """Refuse to run, before it is carried out, what needs more memory or time than any network.

    Parameters
    ----------
    source
        For the message.
    side
        Of the window that the network is run on, in pixels.

    Raises
    ------
    ModelError
        That names `source`.
    """
    most = min(machine_memory() // _SHARE, max(_LEAST, _PER_PIXEL * side**2))
    with _Bounded(source, most, max(MAX_OPERATIONS, _PER_PLACE * side**2)):
        yield


def try_network(network: nn.Module, side: int, maps: int, source: object) -> None:
    """Run a network on a small empty window, to see that its size and its maps' are right.

    Raises
    ------
    ModelError
        That names `source`. What else is wrong with a network shows when it is used.
    """
    known = suppress(RuntimeError, ValueError, TypeError, LookupError, AttributeError)
    window, answer = torch.zeros(1, 3, side, side), None
    with known, torch.inference_mode(), bounded_memory(source, side):
        answer = network(window)
    if isinstance(answer, torch.Tensor):
        try:
            check_shape(answer, window, maps)
        except InferenceError as error:
            raise ModelError(f"{source}: the network is of no use here: {error}.") from error


@contextmanager
def bounded_building(source: object, weights: int | None = None) -> Iterator[None]:
    """Refuse a network with more parameters than the memory holds, or endlessly many parts.

    Parameters
    ----------
    source
        For the message.
    weights
        Bytes of the file with its weights, if there is one: all of its parameters must be in it.

    Raises
    ------
    ModelError
        That names `source`.
    """
    most = machine_memory() // _SHARE
    if weights is not None:
        most = min(most, _UNPACKED * weights + _SLACK)
    parts, size = 0, 0

    def count_part(_module: nn.Module, _name: str, _part: nn.Module | None) -> None:
        nonlocal parts
        parts += 1
        if parts > MAX_MODULES:
            raise ModelError(f"{source}: the network has more than {MAX_MODULES} parts.")

    def count_values(_module: nn.Module, _name: str, values: torch.Tensor | None) -> None:
        nonlocal size
        size += 0 if values is None else _bytes(values)
        if size > most:
            _refuse(source, size, most)

    with ExitStack() as hooks:
        for handle in (
            registry.register_module_module_registration_hook(count_part),
            registry.register_module_parameter_registration_hook(count_values),
            registry.register_module_buffer_registration_hook(count_values),
        ):
            hooks.callback(handle.remove)
        hooks.enter_context(_Building(source, most))
        yield


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Works out the size of each operation's result, and carries it out if that is bearable."""

    def __init__(self, source: object, most: int, operations: float = MAX_OPERATIONS) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.source, self.most, self.left = source, most, operations

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Don't let torch import its compiler, which takes as long as torch, just to leave it."""
        return False

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        result = _on_paper(func, args, kwargs)
        self.check(str(func), [_bytes(tensor) for tensor in _tensors(result)])
        self.left -= _operations(str(func), args, result)
        if self.left < 0:
            raise ModelError(
                f"{self.source}: the network takes more multiplications for one window than any "
                "network for tissue does."
            )
        return func(*args, **kwargs)

    def check(self, _name: str, sizes: Sequence[int]) -> None:
        """Refuse a result of so many bytes."""
        if max(sizes, default=0) > self.most:
            _refuse(self.source, max(sizes), self.most)


class _Building(_Bounded):  # type: ignore[no-untyped-call]
    """Adds up as well what is made while a network is built: copies of parts are not registered."""

    def __init__(self, source: object, most: int) -> None:
        super().__init__(source, most)
        self.made, self.bytes = 0, 0

    def check(self, name: str, sizes: Sequence[int]) -> None:
        """Refuse a result of so many bytes, or the last of too many."""
        super().check(name, sizes)
        if name.split(".")[1].endswith("_"):  # it changes what is there
            return
        self.made, self.bytes = self.made + len(sizes), self.bytes + sum(sizes)
        if self.made > MAX_TENSORS:
            raise ModelError(f"{self.source}: the network has more than {MAX_TENSORS} tensors.")
        if self.bytes > _REMADE * self.most:
            _refuse(self.source, self.bytes, _REMADE * self.most)


def _on_paper(func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Carry an operation out without any numbers; None where that can't be."""

    def as_meta(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to("meta")

    try:
        plain = dict(tree_map_only(torch.Tensor, as_meta, kwargs))
        if "device" in plain:
            plain["device"] = "meta"
        return func(*tree_map_only(torch.Tensor, as_meta, args), **plain)
    except (RuntimeError, TypeError, ValueError, IndexError):  # if wrong, the real one says so
        return None


def _tensors(result: Any) -> list[torch.Tensor]:
    found = result if isinstance(result, list | tuple) else [result]
    return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    try:
        return tensor.numel() * tensor.element_size()
    except (RuntimeError, ValueError):  # a parameter whose size isn't known yet
        return 0


def _operations(name: str, args: Any, result: Any) -> float:
    """Multiplications of a convolution, a product of matrices, and one for each other value."""
    tensors = [t for t in args if isinstance(t, torch.Tensor)]
    out = float(sum(t.numel() for t in _tensors(result)))
    if "conv" in name and len(tensors) > 1 and tensors[1].ndim > 2:
        weight = tensors[1]
        transposed = "transpose" in name or (len(args) > 6 and args[6] is True)
        base = tensors[0].numel() if transposed else out
        return base * weight[0].numel()
    if name.startswith(("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm")):
        return out * tensors[-1].shape[-2]
    return out


def _refuse(source: object, size: int, most: int) -> None:
    raise ModelError(
        f"{source}: the network needs {size / 1e9:.3g} GB of memory or more for one of its parts; "
        f"for this machine, its window and its weights, {most / 1e9:.2g} GB are the most."
    )
