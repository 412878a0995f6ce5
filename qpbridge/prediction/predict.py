"""The one way from a slide to the objects that a model finds in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpbridge.decode.decoders import foreground
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.objects import ObjectKind, ObjectTable, Shapes, Stains
from qpbridge.prediction.finders import choose_finder
from qpbridge.prediction.search import find_in_tiles, look_at, plan_search
from qpbridge.prediction.tiles.merge import TileObjects, numbered
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.plan import Tile, TilePlan
from qpbridge.prediction.tiles.run import Maps, Pixels
from qpbridge.slides.slide import Slide


@dataclass(frozen=True, eq=False)
class Level:
    """The foreground probability of each pixel of a network's grid.

    Parameters
    ----------
    values
        float32 (H, W), 0 where nothing was looked for.
    corner
        x and y of the first one, in grid pixels.
    downsample
        Server pixels per grid pixel.
    """

    values: npt.NDArray[np.float32]
    corner: tuple[int, int]
    downsample: float

    @classmethod
    def empty(cls, tiles: TilePlan) -> Level:
        """Make room for what tiles hold."""
        left, top = tiles.cores[:, :2].min(axis=0).tolist()
        right, bottom = (tiles.cores[:, :2] + tiles.cores[:, 2:]).max(axis=0).tolist()
        values = np.zeros((bottom - top, right - left), np.float32)
        return cls(values, (left, top), tiles.downsample)

    def put(self, tile: Tile, values: npt.NDArray[np.float32]) -> None:
        """Take over the core of a tile, from values of all that is read of it."""
        x, y = tile.x - self.corner[0], tile.y - self.corner[1]
        core = values[tile.around(0).slices]
        self.values[y : y + tile.height, x : x + tile.width] = core

    def at(
        self, size: tuple[int, int], corner: tuple[int, int], downsample: float
    ) -> npt.NDArray[np.float32]:
        """Interpolate to the pixel centres of another grid, float32 `size` (height, width)."""
        from scipy import ndimage

        rows, columns = (
            (np.arange(n) + start + 0.5) * downsample / self.downsample - 0.5 - own
            for n, start, own in zip(size, corner[::-1], self.corner[::-1], strict=True)
        )
        where = np.meshgrid(rows, columns, indexing="ij")
        level: npt.NDArray[np.float32] = ndimage.map_coordinates(
            self.values, where, order=1, mode="nearest"
        )
        return level


def whole_image(slide: Slide) -> tuple[Region, ...]:
    """Return the one region of all that a slide shows."""
    nothing = ObjectTable.new(ObjectKind.ANNOTATION, Shapes.empty())
    return select_regions(nothing, Selection(whole_image=True), slide.width, slide.height)


def predict_objects(
    network: TargetNetwork,
    slide: Slide,
    mpp: tuple[float, float],
    regions: tuple[Region, ...] = (),
    *,
    stains: Stains | None = None,
    by_hand: bool = False,
    cuts: bool = True,
    with_level: bool = False,
) -> tuple[ObjectTable, Level | None]:
    """Find the objects in regions of a slide, all that `qpbridge segment` would write.

    Parameters
    ----------
    network
        The model, ready to run.
    slide
        An open slide, or pixels as one.
    mpp
        µm per server pixel (x, y).
    regions
        Where; none: everywhere.
    stains
        The image's own, for the intensities of nuclei; None: nuclei are not measured.
    by_hand, cuts
        As in `qpbridge.prediction.search.Search`.
    with_level
        Whether the foreground probability of each pixel is wanted.

    Returns
    -------
    objects, level
        In server pixels; `level` None unless it was asked for.
    """
    bundle = network.bundle
    where = regions or whole_image(slide)
    search = plan_search(slide, where, mpp, bundle, by_hand=by_hand, cuts=cuts)
    search = look_at(search, slide, bundle)
    finder = choose_finder(bundle, search, stains=stains)
    level = Level.empty(search.tiles) if with_level else None

    def find(pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
        if level is not None:
            level.put(tile, foreground(bundle.decoder, maps))
        return finder.find(pixels, maps, tile)

    tiles = find_in_tiles(search, slide, network, find)
    found = finder.merge(numbered(part, number) for number, part in tiles)
    return finder.place(found, search.searched).objects, level
