"""The main job: segment the images of a project, one after the other, and write the result."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
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
from qpbridge.engine.segmenting.fit import (
    check_resolution,
    estimating,
    size_check,
    with_estimate,
)
from qpbridge.engine.segmenting.plan import ImagePlan, plan_image, report_image, report_plan
from qpbridge.engine.segmenting.request import (
    AREA_KINDS,
    ImageReport,
    Progress,
    Request,
    refuse_nucleus_options,
)
from qpbridge.engine.segmenting.result import Result, plan_result
from qpbridge.engine.segmenting.settings import lost_settings
from qpbridge.engine.segmenting.spool import (
    open_spool,
    remove_done,
    run_key,
    wait_for_other_run,
)
from qpbridge.errors import PixelSizeError, QpbridgeError
from qpbridge.hierarchy.regions import find_again
from qpbridge.measurements.nuclei import HEMATOXYLIN
from qpbridge.models.bundle import Bundle
from qpbridge.objects import Stains
from qpbridge.prediction.finders import Finder, choose_finder
from qpbridge.prediction.nuclei import DAB
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.search import find_in_tiles, look_at
from qpbridge.prediction.tiles.network import TargetNetwork
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
        estimate = estimating(slide, data, network, request)
        try:
            plan = plan_image(entry, data, slide, bundle, request)
        except PixelSizeError as error:
            raise with_estimate(error, estimate) from error
        if not request.force:
            check_resolution(entry.name, plan.search.mpp, bundle, estimate)
        if not request.dry_run:
            with stages("read"):
                plan = replace(plan, search=look_at(plan.search, slide, bundle))
        search = plan.search
        finder = choose_finder(
            bundle,
            search,
            stains=_check_stains(entry.name, plan.staining.stains, plan.nuclei),
            options=plan.nuclei,
            kind=request.area_kind,
            stages=stages,
        )
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
            check = size_check(entry.name, search.mpp, bundle, plan.staining, request, estimate)
            megapixels = search.tiles.pixels / 1e6
            watch.start_image(
                entry.name, search.tiles.megapixels, float(megapixels[list(spool.done)].sum())
            )
            for number, found in find_in_tiles(
                search,
                slide,
                network,
                finder.find,
                done=spool.done,
                batch_size=request.batch_size,
                workers=request.workers,
                stages=stages,
            ):
                with stages("spool"):
                    spool.add(number, found)
                check.see(found.shapes)
                watch.advance(float(megapixels[number]))
            for found in spool.load() if resumed and check.wants_more else ():
                check.see(found.shapes)
            check.finish()
            when = datetime.datetime.now(datetime.UTC)
            mark = RunMark(key.hex(), spool.run.hex(), when)
            record = _record(plan, bundle, request, mark)

            def place(now: ImageData) -> tuple[Edit | None, Result | None]:
                regions, searched = search.regions, search.searched
                if now is not data:
                    if is_done(now):
                        return None, None
                    regions = find_again(
                        regions, now.objects, request.selection, slide.width, slide.height
                    )
                    searched = search.without_no_tissue(regions)
                with stages("merge"):
                    # each time anew, or what was found would fill the memory while it is written
                    found = finder.merge(spool.load())
                    memory = recall(entry, now, bundle.target)
                    if request.restore_deleted:
                        memory = memory.without(now.objects, regions)
                    existing = find_existing(now.objects, regions, bundle.target, memory)
                    edit, result = plan_result(
                        finder, now.objects, searched, found, record, existing
                    )
                    assert edit.add is not None
                    memory = memory.after(record, now.objects, regions, edit.add, edit.remove)
                    edit = replace(
                        edit,
                        note=memory.note(bundle.target, mark.run),
                        image_type=plan.staining.news,
                        retype=request.image_type is not None,
                    )
                lost = lost_settings(now.objects, existing, request.nuclei, plan.nuclei)
                return edit, replace(
                    result, lost=lost, lost_measurements=count_lost(now.objects, edit)
                )

            with stages("write"):
                result = apply_planned(entry, data, place)
    if result is None:
        return _done_elsewhere(entry)
    report = report_image(plan, "written", result, request)
    return replace(
        report,
        warnings=report.warnings + check.warnings,
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
    how |= {} if plan.search.cuts else {"artefacts": "searched too"}
    return RunRecord(
        target=bundle.target,
        model=bundle.name,
        model_version=bundle.version,
        weights=bundle.digest(),
        mpp=bundle.mpp,
        when=mark.when,
        who=user(),
        command=request.command,
        settings={"image pixel size": f"{plan.search.mpp[0]:g} x {plan.search.mpp[1]:g} µm", **how},
        mark=mark,
        job=request.job,
    )


def _done_elsewhere(entry: ImageEntry) -> ImageReport:
    return ImageReport(entry.name, "done by another run", "done by another run")


def _check_stains(image: str, stains: Stains, options: NucleusOptions) -> Stains:
    """Return the stains of an image; refuse to measure one that is not there."""
    for stain, option, wanted, image_type in (
        (DAB, "`positivity`", bool(options.positivity), "Brightfield (H-DAB)"),
        (HEMATOXYLIN, "`features` all", bool(options.all_features), "Brightfield (H&E) or (H-DAB)"),
    ):
        if wanted and stain not in stains.stain_names:
            raise QpbridgeError(
                f"{image}: {option} needs the stain {stain}, but this image has "
                f"{' and '.join(stains.stain_names)}; give its type by `image_type`, or set it "
                f"to {image_type} in QuPath's Image tab, choose others with `images`, or leave "
                f"{option} out"
            )
    return stains


def _facts(
    plan: ImagePlan,
    slide: Slide,
    entry: ImageEntry,
    finder: Finder,
    bundle: Bundle,
    request: Request,
) -> dict[str, Any]:
    """All that the result depends on, besides what is drawn in the image."""
    status, search = slide.path.stat(), plan.search
    return {
        "qpbridge": __version__,
        "model": bundle.digest(),
        "decode": dict(bundle.decode),
        "file": [str(slide.path), status.st_size, status.st_mtime_ns],
        "server": dict(entry.server.builder),
        "mpp": search.mpp,
        "downsample": search.tiles.downsample,
        "halo": search.tiles.halo,
        "cores": search.tiles.cores,
        "quality": search.quality.digest() if search.quality and search.cuts else None,
        "kind": request.area_kind.name,
        **finder.facts,
    }
