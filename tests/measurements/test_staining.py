"""What an image is stained with: its type and stain vectors, from the pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from qpbridge import ImageType, RequestError
from qpbridge.measurements.color import H_DAB, H_E
from qpbridge.measurements.staining import as_type, estimate_stains, estimate_type
from qpbridge.slides import open_slide

RNG = np.random.default_rng(3)


def picture(stains, amounts, *, glass=0.3, side=120):
    """Mix stains pixel by pixel: each pixel has one of `amounts` (of each stain)."""
    chosen = RNG.integers(0, len(amounts), (side, side))
    density = np.array(amounts)[chosen] @ np.array(stains.vectors)
    density *= RNG.normal(1, 0.1, (side, side, 1))
    density[RNG.random((side, side)) < glass] = 0.01
    return np.rint(240 * 10**-density).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("glass", [0.0, 0.3, 0.9])
def test_pink_and_purple_are_h_and_e(glass):
    found = estimate_type(picture(H_E, [(0.7, 0.1), (0.1, 0.4), (0.05, 0.3)], glass=glass))
    assert found == (ImageType.BRIGHTFIELD_H_E, True)


@pytest.mark.parametrize("positive", [1, 4])
def test_blue_and_brown_are_h_dab(positive):
    amounts = [(0.4, 0.0)] * 6 + [(0.1, 0.7)] * positive
    assert estimate_type(picture(H_DAB, amounts)) == (ImageType.BRIGHTFIELD_H_DAB, True)


def test_where_nothing_tells_it_is_not_sure():
    blue = picture(H_DAB, [(0.4, 0.0)])  # no brown: a negative, or no eosin at all
    empty = np.full((50, 50, 3), 243, np.uint8)
    dark = np.full((50, 50, 3), 10, np.uint8)
    for pixels in (blue, empty, dark):
        assert not estimate_type(pixels).sure


def test_real_pictures(shared):
    slides = shared / "data" / "slides"
    for name, kind in (
        ("OS-1-detail.ome.tif", ImageType.BRIGHTFIELD_H_E),
        ("OS-2-ndpi.ome.tif", ImageType.BRIGHTFIELD_H_DAB),
        ("OS-2-vsi.ome.tif", ImageType.BRIGHTFIELD_H_DAB),
    ):
        with open_slide(slides / name) as slide:
            assert estimate_type(slide.thumbnail(1000, 1000)) == (kind, True)
    for folder in ("nuclei_tnbc", "nuclei_consep", "glands_glas_train"):
        paths = sorted((shared / "data" / folder / "images").iterdir())[::9]
        found = [estimate_type(np.asarray(Image.open(path).convert("RGB"))) for path in paths]
        assert all(kind is ImageType.BRIGHTFIELD_H_E for kind, sure in found if sure)
        assert sum(sure for _, sure in found) > 0.7 * len(found)


def test_the_words_of_types():
    assert as_type("image_type", "h&e") is ImageType.BRIGHTFIELD_H_E
    assert as_type("image_type", "BRIGHTFIELD_H_DAB") is ImageType.BRIGHTFIELD_H_DAB
    assert as_type("image_type", ImageType.OTHER) is ImageType.OTHER
    assert as_type("image_type", "estimate") is None
    for wrong in ("ki67", 3, ImageType.UNSET):
        with pytest.raises(RequestError, match="image_type"):
            as_type("image_type", wrong)


@pytest.mark.parametrize("start", [H_E, H_DAB])
def test_vectors_that_were_painted_are_found(start):
    turned = np.add(start.vectors, [[0.05, -0.04, 0.06], [0.06, 0.03, -0.05]])
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    painted = type(start)("", start.stain_names, tuple(map(tuple, turned)))
    mixed = [(a, 1 - a) for a in np.linspace(0, 1, 9)]
    pixels = picture(painted, 0.6 * np.array(mixed), side=300)
    pixels = pixels.repeat(5, axis=0).repeat(5, axis=1)  # smoothing mixes neighbours
    found = estimate_stains(pixels, start)
    angles = np.degrees(np.arccos((np.array(found.vectors) * turned).sum(axis=1)))
    assert angles.max() < 3
    assert found.stain_names == start.stain_names
    assert found.name == start.name.replace("default", "estimated")
    assert all(225 < value < 245 for value in found.background)


QUPATH = {
    ("nuclei_tnbc", "09_2.webp"): ((226, 185, 210), (0.792, 0.441, 0.422), (0.413, 0.75, 0.517)),
    ("nuclei_consep", "train_07.jpg"): (
        (241, 230, 227),
        (0.587, 0.796, 0.144),
        (0.364, 0.901, 0.235),
    ),
}
"""What QuPath's own class makes of pictures: background, hematoxylin, eosin."""


@pytest.mark.parametrize("image", QUPATH)
def test_vectors_are_those_of_qupath(shared, image):
    folder, name = image
    pixels = np.asarray(Image.open(shared / "data" / folder / "images" / name).convert("RGB"))
    found = estimate_stains(pixels, H_E)
    background, *vectors = QUPATH[image]
    assert found.background == background
    np.testing.assert_allclose(found.vectors, vectors, atol=6e-4)


def test_what_is_not_stained_has_no_vectors():
    with pytest.raises(ValueError, match="hardly any pixel"):
        estimate_stains(np.full((30, 30, 3), 240, np.uint8), H_E)
