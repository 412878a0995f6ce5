"""Batches of randomly placed, turned and scaled patches of labelled images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from qpbridge.evaluation.labelled import Sample
from qpbridge.training.tasks import Task

FINE_ENOUGH = 1.3  # source pixels per patch pixel up to which plain bilinear sampling will do


class PatchSampler:
    """Draws batches of patches; the same seed and step always give the same batch.

    Parameters
    ----------
    sources
        Pairs of a weight and the samples that share it.
    task
        What is drawn on the patches.
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
        task: Task,
        *,
        mpp: float,
        size: int,
        scale: tuple[float, float] = (0.65, 1.5),
    ) -> None:
        self.task, self.mpp, self.size, self.scale = task, mpp, size, scale
        prepared = [_prepare(s, task, mpp / scale[1]) for _, group in sources for s in group]
        self.samples = [sample for sample, _ in prepared]
        self.truths = [targets for _, targets in prepared]
        # images full of objects teach more than nearly empty ones, which still must be seen
        shares = [
            weight * crowd / crowd.sum()
            for weight, group in sources
            for crowd in [np.array([0.1 + (s.labels > 0).mean() for s in group])]
        ]
        self.chance = np.concatenate(shares) / sum(weight for weight, _ in sources)

    def batch(self, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (count, 3, size, size) in 0..1 and targets (count, C + 1, size, size).

        The last target channel is 1 where the truth is known, and 0 elsewhere: outside of what was
        labelled, and where the image was mirrored to fill the patch. Offsets are in pixels of the
        patch.
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
        axis = torch.arange(self.size) + 0.5 - self.size / 2
        where = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
        xy = (where + self._elastic(rng)).flatten(0, 1) @ linear.T + centre
        low = xy.amin(0).floor().int().sub(2).clamp(min=0).tolist()
        high = xy.amax(0).ceil().int().add(2).tolist()
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        pixels = torch.tensor(sample.image[window]).permute(2, 0, 1).float() / 255
        extent = torch.tensor([pixels.shape[2], pixels.shape[1]])
        grid = ((xy - torch.tensor(low)) / extent * 2 - 1).reshape(1, self.size, self.size, 2)
        maps = _sample(torch.tensor(self.truths[index][:, window[0], window[1]]).float(), grid)
        inside = (grid.abs() <= 1).all(-1).float()
        if step > FINE_ENOUGH:  # sample finer and average: area resampling, as scanners do it
            grid = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear")
            image = F.avg_pool2d(_sample(pixels, grid.permute(0, 2, 3, 1)), 2)
        else:
            image = _sample(pixels, grid)
        if self.task.offsets is not None:
            maps = _turn_offsets(maps, self.task.offsets, linear)
        maps[-1] = (maps[-1] > 0.99) * inside
        return image, maps

    def _elastic(self, rng: np.random.Generator) -> torch.Tensor:
        """Smooth displacement of a patch pixel or two, (size, size, 2)."""
        coarse = torch.from_numpy(rng.normal(0, rng.uniform(0, 2.0), (1, 2, 8, 8))).float()
        field = F.interpolate(
            coarse, size=(self.size, self.size), mode="bicubic", align_corners=False
        )
        return field[0].permute(1, 2, 0)


def _sample(maps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(maps[None], grid, "bilinear", "reflection", align_corners=False)[0]


def _prepare(sample: Sample, task: Task, finest: float) -> tuple[Sample, npt.NDArray[np.float16]]:
    """Draw the targets of a sample, and reduce both as far as `finest`, in µm per pixel, allows.

    By whole numbers, each pixel the mean of a square: what is finer than any patch would only take
    memory, and be noise where patches skip pixels.
    """
    known = np.ones(sample.labels.shape, bool) if sample.known is None else sample.known
    targets = np.concatenate([task.draw(sample), known[None]])
    times = min(int(finest / sample.mpp), *sample.labels.shape)
    if times > 1:
        image = _mean_of_squares(sample.image.transpose(2, 0, 1), times).transpose(1, 2, 0)
        targets = _mean_of_squares(targets, times)
        if task.offsets is not None:
            targets[list(task.offsets)] /= times
        height, width = targets.shape[1:]
        sample = replace(
            sample,
            image=image.round().astype(np.uint8),
            labels=sample.labels[times // 2 :: times, times // 2 :: times][:height, :width],
            mpp=sample.mpp * times,
            known=None,  # is in the targets
            lumen=None,
        )
    return sample, targets.astype(np.float16)


def _mean_of_squares(maps: npt.NDArray[Any], times: int) -> npt.NDArray[np.float32]:
    """Reduce maps (C, H, W) by a whole number; what doesn't fill a square at the end is left."""
    count, height, width = maps.shape[0], maps.shape[1] // times, maps.shape[2] // times
    squares = maps[:, : height * times, : width * times].reshape(count, height, times, width, times)
    mean: npt.NDArray[np.float32] = squares.mean((2, 4), dtype=np.float32)
    return mean


def _turn_offsets(
    maps: torch.Tensor, offsets: tuple[int, int], linear: torch.Tensor
) -> torch.Tensor:
    """Turn displacements in pixels of the source into pixels of the patch."""
    # averaged with the zeros of the background at an outline: undo that
    pair = maps[list(offsets)] / maps[:1].clamp(min=0.25)
    maps[list(offsets)] = torch.linalg.solve(linear, pair.flatten(1)).reshape(pair.shape)
    return maps
