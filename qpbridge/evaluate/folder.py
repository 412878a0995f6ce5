"""Score a model on a folder of labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from qpbridge.evaluate.labelled import DataSource, Sample, load_source
from qpbridge.evaluate.metrics import instance_scores
from qpbridge.evaluate.predict import predict
from qpbridge.models.bundle import Bundle


def score_folder(
    bundle: Bundle, folder: Path, mpp: float | None = None, pattern: str = "*"
) -> dict[str, Any]:
    """Score a model on a folder with ``images/`` and ``labels/``; see `score_samples`.

    Parameters
    ----------
    bundle
        The model.
    folder
        Images and labels with the same stems.
    mpp
        µm per pixel of the images; None estimates it from the size of their nuclei.
    pattern
        Which stems belong; several patterns joined by ``|``.

    Raises
    ------
    QpbridgeError
        If the folder lacks images or labels, or they don't fit.
    """
    return score_samples(bundle, load_source(DataSource(folder, mpp, pattern)))


def score_samples(
    bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module | None = None
) -> dict[str, Any]:
    """Segment images and compare with their labels, at the labels' own resolution.

    Images are resampled to the model's µm per pixel; outlines are what is compared, drawn at the
    resolution of the labels, so that everything up to the polygons is part of the score.

    Parameters
    ----------
    bundle
        The model.
    samples
        Images with labels and µm per pixel.
    network
        Instead of the bundle's own weights (during training).

    Returns
    -------
    dict
        ``images``, ``objects``, ``predicted``, the mean over images of ``aji``, ``aji_plus``,
        ``pq``, ``dq``, ``sq``, ``f1``, ``dice``, and ``per_image`` (scores by name).
    """
    network = network or bundle.network()
    scores = {}
    for sample in samples:
        found = predict(bundle, network, sample.image, sample.mpp)
        scores[sample.name] = asdict(instance_scores(sample.labels, found.labels))
    return summarise(scores)


def summarise(per_image: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Mean over images of each score, NaN left out, with counts and the scores by image."""
    names = ("aji", "aji_plus", "pq", "dq", "sq", "f1", "dice")
    values = list(per_image.values())
    means = {name: float(np.nanmean([v[name] for v in values])) for name in names} if values else {}
    return {
        "images": len(values),
        "objects": int(sum(v["truth_count"] for v in values)),
        "predicted": int(sum(v["predicted_count"] for v in values)),
        **means,
        "per_image": {name: dict(v) for name, v in per_image.items()},
    }
