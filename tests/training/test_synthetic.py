"""Drawn vessels: picture and truth agree, on tissue that is drawn as well."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import DataSource
from qpbridge.training.build import load_groups
from qpbridge.training.export import metadata
from qpbridge.training.recipe import read_recipe
from qpbridge.training.synthetic import lookalikes
from qpbridge.training.synthetic.backgrounds import Background, crop, load_backgrounds
from qpbridge.training.synthetic.pictures import draw_picture, load_pictures
from qpbridge.training.synthetic.shapes import blob, smooth_noise, tube
from qpbridge.training.synthetic.stains import (
    Tissue,
    estimate_tissue,
    estimate_white,
    to_density,
    to_rgb,
)
from qpbridge.training.synthetic.vessels import (
    DIAMETERS,
    draw_diameter,
    paint_stained_vessel,
    paint_vessel,
)

MPP = 0.5
SIZE = 256
WHITE = np.array([240.0, 240.0, 240.0])
TISSUE = Tissue(WHITE, np.array([0.9, 0.95, 0.4]), np.array([0.1, 0.5, 0.25]), 1.0)
BROWN = np.array([0.32, 0.68, 0.93])


def tissue_picture(size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Pink stroma with blue nuclei, and a corner of empty slide."""
    rng = np.random.default_rng(seed)
    density = np.ones((size, size, 1)) * TISSUE.pink
    density *= 1 + 0.2 * smooth_noise(rng, (size, size), 6)[..., None]
    spots = ndimage.gaussian_filter((rng.random((size, size)) < 0.004).astype(float), 4) > 0.004
    density = np.where(spots[..., None], TISSUE.nuclear, density)
    density[: size // 5, : size // 5] = 0
    return to_rgb(density.astype(np.float32), WHITE)


@pytest.fixture(scope="module")
def backgrounds() -> list[Background]:
    return [Background("drawn", tissue_picture(), MPP)]


@pytest.mark.parametrize("kind", ["he", "ihc"])
def test_pictures_come_again_by_their_seed(backgrounds: list[Background], kind: str) -> None:
    one, same, other = (
        draw_picture(np.random.default_rng(seed), backgrounds, kind, size=SIZE)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert (one.image != other.image).any()


@pytest.mark.parametrize("kind", ["he", "ihc"])
def test_the_truth_is_whole(backgrounds: list[Background], kind: str) -> None:
    drawn = [
        draw_picture(np.random.default_rng(seed), backgrounds, kind, size=SIZE) for seed in range(4)
    ]
    assert sum(int(sample.labels.max()) for sample in drawn) > 4
    for sample in drawn:
        assert sample.image.shape == (SIZE, SIZE, 3)
        assert sample.lumen is not None
        assert not (sample.lumen & (sample.labels == 0)).any()
        present = np.unique(sample.labels)
        assert set(present) >= set(range(1, int(sample.labels.max()) + 1))


def test_the_truth_is_said_to_be_known_around_what_was_drawn(
    backgrounds: list[Background],
) -> None:
    parts = []
    for seed in range(12):
        sample = draw_picture(np.random.default_rng(seed), backgrounds, "he", size=SIZE)
        if sample.known is None:
            continue
        near = ndimage.binary_dilation(sample.labels > 0, iterations=8)
        assert sample.known[near].all()
        parts.append(sample.known.mean())
    assert 4 < len(parts) < 12
    assert 0.02 < np.mean(parts) < 0.98


def test_a_vessel_in_he_has_a_bright_or_red_lumen_and_a_stained_wall() -> None:
    canvas = to_density(tissue_picture(), WHITE)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape = blob(rng, (64.0, 64.0), 50.0, mpp=MPP, size=SIZE)
        layer, profile, lumen = paint_vessel(rng, shape, 50.0, TISSUE, MPP)
        drawn = canvas.copy()
        layer.onto(drawn, 0.6, np.zeros((SIZE, SIZE), bool))
        picture = to_rgb(drawn, WHITE)[shape.window].astype(float)
        inside = ndimage.binary_erosion(lumen, iterations=3)
        wall = profile & ~lumen
        red, green, _ = picture[inside].mean(0)
        assert green > 190 or red > green + 12, seed  # empty or plasma, or blood
        assert picture[wall][:, 1].mean() < 205, seed
        assert picture[inside][:, 2].mean() > picture[wall][:, 2].min(), seed
        outside = layer.depth < -15
        np.testing.assert_array_equal(
            to_rgb(drawn, WHITE)[shape.window][outside],
            to_rgb(canvas, WHITE)[shape.window][outside],
        )


def test_the_rim_is_brown_in_immunohistochemistry() -> None:
    canvas = to_density(np.full((SIZE, SIZE, 3), 225, np.uint8), WHITE)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        shape = blob(rng, (64.0, 64.0), 40.0, mpp=MPP, size=SIZE)
        layer, profile, lumen = paint_stained_vessel(
            rng, shape, 40.0, TISSUE, BROWN, nuclear=False, mpp=MPP
        )
        drawn = canvas.copy()
        layer.onto(drawn, 0.5, np.zeros((SIZE, SIZE), bool))
        density = drawn[shape.window]
        rim = profile & ~lumen
        # brown absorbs blue most, and far more than red
        assert (density[rim][:, 2] - density[rim][:, 0]).mean() > 0.1, seed
        middle = ndimage.binary_erosion(lumen, iterations=4)
        assert density[rim][:, 2].mean() > density[middle][:, 2].mean() + 0.1, seed


def test_look_alikes_have_no_truth(
    backgrounds: list[Background], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qpbridge.training.synthetic.pictures.vessel_shape",
        lambda rng, centre, diameter, mpp, size: blob(rng, (-50.0, -50.0), 5.0, mpp=mpp, size=size),
    )
    for kind in ("he", "ihc"):
        sample = draw_picture(np.random.default_rng(1), backgrounds, kind, size=SIZE)
        plain = crop(np.random.default_rng(1), backgrounds, MPP, SIZE).image
        assert not sample.labels.any()
        assert not np.asarray(sample.lumen).any()
        assert (np.abs(sample.image.astype(int) - plain).max(axis=2) > 25).any()


@pytest.mark.parametrize("how", [*lookalikes.PLAIN])
def test_every_look_alike_shows(how: lookalikes.Draw) -> None:
    rng = np.random.default_rng(5)
    layers = [how(rng, (64.0, 64.0), TISSUE, MPP, SIZE) for _ in range(5)]
    assert max(float(layer.cover.max()) for layer in layers) > 0.5
    assert all(np.isfinite(layer.density).all() for layer in layers)


def test_brown_look_alikes_are_brown() -> None:
    rng = np.random.default_rng(0)
    for how in (lookalikes.brown_cell, lookalikes.brown_smear):
        layer = how(rng, (64.0, 64.0), TISSUE, BROWN, MPP, SIZE)
        inside = layer.density[layer.depth > 0]
        assert inside[:, 2].mean() > inside[:, 0].mean()


@pytest.mark.parametrize("diameter", [5.0, 30.0, 90.0])
@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_sizes_are_in_micrometres(diameter: float, mpp: float) -> None:
    rng = np.random.default_rng(2)
    shape = blob(rng, (64.0, 64.0), diameter, mpp=mpp, size=round(128 / mpp), wobble=0.0)
    area = np.count_nonzero(shape.depth > 0) * mpp**2
    assert area == pytest.approx(math.pi * diameter**2 / 4, rel=0.12, abs=4 * mpp**2)
    assert shape.depth.max() == pytest.approx(diameter / 2, abs=mpp)


def test_a_tube_is_as_wide_and_long_as_asked() -> None:
    shape = tube(np.random.default_rng(1), (64.0, 64.0), 10.0, 60.0, mpp=MPP, size=SIZE, taper=0.0)
    area = np.count_nonzero(shape.depth > 0) * MPP**2
    assert area == pytest.approx(10 * 60 + math.pi * 25, rel=0.15)
    assert shape.depth.max() == pytest.approx(5, abs=0.5)


def test_diameters_are_those_of_vessels() -> None:
    rng = np.random.default_rng(0)
    values = np.array([draw_diameter(rng) for _ in range(500)])
    assert DIAMETERS[0] <= values.min() < 8
    assert 80 < values.max() <= DIAMETERS[1]
    assert 12 < np.median(values) < 30


def test_the_colours_of_tissue_are_found() -> None:
    picture = tissue_picture()
    found = estimate_tissue(picture)
    np.testing.assert_allclose(found.white, WHITE, atol=3)
    np.testing.assert_allclose(found.pink, TISSUE.pink, rtol=0.5, atol=0.05)
    assert found.nuclear[0] > 3 * found.pink[0]
    np.testing.assert_array_equal(to_rgb(to_density(picture, WHITE), WHITE), picture)


def test_white_is_nearly_grey_without_empty_slide() -> None:
    pink = np.full((50, 50, 3), (240, 170, 200), np.uint8)
    white = estimate_white(pink)
    assert white.max() - white.min() <= 7
    assert white.max() >= 240


def test_small_pictures_are_mirrored() -> None:
    small = Background("small", tissue_picture(64), 0.25)
    tile = crop(np.random.default_rng(0), [small], MPP, 128)
    assert tile.image.shape == (128, 128, 3)
    assert tile.name == "small"
    assert 0.25 / 1.2 <= tile.mpp <= 0.25 / 0.85


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of tissue, without labels."""
    folder = tmp_path_factory.mktemp("data") / "tissue"
    (folder / "images").mkdir(parents=True)
    for seed, name in enumerate("ab"):
        Image.fromarray(tissue_picture(400, seed)).save(folder / "images" / f"{name}.png")
    return folder


def test_a_source_gives_its_pictures(folder: Path) -> None:
    source = DataSource(folder, MPP, "a", synthetic="he", pictures=2)
    assert [b.name for b in load_backgrounds(source)] == ["a"]
    first, second = load_pictures(source, MPP)
    again, _ = load_pictures(source, MPP)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != second.image).any()
    assert first.name != second.name
    with pytest.raises(QpbridgeError, match="synthetic = 'he' or 'ihc'"):
        load_pictures(DataSource(folder, MPP, synthetic="masson", pictures=2), MPP)
    with pytest.raises(QpbridgeError, match="no picture matches"):
        load_pictures(DataSource(folder, MPP, "c*", synthetic="he", pictures=2), MPP)


def test_a_recipe_can_ask_for_drawn_vessels(folder: Path) -> None:
    path = folder.parent / "recipe.toml"
    source = 'folder = "tissue"\nmpp = 0.5\nsynthetic = "ihc"\n'
    path.write_text(
        'decoder = "vessels"\nmpp = 0.5\n'
        f'[[train]]\n{source}pattern = "a"\npictures = 2\n'
        f'[[validation]]\n{source}pattern = "b"\npictures = 1\n'
    )
    recipe = read_recipe(path, folder.parent)
    [(_, training)], [(_, validation)] = load_groups(recipe, 0)
    assert [sample.patient for sample in (*training, *validation)] == ["a", "a", "b"]
    assert validation[0].known is None
    maps = recipe.task.draw(training[0])
    np.testing.assert_array_equal(maps[0] > 0, training[0].labels > 0)
    np.testing.assert_array_equal(maps[2] > 0, training[0].lumen)
    described = metadata(recipe, 64, {}, {})["qpbridge"]["data"]["train"][0]
    assert described["synthetic"] == "ihc"
