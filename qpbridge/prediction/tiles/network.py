"""A bundle's network on the devices of this machine."""

from __future__ import annotations

import ctypes
import math
import queue
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.bundle import Bundle
from qpbridge.models.maps import failed
from qpbridge.models.network import choose_devices
from qpbridge.prediction.tiles.run import Maps, Pixels, Threads
from qpbridge.processors import usable_processors

_TRIAL = 512
"""Side of the tile, in pixels, that the speed is measured on, where the model's stride allows."""

_OUT_OF_MEMORY = ("allocate memory", "out of memory")
"""What torch says of a CPU's and of Apple's memory at its end, in an error of no class of its own.
"""


class TargetNetwork:
    """The network of a model, ready to run, from several threads at once.

    Parameters
    ----------
    bundle
        The model.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``, or several with commas between.
    compiled
        Let torch compile it, which takes a minute and pays on large jobs.
    network
        Instead of the model's own, one that lies on the device (in training).

    Raises
    ------
    ModelError
        If a device isn't there, or the weights don't fit.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str,
        *,
        compiled: bool = False,
        network: nn.Module | None = None,
    ) -> None:
        self.bundle = bundle
        self.devices = choose_devices(device)
        self.on_cpu = self.devices[0].type == "cpu"
        self.batch_size = 1 if self.on_cpu else 4
        """Tiles per batch, unless something else is asked for: more gain nothing on a CPU."""
        self._cores = min(torch.get_num_threads(), usable_processors())
        self._free: queue.SimpleQueue[tuple[nn.Module, torch.device]] = queue.SimpleQueue()
        self._largest = 2**31
        # on a GPU two batches at a time, so that one is copied while the other is computed
        for where in self.devices if bundle.runs else ():
            ready = bundle.network(where) if network is None else network
            if compiled:
                ready.compile(dynamic=True)
            for _ in range(self._cores if self.on_cpu else 2):
                self._free.put((ready, where))

    @contextmanager
    def threads(self, batches: int, workers: int | None) -> Iterator[Threads]:
        """Share the processor for as many batches; the network is to be used within.

        On a CPU each thread takes a batch from the file to the objects, with as many processors
        as there are for each: threads of the network that wait for one another lose time.
        """
        before = torch.get_num_threads()
        if self.on_cpu:
            at_a_time = max(1, min(workers or self._cores, self._cores, batches))
            torch.set_num_threads(max(1, self._cores // at_a_time))
            shared = Threads(at_a_time)
        else:
            shared = Threads(2 * len(self.devices), workers or self._cores)
        try:
            yield shared
        finally:
            torch.set_num_threads(before)
            _give_back_memory()

    def __call__(self, pixels: Pixels) -> Maps:
        """Run the network on a batch, uint8 (b, h, w, 3), and return its maps (b, c, h, w).

        Where the memory is too small, the batch is halved, and so are all that follow.

        Raises
        ------
        ModelError
            If it is too small for a single tile.
        """
        if len(pixels) > self._largest:
            parts = np.split(pixels, range(self._largest, len(pixels), self._largest))
            return np.concatenate([self(part) for part in parts])
        network, device = self._free.get()
        try:
            return _run(network, device, pixels)
        except Exception as error:  # whatever a network says of what it doesn't take
            if not _is_out_of_memory(error):
                raise failed(self.bundle.path, pixels.shape[1:3], error) from error
            reason = str(error)
        finally:
            self._free.put((network, device))
        if not self.on_cpu:
            getattr(torch, device.type).empty_cache()
        if len(pixels) == 1:
            raise ModelError(
                f"not enough memory on {device} for a tile of {pixels.shape[2]} x "
                f"{pixels.shape[1]} pixels; use a smaller `tile` ({reason})"
            )
        self._largest = min(self._largest, len(pixels) // 2)
        return self(pixels)

    @cached_property
    def speed(self) -> float:
        """How many pixels all devices together can take in a second, measured once.

        NaN of a network that may not be run.
        """
        if not self.bundle.runs:
            return math.nan
        side = max(_TRIAL // self.bundle.stride, 1) * self.bundle.stride
        trial = np.full((1, side, side, 3), 240, np.uint8)
        with self.threads(self._cores, None) as threads:
            self(trial)
            began = time.perf_counter()
            self(trial)
            return threads.network * side**2 / (time.perf_counter() - began)


def _give_back_memory() -> None:
    """Return what the C library keeps of freed tiles, which can be a gigabyte, to the system.

    Only glibc can be asked to.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _run(network: nn.Module, device: torch.device, pixels: Pixels) -> Maps:
    with torch.inference_mode():
        batch = torch.from_numpy(pixels)
        if device.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(device, non_blocking=device.type == "cuda")
        maps: Maps = network(batch.permute(0, 3, 1, 2)).cpu().numpy()
    return maps


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in _OUT_OF_MEMORY
    )
