"""The quality map of a slide: read once, in strips, at low resolution."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from scipy import ndimage

from qpbridge.artefacts import masks
from qpbridge.artefacts.masks import Kind, Pixels
from qpbridge.measurements import quality as names
from qpbridge.slides.slide import Slide

STEP = "qpbridge: quality"
"""What QuPath's history calls the run that wrote the map as annotations."""

NO_TISSUE = (Kind.FILL, Kind.INK)
"""What takes no part: nothing is looked for in it, and it is no part of the evaluated area."""

SHARES = {
    Kind.EMPTY: names.EMPTY,
    Kind.FILL: names.FILL,
    Kind.INK: names.INK,
    Kind.BLURRED: names.BLURRED,
}
"""What the share of each kind is called as a measurement of a region."""

READ_MPP = 2.0
"""µm per pixel that is read; the thresholds of texture and sharpness are made for it."""

MAP_MPP = 4.0
"""µm per pixel of the map, at least."""

MAX_PIXELS = 8e6
"""Of the map; larger slides have a coarser one, which bounds the memory."""

AROUND = 50.0
"""µm that are looked at around an area, so that broad ink at its border is told."""

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
    hidden
        bool (H, W), what no network is to see, beside fill; None: nothing.
    """

    kinds: Pixels
    downsample: float
    corner: tuple[int, int]
    size: tuple[int, int]
    hidden: masks.Mask | None = None
    _outlines: dict[Kind, Any] = field(default_factory=dict, repr=False)

    def digest(self) -> str:
        """Return a checksum of what the map shows, and hides."""
        hidden = b"" if self.hidden is None else np.packbits(self.hidden).tobytes()
        return hashlib.blake2b(self.kinds.tobytes() + hidden, digest_size=16).hexdigest()

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
        centre = (np.arange(max(height, width)) + 0.5) * self.downsample
        x, y = centre[:width] + left * self.downsample, centre[:height] + top * self.downsample
        counts = np.zeros(len(Kind))
        x0, y0, x1, y1 = shapely.bounds(area)
        shapely.prepare(area)
        columns = np.flatnonzero((x >= x0) & (x <= x1))
        for row in np.flatnonzero((y >= y0) & (y <= y1)):
            inside = columns[shapely.contains_xy(area, x[columns], y[row])]
            counts += np.bincount(self.kinds[row, inside], minlength=len(Kind))
        total = counts.sum()
        judged = counts[Kind.OTHER] + counts[Kind.BLURRED]
        found = {kind: counts[kind] / total if total else np.nan for kind in Kind}
        found[Kind.BLURRED] = counts[Kind.BLURRED] / judged if judged else np.nan
        return {kind: float(share) for kind, share in found.items()}

    def hiding(self, searched: Any) -> QualityMap:
        """Hide fill, and ink outside of what is searched, a geometry in server pixels."""
        row, column = np.nonzero(self.kinds == Kind.INK)
        xy = np.stack([column, row]) + np.array(self.corner)[:, None] + 0.5
        hidden = np.zeros(self.kinds.shape, bool)
        shapely.prepare(searched)
        hidden[row, column] = ~shapely.contains_xy(searched, *xy * self.downsample)
        return replace(self, hidden=hidden)

    def whitened(self, pixels: Pixels, corner: tuple[int, int], downsample: float) -> Pixels:
        """Make what is hidden white in pixels, as empty glass is.

        Beside ink and fill a network finds less than beside glass, further than a nucleus is wide.

        Parameters
        ----------
        pixels
            uint8 (h, w, 3), read at `downsample` from `corner` on, in its pixels; mirrored beyond
            the slide.

        Returns
        -------
        pixels
            The same array where nothing is hidden.
        """
        rows, columns = (
            self._on_map(np.arange(start, start + n), downsample, axis)
            for n, start, axis in zip(pixels.shape[:2], corner[::-1], (1, 0), strict=True)
        )
        here = rows[:, None], columns
        fill, ink = self._near_fill[here], self._near_hidden[here]
        if not (fill.any() or ink.any()):
            return pixels
        highest = pixels.max(axis=2)
        grey = highest - pixels.min(axis=2) <= np.maximum(highest // 2, 15)
        white = fill & grey & (highest < BLACK)
        if ink.any():
            white |= self._hidden[here]
            planes = pixels[ink].T[:, None].astype(np.float32)
            density = masks.density_of(planes, np.full(3, masks.WHITE, np.float32))
            white[ink] |= masks.ink_colours(planes, density)[0]
        out = pixels.copy()
        out[white] = 255
        return out

    def _on_map(
        self, pixels: npt.NDArray[np.int64], downsample: float, axis: int
    ) -> npt.NDArray[np.int64]:
        """Find the rows (axis 1) or columns (0) of the map that show pixels, mirrored as they."""
        size = self.size[axis]
        place = (pixels + 0.5) * downsample % (2 * size)
        at = np.minimum(place, 2 * size - place) // self.downsample - self.corner[axis]
        last = self.kinds.shape[1 - axis] - 1
        return np.asarray(at.clip(0, last), np.int64)

    @cached_property
    def _hidden(self) -> masks.Mask:
        return np.zeros(self.kinds.shape, bool) if self.hidden is None else self.hidden

    @cached_property
    def _near_hidden(self) -> masks.Mask:
        return _with_edge(self._hidden)

    @cached_property
    def _near_fill(self) -> masks.Mask:
        return _with_edge(self.kinds == Kind.FILL)


def _with_edge(mask: masks.Mask) -> masks.Mask:
    """Add the pixels around, where something else is mixed in."""
    if not mask.any():
        return mask
    wider: masks.Mask = ndimage.binary_dilation(mask, np.ones((3, 3)))
    return wider


def read_quality(slide: Slide, mpp: tuple[float, float], area: Any = None) -> QualityMap:
    """Read the quality map of a slide.

    Parameters
    ----------
    slide
        An open slide.
    mpp
        µm per server pixel (x, y).
    area
        Geometry in server pixels: what is looked at, with what is around it; None: all.

    Returns
    -------
    QualityMap
        Of the area's bounding box; what was not looked at is empty.
    """
    full = math.sqrt(mpp[0] * mpp[1])
    fine = max(1.0, READ_MPP / full)
    image = shapely.box(0, 0, slide.width, slide.height)
    area = image if area is None else shapely.intersection(area, image)
    x0, y0, x1, y1 = shapely.bounds(area)
    side = max(MAP_MPP / full, math.sqrt((x1 - x0) * (y1 - y0) / MAX_PIXELS)) / fine
    step = max(1, round(side) if side < 2 else math.ceil(side - 0.01))
    unit = fine * step
    margin = math.ceil(AROUND / (full * unit))
    left, top = (max(0, int(v // unit) - margin) for v in (x0, y0))
    right, bottom = (
        min(math.ceil(v / unit) + margin, math.ceil(size / unit))
        for v, size in ((x1, slide.width), (y1, slide.height))
    )
    width, height = right - left, bottom - top
    picture = np.full((height, width, 3), 255, np.uint8)
    texture, sharpness = np.full((2, height, width), np.nan, np.float32)
    read = np.zeros((height, width), bool)
    rows = max(1, int(STRIP_PIXELS / (width * step * step)))
    for row in range(0, height, rows):
        end = min(row + rows, height)
        low, high = (top + row - margin) * unit, (top + end + margin) * unit
        part = shapely.intersection(area, shapely.box(x0, low, x1, high))
        if part.is_empty:
            continue
        start = max(0, int(part.bounds[0] // unit) - margin - left)
        stop = min(width, math.ceil(part.bounds[2] / unit) + margin - left)
        here = np.s_[row:end, start:stop]
        box = (left + start, top + row, stop - start, end - row)
        picture[here], texture[here], sharpness[here] = _read_strip(slide, box, fine, step, margin)
        read[here] = True
    known = full * fine < 1.1 * READ_MPP
    kinds = masks.classify(
        picture,
        full * unit,
        texture=texture if known else None,
        sharpness=sharpness if known else None,
        glass=masks.glass_colour(picture[read].T.astype(np.float32)),
    )
    return QualityMap(kinds, unit, (left, top), (slide.width, slide.height))


def _read_strip(
    slide: Slide, box: tuple[int, int, int, int], fine: float, step: int, margin: int
) -> tuple[Pixels, masks.Floats, masks.Floats]:
    """Read rows of the map, and measure their texture and sharpness with a margin around them."""
    x, y, width, height = box
    wide, high = width + 2 * margin, height + 2 * margin
    corner, size = ((x - margin) * step, (y - margin) * step), (wide * step, high * step)
    # white beyond the edge would be one itself, and repeated pixels blur
    pixels = slide.read_mirrored(*corner, *size, fine)
    density = masks.grey_density(pixels)
    inner = np.s_[margin : margin + height, margin : margin + width]
    small = pixels.reshape(high, step, wide, step, 3).mean(axis=(1, 3), dtype=np.float32)
    texture = masks.texture_of(density, round(masks.TEXTURE_SIDE / READ_MPP), step)
    sharpness = masks.sharpness_of(density, round(masks.SHARPNESS_SIDE / READ_MPP), step)
    return np.rint(small[inner]).astype(np.uint8), texture[inner], sharpness[inner]


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
