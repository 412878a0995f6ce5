"""Where tiles lie: pure arithmetic between regions and a grid at the model's resolution.

All tiles start and end at multiples of the network's stride, counted from the image's origin, so
that a pixel meets the same network whichever tile it is in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.hierarchy.regions import Region
from qpbridge.slides.slide import grid_size

EXACT = 1e-6
"""Strides by which a bound may be off through rounding."""


class Window(NamedTuple):
    """A part of what is read of a tile, in its pixels: the first, and those after the last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def corner(self) -> npt.NDArray[np.int64]:
        """int64 (2,), x and y of the first."""
        return np.array((self.left, self.top))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def seen_from(self, other: Window) -> Window:
        """Return it in pixels of another one."""
        return Window(
            self.left - other.left,
            self.top - other.top,
            self.right - other.left,
            self.bottom - other.top,
        )

    def meet(self, other: Window) -> Window:
        """Return what both have in common."""
        return Window(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )


class Tile(NamedTuple):
    """One tile, in grid pixels.

    Attributes
    ----------
    x, y
        Upper left corner of its core: the part whose objects are kept.
    width, height
        Of the core.
    halo
        What is read around the core on each side.
    """

    x: int
    y: int
    width: int
    height: int
    halo: int

    @property
    def corner(self) -> tuple[int, int]:
        """Upper left corner of what is read."""
        return self.x - self.halo, self.y - self.halo

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of what is read."""
        return self.width + 2 * self.halo, self.height + 2 * self.halo

    def around(self, margin: int) -> Window:
        """Return the core with a margin, as a part of what is read."""
        start = self.halo - margin
        size = self.width + 2 * margin, self.height + 2 * margin
        return Window(start, start, start + size[0], start + size[1])


@dataclass(frozen=True, eq=False)
class TilePlan:
    """The tiles of one image.

    Parameters
    ----------
    downsample
        Server pixels per grid pixel.
    halo
        What is read around each core, in grid pixels.
    cores
        int64 (k, 4): x, y, width, height of the cores, in grid pixels.
    size
        Width and height of the image, in server pixels; None: without end.
    """

    downsample: float
    halo: int
    cores: npt.NDArray[np.int64]
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.cores)

    def __getitem__(self, number: int) -> Tile:
        x, y, width, height = self.cores[number].tolist()
        return Tile(x, y, width, height, self.halo)

    def within(self, tile: Tile) -> Window:
        """Tell which part of what is read of a tile lies in the image, and not beyond its edges."""
        if self.size is None:
            return Window(0, 0, *tile.size)
        (left, right), (top, bottom) = (
            (max(0, -start), min(length, end - start))
            for start, length, end in zip(
                tile.corner, tile.size, grid_size(self.size, self.downsample), strict=True
            )
        )
        return Window(left, top, right, bottom)

    def place(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Turn grid pixels (n, 2) into server pixels, no further than the image reaches.

        The last pixels of the grid can be partly outside.
        """
        placed = points * self.downsample
        return placed if self.size is None else np.clip(placed, 0, self.size)

    @property
    def pixels(self) -> npt.NDArray[np.int64]:
        """int64 (k,), pixels of each tile that go through the network."""
        sides = self.cores[:, 2:] + 2 * self.halo
        read: npt.NDArray[np.int64] = sides.prod(axis=1)
        return read

    @property
    def megapixels(self) -> float:
        """Pixels that go through the network, in millions."""
        return float(self.pixels.sum()) / 1e6

    def batches(self, numbers: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
        """Part tiles into batches of up to `size`, in order, each of tiles of one size."""
        for _, same in groupby(numbers, key=lambda number: tuple(self.cores[number, 2:])):
            while batch := tuple(islice(same, size)):
                yield batch


def plan_tiles(
    regions: Sequence[Region],
    downsample: float,
    *,
    tile: int,
    halo: int,
    stride: int,
    size: tuple[int, int] | None = None,
) -> TilePlan:
    """Lay tiles over all regions.

    Parameters
    ----------
    regions
        In server pixels.
    downsample
        Server pixels per grid pixel.
    tile
        Largest side of a tile with its halo, in grid pixels; made to fit the stride.
    halo
        Least distance, in grid pixels, from which a pixel can change the network's result.
    stride
        The network's: starts and sides of tiles are multiples of it.
    size
        Width and height of the image, in server pixels; None: without end.

    Returns
    -------
    plan
        Tiles row by row. Cores don't overlap, cover the regions, and each is as small as what it
        holds of them allows.
    """
    halo = -(-halo // stride) * stride
    geometry = shapely.union_all([region.geometry for region in regions])
    unit = stride * downsample
    x0, y0, x1, y1 = geometry.bounds
    most = max((tile - 2 * halo) // stride, 1)
    columns = _edges(x0 / unit, x1 / unit, most)
    rows = _edges(y0 / unit, y1 / unit, most)
    left, top = (v.ravel() for v in np.meshgrid(columns[:-1], rows[:-1]))
    right, bottom = (v.ravel() for v in np.meshgrid(columns[1:], rows[1:]))
    cells = shapely.box(left * unit, top * unit, right * unit, bottom * unit)
    shapely.prepare(geometry)
    cells = cells[shapely.intersects(geometry, cells)]
    held = shapely.intersection(geometry, cells)
    bounds = shapely.bounds(held[shapely.area(held) > 0]) / unit
    low, high = np.floor(bounds[:, :2] + EXACT), np.ceil(bounds[:, 2:] - EXACT)
    cores = np.column_stack([low, high - low]).astype(np.int64) * stride
    return TilePlan(downsample, halo, cores, size)


def _edges(low: float, high: float, most: int) -> npt.NDArray[np.int64]:
    """Divide a length evenly into whole numbers, up to `most` each."""
    start, end = int(np.floor(low)), int(np.ceil(high))
    count = -(-max(end - start, 1) // most)
    edges: npt.NDArray[np.int64] = start + np.arange(count + 1) * max(end - start, 1) // count
    return edges
