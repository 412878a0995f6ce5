"""Scoring a model from images to outlines, at the resolution of the labels."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.measure import label
from torch import nn

from qpbridge.evaluation.folder import quick_score, score_samples
from qpbridge.evaluation.labelled import Sample
from qpbridge.evaluation.scores import mean_scores
from qpbridge.models import load_bundle
from qpbridge.models.bundle import Bundle
from qpbridge.training.truth_maps import instance_maps


def discs(size, radius):
    labels = np.zeros((size, size), np.int32)
    rows, columns = np.indices(labels.shape)
    for number, (y, x) in enumerate(np.ndindex(4, 4), 1):
        spot = np.hypot(rows - (y + 0.5) * size / 4, columns - (x + 0.5) * size / 4)
        labels[spot < radius * size / 4] = number
    return labels


def shown(labels):
    """Grey discs on white, each of another grey."""
    return np.repeat((255 - 10 * np.minimum(labels, 16)).astype(np.uint8)[..., None], 3, 2)


class Oracle(nn.Module):
    """Draws the maps of known nuclei, which it sees: they are not white."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, rgb):
        return torch.from_numpy(instance_maps(label(rgb[0, 0].numpy() < 255)))[None]


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_a_perfect_network_scores_nearly_one_at_any_resolution(mpp):
    labels = discs(round(128 / mpp / 2), 0.4)
    image = shown(labels)
    bundle = load_bundle("nuclei_he")
    scores = score_samples(bundle, [Sample("discs", image, labels, mpp)], network=Oracle())
    assert (scores["images"], scores["objects"]) == (1, 16)
    assert scores["f1"] == 1 and scores["aji"] > 0.85 and scores["dice"] > 0.92


def test_means_leave_out_what_is_not_defined():
    total = mean_scores([{"aji": 0.5, "pq": math.nan}, {"aji": math.nan, "pq": math.nan}])
    assert total["aji"] == 0.5 and math.isnan(total["pq"])


def test_masks_are_scored_by_pixels_only():
    labels = (discs(64, 0.4) > 0).astype(np.int32) * 255
    image = shown(labels)
    own = {"target": "vessels", "decoder": "lines", "mpp": 1.0, "halo": 0, "stride": 16}
    own |= {"channels": [], "decode": {"min_area_um2": 1.0}}
    bundle = Bundle("lines", Path("lines"), {"qpbridge": own})

    class Level(Oracle):
        def forward(self, rgb):
            return (rgb[:, :1] < 255).float() * 0.9

    scores = score_samples(bundle, [Sample("a", image, labels, 1.0)], network=Level())
    assert scores["auc"] == scores["specificity"] == 1 and scores["sensitivity"] > 0.85
    assert "pq" not in scores and "objects" not in scores


def test_what_is_not_known_does_not_count():
    labels = discs(64, 0.4)
    image = shown(labels)
    known = np.zeros(labels.shape, bool)
    known[:, :32] = True
    wrong = np.where(known, labels, 0)  # the other half was not labelled
    bundle = load_bundle("nuclei_he")
    half = Sample("half", image, wrong, 0.5, known=known)
    scores = score_samples(bundle, [half], network=Oracle())
    for name in ("aji", "pq", "auc"):
        assert quick_score(name, bundle, [half], network=Oracle()) == scores[name]
    assert (scores["objects"], scores["predicted"], scores["f1"]) == (8, 8, 1)
    assert scores["specificity"] > 0.9
