"""The quality map of a slide: read once, in strips, at low resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from scipy import ndimage

from qpbridge.quality import masks
from qpbridge.quality.masks import Kind, Pixels
from qpbridge.slides.slide import Slide

NO_TISSUE = (Kind.FILL, Kind.INK)
"""What takes no part: nothing is looked for in it, and it is no part of the evaluated area."""

READ_MPP = 2.0
"""µm per pixel that is read; the thresholds of texture and sharpness are made for it."""

MAP_MPP = 4.0
"""µm per pixel of the map, at least."""

MAX_PIXELS = 8e6
"""Of the map; larger slides have a coarser one, which bounds the memory."""

STRIP_PIXELS = 2e6
"""That are read at a time."""

BLACK = 110
"""Grey level below which a pixel within black fill, or at its edge, is fill."""


@dataclass(frozen=True, eq=False)
class QualityMap:
    """What a part of a slide shows.

    Parameters
    ----------
    kinds
        uint8 (H, W), values of `Kind`.
    downsample
        Server pixels per pixel of the map.
    corner
        Upper left corner of the map (x, y), in pixels of the map.
    size
        Width and height of the slide, server pixels.
    """

    kinds: Pixels
    downsample: float
    corner: tuple[int, int]
    size: tuple[int, int]
    _outlines: dict[Kind, Any] = field(default_factory=dict, repr=False)

    def outline(self, *kinds: Kind) -> Any:
        """Return what is of some kinds as a valid polygon or multipolygon, in server pixels."""
        return shapely.union_all([self._of_kind(kind) for kind in kinds])

    def _of_kind(self, kind: Kind) -> Any:
        if kind not in self._outlines:
            boxes = _boxes(self.kinds == kind, self.downsample, self.corner)
            self._outlines[kind] = shapely.clip_by_rect(boxes, 0, 0, *self.size)
        return self._outlines[kind]

    def shares(self, area: Any) -> Mapping[Kind, float]:
        """Tell how much of an area, a geometry in server pixels, each kind takes, 0 to 1.

        Out of focus is told of what is neither glass, fill nor ink: NaN where there is nothing.
        """
        (left, top), (height, width) = self.corner, self.kinds.shape
        x = (np.arange(width) + left + 0.5) * self.downsample
        counts = np.zeros(len(Kind))
        x0, y0, x1, y1 = shapely.bounds(area)
        shapely.prepare(area)
        columns = np.flatnonzero((x >= x0) & (x <= x1))
        for row in range(height):
            y = (row + top + 0.5) * self.downsample
            if y0 <= y <= y1:
                inside = columns[shapely.contains_xy(area, x[columns], y)]
                counts += np.bincount(self.kinds[row, inside], minlength=len(Kind))
        total = counts.sum()
        judged = counts[Kind.OTHER] + counts[Kind.BLURRED]
        found = {kind: counts[kind] / total if total else np.nan for kind in Kind}
        found[Kind.BLURRED] = counts[Kind.BLURRED] / judged if judged else np.nan
        return {kind: float(share) for kind, share in found.items()}

    def without_fill(self, pixels: Pixels, corner: tuple[int, int], downsample: float) -> Pixels:
        """Make black fill in pixels white, as what lies outside of an image is.

        Parameters
        ----------
        pixels
            uint8 (h, w, 3), read at `downsample` from `corner` on, in its pixels.

        Returns
        -------
        pixels
            The same array where it holds no fill.
        """
        rows, columns = (
            np.clip(
                np.floor((np.arange(n) + start + 0.5) * downsample / self.downsample).astype(int)
                - first,
                0,
                size - 1,
            )
            for n, start, first, size in zip(
                pixels.shape[:2], corner[::-1], self.corner[::-1], self.kinds.shape, strict=True
            )
        )
        near = self._near_fill[rows[:, None], columns]
        if not near.any():
            return pixels
        highest = pixels.max(axis=2)
        grey = highest - pixels.min(axis=2) <= np.maximum(highest // 2, 15)
        out = pixels.copy()
        out[near & grey & (highest < BLACK)] = 255
        return out

    @cached_property
    def _near_fill(self) -> masks.Mask:
        near: masks.Mask = ndimage.binary_dilation(self.kinds == Kind.FILL, np.ones((3, 3)))
        return near


def read_quality(
    slide: Slide,
    mpp: tuple[float, float],
    bounds: tuple[float, float, float, float] | None = None,
) -> QualityMap:
    """Read the quality map of a slide.

    Parameters
    ----------
    slide
        An open slide.
    mpp
        µm per server pixel (x, y).
    bounds
        Left, top, right and bottom of the part that is looked at, server pixels; None: all. What a
        pixel shows does not depend on it, but for the colour of glass and what the part cuts.

    Returns
    -------
    QualityMap
        The pixels of the part.
    """
    full = math.sqrt(mpp[0] * mpp[1])
    fine = max(1.0, READ_MPP / full)
    x0, y0, x1, y1 = bounds or (0, 0, slide.width, slide.height)
    x0, y0 = max(x0, 0), max(y0, 0)
    x1, y1 = min(x1, slide.width), min(y1, slide.height)
    least = MAP_MPP / (full * fine)
    side = max(least, math.sqrt((x1 - x0) * (y1 - y0) / MAX_PIXELS) / fine)
    step = max(1, round(side)) if side < 1.5 else math.ceil(side)
    unit = fine * step
    left, top = int(x0 // unit), int(y0 // unit)
    width, height = math.ceil(x1 / unit) - left, math.ceil(y1 / unit) - top
    rows = max(1, int(STRIP_PIXELS / (width * step * step)))
    margin = math.ceil(masks.SHARPNESS_SIDE / (full * unit))
    parts = [
        _read_strip(slide, (left, row, width, min(rows, top + height - row)), fine, step, margin)
        for row in range(top, top + height, rows)
    ]
    picture, texture, sharpness = (np.concatenate(p) for p in zip(*parts, strict=True))
    known = full * fine < 1.1 * READ_MPP
    kinds = masks.classify(
        picture,
        full * unit,
        texture=texture if known else None,
        sharpness=sharpness if known else None,
    )
    return QualityMap(kinds, unit, (left, top), (slide.width, slide.height))


def _read_strip(
    slide: Slide, box: tuple[int, int, int, int], fine: float, step: int, margin: int
) -> tuple[Pixels, masks.Floats, masks.Floats]:
    """Read rows of the map, and measure their texture and sharpness with a margin around them."""
    x, y, width, height = box
    wide, high = width + 2 * margin, height + 2 * margin
    pixels = slide.read((x - margin) * step, (y - margin) * step, wide * step, high * step, fine)
    _extend(pixels, slide, ((x - margin) * step, (y - margin) * step), fine)
    density = masks.grey_density(pixels)
    inner = np.s_[margin : margin + height, margin : margin + width]
    small = pixels.reshape(high, step, wide, step, 3).mean(axis=(1, 3), dtype=np.float32)
    texture = masks.texture_of(density, round(masks.TEXTURE_SIDE / READ_MPP), step)
    sharpness = masks.sharpness_of(density, round(masks.SHARPNESS_SIDE / READ_MPP), step)
    return np.rint(small[inner]).astype(np.uint8), texture[inner], sharpness[inner]


def _extend(pixels: Pixels, slide: Slide, corner: tuple[int, int], downsample: float) -> None:
    """Mirror the slide at its border: white there would be an edge, and repeated pixels blur."""
    for axis, (start, size) in enumerate(
        zip(corner[::-1], (slide.height, slide.width), strict=True)
    ):
        there = max(1, math.floor(size / downsample + 1e-6))
        wanted = np.arange(start, start + pixels.shape[axis])
        if wanted[0] >= 0 and wanted[-1] < there:
            continue
        folded = wanted % (2 * there)
        mirrored = np.minimum(folded, 2 * there - 1 - folded) - start
        pixels[:] = pixels.take(mirrored.clip(0, len(wanted) - 1), axis)


def _boxes(mask: masks.Mask, downsample: float, corner: tuple[int, int]) -> Any:
    """Outline a mask exactly, pixel by pixel, as a union of its runs."""
    if not mask.any():
        return shapely.Polygon()
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    left, top = corner
    boxes = shapely.box(
        (start + left) * downsample,
        (row + top) * downsample,
        (end + left) * downsample,
        (row + top + 1) * downsample,
    )
    return shapely.union_all(boxes)
