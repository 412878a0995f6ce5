"""How the objects of a target are found: from the maps of single tiles to those of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from qpbridge.hierarchy.regions import Region
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectKind, Shapes, Stains
from qpbridge.prediction.nuclei import NucleusFinder
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.placed import Placed
from qpbridge.prediction.search import Search
from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.prediction.tiles.plan import Tile
from qpbridge.prediction.tiles.run import Maps, Pixels
from qpbridge.prediction.tiles.stages import Stages


class Finder(Protocol):
    """The way from the maps of single tiles to objects of an image."""

    @property
    def bundle(self) -> Bundle:
        """The model."""

    @property
    def mpp(self) -> tuple[float, float]:
        """µm per server pixel (x, y)."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the objects of tiles depend on, besides the model and the tiles."""

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
        """Decode one tile; see `qpbridge.prediction.tiles.run.run_tiles`."""

    def merge(self, tiles: Iterable[TileObjects]) -> TileObjects:
        """Make the image's objects of the tiles'."""

    def place(
        self,
        found: TileObjects,
        regions: tuple[Region, ...],
        kept: Shapes | None = None,
        is_free: Callable[[Shapes], npt.NDArray[np.bool_]] | None = None,
    ) -> Placed:
        """Put what `merge` gave into regions.

        Cells leave room for the outlines that are `kept` from before. Of new outlines (n,),
        `is_free` tells which are put, bool (n,); None: all.
        """


def choose_finder(
    bundle: Bundle,
    search: Search,
    *,
    stains: Stains | None = None,
    options: NucleusOptions | None = None,
    kind: ObjectKind = ObjectKind.ANNOTATION,
    stages: Stages | None = None,
) -> Finder:
    """Choose how the objects of a model's target are found.

    Parameters
    ----------
    bundle
        The model.
    search
        Where they are looked for.
    stains
        The image's own, for the intensities of nuclei; None: nuclei are not measured.
    options
        What else is done with nuclei.
    kind
        What glands and vessels become.
    stages
        Count the time.
    """
    stages = stages or Stages()
    if bundle.target != "nuclei":
        # which takes time to import, and a run of nuclei does not need
        from qpbridge.prediction.structures import StructureFinder

        return StructureFinder(bundle, search.tiles, search.mpp, kind, stages)
    return NucleusFinder(
        bundle,
        search.tiles,
        search.mpp,
        stains,
        stages,
        options or NucleusOptions(),
        search.searched,
    )
