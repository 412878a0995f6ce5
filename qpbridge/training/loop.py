"""The training loop: seeded, bound by steps or by time, and able to go on where it was stopped."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qpbridge import checks
from qpbridge.errors import QpbridgeError
from qpbridge.models.definition import build_network
from qpbridge.models.network import half_precision
from qpbridge.project.files.atomic import atomic_file
from qpbridge.training.augment import vary_appearance
from qpbridge.training.data import PatchSampler
from qpbridge.training.tasks import Task

Batch = tuple[torch.Tensor, torch.Tensor]
CHECKPOINT, CURVE = "checkpoint.pt", "curve.csv"
"""Files of a run."""

ROW_STEPS = 20
"""Steps between the rows of the learning curve."""

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

    def __post_init__(self) -> None:
        if self.minutes is not None:
            checks.number("minutes", self.minutes, "minutes, above 0", above=0, most=1e9)
        if self.steps is not None:
            checks.whole("steps", self.steps, 1)
        checks.whole("seed", self.seed, 0)
        checks.whole("batch_size", self.batch, 1)

    def share_done(self, step: int, spent: float) -> float:
        """Return which share of the run is done after steps and seconds."""
        return spent / (60 * self.minutes) if self.minutes else step / (self.steps or 1)

    def rate_at(self, done: float) -> float:
        """Return the learning rate after a share of the run."""
        return self.learning_rate * min(done / 0.03, 1.0) * (1 + math.cos(math.pi * done)) / 2


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
        "cpu", "cuda[:N]" or "mps".
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
    run = _Run.begin(config, sampler.task, device, start)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, state = folder / CHECKPOINT, run.state
    if checkpoint.is_file():
        run.load(checkpoint)
    spent, started = state.spent, time.monotonic()
    last_saved = started
    means = _Means()
    for batch in _batches(sampler, config, state.step):
        state.spent = spent + time.monotonic() - started
        done = config.share_done(state.step, state.spent)
        if done >= 1 or (validate and state.check - state.best_check >= PATIENCE):
            break
        rate = config.rate_at(done)
        means.add(run.learn(batch, rate))
        if state.step % ROW_STEPS == 0:
            row = {"step": state.step, "minutes": state.spent / 60, "learning_rate": rate}
            row |= means.taken()
            if done * CHECKS >= state.check + 1:
                state.check = int(done * CHECKS)
                row |= run.score(validate)
            _append(folder / CURVE, row)
            if progress is not None:
                progress(row)
        if time.monotonic() - last_saved > checkpoint_seconds:
            run.save(checkpoint)
            last_saved = time.monotonic()
    state.check += 1
    run.score(validate)
    run.save(checkpoint)
    return (run.averaged if validate is None else run.best).eval()


@dataclass
class _Run:
    """The networks of a run: as it learns, averaged over its steps, and the best average so far."""

    config: TrainConfig
    task: Task
    network: nn.Module
    averaged: nn.Module
    best: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    state: _State = field(default_factory=_State)

    @classmethod
    def begin(
        cls,
        config: TrainConfig,
        task: Task,
        device: str,
        start: Mapping[str, torch.Tensor] | None,
    ) -> _Run:
        """Build what a run needs, with weights to begin with, if any."""
        torch.manual_seed(config.seed)
        network = build_network(config.network).to(device)
        if start is not None:
            _begin_with(network, start)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        averaged, best = copy.deepcopy(network), copy.deepcopy(network)
        run = cls(config, task, network, averaged, best, optimizer, torch.device(device))
        network.train()
        return run

    @property
    def _stored(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        names = ("network", "averaged", "best", "optimizer")
        return {name: getattr(self, name) for name in names}

    def load(self, checkpoint: Path) -> None:
        """Go on where a run was stopped.

        Raises
        ------
        QpbridgeError
            If it was one with other settings.
        """
        saved = torch.load(checkpoint, map_location=self.device, weights_only=True)
        if saved["config"] != _plain(self.config):
            raise QpbridgeError(
                f"{checkpoint} belongs to a run with other settings. Remove it, or train into "
                "another folder."
            )
        for name, module in self._stored.items():
            module.load_state_dict(saved[name])
        for name, value in saved["state"].items():
            setattr(self.state, name, value)

    def save(self, checkpoint: Path) -> None:
        """Write all that a run needs to go on."""
        contents = {name: module.state_dict() for name, module in self._stored.items()}
        state = {"config": _plain(self.config), "state": asdict(self.state)}
        with atomic_file(checkpoint) as file:
            torch.save({**state, **contents}, file)

    def learn(self, batch: Batch, rate: float) -> dict[str, torch.Tensor]:
        """Take one step, and return its losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = max(rate, 1e-6)
        images, targets = batch
        pixels = images.to(self.device, memory_format=torch.channels_last)
        # float16 would need its gradients scaled
        mixed = half_precision(self.device) == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            output = self.network(1 - pixels)
        losses = self.task.loss(output.float(), targets.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        step = self.state.step
        _average(self.averaged, self.network, min(self.config.average, (1 + step) / (10 + step)))
        self.state.step += 1
        return losses

    def score(self, validate: Callable[[nn.Module], float] | None) -> dict[str, float]:
        """Score the averaged weights, and keep them if they are as good as any before."""
        if validate is None:
            return {}
        self.averaged.eval()
        score = validate(self.averaged)
        state = self.state
        if score >= state.best_score * (1 - TOLERANCE):
            state.best_score = max(score, state.best_score)
            state.best_check = state.check
            self.best.load_state_dict(self.averaged.state_dict())
        return {"score": score}


class _Means:
    """Losses summed since the last row of the learning curve."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.steps = 0

    def add(self, losses: Mapping[str, torch.Tensor]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value.detach())
        self.steps += 1

    def taken(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        means = {name: value / self.steps for name, value in self.sums.items()}
        self.sums, self.steps = {}, 0
        return means


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
