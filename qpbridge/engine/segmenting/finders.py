"""How the objects of a target are found: from the maps of single tiles to those of an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from qpbridge.engine.edit import Existing
from qpbridge.engine.runs import RunRecord
from qpbridge.engine.segmenting.nuclei import DAB, NucleusFinder
from qpbridge.engine.segmenting.plan import ImagePlan
from qpbridge.engine.segmenting.request import Request
from qpbridge.engine.segmenting.result import Result
from qpbridge.errors import QpbridgeError
from qpbridge.hierarchy.regions import Region
from qpbridge.measurements.color import image_stains
from qpbridge.measurements.nuclei import HEMATOXYLIN
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectTable, Stains
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.prediction.tiles.plan import Tile
from qpbridge.prediction.tiles.run import Maps, Pixels
from qpbridge.prediction.tiles.stages import Stages
from qpbridge.project.interface import Edit


class Finder(Protocol):
    """The way from the maps of single tiles to objects of an image."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the objects of tiles depend on, besides the model and the tiles."""

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
        """Decode one tile; see `qpbridge.prediction.tiles.run.run_tiles`."""

    def merge(self, tiles: Iterable[TileObjects]) -> TileObjects:
        """Make the image's objects of the tiles'."""

    def plan(
        self,
        objects: ObjectTable,
        regions: tuple[Region, ...],
        found: TileObjects,
        record: RunRecord,
        existing: Existing | None = None,
    ) -> tuple[Edit, Result]:
        """Plan how what `merge` gave goes into regions of an image that holds `objects`.

        `existing` of them make room, or stay; None: those in the regions.
        """


def choose_finder(
    image: str, bundle: Bundle, plan: ImagePlan, request: Request, stages: Stages
) -> Finder:
    """Choose how the objects of a model's target are found.

    Parameters
    ----------
    image
        Its name, for messages.
    bundle
        The model.
    plan
        What is done in the image.
    request
        What is asked for.
    stages
        Count the time.

    Raises
    ------
    QpbridgeError
        If a stain is to be measured that the image does not have.
    """
    if bundle.target != "nuclei":
        # which takes time to import, and a run of nuclei does not need
        from qpbridge.engine.segmenting.structures import StructureFinder

        return StructureFinder(bundle, plan.tiles, plan.mpp, request.area_kind, stages)
    stains = image_stains(plan.data)
    _check_stains(image, stains, plan.nuclei)
    return NucleusFinder(bundle, plan.tiles, plan.mpp, stains, stages, plan.nuclei, plan.searched)


def _check_stains(image: str, stains: Stains, options: NucleusOptions) -> None:
    """Refuse to measure a stain that is not there."""
    for stain, option, wanted, image_type in (
        (DAB, "`positivity`", bool(options.positivity), "Brightfield (H-DAB)"),
        (HEMATOXYLIN, "`features` all", bool(options.all_features), "Brightfield (H&E) or (H-DAB)"),
    ):
        if wanted and stain not in stains.stain_names:
            raise QpbridgeError(
                f"{image}: {option} needs the stain {stain}, but this image has "
                f"{' and '.join(stains.stain_names)}; set its type to {image_type} in QuPath's "
                f"Image tab, choose others with `images`, or leave {option} out"
            )
