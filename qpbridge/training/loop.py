"""The training loop: seeded, bound by steps or by time, and able to go on where it was stopped."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qpbridge.errors import QpbridgeError
from qpbridge.models.definition import build_network
from qpbridge.models.network import half_precision
from qpbridge.training.augment import vary_appearance
from qpbridge.training.data import PatchSampler

Batch = tuple[torch.Tensor, torch.Tensor]
CHECKPOINT, CURVE = "checkpoint.pt", "curve.csv"
"""Files of a run."""

CHECKS = 20
"""How often in a run the validation images are scored."""

TOLERANCE = 0.01
"""Share of the best score by which a later one may be lower: with few images that is chance, and
later weights have learned more.
"""

PATIENCE = 12
"""After so many checks without a score as good the run stops early."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Exactly one of `minutes` and `steps` bounds the run and its schedule.

    Attributes
    ----------
    network
        MONAI network definition, as ``network_def`` in a bundle's inference.json.
    seed
        Same seed, data, and number of steps: same weights, on the same machine.
    batch, patch
        Patches per step and their edge in pixels.
    learning_rate, weight_decay
        Of AdamW; the rate warms up over the first 3 % and then falls along a cosine.
    average
        Decay of the moving average of the weights, which is what is kept in the end.
    """

    network: Mapping[str, Any]
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    batch: int = 8
    patch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.03
    average: float = 0.999


@dataclass
class _State:
    """Where a run is."""

    step: int = 0
    spent: float = 0.0
    check: int = 0
    best_check: int = 0
    best_score: float = 0.0


def train(
    config: TrainConfig,
    sampler: PatchSampler,
    folder: Path,
    *,
    device: str = "cpu",
    start: Mapping[str, torch.Tensor] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    checkpoint_seconds: float = 120.0,
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> nn.Module:
    """Train, or go on training, and return the averaged network in evaluation mode.

    `folder` receives ``checkpoint.pt`` and ``curve.csv`` (one row per 20 steps, of means). Where
    it holds a checkpoint of the same configuration, the run goes on from there; time that was
    spent before counts. Where the hardware has bfloat16, the network runs in it.

    Parameters
    ----------
    config
        How.
    sampler
        Makes the batches.
    folder
        For the checkpoint and the learning curve.
    device
        "cpu" or "cuda[:N]".
    start
        Weights to begin with.
    validate
        Scores the averaged network, the higher the better. It is asked `CHECKS` times; the weights
        of the best score are returned (the last that are as good, see `TOLERANCE`), and without one
        as good for `PATIENCE` times the run ends.
    checkpoint_seconds
        Time between checkpoints.
    progress
        Called with every row of the learning curve.

    Raises
    ------
    QpbridgeError
        If neither or both bounds are given, the checkpoint is of another configuration, or the
        weights to begin with don't fit.
    """
    if (config.minutes is None) == (config.steps is None):
        raise QpbridgeError("Give either the minutes or the steps to train, not both.")
    torch.manual_seed(config.seed)
    network = build_network(config.network).to(device)
    if start is not None:
        _begin_with(network, start)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(network)
    best = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    stored: dict[str, nn.Module | torch.optim.Optimizer] = {
        "network": network,
        "averaged": averaged,
        "best": best,
        "optimizer": optimizer,
    }
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / CHECKPOINT
    state = _State()
    if checkpoint.is_file():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        if saved["config"] != _plain(config):
            raise QpbridgeError(
                f"{checkpoint} belongs to a run with other settings. Remove it, or train into "
                "another folder."
            )
        for name, module in stored.items():
            module.load_state_dict(saved[name])
        state = _State(**saved["state"])
    spent, started = state.spent, time.monotonic()
    last_saved = started

    def save() -> None:
        partial = checkpoint.with_suffix(".tmp")
        contents = {name: module.state_dict() for name, module in stored.items()}
        torch.save({"config": _plain(config), "state": asdict(state), **contents}, partial)
        partial.replace(checkpoint)

    def check() -> dict[str, float]:
        if validate is None:
            return {}
        averaged.eval()
        score = validate(averaged)
        if score >= state.best_score * (1 - TOLERANCE):
            state.best_score = max(score, state.best_score)
            state.best_check = state.check
            best.load_state_dict(averaged.state_dict())
        return {"score": score}

    # float16 would need its gradients scaled
    mixed = half_precision(torch.device(device)) == torch.bfloat16
    network.train()
    sums: dict[str, float] = {}
    summed = 0
    for images, targets in _batches(sampler, config, state.step):
        state.spent = spent + time.monotonic() - started
        done = (
            state.spent / (60 * config.minutes)
            if config.minutes
            else state.step / (config.steps or 1)
        )
        if done >= 1 or (validate and state.check - state.best_check >= PATIENCE):
            break
        rate = config.learning_rate * min(done / 0.03, 1.0) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = max(rate, 1e-6)
        pixels = images.to(device, memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=mixed):
            output = network(1 - pixels)
        losses = sampler.task.loss(output.float(), targets.to(device))
        optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        _average(averaged, network, min(config.average, (1 + state.step) / (10 + state.step)))
        state.step += 1
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        summed += 1
        if state.step % 20 == 0:
            row = {"step": state.step, "minutes": state.spent / 60, "learning_rate": rate}
            row |= {name: value / summed for name, value in sums.items()}
            sums, summed = {}, 0
            if done * CHECKS >= state.check + 1:
                state.check = int(done * CHECKS)
                row |= check()
            _append(folder / CURVE, row)
            if progress is not None:
                progress(row)
        if time.monotonic() - last_saved > checkpoint_seconds:
            save()
            last_saved = time.monotonic()
    state.check += 1
    check()
    save()
    return (averaged if validate is None else best).eval()


def _begin_with(network: nn.Module, start: Mapping[str, torch.Tensor]) -> None:
    try:
        network.load_state_dict({name: value.float() for name, value in start.items()})
    except RuntimeError as error:
        raise QpbridgeError(f"The weights to begin with are of another network: {error}") from error


def _batches(sampler: PatchSampler, config: TrainConfig, first: int) -> Iterator[Batch]:
    """Yield batches from step `first` on, each made while the network learns from the one before.

    A batch depends on the seed and its step alone, so that a run that goes on sees what it would
    have seen.
    """

    def prepare(step: int) -> Batch:
        rng = np.random.default_rng((config.seed, step))
        images, targets = sampler.batch(config.batch, rng)
        if sampler.task.vary is not None:
            images = sampler.task.vary(images, targets, rng)
        return vary_appearance(images, rng, stained=sampler.task.stained), targets

    with ThreadPoolExecutor(1) as ahead:
        upcoming = ahead.submit(prepare, first)
        for step in count(first + 1):
            batch = upcoming.result()
            upcoming = ahead.submit(prepare, step)
            yield batch


def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and batch statistics towards the present ones."""
    with torch.no_grad():
        new = network.state_dict()
        for name, value in averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], 1 - decay)
            else:
                value.copy_(new[name])


def _append(path: Path, row: Mapping[str, float]) -> None:
    """Add a row to the table; its last column, the score, is mostly empty."""
    names = [*(name for name in row if name != "score"), "score"]
    fresh = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, names)
        if fresh:
            writer.writeheader()
        writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def _plain(config: TrainConfig) -> dict[str, Any]:
    values = asdict(config)
    values["network"] = dict(config.network)
    return values
