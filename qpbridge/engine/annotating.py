"""Areas that qpbridge draws for a person to correct: the tissue, and what is to be ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely

from qpbridge.engine.runs import PREFIX, standing, step_of
from qpbridge.hierarchy.provenance import Origin, made_by_us, mint_ids, origins, storable
from qpbridge.hierarchy.regions import Region
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.outlines import valid_areas
from qpbridge.project.interface import Edit, ImageData, WorkflowStep

IGNORED = PathClass.parse("Ignore*")
"""The class of what is to be ignored, as in QuPath."""

DRAWN = "drawn"
"""Of a step in the history: names and ids of what was drawn, to know later what was deleted."""


def area_annotations(
    what: str, areas: Sequence[Any], names: Sequence[str], path_class: PathClass | None = None
) -> ObjectTable:
    """Make annotations of areas, with ids that mark them as qpbridge's own.

    Parameters
    ----------
    what
        One of `qpbridge.hierarchy.provenance.AREAS`.
    areas
        Polygons or multipolygons, server pixels.
    names
        One for each.
    path_class
        Of all of them.
    """
    outlines = np.array([shapely.transform(g, storable) for g in areas], dtype=object)
    table = ObjectTable.new(
        ObjectKind.ANNOTATION, Shapes.from_geometries(valid_areas(outlines))
    ).replace(names=dict(enumerate(names)))
    if path_class is not None:
        index = np.zeros(len(table), np.int32)
        table = replace(table, classes=(path_class,), class_index=index)
    return replace(table, ids=mint_ids(table, what, np.zeros((0, 16), np.uint8)))


def plan_tissue(
    objects: ObjectTable, tissue: Any, regions: tuple[Region, ...] | None, command: str
) -> tuple[Edit | None, int]:
    """Plan an annotation of the tissue: one of the image, or one below each of some regions.

    What was drawn so before in the same places, and is as it was, makes room.

    Returns
    -------
    edit
        None if all is as it was.
    n
        Annotations of tissue in these places that qpbridge draws.
    """
    places = {-1: (bytes(16), tissue)}
    if regions is not None:
        places = {r.row: (r.id, _areas_of(r.geometry & tissue)) for r in regions}
    found = [(uid, area) for uid, area in places.values() if not area.is_empty]
    areas = [area for _, area in found]
    new = area_annotations("tissue", areas, ["Tissue"] * len(areas)) if areas else None
    below = np.frombuffer(b"".join(uid for uid, _ in found), np.uint8).reshape(-1, 16)
    rows = _own(objects, "tissue")
    rows = rows[np.isin(objects.parent[rows], list(places))]
    return _replace(objects, rows, new, below, "tissue", command), len(found)


@dataclass(frozen=True)
class Ignored:
    """What becomes of annotations of what is to be ignored.

    Parameters
    ----------
    drawn
        How many there are that qpbridge draws.
    deleted
        Names of those that a person deleted, which are not drawn again.
    """

    drawn: int
    deleted: tuple[str, ...] = ()


def plan_ignored(
    data: ImageData, named: Mapping[str, Any], command: str, *, restore: bool = False
) -> tuple[Edit | None, Ignored]:
    """Plan annotations of what is to be ignored, by their names.

    What was drawn so before and is as it was makes room. One that a person has corrected stays,
    and nothing of its name is drawn beside it; nor is one that a person has deleted, unless it is
    to be restored.

    Returns
    -------
    edit
        None if all is as it was.
    result
        What there is then.
    """
    objects = data.objects
    made = np.flatnonzero(made_by_us(objects.ids, "quality"))
    own = _own(objects, "quality")
    corrected = {objects.names.get(int(row), "") for row in np.setdiff1d(made, own)}
    there = {str(objects.uuid(int(row))) for row in made}
    gone = {name: uid for name, uid in _drawn_before(data.workflow).items() if uid not in there}
    gone = {} if restore else {name: uid for name, uid in gone.items() if name not in corrected}
    wanted = {n: area for n, area in named.items() if n not in corrected and n not in gone}
    new = (
        area_annotations("quality", list(wanted.values()), list(wanted), IGNORED)
        if wanted
        else None
    )
    below = np.zeros((len(wanted), 16), np.uint8)
    edit = _replace(objects, own, new, below, "quality", command, gone)
    return edit, Ignored(len(wanted), tuple(name for name in gone if name in named))


def _drawn_before(workflow: Sequence[WorkflowStep]) -> dict[str, str]:
    """Read names and ids of what was drawn, or had been deleted already, at the last time."""
    steps = [step for step in standing(workflow) if step.name == f"{PREFIX}quality"]
    pairs = (steps[-1].parameters.get(DRAWN, "") if steps else "").split("; ")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _own(objects: ObjectTable, what: str) -> Any:
    """Find the annotations of an area that are as qpbridge drew them."""
    return np.flatnonzero(origins(objects, what) == Origin.OURS)


def _replace(
    objects: ObjectTable,
    rows: Any,
    new: ObjectTable | None,
    below: Any,
    what: str,
    command: str,
    gone: Mapping[str, str] = MappingProxyType({}),
) -> Edit | None:
    """Plan to put annotations in the place of others, and note them and those that are `gone`."""
    old = objects.ids[rows]
    if new is not None:
        new = replace(new, ids=mint_ids(new, what, np.delete(objects.ids, rows, axis=0)))
    ids = np.zeros((0, 16), np.uint8) if new is None else new.ids
    if {uid.tobytes() for uid in old} == {uid.tobytes() for uid in ids}:
        return None
    drawn = {} if new is None else {n: str(new.uuid(row)) for row, n in new.names.items()}
    noted = {DRAWN: "; ".join(f"{name}={uid}" for name, uid in {**gone, **drawn}.items())}
    below = None if new is None else below
    steps = (step_of(what, command, noted if what == "quality" else {}),)
    return Edit(remove=old, add=new, add_below=below, steps=steps)


def _areas_of(geometry: Any) -> Any:
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts)
