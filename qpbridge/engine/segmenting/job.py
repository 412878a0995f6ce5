"""The main job: segment the images of a project, one after the other, and write the result."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qpbridge import checks
from qpbridge._version import __version__
from qpbridge.engine.added import count_lost
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.edit import find_existing
from qpbridge.engine.memory import recall
from qpbridge.engine.runs import RunMark, RunRecord, user
from qpbridge.engine.segmenting.finders import Finder, choose_finder
from qpbridge.engine.segmenting.plan import (
    ImagePlan,
    look_at,
    plan_image,
    report_image,
    report_plan,
)
from qpbridge.engine.segmenting.request import (
    AREA_KINDS,
    ImageReport,
    Progress,
    Request,
    refuse_nucleus_options,
)
from qpbridge.engine.segmenting.result import Result
from qpbridge.engine.segmenting.settings import lost_settings
from qpbridge.engine.segmenting.spool import (
    Spool,
    open_spool,
    remove_done,
    run_key,
    wait_for_other_run,
)
from qpbridge.hierarchy.regions import find_again
from qpbridge.models.bundle import Bundle
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.prediction.tiles.plan import Tile
from qpbridge.prediction.tiles.run import Pixels, run_tiles
from qpbridge.prediction.tiles.stages import Stages
from qpbridge.project.each_image import Reports, each_image, refuse_nothing, select_some
from qpbridge.project.interface import Edit, ImageData, ImageEntry, Project, missing_images
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide


def segment_project(
    project: Project,
    bundle: Bundle,
    request: Request | None = None,
    *,
    images: str | Sequence[str] = (),
    progress: Progress | None = None,
) -> Reports[ImageReport]:
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
    RequestError
        If an argument is something else than it should be, or what is asked for is for nuclei
        only, and the model finds others.
    SelectionError
        If an image is unknown, or no image has anything to segment in.
    ProjectError
        If the project can't be written to.

    Examples
    --------
    >>> request = qpbridge.Request(qpbridge.Selection(within="Tumor"), device="cpu", dry_run=True)
    >>> qpbridge.segment_project(project, qpbridge.load_bundle("nuclei_he"), request)
    <Reports: 1 planned, 1 skipped>
    """
    checks.instance("project", project, Project, "an open project")
    checks.instance("bundle", bundle, Bundle, "what load_bundle gives")
    request = Request() if request is None else request
    checks.instance("request", request, Request, "a Request")
    progress = Progress() if progress is None else progress
    checks.instance("progress", progress, Progress, "a Progress")
    if bundle.target != "nuclei":
        refuse_nucleus_options(request.nuclei, bundle.target)
    entries = select_some(project, images)
    began = datetime.datetime.now(datetime.UTC)
    if not request.dry_run:
        project.check_writable()
        remove_done(project.path, lambda *spool: _is_done(project, *spool))
    missing = dict(missing_images(entries))
    progress.start_target(bundle.target, len(entries), bundle.name, bundle.notice)
    if missing:
        progress.missing(list(missing.items()), len(entries))
    network = None
    if len(missing) < len(entries):
        network = TargetNetwork(bundle, request.device, compiled=request.compiled)

    def of_run(report: ImageReport) -> ImageReport:
        return replace(
            report,
            target=bundle.target,
            model=bundle.name,
            model_version=bundle.version,
            model_mpp=bundle.mpp,
        )

    def work(entry: ImageEntry) -> ImageReport:
        if network is None or entry in missing:
            raise missing[entry]
        return of_run(_segment_image(project.path, entry, network, request, progress, began))

    def wait(entry: ImageEntry) -> None:
        wait_for_other_run(project.path, entry.id, bundle.target)

    def failed(image: str, error: Exception) -> ImageReport:
        return of_run(ImageReport.of_failure(image, error))

    reports = each_image(
        entries,
        work,
        failed,
        writes=not request.dry_run,
        ended=progress.end_image,
        wait=wait,
    )
    return refuse_nothing(project, reports)


def _is_done(project: Project, image: str, target: str, run: bytes) -> bool:
    """Whether an image holds what a run would give that was killed right afterwards."""
    entry = next((e for e in project.images if e.id == image), None)
    last = None if entry is None else RunMark.last(entry.read().workflow, target)
    return last is not None and last.run == run.hex()


def _segment_image(
    project: Path,
    entry: ImageEntry,
    network: TargetNetwork,
    request: Request,
    watch: Progress,
    since: datetime.datetime,
) -> ImageReport:
    began = time.perf_counter()
    stages, bundle = Stages(), network.bundle
    data = entry.read()
    with open_server(entry.image_path(), entry.server) as slide:
        plan = plan_image(entry, data, slide, bundle, request)
        if not request.dry_run:
            with stages("read"):
                plan = look_at(plan, slide, bundle, request)
        finder = choose_finder(entry.name, bundle, plan, request, stages)
        if request.dry_run:
            return report_plan(plan, network, request, recall(entry, data, bundle.target))
        key = run_key(_facts(plan, slide, entry, finder, bundle, request))

        def is_done(now: ImageData) -> bool:
            last = RunMark.last(now.workflow, bundle.target)
            return last is not None and last.is_of(key.hex(), since)

        if is_done(data):
            return _done_elsewhere(entry)
        with open_spool(project, entry.id, bundle.target, key, restart=request.restart) as spool:
            resumed = len(spool.done)
            megapixels = plan.tiles.pixels / 1e6
            watch.start_image(
                entry.name, plan.tiles.megapixels, float(megapixels[list(spool.done)].sum())
            )
            for number in _find_all(plan, slide, network, finder, spool, request, stages):
                watch.advance(float(megapixels[number]))
            when = datetime.datetime.now(datetime.UTC)
            mark = RunMark(key.hex(), spool.run.hex(), when)
            record = _record(plan, bundle, request, mark)

            def place(now: ImageData) -> tuple[Edit | None, Result | None]:
                regions, searched = plan.regions, plan.searched
                if now is not data:
                    if is_done(now):
                        return None, None
                    regions = find_again(
                        regions, now.objects, request.selection, slide.width, slide.height
                    )
                    searched = plan.without_no_tissue(regions)
                with stages("merge"):
                    # each time anew, or what was found would fill the memory while it is written
                    found = finder.merge(spool.load())
                    memory = recall(entry, now, bundle.target)
                    if request.restore_deleted:
                        memory = memory.without(now.objects, regions)
                    existing = find_existing(now.objects, regions, bundle.target, memory)
                    edit, result = finder.plan(now.objects, searched, found, record, existing)
                    assert edit.add is not None
                    memory = memory.after(now.objects, regions, edit.add, edit.remove)
                    edit = replace(edit, note=memory.note(bundle.target, mark.run))
                lost = lost_settings(now.objects, existing, request.nuclei, plan.nuclei)
                return edit, replace(
                    result, lost=lost, lost_measurements=count_lost(now.objects, edit)
                )

            with stages("write"):
                result = apply_planned(entry, data, place)
    if result is None:
        return _done_elsewhere(entry)
    return replace(
        report_image(plan, "written", result, request),
        settings=record.parameters(),
        seconds=time.perf_counter() - began,
        resumed=resumed,
        stages=stages.busy,
        bottleneck=stages.bottleneck,
    )


def _record(plan: ImagePlan, bundle: Bundle, request: Request, mark: RunMark) -> RunRecord:
    nuclei = bundle.target == "nuclei"
    kinds = {kind: name for name, kind in AREA_KINDS.items()}
    how = plan.nuclei.described() if nuclei else {"written as": kinds[request.area_kind]}
    how |= {} if plan.cuts else {"artefacts": "searched too"}
    return RunRecord(
        target=bundle.target,
        model=bundle.name,
        model_version=bundle.version,
        weights=bundle.digest(),
        mpp=bundle.mpp,
        when=mark.when,
        who=user(),
        command=request.command,
        settings={"image pixel size": f"{plan.mpp[0]:g} x {plan.mpp[1]:g} µm", **how},
        mark=mark,
        job=request.job,
    )


def _done_elsewhere(entry: ImageEntry) -> ImageReport:
    return ImageReport(entry.name, "done by another run", "done by another run")


def _find_all(
    plan: ImagePlan,
    slide: Slide,
    network: TargetNetwork,
    finder: Finder,
    spool: Spool,
    request: Request,
    stages: Stages,
) -> Iterator[int]:
    """Put into the spool what is found in the tiles that are not in it; yield their numbers."""
    tiles, quality = plan.tiles, plan.quality

    def read(tile: Tile) -> Pixels:
        pixels = slide.read(*tile.corner, *tile.size, tiles.downsample)
        if quality is None or not plan.cuts:
            return pixels
        return quality.without_fill(pixels, tile.corner, tiles.downsample)

    left = sorted(set(range(len(tiles))) - set(spool.done))
    batch_size = request.batch_size or network.batch_size
    with network.threads(-(-len(left) // batch_size), request.workers) as threads:
        for number, found in run_tiles(
            tiles,
            left,
            read,
            network,
            finder.find,
            batch_size=batch_size,
            threads=threads,
            stages=stages,
        ):
            with stages("spool"):
                spool.add(number, found)
            yield number


def _facts(
    plan: ImagePlan,
    slide: Slide,
    entry: ImageEntry,
    finder: Finder,
    bundle: Bundle,
    request: Request,
) -> dict[str, Any]:
    """All that the result depends on, besides what is drawn in the image."""
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
        "quality": plan.quality.digest() if plan.quality and plan.cuts else None,
        "kind": request.area_kind.name,
        **finder.facts,
    }
