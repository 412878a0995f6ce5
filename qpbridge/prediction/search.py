"""Where objects are looked for in a slide: regions, tiles, and what can't be tissue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import shapely

from qpbridge.artefacts.reading import NO_TISSUE, SHARES, QualityMap, read_quality
from qpbridge.hierarchy.regions import Region
from qpbridge.measurements import quality as names
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ImageType
from qpbridge.prediction.cells import needed_halo
from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.plan import Tile, TilePlan, plan_tiles
from qpbridge.prediction.tiles.run import Maps, Pixels, run_tiles
from qpbridge.prediction.tiles.stages import Stages
from qpbridge.slides.calibration import downsample_for
from qpbridge.slides.slide import Slide

TILE = 2048
"""Largest side of a tile with its halo, in grid pixels, where nothing else is asked for."""

SECTIONS = (ImageType.BRIGHTFIELD_H_E, ImageType.BRIGHTFIELD_H_DAB)
"""Images in which black, ink and glass can be told by their colour."""


@dataclass(frozen=True, eq=False)
class Search:
    """Where objects are looked for in a slide.

    Parameters
    ----------
    regions, tiles
        What is searched, and in which pieces.
    mpp
        µm per server pixel (x, y).
    searched
        The regions without what can't be tissue, as far as it was looked at.
    quality
        What the regions show; None: it was not looked at.
    by_hand
        Whether a person has the quality map as annotations: these alone say what is left out.
    cuts
        Whether what can't be tissue is left out; else it is only told of.
    tile
        Largest side of a tile with its halo, in grid pixels; the result doesn't depend on it.
    """

    regions: tuple[Region, ...]
    tiles: TilePlan
    mpp: tuple[float, float]
    searched: tuple[Region, ...]
    quality: QualityMap | None = None
    by_hand: bool = False
    cuts: bool = True
    tile: int = TILE

    def without_no_tissue(self, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        """Leave out of regions what can't be tissue, and note how much of each that is."""
        if self.quality is None:
            return regions
        outlines = self.cuts and not self.by_hand
        foreign = self.quality.outline(*NO_TISSUE) if outlines else shapely.Polygon()
        return tuple(_searched(region, foreign, self.quality) for region in regions)


def plan_search(
    slide: Slide,
    regions: tuple[Region, ...],
    mpp: tuple[float, float],
    bundle: Bundle,
    *,
    tile: int = TILE,
    expansion: float | None = None,
    by_hand: bool = False,
    cuts: bool = True,
) -> Search:
    """Plan a search before any pixel is read.

    Parameters
    ----------
    slide
        An open slide.
    regions
        Of it, one at least.
    mpp
        µm per server pixel (x, y).
    bundle
        The model.
    tile, by_hand, cuts
        As in `Search`.
    expansion
        How far nuclei are grown into cells, µm; None or 0: not at all.
    """
    downsample = slide.snap(downsample_for(mpp, bundle.mpp))
    halo = bundle.halo
    if expansion:
        halo = max(halo, math.ceil(needed_halo(expansion) / bundle.mpp))
    tiles = plan_tiles(
        regions,
        downsample,
        tile=tile,
        halo=halo,
        stride=bundle.stride,
        size=(slide.width, slide.height),
    )
    return Search(regions, tiles, mpp, regions, by_hand=by_hand, cuts=cuts, tile=tile)


def look_at(search: Search, slide: Slide, bundle: Bundle) -> Search:
    """Look at what the regions show, and leave out what can't be tissue.

    Models of other images than stained sections (of the retina, say) see dark pictures: there
    everything is searched.
    """
    if bundle.image_type not in SECTIONS:
        return search
    area = shapely.union_all([region.geometry for region in search.regions])
    quality = read_quality(slide, search.mpp, area)
    searched = replace(search, quality=quality).without_no_tissue(search.regions)
    seen = shapely.union_all([region.geometry for region in searched])
    search = replace(search, searched=searched, quality=quality.hiding(seen))
    left = [region for region in search.searched if region.geometry.area > 0]
    tiles = search.tiles
    if not left:  # what joins the objects of tiles needs one
        return replace(search, tiles=replace(tiles, cores=tiles.cores[:1]))
    again = plan_tiles(
        left,
        tiles.downsample,
        tile=search.tile,
        halo=tiles.halo,
        stride=bundle.stride,
        size=tiles.size,
    )
    return replace(search, tiles=again)


def find_in_tiles(
    search: Search,
    slide: Slide,
    network: TargetNetwork,
    find: Callable[[Pixels, Maps, Tile], TileObjects],
    *,
    done: Sequence[int] = (),
    batch_size: int | None = None,
    workers: int | None = None,
    stages: Stages | None = None,
) -> Iterator[tuple[int, TileObjects]]:
    """Read tiles, run them through the network, and find what is in them.

    Beyond its edges an image is mirrored for the network, and nothing is found there.

    Parameters
    ----------
    search, slide, network
        Where, in what, and by which model.
    find
        `Finder.find`.
    done
        Numbers of tiles to leave out.
    batch_size, workers
        None: what suits the device.
    stages
        Count the time.

    Yields
    ------
    number, found
        Of each tile, as soon as it is done.
    """
    tiles, quality = search.tiles, search.quality

    def read(tile: Tile) -> Pixels:
        pixels = slide.read_mirrored(*tile.corner, *tile.size, tiles.downsample)
        if quality is None or not search.cuts:
            return pixels
        return quality.whitened(pixels, tile.corner, tiles.downsample)

    left = sorted(set(range(len(tiles))) - set(done))
    batch_size = batch_size or network.batch_size
    with network.threads(-(-len(left) // batch_size), workers) as threads:
        yield from run_tiles(
            tiles,
            left,
            read,
            network,
            find,
            batch_size=batch_size,
            threads=threads,
            stages=stages,
        )


def _searched(region: Region, foreign: Any, quality: QualityMap) -> Region:
    shares = quality.shares(region.geometry)
    geometry = region.geometry
    if shapely.intersects(geometry, foreign):
        geometry = shapely.union_all(
            [p for p in shapely.get_parts(geometry - foreign) if p.geom_type == "Polygon"]
        )
    told = {name: 100 * shares[kind] for kind, name in SHARES.items()}
    told[names.SEARCHED] = 100 * geometry.area / region.geometry.area
    return replace(region, geometry=geometry, shares=told, uncut=region.geometry)
