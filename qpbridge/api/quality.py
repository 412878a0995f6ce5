"""What images show that can't be tissue, or not be judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.artefacts.masks import Kind
from qpbridge.artefacts.reading import SHARES, QualityMap, read_quality
from qpbridge.engine.annotating import plan_ignored
from qpbridge.engine.apply import apply_planned
from qpbridge.errors import CombinationError, SelectionError
from qpbridge.hierarchy.provenance import made_by_us
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.measurements import quality as names
from qpbridge.objects import ObjectTable
from qpbridge.project.each_image import Report, Reports, each_image, select_some
from qpbridge.project.interface import ImageEntry
from qpbridge.slides.calibration import check_mpp, pixel_size
from qpbridge.slides.geometry import open_server

DRAWN = {Kind.FILL: "Black fill", Kind.INK: "Ink", Kind.BLURRED: "Out of focus"}
"""What is drawn as annotations that are ignored. Glass is not: it belongs to the tissue's area."""

SPECK = 2000.0
"""µm^2; smaller pieces are not drawn."""


@dataclass(frozen=True)
class RegionQuality:
    """What one region shows: `measurements` by the names that `segment` gives them."""

    name: str
    path_class: str | None
    measurements: Mapping[str, float]


@dataclass(frozen=True)
class QualityReport(Report):
    """What one image shows.

    Attributes
    ----------
    regions
        Its regions, or the whole image where there are none.
    annotations
        How many were drawn.
    deleted
        Names of those that were not, since a person had deleted them.
    warnings
        What a person should know.
    """

    regions: tuple[RegionQuality, ...] = ()
    annotations: int = 0
    deleted: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def quality(
    project: ProjectLike,
    *,
    images: Names = (),
    annotate: bool = False,
    restore_deleted: bool = False,
    mpp: float | None = None,
    command: str | None = None,
) -> Reports[QualityReport]:
    """Tell how much of the regions of a project is empty, black fill, ink, or out of focus.

    `segment` leaves out black fill and ink by itself. With `annotate` these, and what is out of
    focus, are drawn as annotations of the class ``Ignore*``, which a person can correct; from then
    on these alone say what `segment` leaves out.

    Parameters
    ----------
    project
        An open project, or the path of one.
    images
        Names or entry ids of images; none: all.
    annotate
        Draw annotations. What was drawn so before makes room, unless a person has changed it; what
        a person has deleted is not drawn again.
    restore_deleted
        Draw that again.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    command
        What QuPath's history says that was run; None: this call.

    Returns
    -------
    Reports of QualityReport
        One for each image, in the project's order. An image that fails is among them.

    Raises
    ------
    RequestError
        If an argument makes no sense; nothing was done then.
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.quality(project)
    >>> reports[0].regions[0].measurements["Quality: Ink %"]
    0.0
    """
    checks.flag("annotate", annotate)
    checks.flag("restore_deleted", restore_deleted)
    if restore_deleted and not annotate:
        raise CombinationError("`restore_deleted` needs `annotate`.", "restore_deleted")
    check_mpp("mpp", mpp)
    call = as_call("quality", annotate=annotate, restore_deleted=restore_deleted)
    said = call if command is None else checks.text("command", command)
    opened = as_project(project)

    def work(entry: ImageEntry) -> QualityReport:
        data = entry.read()
        with open_server(entry.image_path(), entry.server) as slide:
            size = pixel_size(entry.name, entry.server.mpp, slide.mpp, mpp)
            regions = _regions(data.objects, slide.width, slide.height)
            area = None if annotate else shapely.union_all([r.geometry for r in regions])
            found = read_quality(slide, size, area)
        told = tuple(_told(region, found) for region in regions)
        warnings = tuple(w for r in told for w in names.warnings(r.name, r.measurements))
        if not annotate:
            return QualityReport(entry.name, "read", regions=told, warnings=warnings)
        drawn = _areas(found, size)
        done = apply_planned(
            entry, data, lambda now: plan_ignored(now, drawn, said, restore=restore_deleted)
        )
        return QualityReport(entry.name, "written", "", told, done.drawn, done.deleted, warnings)

    entries = select_some(opened, images)
    return each_image(entries, work, QualityReport.of_failure, writes=annotate)


def _regions(objects: ObjectTable, width: int, height: int) -> tuple[Region, ...]:
    """Choose the regions, as they are without what was drawn of the quality before."""
    others = objects.take(np.flatnonzero(~made_by_us(objects.ids, "quality")))
    try:
        return select_regions(others, Selection(), width, height)
    except SelectionError:
        return select_regions(others, Selection(whole_image=True), width, height)


def _told(region: Region, found: QualityMap) -> RegionQuality:
    path_class = None if region.path_class is None else str(region.path_class)
    shares = found.shares(region.geometry)
    measured = {name: 100 * shares[kind] for kind, name in SHARES.items()}
    return RegionQuality(region.label, path_class, measured)


def _areas(found: QualityMap, mpp: tuple[float, float]) -> dict[str, Any]:
    areas = {}
    for kind, name in DRAWN.items():
        outline = shapely.simplify(found.outline(kind), found.downsample)
        pieces = [
            piece
            for piece in shapely.get_parts(outline)
            if piece.geom_type == "Polygon" and piece.area * mpp[0] * mpp[1] >= SPECK
        ]
        if pieces:
            areas[name] = shapely.MultiPolygon(pieces)
    return areas
