"""Telling QuPath what images are like: pixel size, type, stain vectors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.runs import step_of
from qpbridge.errors import CombinationError, ProjectError, QpbridgeError, SelectionError
from qpbridge.hierarchy.regions import Selection, select_regions
from qpbridge.measurements.color import image_stains
from qpbridge.measurements.staining import PICTURE, SHOWN, as_type, estimate_stains, estimate_type
from qpbridge.objects import ImageType, ObjectTable, Stains
from qpbridge.project.each_image import Report, Reports, each_image, refuse_nothing, select_some
from qpbridge.project.interface import Edit, ImageData, ImageEntry, WorkflowStep
from qpbridge.slides.calibration import check_mpp
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide

MOST_PIXELS = 16e6
"""That stain vectors are estimated from; QuPath's limit."""

_SIZED = re.compile(r"µm|\bpx\b|mm\^2")
_STAINED = re.compile(r"Hematoxylin|Eosin|DAB|Stain \d")


@dataclass(frozen=True)
class CalibrateReport(Report):
    """What became of one image: what it is from now on, and what no longer fits.

    Attributes
    ----------
    mpp
        µm per pixel; None: not set.
    image_type
        As QuPath calls it; empty: not set.
    estimated
        Whether that was estimated.
    stains
        RGB optical densities by the names of the stains; empty: not set.
    background
        RGB of what is unstained.
    outdated
        How many objects have measurements of before that no longer fit.
    """

    mpp: float | None = None
    image_type: str = ""
    estimated: bool = False
    stains: Mapping[str, tuple[float, float, float]] | None = None
    background: tuple[float, float, float] | None = None
    outdated: int = 0

    def __str__(self) -> str:
        if self.status not in ("written", "read"):
            return super().__str__()
        parts = []
        if self.mpp is not None:
            parts.append(f"{self.mpp:g} µm/px")
        if self.image_type:
            parts.append(self.image_type + ", estimated" * self.estimated)
        for name, vector in (self.stains or {}).items():
            parts.append(f"{name} {' '.join(f'{v:.3f}' for v in vector)}")
        text = f"{self.image}: {'; '.join(parts)}"
        if self.outdated:
            text += (
                f"; {self.outdated:,} objects have measurements of before: measure them again "
                "(stains with `intensities`), or segment again"
            )
        return text


def calibrate(
    project: ProjectLike,
    *,
    mpp: float | None = None,
    image_type: ImageType | str | None = None,
    stains: bool = False,
    images: Names = (),
    within: Names = (),
    force: bool = False,
    command: str | None = None,
) -> Reports[CalibrateReport]:
    """Store in a project what images are like, where QuPath stores it.

    Parameters
    ----------
    project
        An open project, or the path of one.
    mpp
        µm per pixel, for images that don't know it or are wrong. An image with measurements by
        another size is left as it is, unless `force`.
    image_type
        ``H&E``, ``H-DAB``, ``brightfield`` (other), ``fluorescence``, ``other``, or ``estimate``:
        what the pixels tell, left as it is where they leave a doubt.
    stains
        Estimate stain vectors, and the colour of the background, as QuPath's *Estimate stain
        vectors* does.
    images
        Names or entry ids of images; none: all.
    within
        Full names of classes: stain vectors are estimated in the bounding box of the largest of
        these annotations; none: in the whole image.
    force
        Set the pixel size also where measurements no longer fit.
    command
        What QuPath's history says that was run; None: this call.

    Returns
    -------
    Reports of CalibrateReport
        One for each image, in the project's order. An image that fails is among them; ``skipped``:
        its type is in doubt.

    Raises
    ------
    RequestError
        If an argument makes no sense, or nothing is to be set.
    SelectionError
        If an image is unknown, or no image has such annotations.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.calibrate(project, image_type="H&E", images="1")
    >>> reports[0].image_type
    'Brightfield (H&E)'
    """
    check_mpp("mpp", mpp)
    wanted = None if image_type is None else as_type("image_type", image_type)
    estimate = image_type is not None and wanted is None
    for name, value in (("stains", stains), ("force", force)):
        checks.flag(name, value)
    if mpp is None and image_type is None and not stains:
        raise CombinationError("nothing to set: give `mpp`, `image_type` or `stains`", "mpp")
    selection = Selection(within)  # type: ignore[arg-type]
    said = as_call("calibrate", mpp=mpp, image_type=image_type, stains=stains)
    ran = said if command is None else checks.text("command", command)
    opened = as_project(project)
    entries = select_some(opened, images)
    wrong: dict[str, ProjectError] = {}
    sized: dict[str, int] = {}
    if mpp is not None:
        for entry in entries:
            try:
                sized[entry.id] = _check_size(entry, mpp, force)
            except ProjectError as error:
                wrong[entry.id] = error
        changed = [e.id for e in entries if e.id not in wrong and e.server.mpp != (mpp, mpp)]
        if changed:
            opened.set_pixel_size(changed, mpp)

    def work(entry: ImageEntry) -> CalibrateReport:
        if entry.id in wrong:
            raise wrong[entry.id]
        data, kind, vectors = entry.read(), wanted, None
        doubt: QpbridgeError | None = None
        if estimate or stains:
            try:
                with open_server(entry.image_path(), entry.server) as slide:
                    if estimate:
                        kind = _sure_type(entry.name, slide)
                    if stains:
                        vectors = _stains_of(entry.name, slide, data, kind, selection)
            except QpbridgeError as error:
                if mpp is None:
                    raise
                doubt, kind = error, None  # the pixel size is set, and that is to be noted

        def plan(now: ImageData) -> tuple[Edit | None, bool]:
            old = kind in (None, now.image_type) and vectors in (None, now.stains)
            steps = _steps(ran, mpp if now.state and entry.has_data() else None, kind, vectors)
            if old and (mpp is None or entry.server.mpp == (mpp, mpp) or not entry.has_data()):
                return None, False
            return Edit(image_type=kind, retype=True, stains=vectors, steps=steps), True

        written = apply_planned(entry, data, plan) or (
            mpp is not None and entry.server.mpp != (mpp, mpp)
        )
        if doubt is not None:
            raise doubt
        outdated = sized.get(entry.id, 0) if entry.server.mpp != (mpp, mpp) else 0
        if written and (kind or vectors):
            outdated = max(outdated, _measured(data.objects, _STAINED))
        return CalibrateReport(
            entry.name,
            "written" if written else "read",
            mpp=mpp,
            image_type="" if kind is None else SHOWN[kind],
            estimated=estimate,
            stains=None
            if vectors is None
            else dict(zip(vectors.stain_names, vectors.vectors, strict=True)),
            background=None if vectors is None else vectors.background,
            outdated=outdated,
        )

    reports = each_image(entries, work, CalibrateReport.of_failure, writes=True)
    return refuse_nothing(opened, reports) if selection.within else reports


def _check_size(entry: ImageEntry, mpp: float, force: bool) -> int:
    """Count the objects that were measured by another pixel size.

    Raises
    ------
    ProjectError
        If there are any, and nobody says that this is known.
    """
    if entry.server.mpp == (mpp, mpp):
        return 0
    measured = _measured(entry.read().objects, _SIZED)
    if measured and not force:
        now = "no pixel size" if entry.server.mpp is None else f"{entry.server.mpp[0]:g} µm/px"
        raise ProjectError(
            f"{entry.name}: {measured:,} objects have measurements by {now}, which would no longer "
            "fit; give `force`, and then segment, or measure, again"
        )
    return measured


def _measured(objects: ObjectTable, names: re.Pattern[str]) -> int:
    """Count the objects with a measurement of such a name."""
    columns = [i for i, name in enumerate(objects.measurement_names) if names.search(name)]
    return int((~np.isnan(objects.measurements[:, columns])).any(axis=1).sum()) if columns else 0


def _sure_type(image: str, slide: Slide) -> ImageType:
    found, sure = estimate_type(slide.thumbnail(PICTURE, PICTURE))
    if not sure:
        raise SelectionError(
            f"{image}: its type is in doubt (QuPath would take it for {SHOWN[found]}); give it by "
            "`image_type`"
        )
    return found


def _stains_of(
    image: str, slide: Slide, data: ImageData, kind: ImageType | None, selection: Selection
) -> Stains:
    """Estimate stain vectors from a part of a slide.

    Raises
    ------
    QpbridgeError
        If the image is none with two stains, or hardly stained there.
    """
    known = data if kind in (None, data.image_type) else ImageData(data.objects, kind)
    if known.image_type is ImageType.UNSET:
        raise QpbridgeError(f"{image}: has no image type yet; give `image_type` as well")
    x, y, right, bottom = 0.0, 0.0, float(slide.width), float(slide.height)
    if selection.within:
        regions = select_regions(data.objects, selection, slide.width, slide.height)
        x, y, right, bottom = max(regions, key=lambda r: r.geometry.area).geometry.bounds
    downsample = max(1.0, math.sqrt((right - x) * (bottom - y) / MOST_PIXELS))
    left, top, width, height = (round(v / downsample) for v in (x, y, right - x, bottom - y))
    pixels = slide.read(left, top, max(1, width), max(1, height), downsample)
    try:
        return estimate_stains(pixels, image_stains(known))
    except ValueError as error:
        raise QpbridgeError(f"{image}: no stain vectors can be estimated: {error}") from error


def _steps(
    command: str, mpp: float | None, kind: ImageType | None, stains: Stains | None
) -> tuple[WorkflowStep, ...]:
    """Write the history: QuPath's own script where there is one."""
    steps = []
    if kind is not None or stains is not None:
        told = {} if kind is None else {"image type": SHOWN[kind]}
        for name, vector in zip(stains.stain_names, stains.vectors, strict=True) if stains else ():
            told[name] = " ".join(f"{v:.4f}" for v in vector)
        steps.append(step_of("calibrate", command, told))
    if mpp is not None:
        size = {"pixelWidthMicrons": f"{mpp:g}", "pixelHeightMicrons": f"{mpp:g}"}
        script = f"setPixelSizeMicrons({mpp:f}, {mpp:f})"
        step = step_of("", command, size)
        steps.append(replace(step, name="Set pixel size µm", script=script))
    return tuple(steps)
