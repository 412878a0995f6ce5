"""Measuring the objects of a project again, without inference, and what regions add up to."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from qpbridge import checks
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.measuring.intensities import measure_intensities
from qpbridge.engine.measuring.plan import plan_measurements
from qpbridge.engine.measuring.request import MeasureReport, MeasureRequest
from qpbridge.engine.runs import step_of
from qpbridge.measurements.color import image_stains
from qpbridge.project.each_image import Reports, each_image, refuse_nothing, select_some
from qpbridge.project.interface import Edit, ImageData, ImageEntry, Project
from qpbridge.slides.calibration import pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide


def measure_project(
    project: Project,
    request: MeasureRequest | None = None,
    *,
    images: str | Sequence[str] = (),
    ended: Callable[[MeasureReport], None] = lambda report: None,
) -> Reports[MeasureReport]:
    """Measure the objects in the regions of a project's images again, and write it to them.

    Each image is written when it is done. One that fails is reported, and the others go on.

    Parameters
    ----------
    project
        An open project.
    request
        What to measure.
    images
        Names or entry ids; empty: all.
    ended
        Called after each image.

    Returns
    -------
    reports
        One for each image, in the project's order.

    Raises
    ------
    RequestError
        If an argument is something else than it should be.
    SelectionError
        If an image is unknown, or no image has a region.
    ProjectError
        If the project can't be written to.

    Examples
    --------
    >>> request = qpbridge.MeasureRequest(qpbridge.Selection(within="Tumor"), morphometry=True)
    >>> qpbridge.measure_project(project, request)
    <Reports: 1 written, 1 skipped>
    """
    checks.instance("project", project, Project, "an open project")
    request = MeasureRequest() if request is None else request
    checks.instance("request", request, MeasureRequest, "a MeasureRequest")
    checks.function("ended", ended)
    entries = select_some(project, images)
    project.check_writable()
    reports = each_image(
        entries,
        lambda entry: measure_image(entry, request),
        MeasureReport.of_failure,
        writes=True,
        ended=ended,
    )
    return refuse_nothing(project, reports)


def measure_image(entry: ImageEntry, request: MeasureRequest) -> MeasureReport:
    """Measure the objects in the regions of one image.

    Raises
    ------
    SelectionError
        If there is no region.
    QpbridgeError
        If the image can't be read or written, or its pixel size is unknown.
    """
    began = time.perf_counter()
    data = entry.read()
    size, mpp = _frame(entry, request.mpp)
    settings = {"pixel size": f"{mpp[0]:g} x {mpp[1]:g} µm", "classes": ", ".join(request.classes)}
    step = step_of("measure", request.command, settings)

    def plan(now: ImageData, slide: Slide | None = None) -> tuple[Edit, MeasureReport]:
        pixels = None
        if slide is not None:
            stains = image_stains(now)
            pixels = partial(measure_intensities, slide=slide, mpp=mpp, stains=stains)
        edit, report = plan_measurements(now.objects, size, mpp, request, pixels)
        return replace(edit, steps=(step,)), report

    if request.intensities:
        with open_server(entry.image_path(), entry.server) as slide:
            report = apply_planned(entry, data, partial(plan, slide=slide))
    else:
        report = apply_planned(entry, data, plan)
    return replace(report, image=entry.name, seconds=time.perf_counter() - began)


def _frame(
    entry: ImageEntry, override: float | None
) -> tuple[tuple[int, int], tuple[float, float]]:
    """Find out the size and pixel size of an image; opens it only where the project lacks them."""
    server, known = entry.server, None
    width, height = server.width, server.height
    if width is None or height is None or not (override or server.mpp):
        with open_server(entry.image_path(), server) as slide:
            width, height, known = slide.width, slide.height, slide.mpp
    return (width, height), pixel_size(entry.name, server.mpp, known, override)
