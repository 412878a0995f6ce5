"""Labelled images in memory, and batches of randomly placed, turned and scaled patches of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image

from qpbridge.errors import QpbridgeError
from qpbridge.train.targets import instance_targets

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
TYPICAL_NUCLEUS_UM2 = 30.0  # median area of a nucleus in tissue sections, for unknown scales


@dataclass(frozen=True)
class DataSource:
    """A folder with ``images/`` and ``labels/`` (same stems), and what is known about it.

    Attributes
    ----------
    folder
        Where ``images`` and ``labels`` lie.
    mpp
        Pixel size in µm, or None: estimated per image from the median size of its nuclei.
    pattern
        Which stems belong, as a shell pattern with ``[..]`` and ``*``; several joined by ``|``.
    weight
        Share of this source in a training batch, relative to the others.
    about
        Name, licence, citation and whatever else the bundle's metadata should repeat.
    """

    folder: Path
    mpp: float | None
    pattern: str = "*"
    weight: float = 1.0
    about: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One labelled image: uint8 RGB (H, W, 3), integer labels (H, W), µm per pixel."""

    name: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    mpp: float


def load_source(source: DataSource) -> list[Sample]:
    """Read all images of a source with their labels, in the order of their names.

    Raises
    ------
    QpbridgeError
        If a folder is missing, nothing matches, or an image and its labels don't fit.
    """
    images = source.folder / "images"
    labels = source.folder / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            raise QpbridgeError(
                f"{folder}: no such folder. A data folder holds images/ and labels/, "
                "with the same file stems in both."
            )
    patterns = source.pattern.split("|")
    samples = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if not any(Path(path.stem).match(pattern) for pattern in patterns):
            continue
        truth = labels / f"{path.stem}.png"
        if not truth.is_file():
            raise QpbridgeError(f"{truth}: the labels of {path.name} are missing.")
        rgb = np.asarray(Image.open(path).convert("RGB"))
        instances = np.asarray(Image.open(truth))
        if instances.shape != rgb.shape[:2]:
            raise QpbridgeError(
                f"{truth}: {instances.shape} labels do not fit an image of {rgb.shape[:2]} pixels."
            )
        mpp = source.mpp or estimate_mpp(instances)
        samples.append(Sample(path.stem, rgb, instances.astype(np.int32), mpp))
    if not samples:
        raise QpbridgeError(f"{images}: no image matches {source.pattern!r}.")
    return samples


def estimate_mpp(labels: npt.NDArray[np.integer]) -> float:
    """Guess µm per pixel from the median area of the nuclei, between 0.12 and 0.6."""
    area = np.bincount(labels.ravel())[1:]
    area = area[area > 0]
    if not len(area):
        return 0.35
    return float(np.clip(math.sqrt(TYPICAL_NUCLEUS_UM2 / np.median(area)), 0.12, 0.6))


class PatchSampler:
    """Draws batches of patches; the same seed and step always give the same batch.

    Parameters
    ----------
    sources
        Pairs of a weight and the samples that share it.
    mpp
        Pixel size of the patches, in µm.
    size
        Edge of a patch in pixels.
    scale
        Range of the random magnification, log-uniform.
    """

    def __init__(
        self,
        sources: Sequence[tuple[float, Sequence[Sample]]],
        *,
        mpp: float,
        size: int,
        scale: tuple[float, float] = (0.6, 1.6),
    ) -> None:
        self.mpp, self.size, self.scale = mpp, size, scale
        self.samples = [s for _, group in sources for s in group]
        # images full of nuclei teach more than nearly empty ones, which still must be seen
        shares = [
            weight * crowd / crowd.sum()
            for weight, group in sources
            for crowd in [np.array([0.1 + (s.labels > 0).mean() for s in group])]
        ]
        self.chance = np.concatenate(shares) / sum(weight for weight, _ in sources)
        self.targets = [instance_targets(s.labels).astype(np.float16) for s in self.samples]

    def batch(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (count, 3, size, size) in 0..1 and targets (count, 5, size, size).

        The fifth target channel is 1 inside the image and 0 where it was mirrored to fill the
        patch: offsets mean nothing there. Offsets are in pixels of the patch.
        """
        chosen = rng.choice(len(self.samples), count, p=self.chance)
        pairs = [self._patch(int(index), rng) for index in chosen]
        return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])

    def _patch(self, index: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        sample = self.samples[index]
        height, width = sample.labels.shape
        # source pixels per patch pixel
        step = self.mpp / sample.mpp / math.exp(rng.uniform(*np.log(self.scale)))
        angle = rng.uniform(0, 2 * math.pi)
        flip = rng.choice((-1.0, 1.0))
        turn = np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        ) @ np.diag([flip, 1.0])
        linear = torch.from_numpy(step * turn).float()
        reach = 0.35 * step * self.size  # a patch may look a little over the edge
        centre = torch.tensor(
            [
                rng.uniform(min(reach, length / 2), max(length - reach, length / 2))
                for length in (width, height)
            ],
            dtype=torch.float32,
        )
        # the image at twice the resolution, then averaged: area resampling, as scanners do it
        fine = 2 * self.size
        axis = (torch.arange(fine) + 0.5) / 2 - self.size / 2
        where = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
        where = where + self._elastic(fine, rng)
        xy = where @ linear.T + centre
        grid = (xy / torch.tensor([width, height]) * 2 - 1)[None]

        rgb = torch.tensor(sample.image).permute(2, 0, 1).float() / 255
        image = F.avg_pool2d(_sample(rgb, grid), 2)
        coarse = F.avg_pool2d(grid.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
        maps = _sample(torch.from_numpy(self.targets[index]).float(), coarse)
        inside = (coarse.abs() <= 1).all(-1).float()
        # averaged with the zeros of the background at an outline: undo that
        maps[2:] /= maps[:1].clamp(min=0.25)
        offsets = torch.linalg.solve(linear, maps[2:].reshape(2, -1)).reshape(2, *maps.shape[1:])
        return image, torch.cat([maps[:2], offsets, inside])

    def _elastic(self, fine: int, rng: np.random.Generator) -> torch.Tensor:
        """Smooth displacement of a patch pixel or two, (fine, fine, 2)."""
        coarse = torch.from_numpy(rng.normal(0, rng.uniform(0, 2.0), (1, 2, 8, 8))).float()
        field = F.interpolate(coarse, size=(fine, fine), mode="bicubic", align_corners=False)
        return field[0].permute(1, 2, 0)


def _sample(maps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(maps[None], grid, "bilinear", "reflection", align_corners=False)[0]
