"""µm per pixel by the size of nuclei."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from PIL import Image

from qpbridge.models.bundle import load_bundle
from qpbridge.prediction.scale import LADDER, Seen, choose_fields, combine, estimate_scale
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides import open_slide


def seen_of(true, nuclei=22.0):
    """What a network sees that finds nuclei over some range of scales, and little else."""
    fitting = [mpp for mpp in LADDER if 0.4 < mpp / true < 2.5]
    noise = [mpp for mpp in LADDER if mpp not in fitting]
    return [Seen(mpp, nuclei * (mpp / true) ** 2, 60.0, 0.2) for mpp in fitting] + [
        Seen(mpp, 22.0, 4.0, 0.01) for mpp in noise
    ]


@pytest.mark.parametrize("true", [0.12, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(("nuclei", "factor"), [(22.0, 1.0), (36.0, 0.78), (13.0, 1.3)])
def test_the_scale_follows_from_what_is_seen_at_several(true, nuclei, factor):
    found = combine(seen_of(true, nuclei), 22.0)
    assert found.mpp == pytest.approx(factor * true, rel=0.05)
    assert found.low < true < found.high
    assert found.sure


def test_few_nuclei_make_it_doubtful_and_none_impossible():
    few = [one._replace(certain=3.0) for one in seen_of(0.25)]
    found = combine(few, 22.0)
    assert not found.sure
    assert "only 3 nuclei" in str(found)
    assert found.high / found.low > 2.5
    assert combine([], 22.0) is None


def test_fields_lie_where_nuclei_are_and_apart(tmp_path):
    pixels = np.full((2000, 3000, 3), 240, np.uint8)
    pixels[100:700, 2000:2900] = (120, 90, 160)
    pixels[1300:1900, 100:700] = (140, 110, 170)
    pixels[1000:1900, 1500:2900] = 5  # black fill
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        places = choose_fields(slide, shapely.box(0, 0, 3000, 2000))
        left = choose_fields(slide, shapely.box(0, 0, 1000, 2000))
    assert len(places) >= 2
    assert all(pixels[int(y), int(x), 2] > 150 for x, y in places)
    gaps = [max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a in places for b in places if a != b]
    assert min(gaps) >= 500
    assert left and all(x < 1000 for x, _ in left)


@pytest.fixture(scope="module")
def network():
    return TargetNetwork(load_bundle("nuclei_he"), "cpu")


@pytest.mark.parametrize(
    ("picture", "true"),
    [("nuclei_monuseg_train/images/TCGA-B0-5710-01Z-00-DX1.webp", 0.5)],
)
def test_a_picture_of_a_known_scale(shared, tmp_path, network, picture, true):
    image = Image.open(shared / "data" / picture).convert("RGB")
    factor = 0.25 / true
    size = (round(image.width * factor), round(image.height * factor))
    image.resize(size, Image.Resampling.BOX).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        found = estimate_scale(slide, shapely.box(0, 0, slide.width, slide.height), network)
    assert found.sure
    assert true / 1.4 < found.mpp < true * 1.4


def test_of_glass_there_is_no_estimate(tmp_path, network):
    Image.fromarray(np.full((300, 300, 3), 240, np.uint8)).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        assert estimate_scale(slide, shapely.box(0, 0, 300, 300), network) is None


def test_grain_that_is_taken_for_nuclei_is_doubtful():
    fibres = [
        Seen(0.18, 20.0, 3.0, 0.005),
        Seen(1.02, 20.0, 40.0, 0.03),
        Seen(1.44, 16.0, 70.0, 0.05),
    ]
    found = combine(fibres, 22.0)
    assert found.mpp > 1.5 and found.nuclei > 20
    assert not found.sure
    assert "grain" in str(found)
