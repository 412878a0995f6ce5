"""What a run will do in an image, before any pixel is read, and what can be told of it then."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import shapely

from qpbridge.artefacts.reading import NO_TISSUE, SHARES, QualityMap, read_quality
from qpbridge.engine.added import lost_measurements
from qpbridge.engine.edit import find_existing
from qpbridge.engine.memory import Memory
from qpbridge.engine.segmenting.request import ImageReport, RegionReport, Request
from qpbridge.engine.segmenting.result import Result
from qpbridge.engine.segmenting.settings import kept_settings, lost_settings, options_before
from qpbridge.hierarchy.regions import Region, select_regions
from qpbridge.measurements import quality as names
from qpbridge.measurements.region_names import EVALUATED_AREA
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ImageType
from qpbridge.prediction.cells import needed_halo
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.plan import TilePlan, plan_tiles
from qpbridge.project.each_image import Status
from qpbridge.project.interface import ImageData, ImageEntry
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.slide import Slide

OVERHEAD = 1.4
"""Time of a run on a CPU over that of the network alone; measured."""

SECTIONS = (ImageType.BRIGHTFIELD_H_E, ImageType.BRIGHTFIELD_H_DAB)
"""Images in which black, ink and glass can be told by their colour."""

QUALITY_STEP = "qpbridge: quality"
"""What QuPath's history calls the run that wrote the quality map as annotations."""

NOT_LOOKED_AT = (
    "black fill and ink are not known yet, and will be left out; 'qpbridge quality' tells them"
)
"""What a plan can't tell before any pixel is read."""

BASE_BYTES, BYTES_PER_PIXEL = 0.7e9, 140
"""Peak memory of a run on a CPU by pixels under way."""


@dataclass(frozen=True, eq=False)
class ImagePlan:
    """All that can be said of a run on an image before any pixel is read.

    Parameters
    ----------
    image
        The image's name.
    data
        What was read of it.
    regions, tiles
        What is searched, and in which pieces.
    mpp
        µm per server pixel (x, y).
    searched
        The regions without what can't be tissue, as far as it was looked at.
    nuclei
        What else is done with nuclei: as asked for, or else as the run before did.
    quality
        What the regions show; None: it was not looked at.
    cuts
        Whether what can't be tissue is left out.
    """

    image: str
    data: ImageData
    regions: tuple[Region, ...]
    tiles: TilePlan
    mpp: tuple[float, float]
    searched: tuple[Region, ...]
    nuclei: NucleusOptions
    quality: QualityMap | None = None
    cuts: bool = True

    def without_no_tissue(self, regions: tuple[Region, ...]) -> tuple[Region, ...]:
        """Leave out of regions what can't be tissue, and note how much of each that is.

        Where a person has the quality map as annotations, these alone say what is left out.
        """
        if self.quality is None:
            return regions
        outlines = self.cuts and not self._drawn
        foreign = self.quality.outline(*NO_TISSUE) if outlines else shapely.Polygon()
        return tuple(_searched(region, foreign, self.quality) for region in regions)

    @property
    def _drawn(self) -> bool:
        return any(step.name == QUALITY_STEP for step in self.data.workflow)

    def looks(self, bundle: Bundle) -> bool:
        """Whether a run will look for what can't be tissue, and leave out what nobody drew."""
        return self.cuts and bundle.image_type in SECTIONS and not self._drawn


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


def plan_image(
    entry: ImageEntry, data: ImageData, slide: Slide, bundle: Bundle, request: Request
) -> ImagePlan:
    """Plan a run on an image.

    Raises
    ------
    SelectionError
        If there is nothing to segment in.
    SlideError
        If the pixel size is unknown.
    """
    known = slide.mpp or ((bundle.mpp, bundle.mpp) if bundle.nominal_mpp else None)
    mpp = pixel_size(entry.name, entry.server.mpp, known, request.mpp)
    regions = select_regions(data.objects, request.selection, slide.width, slide.height)
    downsample = slide.snap(downsample_for(mpp, bundle.mpp))
    nuclei = request.nuclei
    if bundle.target == "nuclei":
        nuclei = nuclei.over(options_before(data, regions, bundle.target))
    tiles = _plan_tiles(regions, downsample, bundle, nuclei, request.tile)
    cuts = not request.keep_artefacts
    return ImagePlan(entry.name, data, regions, tiles, mpp, regions, nuclei, cuts=cuts)


def look_at(plan: ImagePlan, slide: Slide, bundle: Bundle, request: Request) -> ImagePlan:
    """Look at what the regions show, and leave out what can't be tissue.

    Models of other images than stained sections (of the retina, say) see dark pictures: there
    everything is searched.
    """
    if bundle.image_type not in SECTIONS:
        return plan
    area = shapely.union_all([region.geometry for region in plan.regions])
    plan = replace(plan, quality=read_quality(slide, plan.mpp, area))
    plan = replace(plan, searched=plan.without_no_tissue(plan.regions))
    left = tuple(region for region in plan.searched if region.geometry.area > 0)
    if not left:  # what joins the objects of tiles needs one
        return replace(plan, tiles=replace(plan.tiles, cores=plan.tiles.cores[:1]))
    tiles = _plan_tiles(left, plan.tiles.downsample, bundle, plan.nuclei, request.tile)
    return replace(plan, tiles=tiles)


def _plan_tiles(
    regions: tuple[Region, ...],
    downsample: float,
    bundle: Bundle,
    nuclei: NucleusOptions,
    tile: int,
) -> TilePlan:
    halo = bundle.halo
    if nuclei.cell_expansion:
        halo = max(halo, math.ceil(needed_halo(nuclei.cell_expansion) / bundle.mpp))
    return plan_tiles(regions, downsample, tile=tile, halo=halo, stride=bundle.stride)


def report_plan(
    plan: ImagePlan, network: TargetNetwork, request: Request, memory: Memory
) -> ImageReport:
    """Tell what can be told of the result, the time and the memory before anything is found."""
    bundle, tiles = network.bundle, plan.tiles
    if request.restore_deleted:
        memory = memory.without(plan.data.objects, plan.regions)
    existing = find_existing(plan.data.objects, plan.regions, bundle.target, memory)
    areas = [region.area(plan.mpp) for region in plan.regions]
    lost = lost_settings(plan.data.objects, existing, request.nuclei, plan.nuclei)
    summaries = tuple({EVALUATED_AREA: area} for area in areas)
    expected = Result(plan.regions, existing, 0, summaries, lost)
    with network.threads(len(tiles), request.workers) as threads:
        tiles_at_a_time = threads.network * (request.batch_size or network.batch_size)
    most = BASE_BYTES + tiles_at_a_time * int(tiles.pixels.max()) * BYTES_PER_PIXEL
    return replace(
        report_image(plan, "planned", expected, request),
        message=NOT_LOOKED_AT if plan.looks(bundle) else "",
        memory_gb=most / 1e9,
        seconds=OVERHEAD * tiles.megapixels * 1e6 / network.speed,
    )


def report_image(plan: ImagePlan, status: Status, result: Result, request: Request) -> ImageReport:
    """Tell what a run comes to in an image."""
    return ImageReport(
        image=plan.image,
        status=status,
        regions=tuple(
            RegionReport(r.label, None if r.path_class is None else str(r.path_class), m)
            for r, m in zip(result.regions, result.summaries, strict=True)
        ),
        found=result.found,
        replaced=len(result.existing.replaced),
        kept_changed=len(result.existing.changed),
        deleted=result.existing.deleted,
        lost_measurements=result.lost_measurements,
        tiles=len(plan.tiles),
        megapixels=plan.tiles.megapixels,
        as_before=kept_settings(request.nuclei, plan.nuclei),
        warnings=result.lost
        + lost_measurements(result.lost_measurements)
        + tuple(
            text
            for r, m in zip(result.regions, result.summaries, strict=True)
            for text in names.warnings(r.label, m)
        ),
    )
