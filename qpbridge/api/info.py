"""What is in a project: its images, what is annotated in them, and what qpbridge added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np

from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.errors import MissingImageError, SlideError
from qpbridge.hierarchy.provenance import TARGETS, Origin, origins
from qpbridge.objects import IntArray, ObjectKind, ObjectTable, RoiKind
from qpbridge.project.each_image import Report, Reports, each_image
from qpbridge.project.interface import ImageEntry, TmaGrid, missing_images
from qpbridge.slides.geometry import check_followed

AnnotationInfo = TypedDict(
    "AnnotationInfo",
    {
        "id": str,
        "name": str | None,
        "class": str | None,
        "roi": str,
        "area_px": float,
        "children": int,
        "locked": bool,
        "metadata": dict[str, str],
        "measurements": dict[str, float],
    },
)
"""One annotation."""


class CoreInfo(TypedDict):
    """One core of a tissue microarray."""

    id: str
    name: str | None
    row: int
    column: int
    missing: bool
    children: int
    metadata: dict[str, str]
    measurements: dict[str, float]


class ImageInfo(TypedDict):
    """One image: where it is and what is the matter with it, its size, and what is in it."""

    id: str
    name: str
    uri: str | None
    path: str | None
    problem: str | None
    width: int | None
    height: int | None
    mpp: tuple[float, float] | None
    image_type: str
    objects: dict[str, int]
    classes: dict[str, int]
    qpbridge: dict[str, dict[str, int]]
    annotations: list[AnnotationInfo]
    cores: list[CoreInfo]


@dataclass(frozen=True)
class InfoReport(Report):
    """One image, as far as it could be read."""

    info: ImageInfo | None = None

    def __str__(self) -> str:
        if self.info is None:
            return super().__str__()
        return f"{self.image}: {counted_kinds(self.info['objects'])}"


def counted_kinds(objects: Mapping[str, int]) -> str:
    """Say how many objects of each kind there are."""
    named = ((kind.replace("tma_core", "TMA core"), n) for kind, n in objects.items() if n)
    return ", ".join(f"{n:,} {kind}s" for kind, n in named) or "no objects"


@dataclass(frozen=True)
class ProjectInfo:
    """What is in a project.

    Attributes
    ----------
    path, version
        Its file, and the version of QuPath that wrote it.
    classes
        Full names of the classes in its list.
    metadata
        Free texts by name.
    total
        How many images it has.
    images
        Those that were asked for; one that can't be read has only a message.
    missing
        The images whose files were not found, and why.
    """

    path: str
    version: str
    classes: list[str]
    metadata: Mapping[str, str]
    total: int
    images: Reports[InfoReport]
    missing: Sequence[tuple[ImageEntry, MissingImageError]] = field(repr=False)


def info(project: ProjectLike, *, images: Names = ()) -> ProjectInfo:
    """Describe a project: its images, what is annotated in them, and what qpbridge has added.

    Parameters
    ----------
    project
        An open project, or the path of one.
    images
        Names or entry ids of images; none: all.

    Returns
    -------
    ProjectInfo
        Its `images` are reports, in the project's order; ``images[0].info`` is a dictionary.

    Raises
    ------
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read.

    Examples
    --------
    >>> found = qpbridge.info(project)
    >>> found.images[0].info["annotations"][0]["class"]
    'Tumor'
    """
    opened = as_project(project)
    entries = opened.select(images)
    return ProjectInfo(
        path=str(opened.path),
        version=opened.version,
        classes=[str(c) for c in opened.classes],
        metadata=opened.metadata,
        total=len(opened),
        images=each_image(entries, _report, InfoReport.of_failure),
        missing=missing_images(entries),
    )


def _report(entry: ImageEntry) -> InfoReport:
    path, problem = None, None
    try:
        path = entry.image_path()
        check_followed(path, entry.server)
    except MissingImageError as error:
        problem = f"FILE NOT FOUND: {error.reason}"
    except SlideError as error:
        problem = str(error)
    found = describe_image(entry, None if path is None else str(path), problem)
    return InfoReport(entry.name, "read", problem or "", found)


def describe_image(entry: ImageEntry, path: str | None, problem: str | None) -> ImageInfo:
    """Describe one image, whose file was found or not."""
    data = entry.read()
    objects = data.objects
    kinds = np.bincount(objects.kind, minlength=len(ObjectKind))
    children = np.bincount(objects.parent + 1, minlength=len(objects) + 1)[1:]
    annotations = np.flatnonzero(objects.kind == ObjectKind.ANNOTATION)
    return {
        "id": entry.id,
        "name": entry.name,
        "uri": entry.server.uri,
        "path": path,
        "problem": problem,
        "width": entry.server.width,
        "height": entry.server.height,
        "mpp": entry.server.mpp,
        "image_type": data.image_type.value,
        "objects": {kind.name.lower(): int(kinds[kind]) for kind in ObjectKind},
        "classes": _class_counts(objects),
        "qpbridge": {t: _own_counts(objects, t) for t in TARGETS},
        "annotations": [_annotation(objects, int(row), int(children[row])) for row in annotations],
        "cores": [] if data.tma_grid is None else _cores(objects, data.tma_grid, children),
    }


def _class_counts(objects: ObjectTable) -> dict[str, int]:
    counts = np.bincount(objects.class_index + 1, minlength=len(objects.classes) + 1)
    names = ["Unclassified", *(str(c) for c in objects.classes)]
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}


def _own_counts(objects: ObjectTable, target: str) -> dict[str, int]:
    counts = np.bincount(origins(objects, target), minlength=len(Origin))
    return {"unchanged": int(counts[Origin.OURS]), "changed": int(counts[Origin.CHANGED])}


def _annotation(objects: ObjectTable, row: int, children: int) -> AnnotationInfo:
    path_class = objects.path_class(row)
    return {
        "id": str(objects.uuid(row)),
        "name": objects.names.get(row),
        "class": None if path_class is None else str(path_class),
        "roi": RoiKind(objects.shapes.roi[row]).name.lower(),
        "area_px": float(objects.shapes.take([row]).geometries[0].area),
        "children": children,
        "locked": bool(objects.locked[row]),
        "metadata": dict(objects.metadata.get(row, {})),
        "measurements": _measurements(objects, row),
    }


def _measurements(objects: ObjectTable, row: int) -> dict[str, float]:
    values = zip(objects.measurement_names, objects.measurements[row].tolist(), strict=True)
    return {name: value for name, value in values if value == value}


def _cores(objects: ObjectTable, grid: TmaGrid, children: IntArray) -> list[CoreInfo]:
    """Describe the cores of a grid, row by row."""
    return [
        {
            "id": str(objects.uuid(core)),
            "name": objects.names.get(core),
            "row": row,
            "column": column,
            "missing": core in objects.missing,
            "children": int(children[core]),
            "metadata": dict(objects.metadata.get(core, {})),
            "measurements": _measurements(objects, core),
        }
        for row, cores in enumerate(grid.cores.tolist())
        for column, core in enumerate(cores)
        if core >= 0
    ]
