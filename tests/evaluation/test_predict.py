"""What a model finds in an image, drawn at the resolution of its labels."""

import numpy as np
import torch
from evaluation.test_folder import Oracle, discs

from qpbridge.decode.instances import Instances
from qpbridge.evaluation import predict
from qpbridge.evaluation.predict import draw_labels, draw_maps, resample


def test_drawing_is_the_inverse_of_outlining():
    labels = discs(120, 0.35)
    found = Instances(labels, np.ones(16, np.float32), (labels > 0).astype(np.float32), 0.5)
    assert (draw_labels(found, labels.shape, 1.0, holes=False) == labels).all()
    twice = draw_labels(found, (240, 240), 0.5, holes=False)
    area = np.bincount(labels.ravel())[1:] * 4
    assert np.allclose(np.bincount(twice.ravel())[1:], area, rtol=0.02)


def test_resampling_keeps_the_mean_and_the_size_fits():
    image = np.random.default_rng(0).integers(0, 256, (90, 61, 3), np.uint8)
    half = resample(image, 0.5)
    assert half.shape == (45, 30, 3) and abs(half.mean() - image.mean()) < 1
    assert np.allclose(half[3, 4], image[6:8, 8:10].mean((0, 1)), atol=12)
    assert resample(image, 1.7).shape == (153, 104, 3)


def test_prediction_has_the_size_of_the_image_whatever_the_stride():
    image = np.repeat((discs(100, 0.4)[:77, :93] * 10).astype(np.uint8)[..., None], 3, 2)
    maps = draw_maps(Oracle(), image, 16, 32)
    assert maps.shape == (4, 77, 93)
    assert ((maps[0] > 0.5) == (image[..., 0] > 0)).all()


def test_tiles_give_the_same_as_the_whole(monkeypatch):
    image = np.random.default_rng(1).integers(0, 256, (101, 167, 3), np.uint8)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 5, stride=4, padding=2), torch.nn.ConvTranspose2d(4, 2, 4, stride=4)
    )
    network = torch.nn.Sequential(Floats(), *network).eval()
    whole = draw_maps(network, image, 4, 8)
    monkeypatch.setattr(predict, "TILE", 50)  # not a multiple of the stride
    assert whole.shape == (2, 101, 167)
    assert np.allclose(draw_maps(network, image, 4, 8), whole, atol=1e-4)


class Floats(torch.nn.Module):
    def forward(self, rgb):
        return rgb.float()
