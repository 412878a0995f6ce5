"""A network on the devices of a machine: threads, and too little memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.models.bundle import load_bundle
from qpbridge.models.network import choose_devices
from qpbridge.prediction.tiles import network as networks
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.run import Threads


class Scarce(nn.Module):
    """Adds 1, and has memory for a few tiles only."""

    def __init__(self, tiles, error):
        super().__init__()
        self.tiles, self.error, self.seen = tiles, error, []

    def forward(self, rgb):
        self.seen.append(len(rgb))
        if len(rgb) > self.tiles:
            raise self.error
        return rgb.float() + 1


@pytest.fixture
def scarce(monkeypatch):
    def make(tiles, error):
        network = Scarce(tiles, error)
        bundle = load_bundle("nuclei_he")
        monkeypatch.setattr(type(bundle), "network", lambda self, device: network)
        return network, TargetNetwork(bundle, "cpu")

    return make


PIXELS = np.random.default_rng(1).integers(0, 255, (9, 32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_a_batch_that_is_too_large_is_halved_and_so_are_the_next(scarce, error):
    network, run = scarce(2, error)
    expected = PIXELS.transpose(0, 3, 1, 2).astype(np.float32) + 1
    np.testing.assert_array_equal(run(PIXELS), expected)
    network.seen.clear()
    np.testing.assert_array_equal(run(PIXELS), expected)
    assert max(network.seen) <= 2


def test_a_single_tile_that_is_too_large_is_named(scarce):
    _, run = scarce(0, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(ModelError, match=r"48 x 32 pixels.*`tile`"):
        run(PIXELS)
    with pytest.raises(ModelError):  # and nothing hangs for ever
        run(PIXELS[:1])


def test_other_errors_are_told_as_they_are(scarce):
    _, run = scarce(0, RuntimeError("shapes don't fit"))
    with pytest.raises(RuntimeError, match="fit"):
        run(PIXELS)


@pytest.mark.parametrize(
    ("cores", "batches", "workers", "expected", "each"),
    [
        (4, 100, None, Threads(4), 1),
        (4, 1, None, Threads(1), 4),
        (5, 2, None, Threads(2), 2),
        (4, 100, 2, Threads(2), 2),
        (2, 100, 16, Threads(2), 1),
        (4, 0, None, Threads(1), 4),
    ],
)
def test_no_more_threads_than_processors(
    scarce, monkeypatch, cores, batches, workers, expected, each
):
    now = [cores]
    monkeypatch.setattr(networks, "usable_processors", lambda: 9)
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: now.__setitem__(0, n))
    _, run = scarce(9, MemoryError())
    with run.threads(batches, workers) as threads:
        assert threads == expected
        assert now == [each]
    assert now == [cores]


def test_several_devices():
    assert choose_devices("cpu") == (torch.device("cpu"),)
    assert choose_devices("cpu,cpu") == (torch.device("cpu"),)
    with pytest.raises(ModelError, match="not available"):
        choose_devices("cuda:77,cuda:78")
    if torch.cuda.is_available():
        with pytest.raises(ModelError, match="not both"):
            choose_devices("cpu,cuda:0")


def test_no_more_processors_than_the_process_may_use(scarce, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(networks, "usable_processors", lambda: 3)
    _, run = scarce(9, MemoryError())
    with run.threads(100, None) as threads:
        assert threads == Threads(3)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_a_gpu_is_taken_where_there_is_one(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_devices("auto") == (torch.device(chosen),)


def test_memory_of_an_apple_gpu_is_used_as_far_as_it_goes(scarce, monkeypatch):
    """With stand-ins: the tiles go through the processor."""
    scarcely, run = scarce(1, RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"))
    really, emptied, apple = networks._run, [], torch.device("mps")
    monkeypatch.setattr(networks, "_run", lambda n, _, p: really(n, torch.device("cpu"), p))
    monkeypatch.setattr(networks, "choose_devices", lambda _: (apple,))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append(apple))
    run = TargetNetwork(run.bundle, "auto")
    assert run.devices == (apple,) and not run.on_cpu and run.batch_size > 1
    assert len(run(PIXELS)) == len(PIXELS)
    assert scarcely.seen[0] == len(PIXELS) and scarcely.seen[-1] == 1 and emptied


def test_speed_is_measured():
    assert TargetNetwork(load_bundle("nuclei_he"), "cpu").speed > 1e4
