"""Objects from a GeoJSON file into an image: below their parents, and none twice."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely

from qpbridge._version import __version__
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.runs import as_comment
from qpbridge.hierarchy.placement import place
from qpbridge.hierarchy.provenance import content_ids
from qpbridge.ids import are_among, random_ids, repeated
from qpbridge.objects import ObjectKind, ObjectTable
from qpbridge.project.geojson.read import Problems, salvage_geojson
from qpbridge.project.interface import Edit, ImageData, ImageEntry, WorkflowStep


@dataclass(frozen=True)
class ImportCounts:
    """What becomes of the objects of a file, but for those that could not be used.

    Parameters
    ----------
    added
        By kind, how many come new into the image.
    already_there
        Objects whose id is in the image; they are left alone there.
    doubled_ids
        Objects whose id another one in the file has too; they get a new one.
    cores
        TMA cores that the image lacks; they can't be added.
    at_root
        Added objects that are below no other.
    """

    added: dict[str, int]
    already_there: int
    doubled_ids: int
    cores: int
    at_root: int


@dataclass(frozen=True)
class ImportReport:
    """What an import did, or could not do.

    Parameters
    ----------
    image
        Name of the image.
    counts
        What became of the objects that can be used.
    outside
        Objects of the file that lie outside of the image; None where its size isn't known.
    repaired, left_out
        What was wrong in the file.
    encoding
        What else than UTF-8 the text was taken to be in; None: nothing else.
    """

    image: str
    counts: ImportCounts
    outside: int | None
    repaired: Problems
    left_out: Problems
    encoding: str | None = None

    def __str__(self) -> str:
        counts = self.counts
        kinds = (
            f"{n:,} {kind.replace('_', ' ')}{'s' * (n != 1)}" for kind, n in counts.added.items()
        )
        parts = [f"{self.image}: {', '.join(kinds) or 'nothing'} added"]
        if counts.at_root and counts.added:
            parts.append(f"{counts.at_root:,} of them below no annotation")
        if counts.already_there:
            parts.append(f"{counts.already_there:,} that were there already left alone")
        return "; ".join(parts)


def import_file(
    entry: ImageEntry, path: Path, command: str, *, encoding: str | None = None
) -> ImportReport:
    """Add the objects of a GeoJSON file to an image.

    Parameters
    ----------
    entry
        The image.
    path
        The file.
    command
        What the history says.
    encoding
        Of the text; None: find out.

    Raises
    ------
    FormatError
        If the file is no GeoJSON, or damaged.
    ProjectError
        If it can't be read, or the image can't be written; nothing is changed then.
    """
    data = entry.read()
    found = salvage_geojson(path, encoding=encoding)
    objects = found.objects
    if not found.has_id.all():
        # The same file, imported a second time, must not double what it brought.
        ids = np.where(found.has_id[:, None], objects.ids, content_ids(objects))
        objects = objects.replace(ids=ids)
    step = WorkflowStep(
        "Import objects",
        as_comment(command),
        {
            "file": path.name,
            "objects": str(len(objects)),
            "qpbridge version": __version__,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
    )

    def plan(now: ImageData) -> tuple[Edit | None, ImportCounts]:
        return plan_import(now.objects, objects, step)

    counts = apply_planned(entry, data, plan)
    width, height = entry.server.width, entry.server.height
    outside = None if width is None or height is None else _outside(objects, width, height)
    return ImportReport(entry.name, counts, outside, found.repaired, found.left_out, found.encoding)


def plan_import(
    existing: ObjectTable, found: ObjectTable, step: WorkflowStep
) -> tuple[Edit | None, ImportCounts]:
    """Plan how objects are added to those in an image.

    Parameters
    ----------
    existing
        What the image holds; none of it is changed.
    found
        What is to be added, with shapes; an object whose id is there already is not.
    step
        For the history.

    Returns
    -------
    edit, counts
        No edit where there is nothing to add; and what becomes of the objects.
    """
    known = are_among(found.ids, existing.ids)
    cores = (found.kind == ObjectKind.TMA_CORE) & ~known
    doubled = np.zeros(len(found), bool)
    doubled[repeated(found.ids, existing.ids)] = True
    doubled &= ~known & ~cores
    ids = found.ids.copy()
    ids[doubled] = random_ids(int(doubled.sum()))
    stays = ~known & ~cores
    new = replace(found, ids=ids).take(stays)

    parent = found.parent[stays]
    child_of_known = (parent >= 0) & known[parent]
    placed = place(new, existing)
    below = np.zeros((len(new), 16), np.uint8)
    hangs = placed.below >= 0
    below[hangs] = existing.ids[placed.below[hangs]]
    below[child_of_known] = found.ids[parent[child_of_known]]
    new = new.replace(parent=np.where(child_of_known, -1, placed.parent))
    counts = ImportCounts(
        added={
            kind.name.lower(): count
            for kind in ObjectKind
            if (count := int((new.kind == kind).sum()))
        },
        already_there=int(known.sum()),
        doubled_ids=int(doubled.sum()),
        cores=int(cores.sum()),
        at_root=int(((new.parent < 0) & ~below.any(axis=1)).sum()),
    )
    return (Edit(add=new, add_below=below, steps=(step,)) if len(new) else None), counts


def _outside(objects: ObjectTable, width: int, height: int) -> int:
    bounds = shapely.bounds(objects.geometries)
    inside = (bounds[:, :2] <= (width, height)).all(axis=1) & (bounds[:, 2:] >= 0).all(axis=1)
    return int((~inside).sum())
