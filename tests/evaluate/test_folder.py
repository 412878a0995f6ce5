"""Scoring a model from images to outlines, at the resolution of the labels."""

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage.measure import label
from torch import nn

from qpbridge.evaluate.__main__ import main
from qpbridge.evaluate.folder import score_samples, summarise
from qpbridge.evaluate.labelled import Sample
from qpbridge.models import load_bundle
from qpbridge.train.targets import instance_targets


def discs(size, radius):
    labels = np.zeros((size, size), np.int32)
    rows, columns = np.indices(labels.shape)
    for number, (y, x) in enumerate(np.ndindex(4, 4), 1):
        spot = np.hypot(rows - (y + 0.5) * size / 4, columns - (x + 0.5) * size / 4)
        labels[spot < radius * size / 4] = number
    return labels


class Oracle(nn.Module):
    """Draws the maps of known nuclei, which it sees: they are not black."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, rgb):
        return torch.from_numpy(instance_targets(label(rgb[0, 0].numpy() > 0)))[None]


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_a_perfect_network_scores_nearly_one_at_any_resolution(mpp):
    labels = discs(round(128 / mpp / 2), 0.4)
    image = np.repeat((labels * 10).astype(np.uint8)[..., None], 3, 2)
    bundle = load_bundle("nuclei_he")
    scores = score_samples(bundle, [Sample("discs", image, labels, mpp)], network=Oracle())
    assert (scores["images"], scores["objects"]) == (1, 16)
    assert scores["f1"] == 1 and scores["aji"] > 0.85 and scores["dice"] > 0.92
    assert scores["per_image"]["discs"]["pq"] == scores["pq"]


def test_means_leave_out_what_is_not_defined():
    one = dict.fromkeys(("aji", "aji_plus", "pq", "dq", "sq", "f1", "dice"), 0.5)
    nothing = dict.fromkeys(one, math.nan)
    counts = {"truth_count": 3, "predicted_count": 4}
    total = summarise({"a": one | counts, "b": nothing | counts})
    assert (total["aji"], total["objects"], total["predicted"]) == (0.5, 6, 8)


def test_the_command_prints_json(tmp_path, monkeypatch):
    for part, pixels in (
        ("images", np.full((40, 40, 3), 240, np.uint8)),
        ("labels", discs(40, 0.4)),
    ):
        (tmp_path / part).mkdir()
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / "a.png")
    result = CliRunner().invoke(main, [str(tmp_path), "--mpp", "0.5"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["objects"] == 16 and printed["predicted"] == 0 and printed["aji"] == 0
    result = CliRunner().invoke(main, [str(tmp_path), "--model", "nobody"])
    assert result.exit_code == 1 and "nuclei_he" in result.output
