"""The main job: segment the images of a project, one after the other, and write the result."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from qpbridge._version import __version__
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.edit import RunRecord, find_existing, plan_removal
from qpbridge.engine.segmenting.cells import needed_halo
from qpbridge.engine.segmenting.nuclei import DAB, WholeObjects
from qpbridge.engine.segmenting.request import (
    ImageReport,
    NucleusOptions,
    Progress,
    RegionReport,
    Request,
)
from qpbridge.engine.segmenting.result import Result
from qpbridge.engine.segmenting.structures import Areas
from qpbridge.engine.tiles.merge import Found
from qpbridge.engine.tiles.network import TargetNetwork
from qpbridge.engine.tiles.plan import Tile, TilePlan, plan_tiles
from qpbridge.engine.tiles.run import Maps, Pixels, run_tiles
from qpbridge.engine.tiles.spool import Spool, open_spool, run_key
from qpbridge.engine.tiles.stages import Stages
from qpbridge.errors import QpbridgeError, SelectionError
from qpbridge.hierarchy.regions import Region, find_again, select_regions
from qpbridge.measurements.color import default_stains
from qpbridge.measurements.picture import HEMATOXYLIN
from qpbridge.measurements.summary import EVALUATED_AREA
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectTable, Stains
from qpbridge.project.interface import (
    Edit,
    ImageData,
    ImageEntry,
    Project,
    missing_images,
)
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide

OVERHEAD = 1.4
"""Time of a run on a CPU over that of the network alone; measured."""

BASE_BYTES, BYTES_PER_PIXEL = 0.7e9, 140
"""Peak memory of a run on a CPU by pixels under way."""


@dataclass(frozen=True, eq=False)
class _ImagePlan:
    """All that can be said of a run on an image before any pixel is read."""

    data: ImageData
    regions: tuple[Region, ...]
    tiles: TilePlan
    mpp: tuple[float, float]


class Target(Protocol):
    """The way from the maps of single tiles to objects of an image."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the objects of tiles depend on, besides the model and the tiles."""

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> Found:
        """Decode one tile; see `qpbridge.engine.tiles.run.run_tiles`."""

    def merge(self, tiles: Iterable[Found]) -> Found:
        """Make the image's objects of the tiles'."""

    def plan(
        self, objects: ObjectTable, regions: tuple[Region, ...], found: Found, record: RunRecord
    ) -> tuple[Edit, Result]:
        """Plan how what `merge` gave goes into regions of an image that holds `objects`."""


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
    QpbridgeError
        If something is asked for that is for nuclei only, and the model finds others.
    SelectionError
        If an image is unknown, or no image has anything to segment in.
    ProjectError
        If the project can't be written to.
    """
    progress, request = progress or Progress(), request or Request()
    if bundle.target != "nuclei" and request.nuclei != NucleusOptions():
        raise QpbridgeError(
            "cell expansion, positivity and further features are for nuclei only, but "
            f"{bundle.name} finds {bundle.target}; leave these options out, or take another model"
        )
    entries = project.select(images)
    if not entries:
        raise SelectionError(f"{project.path}: the project has no images; add one in QuPath")
    if not request.dry_run:
        project.check_writable()
    missing = dict(missing_images(entries))
    if missing:
        progress.missing(list(missing.items()), len(entries))
    network = None
    if len(missing) < len(entries):
        network = TargetNetwork(bundle, request.device, compiled=request.compiled)
    reports = []
    for entry in entries:
        if network is None or entry in missing:
            report = ImageReport(entry.name, "failed", str(missing[entry]), missing=True)
        else:
            report = _segment_safely(project.path, entry, network, request, progress)
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
    project: Path, entry: ImageEntry, network: TargetNetwork, request: Request, watch: Progress
) -> ImageReport:
    try:
        return _segment_image(project, entry, network, request, watch)
    except SelectionError as error:
        return ImageReport(entry.name, "skipped", str(error))
    except (QpbridgeError, OSError) as error:
        return ImageReport(entry.name, "failed", str(error))


def _segment_image(
    project: Path, entry: ImageEntry, network: TargetNetwork, request: Request, watch: Progress
) -> ImageReport:
    began = time.perf_counter()
    stages, bundle = Stages(), network.bundle
    if not request.dry_run:
        entry.check_writable()
    data = entry.read()
    with open_server(entry.image_path(), entry.server) as slide:
        plan = _plan_image(entry, data, slide, bundle, request)
        target = _target(entry.name, bundle, plan, request, stages)
        if request.dry_run:
            return _planned(entry, plan, network, request)
        key = run_key(_facts(plan, slide, entry, target, bundle))
        with open_spool(project, entry.id, bundle.target, key, restart=request.restart) as spool:
            resumed = len(spool.done)
            megapixels = plan.tiles.pixels / 1e6
            watch.start_image(
                entry.name, plan.tiles.megapixels, float(megapixels[list(spool.done)].sum())
            )
            for number in _find_all(plan.tiles, slide, network, target, spool, request, stages):
                watch.advance(float(megapixels[number]))
            record = RunRecord(
                target=bundle.target,
                model=bundle.name,
                model_version=bundle.version,
                mpp=bundle.mpp,
                when=datetime.datetime.now(datetime.UTC),
                command=request.command,
            )

            def place(now: ImageData) -> tuple[Edit, Result]:
                regions = plan.regions
                if now is not data:
                    regions = find_again(
                        regions, now.objects, request.selection, slide.width, slide.height
                    )
                with stages("merge"):
                    # each time anew, or what was found would fill the memory while it is written
                    return target.plan(now.objects, regions, target.merge(spool.load()), record)

            with stages("write"):
                result = apply_planned(entry, data, place)
    return replace(
        _report(entry, plan, "written", result),
        seconds=time.perf_counter() - began,
        resumed=resumed,
        stages=stages.busy,
        bottleneck=stages.bottleneck,
    )


def _find_all(
    tiles: TilePlan,
    slide: Slide,
    network: TargetNetwork,
    target: Target,
    spool: Spool,
    request: Request,
    stages: Stages,
) -> Iterator[int]:
    """Put into the spool what is found in the tiles that are not in it; yield their numbers."""
    left = sorted(set(range(len(tiles))) - set(spool.done))
    batch_size = request.batch_size or network.batch_size
    with network.threads(-(-len(left) // batch_size), request.workers) as threads:
        for number, found in run_tiles(
            tiles,
            left,
            lambda tile: slide.read(*tile.corner, *tile.size, tiles.downsample),
            network,
            target.find,
            batch_size=batch_size,
            threads=threads,
            stages=stages,
        ):
            with stages("spool"):
                spool.add(number, found)
            yield number


def _facts(
    plan: _ImagePlan, slide: Slide, entry: ImageEntry, target: Target, bundle: Bundle
) -> dict[str, Any]:
    """All that the objects of the tiles depend on, besides the program itself."""
    status = slide.path.stat()
    return {
        "qpbridge": __version__,
        "model": bundle.digest(),
        "decode": dict(bundle.decode),
        "file": [str(slide.path), status.st_size, status.st_mtime_ns],
        "server": dict(entry.server.builder),
        "mpp": plan.mpp,
        "downsample": plan.tiles.downsample,
        "halo": plan.tiles.halo,
        "cores": plan.tiles.cores,
        **target.facts,
    }


def _target(
    image: str, bundle: Bundle, plan: _ImagePlan, request: Request, stages: Stages
) -> Target:
    if bundle.target != "nuclei":
        return Areas(bundle, plan.tiles, plan.mpp, request.area_kind, stages)
    stains = plan.data.stains or default_stains(plan.data.image_type)
    _check_stains(image, stains, request.nuclei)
    return WholeObjects(bundle, plan.tiles, plan.mpp, stains, stages, request.nuclei, plan.regions)


def _check_stains(image: str, stains: Stains, options: NucleusOptions) -> None:
    """Refuse to measure a stain that is not there."""
    for stain, option, wanted, kind in (
        (DAB, "positivity", bool(options.positivity), "Brightfield (H-DAB)"),
        (HEMATOXYLIN, "features all", options.all_features, "Brightfield (H&E) or (H-DAB)"),
    ):
        if wanted and stain not in stains.stain_names:
            raise QpbridgeError(
                f"{image}: --{option} needs the stain {stain}, but this image has "
                f"{' and '.join(stains.stain_names)}; set its type to {kind} in QuPath's Image "
                f"tab, choose others with --image, or leave --{option} out"
            )


def _plan_image(
    entry: ImageEntry, data: ImageData, slide: Slide, bundle: Bundle, request: Request
) -> _ImagePlan:
    known = slide.mpp or ((bundle.mpp, bundle.mpp) if bundle.nominal_mpp else None)
    mpp = pixel_size(entry.name, entry.server.mpp, known, request.mpp)
    regions = select_regions(data.objects, request.selection, slide.width, slide.height)
    downsample = slide.snap(downsample_for(mpp, bundle.mpp))
    halo = bundle.halo
    if request.nuclei.cell_expansion is not None:
        halo = max(halo, math.ceil(needed_halo(request.nuclei.cell_expansion) / bundle.mpp))
    tiles = plan_tiles(regions, downsample, tile=request.tile, halo=halo, stride=bundle.stride)
    return _ImagePlan(data, regions, tiles, mpp)


def _planned(
    entry: ImageEntry, plan: _ImagePlan, network: TargetNetwork, request: Request
) -> ImageReport:
    """Tell what can be told of the result, the time and the memory before anything is found."""
    bundle, tiles = network.bundle, plan.tiles
    existing = find_existing(plan.data.objects, plan.regions, bundle.target)
    areas = [region.area(plan.mpp) for region in plan.regions]
    expected = Result(plan.regions, existing, 0, tuple({EVALUATED_AREA: area} for area in areas))
    with network.threads(len(tiles), request.workers) as threads:
        tiles_at_a_time = threads.network * (request.batch_size or network.batch_size)
    memory = BASE_BYTES + tiles_at_a_time * int(tiles.pixels.max()) * BYTES_PER_PIXEL
    return replace(
        _report(entry, plan, "planned", expected),
        memory_gb=memory / 1e9,
        seconds=OVERHEAD * tiles.megapixels * 1e6 / network.speed(),
    )


def _report(entry: ImageEntry, plan: _ImagePlan, status: str, result: Result) -> ImageReport:
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
    )
