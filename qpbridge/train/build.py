"""From a recipe to a finished bundle: read, train, write, score."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from qpbridge.evaluate.folder import score_samples
from qpbridge.evaluate.labelled import DataSource, load_source
from qpbridge.models.bundle import Bundle, load_bundle
from qpbridge.train.data import PatchSampler
from qpbridge.train.export import write_bundle
from qpbridge.train.loop import TrainConfig, train
from qpbridge.train.recipe import Recipe


def train_bundle(
    recipe: Recipe,
    config: TrainConfig,
    output: Path,
    *,
    work: Path,
    device: str = "cpu",
    progress: Callable[[Mapping[str, float]], None] | None = None,
) -> Bundle:
    """Train by a recipe and write the bundle, with its scores on the validation images.

    Parameters
    ----------
    recipe
        Data, network and facts for the metadata.
    config
        Bounds, seed and optimiser; its network is the recipe's.
    output
        Folder of the bundle; files in it that are not written here stay.
    work
        Folder for the checkpoint and the learning curve; with a checkpoint in it, the run goes on.
    device
        "cpu" or "cuda[:N]".
    progress
        Called with every row of the learning curve.
    """
    validation = [(source, load_source(source)) for source in recipe.validation]
    sampler = PatchSampler(
        [(source.weight, load_source(source)) for source in recipe.train],
        mpp=recipe.mpp,
        size=config.patch,
    )
    network = train(config, sampler, work, device=device, progress=progress)
    run = torch.load(work / "checkpoint.pt", map_location="cpu", weights_only=True)
    training = {
        "steps": run["step"],
        "minutes": round(run["spent"] / 60, 1),
        "hardware": describe_hardware(device),
        "images": len(sampler.samples),
        "seed": config.seed,
        "batch": config.batch,
        "patch": config.patch,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    write_bundle(output, network, recipe, training=training, scores={})
    bundle = load_bundle(output)
    ready = bundle.network(device)  # the weights as they were stored
    scores = {}
    for source, samples in validation:
        score = score_samples(bundle, samples, network=ready)
        scores[_title(source)] = {k: v for k, v in score.items() if k != "per_image"}
    write_bundle(output, network, recipe, training=training, scores=scores)
    return load_bundle(output)


def describe_hardware(device: str) -> str:
    """Say what a run used, in words that mean something elsewhere."""
    if device.startswith("cuda"):
        return f"1 GPU ({torch.cuda.get_device_name(device)})"
    return f"{min(torch.get_num_threads(), os.cpu_count() or 1)} CPU cores"


def _title(source: DataSource) -> str:
    return dict(source.about).get("title", source.folder.name)
