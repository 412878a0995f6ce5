"""Which annotations are segmented, and which of them a nucleus belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge import checks
from qpbridge.errors import ChangedMeanwhileError, CombinationError, RequestError, SelectionError
from qpbridge.hierarchy.drawn import drawn_annotations
from qpbridge.objects import GeometryArray, ObjectTable, PathClass
from qpbridge.outlines import ENCLOSING, ROUNDING, areas_um2, each_held, valid_areas
from qpbridge.texts import same_name

_REGION_CLASS = "Region*"


@dataclass(frozen=True, eq=False)
class Region:
    """An area to segment, in full-resolution pixels of the server image.

    Parameters
    ----------
    row
        Of the annotation in the image's `ObjectTable`; -1: the whole image.
    id
        The annotation's UUID; sixteen zeros: the root.
    label
        Its name, or what else tells it apart, for messages and tables.
    path_class
        Its class.
    geometry
        Valid polygon or multipolygon, without what `Ignore*` annotations cover.
    shares
        How much of it was searched, and is what else, by the names of the measurements.
    """

    row: int
    id: bytes
    label: str
    path_class: PathClass | None
    geometry: Any
    shares: Mapping[str, float] = field(default_factory=dict)

    def area(self, mpp: tuple[float, float]) -> float:
        """Return the area in µm^2, for pixels of µm (x, y)."""
        return float(areas_um2(self.geometry, mpp))


@dataclass(frozen=True)
class Selection:
    """What the user asked to segment; nothing given means all annotations.

    Parameters
    ----------
    within
        Full names of classes, or one.
    selected
        Names (or ids) of annotations, or one.
    whole_image
        The image as one region, under no annotation.

    Raises
    ------
    RequestError
        If one is something else, or annotations and the whole image are asked for at once.

    Examples
    --------
    >>> Selection(within="Tumor: Positive").within
    ('Tumor: Positive',)
    """

    within: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    whole_image: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "within", checks.names("within", self.within))
        object.__setattr__(self, "selected", checks.names("selected", self.selected))
        checks.flag("whole_image", self.whole_image)
        if self.whole_image and (self.within or self.selected):
            field = "within" if self.within else "selected"
            raise CombinationError(
                f"`{field}` names annotations, but `whole_image` works in none", field
            )

    def __str__(self) -> str:
        named = [f"of class {name!r}" for name in self.within]
        named += [f"called {name!r}" for name in self.selected]
        return "annotations " + " or ".join(named) if named else "annotations"


def check_selection(value: object) -> None:
    """Refuse what is no `Selection`, as the name of a class alone."""
    if not isinstance(value, Selection):
        raise RequestError(
            "selection", value, "a Selection was expected, such as Selection(within='Tumor')"
        )


def select_regions(
    objects: ObjectTable, selection: Selection, width: int, height: int
) -> tuple[Region, ...]:
    """Choose the regions of one image.

    Annotations whose class QuPath ignores (``Ignore*`` and others that end in ``*``, but not
    ``Region*``) are regions only when asked for by name; what they cover is cut out of the others.
    Annotations that qpbridge made are never regions.

    Raises
    ------
    SelectionError
        If nothing is selected: says why, and what could be.
    """
    rows = drawn_annotations(objects)
    rows = rows[np.isin(objects.shapes.roi[rows], ENCLOSING)]
    classes = [objects.path_class(int(row)) for row in rows]
    ignored = np.array([_is_ignored(c) for c in classes], bool)
    wanted = np.array(
        [_is_wanted(objects, int(row), c, selection) for row, c in zip(rows, classes, strict=True)],
        bool,
    )
    if selection.whole_image:
        chosen = rows[:0]
    elif selection.within or selection.selected:
        chosen = rows[wanted]
        ignored &= ~wanted
    else:
        chosen = rows[~ignored]
    if not len(chosen) and not selection.whole_image:
        raise SelectionError(_nothing_selected(objects, rows, selection))

    geometries = valid_areas(objects.shapes.take(chosen).geometries)
    holes = shapely.union_all(valid_areas(objects.shapes.take(rows[ignored]).geometries))
    image = shapely.box(0, 0, width, height)
    if selection.whole_image:
        geometry = shapely.difference(image, holes)
        return (Region(-1, bytes(16), "whole image", None, geometry),)
    cut = shapely.difference(shapely.intersection(geometries, image), holes)
    regions = tuple(
        Region(
            int(row), objects.ids[row].tobytes(), _label(objects, int(row)), path_class, geometry
        )
        for row, path_class, geometry in zip(
            chosen, [objects.path_class(int(r)) for r in chosen], cut, strict=True
        )
        if geometry.area > 0
    )
    if not regions:
        raise SelectionError(f"the {selection} lie outside of the image, or are ignored altogether")
    return regions


def assign_regions(
    points: GeometryArray, regions: Sequence[Region]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Find the regions that points lie in.

    Parameters
    ----------
    points
        Shapely points (n,): the centroids of objects.
    regions
        R regions, possibly nested or overlapping.

    Returns
    -------
    innermost
        int64 (n,), the smallest region that holds the point (index into `regions`); -1: none.
    inside
        bool (R, n), all the regions that hold it.
    """
    inside = np.zeros((len(regions), len(points)), bool)
    innermost = np.full(len(points), -1, np.int64)
    for i, held in each_held(points, np.array([r.geometry for r in regions], dtype=object)):
        inside[i, held] = True
        innermost[held] = i
    return innermost, inside


def find_again(
    regions: Sequence[Region], objects: ObjectTable, selection: Selection, width: int, height: int
) -> tuple[Region, ...]:
    """Find regions that were searched in an image that another program saved since.

    One that became smaller (a person drew an `Ignore*` annotation) will do: all of it was searched.

    Parameters
    ----------
    regions
        As they were.
    objects
        What the image holds now.
    selection, width, height
        As for `select_regions`.

    Raises
    ------
    ChangedMeanwhileError
        If one is gone, or was changed so that parts of it were not searched.
    """
    try:
        now = select_regions(objects, selection, width, height)
    except SelectionError:
        now = ()
    by_id = {region.id: region for region in now}
    again = []
    for old in regions:
        new = by_id.get(old.id) or next((r for r in now if _is_same(old, r)), None)
        if new is None or not _covers(old, new):
            raise ChangedMeanwhileError(
                f"the region {old.label!r} was {'deleted' if new is None else 'changed'} by another"
                " program while it was segmented; nothing was written, run again"
            )
        again.append(new)
    return tuple(again)


def _is_same(one: Region, other: Region) -> bool:
    return _covers(one, other) and _covers(other, one)


def _covers(one: Region, other: Region) -> bool:
    missing = shapely.difference(other.geometry, one.geometry).area
    return bool(missing <= ROUNDING * other.geometry.length)


def _is_ignored(path_class: PathClass | None) -> bool:
    return path_class is not None and path_class.is_ignored and str(path_class) != _REGION_CLASS


def _is_wanted(
    objects: ObjectTable, row: int, path_class: PathClass | None, selection: Selection
) -> bool:
    if path_class is not None and path_class.is_called(*selection.within):
        return True
    called = {same_name(objects.names.get(row, "")), str(objects.uuid(row))} - {""}
    return not called.isdisjoint(map(same_name, selection.selected))


def _label(objects: ObjectTable, row: int) -> str:
    name = objects.names.get(row)
    path_class = objects.path_class(row)
    return name or (str(path_class) if path_class else f"annotation {str(objects.uuid(row))[:8]}")


def _nothing_selected(
    objects: ObjectTable, rows: npt.NDArray[np.int64], selection: Selection
) -> str:
    if not len(rows):
        return "no annotations that enclose an area; draw one in QuPath, or use `whole_image`"
    if not (selection.within or selection.selected):
        return (
            "all annotations are of ignored classes; name one with `within`, or use `whole_image`"
        )
    names = {objects.names.get(row) or _label(objects, row) for row in rows.tolist()}
    classes = {str(c) for row in rows.tolist() if (c := objects.path_class(row)) is not None}
    there = [_listed(classes)] if selection.within else []
    return f"no {selection}; there are: {'; and called '.join([*there, _listed(names)])}"


def _listed(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:20])) or "none"
