"""Areas of a project in which a person said what is true, as labelled images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.engine.provenance import TARGETS, Origin, origins
from qpbridge.engine.regions import AREAS, valid_areas, without_holes
from qpbridge.errors import QpbridgeError, SelectionError
from qpbridge.evaluate.labelled import Sample
from qpbridge.measure.raster import rasterize
from qpbridge.objects import GeometryArray, ObjectKind, ObjectTable, Shapes
from qpbridge.project.model import ImageEntry, Project
from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Slide

MAX_PIXELS = 100_000_000
"""Largest area that is read at once."""


class Reviewed(NamedTuple):
    """One area.

    Attributes
    ----------
    sample
        Its picture with the labels that a person drew; what is outside of the annotation is not
        known.
    found
        int32 (H, W), the objects there that qpbridge made, changed by a person since or not.
    """

    sample: Sample
    found: npt.NDArray[np.int32]


def load_reviewed(
    project: Project,
    truth_class: str,
    target: str,
    *,
    mpp: float,
    images: tuple[str, ...] = (),
    filled: bool = True,
    accepted: bool = False,
) -> Iterator[Reviewed]:
    """Read the areas that hold true objects, those of a class that a person drew, one by one.

    An area is an annotation that has such objects below it; where they are below none, it is the
    whole image.

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
    accepted
        Whether objects of the class that qpbridge made and nobody changed are true as well.

    Raises
    ------
    SelectionError
        If no image has such objects.
    QpbridgeError
        If an area is too large at that resolution, or its image can't be read.
    """
    nothing = True
    for entry in project.select(images):
        objects = entry.read().objects
        true = _true_rows(objects, truth_class, accepted)
        if not len(true):
            continue
        nothing = False
        made = np.setdiff1d(np.flatnonzero(origins(objects, target) != Origin.OTHER), true)
        with open_server(entry.image_path(), entry.server) as slide:
            for parent in np.unique(_annotation_above(objects, true)).tolist():
                yield _read_area(entry, slide, objects, parent, true, made, mpp, filled)
    if nothing:
        raise SelectionError(
            f"{project.path}: no object of class {truth_class!r} that a person drew; "
            "name the class of the true objects as QuPath shows it"
        )


def _true_rows(objects: ObjectTable, truth_class: str, accepted: bool) -> npt.NDArray[np.int64]:
    wanted = [i for i, c in enumerate(objects.classes) if str(c) == truth_class]
    rows = np.flatnonzero(np.isin(objects.class_index, wanted) & np.isin(objects.shapes.roi, AREAS))
    if accepted:
        return rows
    chosen = objects.take(rows)
    ours: npt.NDArray[np.bool_] = np.any(
        [origins(chosen, target) == Origin.OURS for target in TARGETS], axis=0
    )
    return rows[~ours]


def _annotation_above(objects: ObjectTable, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row of the nearest annotation with an area above each object, that is no object itself."""
    above: npt.NDArray[np.int64] = objects.parent[rows]
    holds = (objects.kind == ObjectKind.ANNOTATION) & np.isin(objects.shapes.roi, AREAS)
    holds[rows] = False
    while (lost := (above >= 0) & ~holds[above]).any():
        above[lost] = objects.parent[above[lost]]
    return above


def _read_area(
    entry: ImageEntry,
    slide: Slide,
    objects: ObjectTable,
    parent: int,
    true: npt.NDArray[np.int64],
    made: npt.NDArray[np.int64],
    mpp: float,
    filled: bool,
) -> Reviewed:
    own = pixel_size(entry.name, entry.server.mpp, slide.mpp)
    downsample = max(slide.snap(downsample_for(own, mpp)), 1.0)
    mpp = downsample * math.sqrt(own[0] * own[1])
    if parent < 0:
        outline, name = shapely.box(0, 0, slide.width, slide.height), "whole image"
    else:
        outline = valid_areas(objects.shapes.take([parent]).geometries)[0]
        name = objects.names.get(parent) or str(objects.path_class(parent) or parent)
    low_x, low_y, high_x, high_y = np.array(outline.bounds) / downsample
    x, y = int(np.floor(low_x)), int(np.floor(low_y))
    width, height = int(np.ceil(high_x)) - x, int(np.ceil(high_y)) - y
    if width * height > MAX_PIXELS:
        raise QpbridgeError(
            f"{entry.name}: {name} has {width} x {height} pixels at {mpp:g} µm per pixel, more "
            f"than {MAX_PIXELS / 1e6:.0f} million; choose a larger --mpp, or smaller annotations"
        )
    window = (height, width), (float(x), float(y)), downsample

    def draw(geometries: GeometryArray) -> npt.NDArray[np.int32]:
        return rasterize(Shapes.from_geometries(geometries), *window)

    drawn = valid_areas(objects.shapes.take(true).geometries)
    found = valid_areas(objects.shapes.take(made).geometries)
    labels = draw(without_holes(drawn) if filled else drawn)
    sample = Sample(
        name=f"{entry.name}: {name}",
        image=slide.read(x, y, width, height, downsample),
        labels=labels,
        mpp=mpp,
        patient=entry.name,
        known=draw(np.array([outline])) > 0,
        lumen=_lumina(draw(drawn), labels) if filled else None,
    )
    return Reviewed(sample, draw(without_holes(found) if filled else found))


def _lumina(
    hollow: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_] | None:
    """Where objects have holes; None where none has: then lumina were not drawn."""
    lumen: npt.NDArray[np.bool_] = (hollow == 0) & (labels > 0)
    return lumen if lumen.any() else None
