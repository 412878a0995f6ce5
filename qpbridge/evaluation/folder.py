"""Score a model on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from torch import nn

from qpbridge.evaluation.labelled import Sample
from qpbridge.evaluation.objects import aji, panoptic_quality
from qpbridge.evaluation.overlaps import Overlaps, overlaps
from qpbridge.evaluation.predict import predict, ready_network
from qpbridge.evaluation.scores import OF_PIXELS, image_scores, mean_scores
from qpbridge.models.bundle import Bundle

COUNTS = ("truth_count", "predicted_count")
OF_OVERLAPS: Mapping[str, Callable[[Overlaps], float]] = {"aji": aji, "pq": panoptic_quality}
"""Scores that `quick_score` is quick with."""


def score_each(
    bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module | None = None
) -> list[tuple[str, dict[str, float]]]:
    """Segment images and compare with their labels, at the labels' own resolution.

    Parameters
    ----------
    bundle
        The model.
    samples
        Images with labels and µm per pixel; they are taken, and let go, one by one.
    network
        Instead of the bundle's own weights (during training).

    Returns
    -------
    list of (name, scores)
        Of each image; see `qpbridge.evaluation.scores.MEANINGS`. Vessels are often drawn as a mask:
        where no labels of theirs have more than one value, only the scores of pixels are given.
    """
    ready = ready_network(bundle, network)
    masks = bundle.target == "vessels"
    scored = []
    for sample in samples:
        found = predict(ready, sample, with_level=True)
        scores = image_scores(sample.labels, found.labels, found.level, known=sample.known)
        scored.append((sample.name, scores))
        masks = masks and len(np.setdiff1d(sample.labels, 0)) <= 1
    if masks:
        scored = [(name, {key: scores[key] for key in OF_PIXELS}) for name, scores in scored]
    return scored


def quick_score(
    name: str, bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module
) -> float:
    """Mean of one score of `score_samples`, without the time that all others take."""
    values = quick_scores(name, bundle, samples, network=network)
    return mean_scores({name: value} for value in values)[name]


def quick_scores(
    name: str, bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module
) -> list[float]:
    """One score of each image, as `score_each` has it, without the time that all others take."""
    if name not in OF_OVERLAPS:
        return [scores[name] for _, scores in score_each(bundle, samples, network=network)]
    values, ready = [], ready_network(bundle, network)
    for sample in samples:
        truth, found = sample.labels, predict(ready, sample).labels
        if sample.known is not None:
            truth, found = np.where(sample.known, truth, 0), np.where(sample.known, found, 0)
        values.append(OF_OVERLAPS[name](overlaps(truth, found)))
    return values


def score_samples(
    bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module | None = None
) -> dict[str, Any]:
    """Sum up `score_each`.

    Returns
    -------
    dict
        ``images``; ``objects`` and ``predicted``, how many there are in all, unless the labels are
        masks; and the mean over images of every score.
    """
    scores = [values for _, values in score_each(bundle, samples, network=network)]
    means = mean_scores(scores)
    totals = {
        name: int(sum(values[key] for values in scores))
        for name, key in zip(("objects", "predicted"), COUNTS, strict=True)
        if key in means
    }
    return {
        "images": len(scores),
        **totals,
        **{name: value for name, value in means.items() if name not in COUNTS},
    }
