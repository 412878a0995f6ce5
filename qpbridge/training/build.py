"""From a recipe to a finished bundle: read, train, write, score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qpbridge.errors import ModelError
from qpbridge.evaluation.calibration import judge_objects
from qpbridge.evaluation.folder import quick_score, score_samples
from qpbridge.evaluation.labelled import DataSource, Sample, load_source
from qpbridge.evaluation.predict import WITH_HOLES
from qpbridge.evaluation.reviewed import load_reviewed
from qpbridge.models.bundle import Bundle, load_bundle
from qpbridge.models.definition import build_network
from qpbridge.models.network import MapNetwork, half_precision
from qpbridge.processors import usable_processors
from qpbridge.project import open_project
from qpbridge.training.certainty import calibrate
from qpbridge.training.curve import draw_curve
from qpbridge.training.data import PatchSampler
from qpbridge.training.export import metadata, receptive_reach, write_bundle, write_scores
from qpbridge.training.gain import describe_gain, pieces_of, score_pieces
from qpbridge.training.loop import CHECKPOINT, CURVE, TrainConfig, train
from qpbridge.training.recipe import Recipe
from qpbridge.training.synthetic.pictures import load_pictures
from qpbridge.training.tasks import find_task

Group = tuple[DataSource, Sequence[Sample]]


def train_bundle(
    recipe: Recipe,
    config: TrainConfig,
    output: Path,
    *,
    work: Path,
    start: Bundle | None = None,
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
    start
        Model whose weights to begin with.
    device
        "cpu", "cuda[:N]" or "mps".
    progress
        Called with every row of the learning curve.

    Raises
    ------
    QpbridgeError
        If data can't be read, or nothing is left to train on.
    """
    training, validation = load_groups(recipe, config.seed)
    sampler = PatchSampler(
        [(source.weight, samples) for source, samples in training],
        recipe.task,
        mpp=recipe.mpp,
        size=config.patch,
        scale=recipe.scale,
    )
    about: dict[str, Any] = {"version": _next_version(output)}
    if recipe.task.target == "nuclei":
        about |= _usual_size([sample for _, samples in training for sample in samples])
    recipe = replace(recipe, about={**about, **recipe.about})
    judge = _judge(recipe, output, [samples for _, samples in validation])
    score = recipe.task.score
    compared = [] if start is None else [pieces_of(samples) for _, samples in validation]
    before: list[list[float]] = []
    if start is not None and compared:
        network_before = start.network(device)
        before = [score_pieces(score, start, pieces, network_before) for pieces in compared]
        if progress is not None:
            means = [float(np.nanmean(values)) for values in before if np.isfinite(values).any()]
            progress({"step": 0, "minutes": 0.0, "score": float(np.mean(means or np.nan))})
    network = train(
        config,
        sampler,
        work,
        device=device,
        start=None if start is None else start.state(),
        validate=judge,
        progress=progress,
    )
    run = torch.load(work / CHECKPOINT, map_location="cpu", weights_only=True)["state"]
    facts = {
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
    if start is not None:
        minutes = start.training.get("minutes", 0)
        minutes += start.training.get("init", {}).get("minutes", 0)
        facts["init"] = {
            "name": start.name,
            "version": start.version,
            "data": start.data,
            "minutes": minutes,
        }
    write_bundle(output, network, recipe, training=facts, scores={})
    draw_curve(work / CURVE, output / "docs")
    bundle = load_bundle(output)
    ready = bundle.network(device)  # the weights as they were stored
    if compared:
        facts["init"]["gain"] = {
            source.title: describe_gain(
                score, pieces, old, score_pieces(score, bundle, pieces, ready)
            )
            for (source, _), pieces, old in zip(validation, compared, before, strict=True)
        }
        write_bundle(output, network, recipe, training=facts, scores={})
    score_bundle(load_bundle(output), validation, ready)
    return load_bundle(output)


def _usual_size(samples: Sequence[Sample]) -> dict[str, float]:
    """Measure how large nuclei are, those at the border left out: the median of the images'.

    Returns
    -------
    dict
        ``nucleus_um2`` of the model's metadata; empty where there are no nuclei.
    """
    medians = []
    for sample in samples:
        labels = np.asarray(sample.labels)
        areas = np.bincount(labels.ravel())
        areas[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
        whole = areas[1:][areas[1:] > 0]
        if len(whole):
            medians.append(float(np.median(whole)) * sample.mpp**2)
    return {"nucleus_um2": round(float(np.median(medians)), 1)} if medians else {}


def score_bundle(
    bundle: Bundle, validation: Sequence[Group], network: nn.Module, *, calibrated: bool = True
) -> None:
    """Score a model on images that it was not trained on, calibrate it, and note both in its files.

    Parameters
    ----------
    bundle
        The model.
    validation
        Sources with their samples.
    network
        Its network, ready to run.
    calibrated
        Whether it is to be calibrated, where its objects are told apart.
    """
    scores, judged = {}, []
    for source, samples in validation:
        scores[source.title] = score_samples(bundle, samples, network=network)
        if calibrated and find_task(bundle.decoder).single:
            judged.append([judge_objects(bundle, samples[i::2], network) for i in (0, 1)])
    write_scores(bundle, scores, calibrate(judged, bundle.path / "docs"))


def _next_version(output: Path) -> str:
    """Give a model a version of its own: other weights in a folder are another version."""
    try:
        major, minor, _ = map(int, load_bundle(output).version.split("."))
    except (ModelError, ValueError):
        return "0.1.0"
    return f"{major}.{minor + 1}.0"


def load_groups(recipe: Recipe, seed: int) -> tuple[list[Group], list[Group]]:
    """Read all images of a recipe, and set patients aside for validation as it says.

    Returns
    -------
    training, validation
        Sources with their samples. No patient of a source is on both sides.
    """

    def load(source: DataSource) -> list[Sample]:
        if source.truth is not None:
            return list(_load_project(source, source.truth, recipe))
        if source.synthetic is not None:
            return load_pictures(source, recipe.mpp)
        return load_source(source, None if recipe.task.target == "nuclei" else at_own_scale)

    def at_own_scale(_: object) -> float:
        return recipe.mpp

    training = [(source, load(source)) for source in recipe.train]
    # what a network says is judged everywhere
    validation: list[Group] = [
        (source, [replace(sample, known=None) for sample in load(source)])
        if source.synthetic is not None
        else (source, load(source))
        for source in recipe.validation
    ]
    if not recipe.holdout:
        return list(training), validation
    left: list[Group] = []
    for source, samples in training:
        kept, held = split_by_patient(samples, recipe.holdout, seed)
        left.append((source, kept))
        if held:
            title = f"{source.title}, patients held back"
            about = {**dict(source.about), "title": title}
            validation.append((replace(source, about=tuple(about.items())), held))
    return left, validation


def _load_project(source: DataSource, truth: str, recipe: Recipe) -> Iterator[Sample]:
    """Read what a person reviewed in a project, as fine as training can use it."""
    for area in load_reviewed(
        open_project(source.folder),
        truth,
        recipe.task.target,
        mpp=recipe.mpp / recipe.scale[1],
        filled=recipe.decoder not in WITH_HOLES,
    ):
        yield area.sample


def split_by_patient(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Set aside about `share` of the samples, all of a patient or none.

    With a single patient nothing is set aside; with more, one stays on each side at least.
    """
    patients = sorted({sample.patient for sample in samples})
    order = np.random.default_rng(seed).permutation(len(patients)).tolist()
    held: set[str] = set()
    for index in order[:-1]:
        if sum(sample.patient in held for sample in samples) >= share * len(samples):
            break
        held.add(patients[index])
    return (
        [sample for sample in samples if sample.patient not in held],
        [sample for sample in samples if sample.patient in held],
    )


def describe_hardware(device: str) -> str:
    """Say what a run used, in words that mean something elsewhere."""
    if device.startswith("cuda"):
        return f"1 GPU ({torch.cuda.get_device_name(device)})"
    cores = min(torch.get_num_threads(), usable_processors())
    return f"{cores} CPU {'core' if cores == 1 else 'cores'}"


def _judge(
    recipe: Recipe, output: Path, groups: Sequence[Sequence[Sample]]
) -> Callable[[nn.Module], float] | None:
    """Make what scores a network in training on the validation images, if there are any.

    Each set counts as much as any other, however many images it has.
    """
    if not groups:
        return None

    halo = receptive_reach(build_network(recipe.network_definition).eval(), recipe.stride)
    draft = Bundle("draft", output, metadata(recipe, halo, training={}, scores={}))

    def judge(network: nn.Module) -> float:
        device = next(network.parameters()).device
        ready = MapNetwork(network, recipe.task.channels, half_precision(device)).eval().to(device)
        name = recipe.task.score
        scores = [quick_score(name, draft, samples, network=ready) for samples in groups]
        return float(np.mean(scores))

    return judge
