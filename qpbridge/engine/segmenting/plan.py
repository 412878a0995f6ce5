"""What a run will do in an image, before any pixel is read, and what can be told of it then."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from qpbridge.engine.edit import find_existing
from qpbridge.engine.segmenting.cells import needed_halo
from qpbridge.engine.segmenting.request import ImageReport, RegionReport, Request
from qpbridge.engine.segmenting.result import Result
from qpbridge.engine.tiles.network import TargetNetwork
from qpbridge.engine.tiles.plan import TilePlan, plan_tiles
from qpbridge.hierarchy.regions import Region, select_regions
from qpbridge.measurements.region_names import EVALUATED_AREA
from qpbridge.models.bundle import Bundle
from qpbridge.project.each_image import Status
from qpbridge.project.interface import ImageData, ImageEntry
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.slide import Slide

OVERHEAD = 1.4
"""Time of a run on a CPU over that of the network alone; measured."""

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
    """

    image: str
    data: ImageData
    regions: tuple[Region, ...]
    tiles: TilePlan
    mpp: tuple[float, float]


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
    halo = bundle.halo
    if request.nuclei.cell_expansion is not None:
        halo = max(halo, math.ceil(needed_halo(request.nuclei.cell_expansion) / bundle.mpp))
    tiles = plan_tiles(regions, downsample, tile=request.tile, halo=halo, stride=bundle.stride)
    return ImagePlan(entry.name, data, regions, tiles, mpp)


def report_plan(plan: ImagePlan, network: TargetNetwork, request: Request) -> ImageReport:
    """Tell what can be told of the result, the time and the memory before anything is found."""
    bundle, tiles = network.bundle, plan.tiles
    existing = find_existing(plan.data.objects, plan.regions, bundle.target)
    areas = [region.area(plan.mpp) for region in plan.regions]
    expected = Result(plan.regions, existing, 0, tuple({EVALUATED_AREA: area} for area in areas))
    with network.threads(len(tiles), request.workers) as threads:
        tiles_at_a_time = threads.network * (request.batch_size or network.batch_size)
    memory = BASE_BYTES + tiles_at_a_time * int(tiles.pixels.max()) * BYTES_PER_PIXEL
    return replace(
        report_image(plan, "planned", expected),
        memory_gb=memory / 1e9,
        seconds=OVERHEAD * tiles.megapixels * 1e6 / network.speed,
    )


def report_image(plan: ImagePlan, status: Status, result: Result) -> ImageReport:
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
        tiles=len(plan.tiles),
        megapixels=plan.tiles.megapixels,
    )
