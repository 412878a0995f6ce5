"""Whether training on made a model better, by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from qpbridge.evaluation.differences import in_tiles, paired_difference
from qpbridge.evaluation.folder import quick_scores
from qpbridge.evaluation.labelled import Sample
from qpbridge.models.bundle import Bundle


class Pieces(NamedTuple):
    """What two models are compared on.

    Attributes
    ----------
    samples
        Images, or tiles of them where there are few.
    of
        Which of the two: "images" or "tiles".
    """

    samples: Sequence[Sample]
    of: str


def pieces_of(samples: Sequence[Sample]) -> Pieces:
    """Choose what two models are compared on, of the images of a set."""
    pieces = in_tiles(samples)
    return Pieces(pieces, "images" if len(pieces) == len(samples) else "tiles")


def score_pieces(score: str, bundle: Bundle, pieces: Pieces, network: nn.Module) -> list[float]:
    """Score each of the pieces; NaN: there is nothing to score in it."""
    return quick_scores(score, bundle, pieces.samples, network=network)


def describe_gain(
    score: str, pieces: Pieces, before: Sequence[float], after: Sequence[float]
) -> dict[str, Any]:
    """Say what a score was before and is now, for a bundle's metadata.

    Returns
    -------
    dict
        ``score``, ``before``, ``after``, ``interval`` (95 % of the difference, or None where
        they are too few to tell), ``count`` and ``of`` (how many images or tiles).
    """
    found = paired_difference(before, after)
    return {
        "score": score,
        "before": round(found.before, 4),
        "after": round(found.after, 4),
        "interval": None if math.isnan(found.low) else [round(found.low, 4), round(found.high, 4)],
        "count": found.compared,
        "of": pieces.of,
    }
