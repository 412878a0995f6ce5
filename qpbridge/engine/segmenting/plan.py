"""What a run will do in an image, before any pixel is read, and what can be told of it then."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qpbridge.artefacts.reading import STEP
from qpbridge.engine.added import lost_measurements
from qpbridge.engine.edit import find_existing
from qpbridge.engine.memory import Memory
from qpbridge.engine.segmenting.fit import Staining, find_staining
from qpbridge.engine.segmenting.request import ImageReport, RegionReport, Request
from qpbridge.engine.segmenting.result import Result
from qpbridge.engine.segmenting.settings import kept_settings, lost_settings, options_before
from qpbridge.hierarchy.regions import select_regions
from qpbridge.measurements import quality as names
from qpbridge.measurements.region_names import EVALUATED_AREA
from qpbridge.models.bundle import Bundle
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.search import SECTIONS, Search, plan_search
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.project.each_image import Status
from qpbridge.project.interface import ImageData, ImageEntry
from qpbridge.slides.calibration import pixel_size
from qpbridge.slides.slide import Slide

OVERHEAD = 1.4
"""Time of a run on a CPU over that of the network alone; measured."""

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
    search
        Where objects are looked for.
    nuclei
        What else is done with nuclei: as asked for, or else as the run before did.
    staining
        What the image is stained with.
    """

    image: str
    data: ImageData
    search: Search
    nuclei: NucleusOptions
    staining: Staining

    def looks(self, bundle: Bundle) -> bool:
        """Whether a run will look for what can't be tissue, and leave out what nobody drew."""
        return self.search.cuts and bundle.image_type in SECTIONS and not self.search.by_hand


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
    nuclei = request.nuclei
    if bundle.target == "nuclei":
        nuclei = nuclei.over(options_before(data, regions, bundle.target))
    by_hand = any(step.name == STEP for step in data.workflow)
    search = plan_search(
        slide,
        regions,
        mpp,
        bundle,
        tile=request.tile,
        expansion=nuclei.cell_expansion,
        by_hand=by_hand,
        cuts=not request.keep_artefacts,
    )
    staining = find_staining(data, slide, bundle, request.image_type)
    return ImagePlan(entry.name, data, search, nuclei, staining)


def report_plan(
    plan: ImagePlan, network: TargetNetwork, request: Request, memory: Memory
) -> ImageReport:
    """Tell what can be told of the result, the time and the memory before anything is found."""
    bundle, search = network.bundle, plan.search
    tiles, regions = search.tiles, search.regions
    if request.restore_deleted:
        memory = memory.without(plan.data.objects, regions)
    existing = find_existing(plan.data.objects, regions, bundle.target, memory)
    areas = [region.area(search.mpp) for region in regions]
    lost = lost_settings(plan.data.objects, existing, request.nuclei, plan.nuclei)
    summaries = tuple({EVALUATED_AREA: area} for area in areas)
    expected = Result(regions, existing, 0, summaries, lost)
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
        tiles=len(plan.search.tiles),
        megapixels=plan.search.tiles.megapixels,
        as_before=kept_settings(request.nuclei, plan.nuclei),
        image_type=plan.staining.image_type.value,
        image_type_from=plan.staining.source,
        warnings=result.lost
        + _nothing_left(status, result)
        + lost_measurements(result.lost_measurements)
        + tuple(
            text
            for r, m in zip(result.regions, result.summaries, strict=True)
            for text in names.warnings(r.label, m)
        )
        + plan.staining.warnings,
    )


def _nothing_left(status: Status, result: Result) -> tuple[str, ...]:
    """Tell why nothing was put in, where that may surprise: detections are cleared to run anew."""
    deleted = result.existing.deleted
    if status != "written" or result.found or not deleted:
        return ()
    return (
        f"all that is found here was deleted by hand before ({deleted:,} objects), and stays so; "
        "give `restore_deleted` to have it put in again",
    )
