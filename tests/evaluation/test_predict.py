"""What a model finds in an image, drawn at the resolution of its labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation.test_folder import Oracle, discs, shown
from PIL import Image
from slide_factory import make_slide

from qpbridge.decode.polygons import instances_to_polygons
from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import Sample, load_pairs
from qpbridge.evaluation.predict import predict, ready_network
from qpbridge.measurements.raster import rasterize
from qpbridge.models import load_bundle
from qpbridge.objects import Shapes
from qpbridge.prediction import search


def test_drawing_is_the_inverse_of_outlining():
    labels = discs(120, 0.35)
    rings = instances_to_polygons(labels, (labels > 0).astype(np.float32), 0.5)
    outlines = Shapes.from_rings(rings.coords, rings.offsets)
    assert (rasterize(outlines, labels.shape) == labels).all()
    twice = rasterize(outlines, (240, 240), downsample=0.5)
    area = np.bincount(labels.ravel())[1:] * 4
    assert np.allclose(np.bincount(twice.ravel())[1:], area, rtol=0.02)


def oracle(sample, **options):
    return predict(ready_network(load_bundle("nuclei_he"), Oracle()), sample, **options)


def test_what_is_found_has_the_size_of_the_image_whatever_the_stride():
    labels = discs(100, 0.4)[:77, :93]
    found = oracle(Sample("a", shown(labels), labels, 0.5), with_level=True)
    assert found.labels.shape == found.level.shape == (77, 93)
    assert ((found.level > 0.5) == (labels > 0)).all()
    assert ((found.labels > 0) == (labels > 0)).mean() > 0.99
    assert len(found.probability) == found.labels.max()


@pytest.mark.parametrize("tile", [224, 256])
def test_tiles_give_the_same_as_the_whole(monkeypatch, tile):
    class Blur(torch.nn.Module):
        """Sees 2 pixels around each, as far as the picture goes."""

        def __init__(self):
            super().__init__()
            self.convolution = torch.nn.Conv2d(3, 4, 5, padding=2)

        def forward(self, rgb):
            maps = self.convolution(rgb.float() / 255)
            return torch.cat([maps[:, :1].sigmoid(), maps[:, 1:]], 1)

    torch.manual_seed(0)
    network = Blur().eval()
    image = np.random.default_rng(1).integers(100, 256, (101, 167, 3), np.uint8)
    sample = Sample("a", image, np.zeros((101, 167), np.int32), 0.5)
    bundle = load_bundle("nuclei_he")
    ready = ready_network(bundle, network)
    whole = predict(ready, sample, with_level=True)
    plan = search.plan_tiles
    monkeypatch.setattr(search, "plan_tiles", lambda *a, **k: plan(*a, **{**k, "tile": tile}))
    tiled = predict(ready, sample, with_level=True)
    assert np.allclose(tiled.level, whole.level, atol=1e-5)
    wide = np.pad(image, [(2, 2), (2, 2), (0, 0)], mode="symmetric")
    with torch.inference_mode():
        expected = network(torch.from_numpy(wide).permute(2, 0, 1)[None])[0, 0, 2:-2, 2:-2].numpy()
    assert np.allclose(whole.level, expected, atol=1e-5)


@pytest.mark.parametrize("mpp", [0.25, 1.0])
def test_a_level_is_that_of_the_place(mpp):
    labels = discs(round(128 / mpp / 2), 0.4)
    found = oracle(Sample("a", shown(labels), labels, mpp), with_level=True)
    assert ((found.level > 0.5) == (labels > 0)).mean() > 0.93


def test_labelled_images_are_read_as_slides_are(tmp_path: Path) -> None:
    """Clear pixels are white; a slide with levels is read at the one that fits."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    truth = discs(64, 0.4)
    clear = np.dstack([shown(truth), np.where(truth > 0, 255, 0).astype(np.uint8)])
    Image.fromarray(clear, "RGBA").save(images / "a.png")
    made = make_slide(images / "b.tif", width=300, height=200, levels=2, mpp=0.5, lossless=True)
    for name, size in (("a", (64, 64)), ("b", (200, 300))):
        Image.fromarray(np.ones(size, np.uint8)).save(labels / f"{name}.png")
    flat, slide = load_pairs(images, labels, 0.25)
    assert flat.place is None and (flat.image == shown(truth)).all()
    assert (slide.image == made.pixels).all()
    with slide.place.open() as opened:
        assert len(opened.levels) == 2 and opened.mpp == pytest.approx((0.5, 0.5))
    assert slide.place.mpp == (0.25, 0.25)
    alone = replace(slide, place=None)
    assert (oracle(slide).labels == oracle(alone).labels).mean() > 0.9

    (images / "b.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(QpbridgeError, match=r"b\.tif"):
        list(load_pairs(images, labels, 0.25))
