"""Targets and patches mean what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import DataSource, Sample, estimate_mpp, load_source
from qpbridge.training.augment import vary_appearance, vary_chromatin, vary_exposure, vary_light
from qpbridge.training.data import PatchSampler
from qpbridge.training.tasks import TASKS
from qpbridge.training.truth_maps import CONTOUR_UM, instance_maps, profile_maps


def discs(shape, spacing, radius):
    rows, columns = np.indices(shape)
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(np.ndindex(shape[0] // spacing, shape[1] // spacing), start=1):
        centre_y, centre_x = (y + 0.5) * spacing, (x + 0.5) * spacing
        labels[np.hypot(columns - centre_x, rows - centre_y) < radius] = number
    return labels


def test_targets_by_definition():
    labels = np.zeros((20, 24), np.int32)
    labels[3:10, 4:11], labels[3:10, 11:16], labels[15:17, 1:4] = 900, 2, 3
    maps = instance_maps(labels)
    assert (maps[0] == (labels > 0)).all()
    for value in (900, 2, 3):
        rows, columns = np.nonzero(labels == value)
        inside = labels == value
        assert np.allclose(maps[2][inside] + columns, columns.mean(), atol=1e-5)
        assert np.allclose(maps[3][inside] + rows, rows.mean(), atol=1e-5)
        assert maps[1][inside].max() == 1
        # distance to the nearest pixel of anything else, less the half pixel to the boundary
        other_y, other_x = np.nonzero(~inside)
        far = np.hypot(rows[:, None] - other_y, columns[:, None] - other_x).min(1) - 0.5
        assert np.allclose(maps[1][inside], far / far.max(), atol=0.12)
    assert not maps[:, labels == 0].any()


def test_targets_of_nothing_and_of_everything():
    assert not instance_maps(np.zeros((5, 6), np.int32)).any()
    assert (instance_maps(np.full((5, 6), 7, np.int32))[0] == 1).all()


def disc(shape, x, y, radius):
    rows, columns = np.indices(shape)
    return np.hypot(columns - x, rows - y) < radius


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_profile_maps_by_definition(mpp):
    shape = (200, 220)
    labels = np.zeros(shape, np.int32)
    labels[40:160, 30:110], labels[40:160, 110:190] = 4, 9  # they touch
    image = np.full((*shape, 3), 120, np.uint8)
    image[disc(shape, 70, 100, 25) | (labels == 0)] = 250
    foreground, contour, lumen = profile_maps(Sample("one", image, labels, mpp))
    assert (foreground == (labels > 0)).all()
    reach = CONTOUR_UM / mpp
    assert contour[100, 109] and contour[100, 110]  # where they touch, as well
    width = contour[100, 60:160].sum()
    assert 2 * reach - 1 <= width <= 2 * reach + 2
    assert not contour[100, 70] and not contour[10, 10]
    truth = disc(shape, 70, 100, 25)
    assert (lumen > 0).sum() == pytest.approx(truth.sum(), rel=0.15)
    assert not lumen[labels == 0].any() and not lumen[labels == 9].any()


def test_debris_in_a_lumen_belongs_to_it_and_specks_are_none():
    shape = (160, 160)
    labels = disc(shape, 80, 80, 75).astype(np.int32)
    image = np.full((*shape, 3), 110, np.uint8)
    image[disc(shape, 80, 80, 35)] = 245
    image[disc(shape, 80, 80, 5)] = 110
    image[disc(shape, 80, 20, 6)] = 245  # as small as a goblet cell
    lumen = profile_maps(Sample("one", image, labels, 1.0))[2]
    assert lumen[80, 80] and not lumen[20, 80]
    known = np.zeros(shape, bool)
    known[:20] = True
    given = profile_maps(Sample("one", image, labels, 1.0, lumen=known))[2]
    assert (given > 0).sum() == (known & (labels > 0)).sum()


@pytest.mark.parametrize("value", [0, 3])
def test_profile_maps_of_nothing_and_of_everything(value):
    labels = np.full((30, 40), value, np.int32)
    image = np.full((30, 40, 3), 100, np.uint8)
    foreground, contour, lumen = profile_maps(Sample("one", image, labels, 1.0))
    assert (foreground == bool(value)).all() and not contour.any() and not lumen.any()


def test_scale_is_estimated_from_the_nuclei():
    area = np.pi * 9.8**2  # 30 µm² at 0.3157 µm/px
    labels = discs((200, 200), 40, 9.8)
    assert estimate_mpp(labels) == pytest.approx(np.sqrt(30 / area), rel=0.03)
    assert 0.12 <= estimate_mpp(np.zeros((9, 9), int)) <= 0.6
    assert estimate_mpp(labels, nucleus_um2=15.0) == pytest.approx(np.sqrt(15 / area), rel=0.03)
    assert estimate_mpp(labels, (0.14, 0.19)) == 0.19
    assert estimate_mpp(np.zeros((9, 9), int), (0.14, 0.19)) == pytest.approx(0.165)


@pytest.fixture
def sampler(monkeypatch):
    monkeypatch.setattr(
        PatchSampler, "_elastic", lambda self, rng: torch.zeros(self.size, self.size, 2)
    )
    labels = discs((256, 256), 64, 24)
    image = np.where(labels[..., None] > 0, 60, 230).astype(np.uint8).repeat(3, 2)
    sample = Sample("discs", image, labels, 0.25)
    return PatchSampler([(1.0, [sample])], TASKS["nuclei"], mpp=0.5, size=96)


def test_patches_keep_image_and_targets_together(sampler):
    images, targets = sampler.batch(6, np.random.default_rng(3))
    assert images.shape == (6, 3, 96, 96) and targets.shape == (6, 5, 96, 96)
    assert images.min() >= 0 and images.max() <= 1
    dark = images[:, 0] < 0.57
    assert (dark == (targets[:, 0] > 0.5)).float().mean() > 0.99
    grid = np.stack(np.meshgrid(np.arange(96), np.arange(96)))
    for image in targets.numpy():
        # where a pixel points to lies the core of its disc: the highest distance
        solid = (image[0] > 0.99) & (image[4] == 1)
        goal = np.rint(grid + image[2:4])[:, solid].astype(int)
        inside = ((goal >= 0) & (goal < 96)).all(0)
        core = image[1][goal[1, inside], goal[0, inside]]
        assert inside.sum() > 50 and np.median(core) > 0.85


def test_batches_are_reproducible(sampler):
    one, two = (
        vary_appearance(sampler.batch(3, np.random.default_rng(7))[0], np.random.default_rng(9))
        for _ in range(2)
    )
    other = sampler.batch(3, np.random.default_rng(8))[0]
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_appearance_varies_within_range_and_keeps_shapes(sampler):
    rng = np.random.default_rng(5)
    images, targets = sampler.batch(16, rng)
    varied = vary_appearance(images, rng)
    assert varied.shape == images.shape and varied.min() >= 0 and varied.max() <= 1
    assert (varied - images).abs().mean((1, 2, 3)).std() > 0.01
    inside = targets[:, 0] > 0.99
    outside = targets[:, 0] < 0.01
    brightness = varied.mean(1)
    darker = [
        float(b[i].mean() < b[o].mean())
        for b, i, o in zip(brightness, inside, outside, strict=True)
    ]
    assert np.mean(darker) == 1  # nuclei stay darker than what is around them


def test_pale_nuclei_keep_their_rim_and_what_is_around_them(sampler):
    images, targets = sampler.batch(16, np.random.default_rng(2))
    pale = vary_chromatin(images, targets, np.random.default_rng(2))
    core, rim = targets[:, 1] > 0.6, (targets[:, 0] > 0.9) & (targets[:, 1] < 0.2)
    changed = (pale - images).mean(1)
    assert 0.05 < changed[core].max() < 0.7 and changed.min() > -1e-6
    assert changed[rim].abs().max() < 1e-6 and changed[targets[:, 0] == 0].abs().max() < 1e-6
    assert 0 < sum(bool(c.max() > 0.01) for c in changed) < 16


def test_light_varies_smoothly_and_leaves_black_black():
    images = torch.full((8, 3, 64, 64), 0.5)
    images[:, :, :, :8] = 0
    varied = vary_light(images, np.random.default_rng(1))
    assert varied[..., :8].abs().max() == 0
    bright = varied[..., 8:]
    assert bright.std((1, 2, 3)).min() > 0.01
    assert bright.diff(dim=-1).abs().max() < 0.05
    plain = vary_appearance(images, np.random.default_rng(2), stained=False)
    assert plain.shape == images.shape and plain.min() >= 0 and plain.max() <= 1


def test_a_bright_or_dark_exposure_changes_nothing_else():
    images = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.6
    images[:32] += 0.4
    exposed = vary_exposure(images, np.random.default_rng(3))
    white = exposed.flatten(1).quantile(0.98, dim=1)
    changed = (exposed != images).flatten(1).any(1)
    assert 8 < changed.sum() < 32
    assert white[changed].min() > 0.45 and white[changed].max() - white[changed].min() > 0.3
    for before, after in zip(images[changed], exposed[changed], strict=True):
        inside = after < 0.999
        factor = (after / before)[inside]
        assert torch.allclose(factor, factor.median(), rtol=1e-4)
    assert not vary_exposure(torch.zeros(4, 3, 8, 8), np.random.default_rng(1)).any()


def test_what_is_finer_than_any_patch_is_reduced_and_nothing_moves(sampler):
    (sample,) = sampler.samples
    fine = replace(
        sample,
        image=sample.image.repeat(4, 0).repeat(4, 1),
        labels=sample.labels.repeat(4, 0).repeat(4, 1),
        mpp=sample.mpp / 4,
        known=np.ones([4 * length for length in sample.labels.shape], bool),
    )
    # 0.5 µm per pixel, 1.9 times as large at most, is 4.2 times as coarse as 0.0625
    plain, other = (
        PatchSampler([(1.0, [s])], TASKS["nuclei"], mpp=0.5, size=96, scale=(0.65, 1.9))
        for s in (sample, fine)
    )
    (reduced,) = other.samples
    assert reduced.mpp == sample.mpp and (reduced.image == sample.image).all()
    for seed in range(3):
        (images, maps), (same, found) = (
            s.batch(2, np.random.default_rng(seed)) for s in (plain, other)
        )
        assert torch.equal(images, same)
        solid = (maps[:, :1] > 0.99) | (maps[:, :1] < 0.01)
        assert torch.equal(maps[:, 4], found[:, 4]) and (maps - found)[:, :1].abs().max() < 0.01
        assert ((maps - found) * solid).abs().amax((0, 2, 3))[1:4].max() < 0.3
    cut = replace(fine, image=fine.image[:-1, :-3], labels=fine.labels[:-1, :-3], known=None)
    (left,) = PatchSampler([(1.0, [cut])], TASKS["nuclei"], mpp=0.5, size=96).samples
    assert left.image.shape[:2] == left.labels.shape == (1023 // 5, 1021 // 5)


def write(folder, name, image, labels):
    for part, pixels in (("images", image), ("labels", labels)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / part / f"{name}.png")


def test_sources_are_read_and_their_faults_named(tmp_path):
    labels = discs((64, 64), 32, 10).astype(np.uint16)
    image = np.zeros((64, 64, 3), np.uint8)
    for name in ("01_a", "02_b", "03_c"):
        write(tmp_path, name, image, labels)
    assert [s.name for s in load_source(DataSource(tmp_path, 0.25, "01_*|03_*"))] == [
        "01_a",
        "03_c",
    ]
    with pytest.raises(QpbridgeError, match="no image matches '9"):
        load_source(DataSource(tmp_path, 0.25, "9*"))
    with pytest.raises(QpbridgeError, match="no such folder"):
        load_source(DataSource(tmp_path / "images", 0.25))
    write(tmp_path, "02_b", image[:50], labels)
    with pytest.raises(QpbridgeError, match=r"02_b\.png.*do not fit"):
        load_source(DataSource(tmp_path, 0.25))
    (tmp_path / "labels" / "02_b.png").unlink()
    with pytest.raises(QpbridgeError, match=r"02_b\.png: the labels"):
        load_source(DataSource(tmp_path, 0.25))
