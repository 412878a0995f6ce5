"""Score a model on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from torch import nn

from qpbridge.evaluate.labelled import Sample
from qpbridge.evaluate.predict import predict
from qpbridge.evaluate.scores import image_scores, mean_scores
from qpbridge.models.bundle import Bundle

COUNTS = ("truth_count", "predicted_count")


def score_each(
    bundle: Bundle, samples: Iterable[Sample], *, network: nn.Module | None = None
) -> Iterable[tuple[str, dict[str, float]]]:
    """Segment images and compare with their labels, at the labels' own resolution.

    Parameters
    ----------
    bundle
        The model.
    samples
        Images with labels and µm per pixel.
    network
        Instead of the bundle's own weights (during training).

    Yields
    ------
    name, scores
        Of each image; see `qpbridge.evaluate.scores.MEANINGS`. Where the labels are masks (see
        `are_masks`), those of pixels only.
    """
    network = network or bundle.network()
    samples = list(samples)
    instances = not are_masks(bundle, samples)
    for sample in samples:
        found = predict(bundle, network, sample.image, sample.mpp)
        yield (
            sample.name,
            image_scores(
                sample.labels, found.labels, found.level, known=sample.known, instances=instances
            ),
        )


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


def are_masks(bundle: Bundle, samples: Sequence[Sample]) -> bool:
    """Tell whether labels tell objects apart; vessels are often drawn as one mask of 0 and 255."""
    one_value = all(len(np.setdiff1d(sample.labels, 0)) <= 1 for sample in samples)
    return bundle.target == "vessels" and one_value
