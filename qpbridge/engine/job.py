"""The main job: segment the images of a project, one after the other, and write the result."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qpbridge.engine.apply import apply_planned
from qpbridge.engine.areas import Areas
from qpbridge.engine.edit import RunRecord, find_existing, plan_removal
from qpbridge.engine.merge import Found
from qpbridge.engine.network import TargetNetwork
from qpbridge.engine.plan import TilePlan, plan_tiles
from qpbridge.engine.regions import Region, Selection, find_again, select_regions
from qpbridge.engine.result import Result
from qpbridge.engine.run import Maps, Pixels, find_objects
from qpbridge.engine.whole import WholeObjects
from qpbridge.errors import MissingImageError, QpbridgeError, SelectionError
from qpbridge.measure.color import H_DAB, H_E
from qpbridge.measure.summary import EVALUATED_AREA
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ImageType, ObjectKind, ObjectTable
from qpbridge.project.model import (
    Edit,
    ImageData,
    ImageEntry,
    Project,
    missing_images,
)
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide


@dataclass(frozen=True)
class Request:
    """What to do in every image.

    Parameters
    ----------
    selection
        Which regions.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    tile
        Side of a tile with its halo, in pixels at the model's resolution.
    batch_size
        Tiles per batch.
    workers
        Threads that read, and as many that decode.
    area_kind
        What glands and vessels are written as: annotations or detections.
    dry_run
        Plan only.
    command
        What the history says that was run.
    """

    selection: Selection = field(default_factory=Selection)
    device: str = "auto"
    mpp: float | None = None
    tile: int = 1024
    batch_size: int = 2
    workers: int = 2
    area_kind: ObjectKind = ObjectKind.ANNOTATION
    dry_run: bool = False
    command: str = "qpbridge segment"


@dataclass(frozen=True)
class RegionReport:
    """What was found in one region."""

    name: str
    path_class: str | None
    measurements: dict[str, float]


@dataclass(frozen=True)
class ImageReport:
    """What was done to one image.

    `status` is ``written``, ``planned`` (dry run), ``skipped`` (nothing to segment in) or
    ``failed``; `message` says why. `missing`: it failed because its file was not found.
    """

    image: str
    status: str
    message: str = ""
    regions: tuple[RegionReport, ...] = ()
    found: int = 0
    replaced: int = 0
    kept_changed: int = 0
    tiles: int = 0
    megapixels: float = 0.0
    memory_gb: float = 0.0
    seconds: float = 0.0
    missing: bool = False


@dataclass(frozen=True, eq=False)
class _ImagePlan:
    """All that can be said of a run on an image before any pixel is read."""

    data: ImageData
    regions: tuple[Region, ...]
    tiles: TilePlan
    mpp: tuple[float, float]


class Target(Protocol):
    """The way from the maps of single tiles to objects of an image."""

    def find(self, pixels: Pixels, maps: Maps, corner: tuple[int, int]) -> Found:
        """Decode one tile; see `qpbridge.engine.run.find_objects`."""

    def merge(self, tiles: Sequence[Found]) -> Found:
        """Make the image's objects of the tiles'."""

    def plan(
        self, objects: ObjectTable, regions: tuple[Region, ...], found: Found, record: RunRecord
    ) -> tuple[Edit, Result]:
        """Plan how what `merge` gave goes into regions of an image that holds `objects`."""


Missing = Sequence[tuple[ImageEntry, MissingImageError]]


@dataclass
class Progress:
    """Hooks for whoever watches a run.

    `missing` is called once, before any work, with the images whose files are not found, if any,
    and the number of all images; in `end_image` they come like others that fail.
    """

    start_image: Callable[[str, int], None] = field(default=lambda name, tiles: None)
    advance: Callable[[int], None] = field(default=lambda tiles_done: None)
    end_image: Callable[[ImageReport], None] = field(default=lambda report: None)
    missing: Callable[[Missing, int], None] = field(default=lambda missing, images: None)


def segment_project(
    project: Project,
    bundle: Bundle,
    request: Request | None = None,
    *,
    images: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> list[ImageReport]:
    """Segment the regions of a project's images with a model, and write what it finds.

    Each image is written when it is done. One that fails is reported, and the others go on.

    Parameters
    ----------
    project
        An open project.
    bundle
        The model.
    request
        Regions, resolution and resources.
    images
        Names or entry ids; empty: all.
    progress
        Hooks.

    Returns
    -------
    reports
        One for each image, in the project's order.

    Raises
    ------
    SelectionError
        If an image is unknown, or no image has anything to segment in.
    ProjectError
        If the project can't be written to.
    """
    progress, request = progress or Progress(), request or Request()
    entries = project.select(images)
    if not entries:
        raise SelectionError(f"{project.path}: the project has no images; add one in QuPath")
    if not request.dry_run:
        project.check_writable()
    missing = dict(missing_images(entries))
    if missing:
        progress.missing(list(missing.items()), len(entries))
    network = None if len(missing) == len(entries) else TargetNetwork(bundle, request.device)
    reports = []
    for entry in entries:
        if network is None or entry in missing:
            report = ImageReport(entry.name, "failed", str(missing[entry]), missing=True)
        else:
            report = _segment_safely(entry, network, request, progress)
        progress.end_image(report)
        reports.append(report)
    if all(r.status == "skipped" for r in reports):
        raise SelectionError(f"{project.path}: {reports[0].message}")
    return reports


def remove_objects(entry: ImageEntry, target: str) -> int | None:
    """Take away qpbridge's own unchanged objects of a target from an image.

    Returns
    -------
    count
        How many; None if there was nothing of ours, and nothing was written.
    """

    def plan(data: ImageData) -> tuple[Edit | None, int | None]:
        edit = plan_removal(data.objects, target)
        return edit, None if edit is None else len(edit.remove)

    return apply_planned(entry, entry.read(), plan)


def _segment_safely(
    entry: ImageEntry, network: TargetNetwork, request: Request, watch: Progress
) -> ImageReport:
    try:
        return _segment_image(entry, network, request, watch)
    except SelectionError as error:
        return ImageReport(entry.name, "skipped", str(error))
    except (QpbridgeError, OSError) as error:
        return ImageReport(entry.name, "failed", str(error))


def _segment_image(
    entry: ImageEntry, network: TargetNetwork, request: Request, watch: Progress
) -> ImageReport:
    began = time.perf_counter()
    if not request.dry_run:
        entry.check_writable()
    data = entry.read()
    with open_server(entry.image_path(), entry.server) as slide:
        plan = _plan_image(entry, data, slide, network.bundle, request)
        if request.dry_run:
            return _report(entry, plan, "planned", request, began, _expected(plan, network.bundle))
        watch.start_image(entry.name, len(plan.tiles))
        target = _target(network.bundle, plan, request)
        found = find_objects(
            plan.tiles,
            lambda x, y, w, h: slide.read(x, y, w, h, plan.tiles.downsample),
            network,
            target.find,
            merge=target.merge,
            batch_size=request.batch_size,
            workers=request.workers,
            progress=watch.advance,
        )
        size = slide.width, slide.height
    record = RunRecord(
        target=network.bundle.target,
        model=network.bundle.name,
        model_version=network.bundle.version,
        mpp=network.bundle.mpp,
        when=datetime.datetime.now(datetime.UTC),
        command=request.command,
    )

    def place(now: ImageData) -> tuple[Edit, Result]:
        regions = plan.regions
        if now is not data:
            regions = find_again(regions, now.objects, request.selection, *size)
        return target.plan(now.objects, regions, found, record)

    result = apply_planned(entry, data, place)
    return _report(entry, plan, "written", request, began, result)


def _target(bundle: Bundle, plan: _ImagePlan, request: Request) -> Target:
    if bundle.target != "nuclei":
        return Areas(bundle, plan.tiles, plan.mpp, request.area_kind)
    h_dab = plan.data.image_type is ImageType.BRIGHTFIELD_H_DAB
    stains = plan.data.stains or (H_DAB if h_dab else H_E)
    return WholeObjects(bundle, plan.tiles, plan.mpp, stains)


def _plan_image(
    entry: ImageEntry, data: ImageData, slide: Slide, bundle: Bundle, request: Request
) -> _ImagePlan:
    known = slide.mpp or ((bundle.mpp, bundle.mpp) if bundle.nominal_mpp else None)
    mpp = pixel_size(entry.name, entry.server.mpp, known, request.mpp)
    regions = select_regions(data.objects, request.selection, slide.width, slide.height)
    downsample = slide.snap(downsample_for(mpp, bundle.mpp))
    tiles = plan_tiles(
        regions, downsample, tile=request.tile, halo=bundle.halo, stride=bundle.stride
    )
    return _ImagePlan(data, regions, tiles, mpp)


def _expected(plan: _ImagePlan, bundle: Bundle) -> Result:
    """Tell what can be told of the result before anything is found."""
    existing = find_existing(plan.data.objects, plan.regions, bundle.target)
    areas = [r.geometry.area * plan.mpp[0] * plan.mpp[1] for r in plan.regions]
    return Result(plan.regions, existing, 0, tuple({EVALUATED_AREA: area} for area in areas))


def _report(
    entry: ImageEntry,
    plan: _ImagePlan,
    status: str,
    request: Request,
    began: float,
    result: Result,
) -> ImageReport:
    return ImageReport(
        image=entry.name,
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
        memory_gb=plan.tiles.memory(request.batch_size) / 1e9,
        seconds=time.perf_counter() - began,
    )
