"""Areas that qpbridge draws for a person to correct: the tissue, and what is to be ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from qpbridge.engine.runs import step_of
from qpbridge.hierarchy.provenance import Origin, made_by_us, mint_ids, origins, storable
from qpbridge.hierarchy.regions import Region
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.outlines import valid_areas
from qpbridge.project.interface import Edit

IGNORED = PathClass.parse("Ignore*")
"""The class of what is to be ignored, as in QuPath."""


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


def plan_ignored(
    objects: ObjectTable, named: Mapping[str, Any], command: str
) -> tuple[Edit | None, int]:
    """Plan annotations of what is to be ignored, by their names.

    What was drawn so before and is as it was makes room. One that a person has corrected stays,
    and nothing of its name is drawn beside it.

    Returns
    -------
    edit
        None if all is as it was.
    n
        Annotations that qpbridge draws.
    """
    made = np.flatnonzero(made_by_us(objects.ids, "quality"))
    own = _own(objects, "quality")
    corrected = {objects.names.get(int(row), "") for row in np.setdiff1d(made, own)}
    wanted = {name: area for name, area in named.items() if name not in corrected}
    new = (
        area_annotations("quality", list(wanted.values()), list(wanted), IGNORED)
        if wanted
        else None
    )
    below = np.zeros((len(wanted), 16), np.uint8)
    return _replace(objects, own, new, below, "quality", command), len(wanted)


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
) -> Edit | None:
    old = objects.ids[rows]
    if new is not None:
        new = replace(new, ids=mint_ids(new, what, np.delete(objects.ids, rows, axis=0)))
    ids = np.zeros((0, 16), np.uint8) if new is None else new.ids
    if {uid.tobytes() for uid in old} == {uid.tobytes() for uid in ids}:
        return None
    below = None if new is None else below
    return Edit(remove=old, add=new, add_below=below, steps=(step_of(what, command),))


def _areas_of(geometry: Any) -> Any:
    parts = [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts)
