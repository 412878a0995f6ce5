"""Where tiles lie: pure arithmetic between regions and a grid at the model's resolution.

Tiles lie on one grid per image, fixed at its origin, whatever the regions are. All tiles start at
multiples of the network's stride, so that a pixel meets the same network whichever tile it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.engine.regions import Region

_BASE_BYTES, _BYTES_PER_PIXEL = 0.7e9, 140
"""Peak memory of a run on a CPU by pixels in a batch; fitted to batches of 1, 2 and 4 tiles."""


@dataclass(frozen=True, eq=False)
class TilePlan:
    """The tiles of one image.

    Parameters
    ----------
    downsample
        Server pixels per grid pixel.
    core
        Side of the part of a tile whose objects are kept, in grid pixels.
    halo
        What is read around the core on each side, in grid pixels.
    origins
        int64 (k, 2): x, y of the upper left corners of the cores, in grid pixels.
    """

    downsample: float
    core: int
    halo: int
    origins: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def side(self) -> int:
        """Side of what is read for a tile, in grid pixels."""
        return self.core + 2 * self.halo

    @property
    def megapixels(self) -> float:
        """Pixels that go through the network, in millions."""
        return len(self) * self.side**2 / 1e6

    def memory(self, batch_size: int) -> float:
        """Estimate the peak memory of a run, in bytes, but for the objects found."""
        return _BASE_BYTES + batch_size * self.side**2 * _BYTES_PER_PIXEL


def plan_tiles(
    regions: Sequence[Region], downsample: float, *, tile: int, halo: int, stride: int
) -> TilePlan:
    """Lay tiles over all regions.

    Parameters
    ----------
    regions
        In server pixels.
    downsample
        Server pixels per grid pixel.
    tile
        Wanted side of a tile with its halo, in grid pixels; made to fit the stride.
    halo
        Least distance, in grid pixels, from which a pixel can change the network's result.
    stride
        The network's: starts and sides of tiles are multiples of it.

    Returns
    -------
    plan
        Tiles whose core meets a region, row by row. Cores don't overlap, and cover the regions.
    """
    halo = -(-halo // stride) * stride
    core = max((tile - 2 * halo) // stride, 1) * stride
    geometry = shapely.union_all([region.geometry for region in regions])
    step = core * downsample
    x0, y0, x1, y1 = (int(np.floor(v / step)) for v in geometry.bounds)
    column, row = np.meshgrid(np.arange(x0, x1 + 1), np.arange(y0, y1 + 1))
    origins = np.stack([column.ravel(), row.ravel()], axis=1).astype(np.int64)
    low, high = origins * step, (origins + 1) * step
    shapely.prepare(geometry)
    met = shapely.intersects(geometry, shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]))
    return TilePlan(downsample, core, halo, origins[met] * core)
