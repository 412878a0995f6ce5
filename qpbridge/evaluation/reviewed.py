"""Regions of a project in which a person said what is true, as labelled images."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.artefacts.reading import STEP
from qpbridge.errors import PixelSizeError, QpbridgeError, SelectionError
from qpbridge.evaluation.labelled import Place, Sample
from qpbridge.hierarchy.drawn import drawn_annotations, present_cores
from qpbridge.hierarchy.provenance import Origin, made_by_us, origins
from qpbridge.hierarchy.regions import Region, Selection, assign_regions, select_regions
from qpbridge.measurements.raster import rasterize
from qpbridge.objects import GeometryArray, IntArray, ObjectTable, Shapes
from qpbridge.outlines import ENCLOSING, valid_areas, without_holes
from qpbridge.project.each_image import naming
from qpbridge.project.interface import ImageEntry, Project
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide

REVIEWED = "qpbridge reviewed"
"""Metadata of an annotation: what a person says of it, in place of locking it."""

NOT_REVIEWED = ("", "0", "false", "no")

MAX_PIXELS = 100_000_000
"""Largest region that is read at once."""


class Reviewed(NamedTuple):
    """One region.

    Attributes
    ----------
    sample
        Its picture with the labels that are true by the person; what is outside of the annotation
        is not known.
    found
        int32 (H, W), the objects there that qpbridge made, changed by a person since or not. Cells
        are drawn as their nuclei, here and in the sample.
    """

    sample: Sample
    found: npt.NDArray[np.int32]


class Grid(NamedTuple):
    """Pixels to read and to draw in: `downsample` pixels of the slide each, `mpp` µm wide.

    Pixels of the slide are `own` µm wide (x, y).
    """

    slide: Slide
    downsample: float
    mpp: float
    own: tuple[float, float]


def load_reviewed(
    project: Project,
    truth_class: str,
    target: str,
    *,
    mpp: float,
    images: tuple[str, ...] = (),
    filled: bool = True,
    nominal_mpp: float | None = None,
    failed: Callable[[ImageEntry, Exception], None] | None = None,
) -> Iterator[Reviewed]:
    """Read the regions of a project that a person reviewed, one by one.

    Reviewed is an annotation or TMA core that is locked or has the metadata ``qpbridge reviewed``;
    also one in which nothing is left. Where no image has any, it is one with objects of the class
    below it that a person drew or changed. Those below none, as QuPath leaves what is drawn by
    hand, count to the smallest annotation around them; where there is none, it is the whole image.
    In a reviewed region all objects of the class are true, whoever made them. Annotations that
    qpbridge made are no regions, and what ``Ignore*`` annotations cover is cut out.

    Parameters
    ----------
    project
        An open project.
    truth_class
        Full name of the class of the true objects.
    target
        nuclei, glands or vessels: whose objects are `Reviewed.found`.
    mpp
        µm per pixel at which pictures are read and objects are drawn; where the image itself is
        coarser, its own.
    images
        Names or entry ids; empty: all.
    filled
        Whether what an object encloses belongs to it, as lumina do; they are known then as
        `Sample.lumen`.
    nominal_mpp
        µm per pixel of images that don't know theirs.
    failed
        Called with an image that fails, and the error; the others go on. None: the
        error is raised, as it is where that is the only image to read.

    Raises
    ------
    SelectionError
        If no region was reviewed, or nothing in the project has that class.
    QpbridgeError
        If a region is too large at that resolution, or its image can't be read.
    """

    def review(entry: ImageEntry) -> Iterator[Reviewed]:
        data = entry.read()
        objects = data.objects
        true = _true_rows(objects, truth_class)
        chosen = _marked_rows(objects, true) if marked else None
        if not len(_drawn_or_changed(objects, true) if chosen is None else chosen):
            return
        made = np.flatnonzero(made_by_us(objects.ids, target))
        drawn = valid_areas(objects.take(true).inner_shapes.geometries)
        found = valid_areas(objects.take(made).inner_shapes.geometries)
        by_hand = any(step.name == STEP for step in data.workflow)
        reopen = partial(open_server, entry.image_path(), entry.server)
        with reopen() as slide:
            grid = _grid(entry, slide, mpp, nominal_mpp)
            place = Place(reopen, grid.own, downsample=grid.downsample, by_hand=by_hand)
            labels: Counter[str] = Counter()
            for region in _regions(objects, true, chosen, slide.width, slide.height):
                labels[region.label] += 1
                again = labels[region.label]
                name = f"{region.label} {again}" if again > 1 else region.label
                yield _read_region(
                    entry.name, name, place._replace(regions=(region,)), grid, drawn, found, filled
                )

    entries = project.select(images)
    marked, known = _survey(entries, truth_class)
    if marked and not (known or any(c.is_called(truth_class) for c in project.classes)):
        raise SelectionError(
            f"{project.path}: no object of class {truth_class!r} in what was reviewed, and no such "
            "class in the project; name the class of the true objects as QuPath shows it"
        )
    any_region, errors = False, list[Exception]()
    for entry in entries:
        try:
            with naming(entry):
                for region in review(entry):
                    any_region = True
                    yield region
        except (QpbridgeError, OSError) as error:
            if failed is None:
                raise
            errors.append(error)
            failed(entry, error)
    if len(errors) == 1 and not any_region:  # that one is all there is to say
        raise errors[0]
    if not (any_region or errors):
        raise SelectionError(
            f"{project.path}: no object of class {truth_class!r} that a person drew or changed, "
            "and no annotation that is locked; lock in QuPath what you have reviewed, or name the "
            "class of the true objects as QuPath shows it"
        )


def _survey(entries: Sequence[ImageEntry], truth_class: str) -> tuple[bool, bool]:
    """Tell whether any region is marked as reviewed, and whether any object has the class.

    An image that can't be read counts for nothing: what is wrong with it is said later.
    """
    marked = known = False
    for entry in entries:
        with contextlib.suppress(QpbridgeError, OSError):
            objects = entry.read().objects
            true = _true_rows(objects, truth_class)
            known |= len(true) > 0
            marked |= len(_marked_rows(objects, true)) > 0
        if marked and known:
            break
    return marked, known


def _true_rows(objects: ObjectTable, truth_class: str) -> IntArray:
    wanted = objects.of_class(lambda c: c.is_called(truth_class))
    return np.flatnonzero(wanted & np.isin(objects.shapes.roi, ENCLOSING))


def _drawn_or_changed(objects: ObjectTable, true: IntArray) -> IntArray:
    rows: IntArray = true[origins(objects.take(true)) != Origin.OURS]
    return rows


def _marked_rows(objects: ObjectTable, true: IntArray) -> IntArray:
    """Find what a person marked as reviewed, annotations and cores; what is true is none."""
    rows = np.setdiff1d(np.union1d(drawn_annotations(objects), present_cores(objects)), true)
    noted = [
        objects.metadata.get(row, {}).get(REVIEWED, "no").strip().lower() not in NOT_REVIEWED
        for row in rows.tolist()
    ]
    marked: IntArray = rows[objects.locked[rows] | np.array(noted, bool)]
    return marked


def _grid(entry: ImageEntry, slide: Slide, mpp: float, nominal_mpp: float | None) -> Grid:
    """Choose the grid nearest to `mpp` that is not finer than the image."""
    known = slide.mpp or (None if nominal_mpp is None else (nominal_mpp, nominal_mpp))
    if entry.server.mpp is None and known is None:
        raise PixelSizeError(entry.name, cure="")  # `mpp` is what to compare at
    own = pixel_size(entry.name, entry.server.mpp, known)
    downsample = max(slide.snap(downsample_for(own, mpp)), 1.0)
    return Grid(slide, downsample, downsample * math.sqrt(own[0] * own[1]), own)


def _regions(
    objects: ObjectTable,
    true: IntArray,
    marked: IntArray | None,
    width: int,
    height: int,
) -> Iterator[Region]:
    """Find the regions that were reviewed: marked ones, or those of what a person drew or changed.

    `true` are the rows of the objects that are true, `marked` those of the regions.
    """
    others = np.setdiff1d(np.arange(len(objects)), true)
    rest = objects.take(others)
    regions: list[Region] = []
    for selection in (Selection(), Selection(tma=True)):
        with contextlib.suppress(SelectionError):
            some = select_regions(rest, selection, width, height)
            regions += [region for region in some if region.row not in {r.row for r in regions}]
    rows = others[[region.row for region in regions]]
    if marked is not None:
        yield from (r for r, row in zip(regions, rows, strict=True) if row in marked)
        return
    touched = _drawn_or_changed(objects, true)
    index = np.full(len(objects) + 1, -1)  # the last one is for the root
    index[rows] = np.arange(len(regions))
    above = objects.parent[touched]
    while (lost := (above >= 0) & (index[above] < 0)).any():
        above[lost] = objects.parent[above[lost]]
    chosen = index[above]
    free = np.flatnonzero(chosen < 0)
    outlines = valid_areas(objects.take(touched[free]).inner_shapes.geometries)
    chosen[free], _ = assign_regions(shapely.point_on_surface(outlines), regions)
    for i in np.unique(chosen).tolist():
        if i >= 0:
            yield regions[i]
        else:
            yield from select_regions(rest, Selection(whole_image=True), width, height)


def _read_region(
    image: str,
    name: str,
    place: Place,
    grid: Grid,
    drawn: GeometryArray,
    found: GeometryArray,
    filled: bool,
) -> Reviewed:
    outline = place.regions[0].geometry
    low_x, low_y, high_x, high_y = np.array(outline.bounds) / grid.downsample
    x, y = int(np.floor(low_x)), int(np.floor(low_y))
    width, height = int(np.ceil(high_x)) - x, int(np.ceil(high_y)) - y
    if width * height > MAX_PIXELS:
        least = grid.mpp * math.sqrt(width * height / MAX_PIXELS)
        raise QpbridgeError(
            f"{image}: {name} has {width} x {height} pixels at {grid.mpp:.3g} µm per pixel, more "
            f"than {MAX_PIXELS / 1e6:.0f} million; choose a larger `mpp` (from {least:.2g} on), or "
            "smaller annotations"
        )
    box = shapely.box(*outline.bounds)

    def draw(geometries: GeometryArray) -> npt.NDArray[np.int32]:
        shapes = Shapes.from_geometries(geometries[shapely.intersects(geometries, box)])
        return rasterize(shapes, (height, width), (float(x), float(y)), grid.downsample)

    hollow, made = draw(drawn), draw(without_holes(found) if filled else found)
    labels = draw(without_holes(drawn)) if filled else hollow
    sample = Sample(
        name=f"{image}: {name}",
        image=grid.slide.read(x, y, width, height, grid.downsample),
        labels=labels,
        mpp=grid.mpp,
        patient=image,
        known=draw(np.array([outline])) > 0,
        lumen=_lumina(hollow, labels) if filled else None,
        place=place._replace(corner=(x, y)),
    )
    return Reviewed(sample, made)


def _lumina(
    hollow: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_] | None:
    """Where objects have holes; None where none has: then lumina were not drawn."""
    lumen: npt.NDArray[np.bool_] = (hollow == 0) & (labels > 0)
    return lumen if lumen.any() else None
