"""Drawing what a person would draw first: the tissue."""

from __future__ import annotations

from dataclasses import dataclass

import shapely

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.artefacts.tissue import tissue_outline
from qpbridge.engine.annotating import plan_tissue
from qpbridge.engine.apply import apply_planned
from qpbridge.errors import RequestError
from qpbridge.hierarchy.drawn import present_cores
from qpbridge.hierarchy.regions import Region, Selection, select_regions
from qpbridge.project.each_image import Report, Reports, each_image, refuse_nothing, select_some
from qpbridge.project.interface import Edit, ImageData, ImageEntry
from qpbridge.slides.geometry import open_server


@dataclass(frozen=True)
class AnnotateReport(Report):
    """What was drawn in one image: `annotations` of tissue, ``read`` if all was as it is."""

    annotations: int = 0

    def __str__(self) -> str:
        if self.status in ("written", "read"):
            done = "drawn" if self.status == "written" else "there already"
            return f"{self.image}: {self.annotations} annotations of tissue {done}"
        return super().__str__()


def annotate(
    project: ProjectLike,
    *,
    tissue: bool = True,
    images: Names = (),
    within: Names = (),
    command: str | None = None,
) -> Reports[AnnotateReport]:
    """Draw annotations around the tissue in images of a project.

    In a tissue microarray there is one for each core that is not marked as missing, below it.
    Neither black fill nor ink is tissue. Running again replaces what was drawn so before, unless a
    person has changed it since.

    Parameters
    ----------
    project
        An open project, or the path of one.
    tissue
        What to draw; there is nothing else so far.
    images
        Names or entry ids of images; none: all.
    within
        Full names of classes: the tissue inside of each of these annotations, below it; none: that
        of the whole image, or of each TMA core.
    command
        What QuPath's history says that was run; None: this call.

    Returns
    -------
    Reports of AnnotateReport
        One for each image, in the project's order. An image that fails is among them; one without
        tissue, or without such annotations, is ``skipped``.

    Raises
    ------
    RequestError
        If an argument makes no sense; nothing was done then.
    SelectionError
        If an image is unknown, or no image has such annotations.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.annotate(project, within="Tumor")
    >>> reports[0].annotations
    1
    """
    if not checks.flag("tissue", tissue):
        raise RequestError("tissue", tissue, "there is nothing else to draw")
    selection = Selection(within)  # type: ignore[arg-type]
    call = as_call("annotate", within=within)
    said = call if command is None else checks.text("command", command)
    opened = as_project(project)

    def work(entry: ImageEntry) -> AnnotateReport:
        with open_server(entry.image_path(), entry.server) as slide:
            size = slide.width, slide.height
            data = entry.read()
            _regions(data, selection, size)  # before the slide is read
            outlines = shapely.MultiPolygon(tissue_outline(slide))
        edited = False

        def plan(now: ImageData) -> tuple[Edit | None, int]:
            nonlocal edited
            regions = _regions(now, selection, size)
            edit, count = plan_tissue(now.objects, outlines, regions, said)
            edited = edit is not None
            return edit, count

        count = apply_planned(entry, data, plan)
        if not count:
            return AnnotateReport(entry.name, "skipped", "no tissue found")
        return AnnotateReport(entry.name, "written" if edited else "read", annotations=count)

    entries = select_some(opened, images)
    reports = each_image(entries, work, AnnotateReport.of_failure, writes=True)
    return refuse_nothing(opened, reports) if selection.within else reports


def _regions(
    data: ImageData, selection: Selection, size: tuple[int, int]
) -> tuple[Region, ...] | None:
    if not (selection.within or len(present_cores(data.objects))):
        return None
    wanted = selection if selection.within else Selection(tma=True)
    return select_regions(data.objects, wanted, *size)
