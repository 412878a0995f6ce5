"""Measuring what is there again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.api.progress import image_bar
from qpbridge.engine.measuring.job import measure_project
from qpbridge.engine.measuring.request import MeasureReport, MeasureRequest, Surroundings
from qpbridge.errors import RequestError
from qpbridge.hierarchy.regions import Selection
from qpbridge.project.each_image import Reports, select_some


def measure(
    project: ProjectLike,
    *,
    images: Names = (),
    within: Names = (),
    selected: Names = (),
    whole_image: bool = False,
    classes: Names = (),
    tma: bool = False,
    mpp: float | None = None,
    delaunay: float | None = None,
    clusters: bool = False,
    density: float | Sequence[float] = (),
    orientation: float | Sequence[float] = (),
    smooth: float | Sequence[float] = (),
    distances: bool = False,
    intensities: bool = False,
    morphometry: bool = False,
    grading: Names = (),
    reference: str | None = None,
    epithelium: str | None = None,
    command: str | None = None,
    ended: Callable[[MeasureReport], None] = lambda report: None,
    progress: bool = False,
) -> Reports[MeasureReport]:
    """Measure the objects in the annotations of a project again, and sum them up on these.

    Nothing is segmented. Nuclei are all detections and cells, whoever made them, except of ignored
    classes; glands and vessels are those that qpbridge made, and objects of these classes. Other
    measurements, and the objects themselves, are kept.

    Parameters
    ----------
    project
        An open project, or the path of one.
    images
        Names or entry ids of images; none: all.
    within, selected
        Full names of classes, and names or ids, of the annotations to work in; none: all.
        `selected` names TMA cores too.
    whole_image
        Work in the whole image, under no annotation.
    tma
        Work in the TMA cores that are not marked as missing, whatever is drawn in them. Without, so
        it is where there are cores and no annotations.
    classes
        Full names of the classes of detections and cells that count as nuclei, with those that
        derive from them, so that what others put there spoils no mean; none: all.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    delaunay
        Nuclei at this distance or further apart, µm, are no neighbours; None: no limit.
    clusters
        Also average shapes and mean intensities over clusters: nuclei that are neighbours, and
        theirs, and so on. Needs `delaunay`.
    density, orientation
        Radii in which nuclei are counted, and in which it is measured how unlike their directions
        are, µm.
    smooth
        Widths over which shapes and mean intensities are averaged, µm.
    distances
        Also measure how far nuclei are from annotations, glands and vessels.
    intensities
        Also measure the stains of nuclei again; this reads the image.
    morphometry
        Also tell mean, SD, CV and percentiles of every measurement of a region's nuclei.
    grading
        Names of grading aids, for research only.
    reference, epithelium
        For these: classes of annotations whose nuclei are normal, and of the tumour's epithelium.
    command
        What QuPath's history says that was run; None: this call.
    ended
        Called after each image.
    progress
        True shows a bar, in a terminal or a notebook, and says what becomes of each image.

    Returns
    -------
    Reports of MeasureReport
        One for each image, in the project's order. An image that fails is among them.

    Raises
    ------
    RequestError
        If an argument makes no sense; nothing was done then.
    SelectionError
        If an image is unknown, or no image has a region.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.measure(project, density=50, grading="mvd")
    >>> reports[0].counts["nuclei"] > 10
    True
    """
    request = MeasureRequest(
        selection=Selection(within, selected, whole_image, tma),  # type: ignore[arg-type]
        classes=classes,  # type: ignore[arg-type]
        mpp=mpp,
        surroundings=Surroundings(
            math.inf if delaunay is None else delaunay,
            density,  # type: ignore[arg-type]
            smooth,  # type: ignore[arg-type]
            distances,
            clusters,
            orientation,  # type: ignore[arg-type]
        ),
        intensities=intensities,
        morphometry=morphometry,
        grading=grading,  # type: ignore[arg-type]
        reference=reference,
        epithelium=epithelium,
        command=as_call(
            "measure",
            within=within,
            selected=selected,
            tma=tma,
            classes=classes,
            grading=grading,
        )
        if command is None
        else command,
    )
    if not callable(ended):
        raise RequestError("ended", ended, "a function of one report was expected")
    opened = as_project(project)
    with image_bar(progress, "measure", len(select_some(opened, images))) as watch:

        def told(report: MeasureReport) -> None:
            watch(report)
            ended(report)

        return measure_project(opened, request, images=images, ended=told)
