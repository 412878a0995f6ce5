"""Which annotations or TMA cores are segmented, and which of them a nucleus belongs to."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge import checks
from qpbridge.errors import ChangedMeanwhileError, CombinationError, RequestError, SelectionError
from qpbridge.hierarchy.drawn import drawn_annotations, missing_cores, present_cores
from qpbridge.objects import GeometryArray, IntArray, ObjectKind, ObjectTable, PathClass
from qpbridge.outlines import ENCLOSING, ROUNDING, areas_um2, each_held, valid_areas
from qpbridge.texts import same_name

_REGION_CLASS = "Region*"


@dataclass(frozen=True, eq=False)
class Region:
    """An area to segment, in full-resolution pixels of the server image.

    Parameters
    ----------
    row
        Of the annotation or TMA core in the image's `ObjectTable`; -1: the whole image.
    id
        Its UUID; sixteen zeros: the root.
    label
        Its name, or what else tells it apart, for messages and tables.
    path_class
        Its class.
    geometry
        Valid polygon or multipolygon, without what `Ignore*` annotations cover.
    is_core
        Whether it is a TMA core.
    shares
        How much of it was searched, and is what else, by the names of the measurements.
    uncut
        The geometry before what can't be tissue was left out; None: nothing was.
    """

    row: int
    id: bytes
    label: str
    path_class: PathClass | None
    geometry: Any
    is_core: bool = False
    shares: Mapping[str, float] = field(default_factory=dict)
    uncut: Any = None

    def whole(self) -> Region:
        """Return it as it was before what can't be tissue was left out."""
        return self if self.uncut is None else replace(self, geometry=self.uncut, uncut=None)

    def area(self, mpp: tuple[float, float]) -> float:
        """Return the area in µm^2, for pixels of µm (x, y)."""
        return float(areas_um2(self.geometry, mpp))


@dataclass(frozen=True)
class Selection:
    """What the user asked to segment; nothing given means all annotations.

    Where there are none, all cores of a tissue microarray that are not marked as missing.

    Parameters
    ----------
    within
        Full names of classes, or one.
    selected
        Names (or ids) of annotations or TMA cores, or one. Of an annotation and a core of one name
        the annotation is meant.
    whole_image
        The image as one region, under no annotation.
    tma
        TMA cores alone, whatever is drawn; `within` and `selected` choose among them.

    Raises
    ------
    RequestError
        If one is something else, or the whole image and parts of it are asked for at once.

    Examples
    --------
    >>> Selection(within="Tumor: Positive").within
    ('Tumor: Positive',)
    """

    within: tuple[str, ...] = ()
    selected: tuple[str, ...] = ()
    whole_image: bool = False
    tma: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "within", checks.names("within", self.within))
        object.__setattr__(self, "selected", checks.names("selected", self.selected))
        checks.flag("whole_image", self.whole_image)
        checks.flag("tma", self.tma)
        if self.whole_image and (self.names_some or self.tma):
            field = "tma" if self.tma else "within" if self.within else "selected"
            what = "works in TMA cores" if self.tma else "names annotations"
            raise CombinationError(f"`{field}` {what}, but `whole_image` works in none", field)

    @property
    def names_some(self) -> bool:
        """Whether classes or names were given."""
        return bool(self.within or self.selected)

    def __str__(self) -> str:
        named = [f"of class {name!r}" for name in self.within]
        named += [f"called {name!r}" for name in self.selected]
        return " ".join(["TMA cores" if self.tma else "annotations", " or ".join(named)]).strip()


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
    ``Region*``) are regions only when asked for by name; what they cover is cut out of the others,
    and so is what missing TMA cores cover, but for the other cores. Annotations that qpbridge made
    are never regions.

    Raises
    ------
    SelectionError
        If nothing is selected: says why, and what could be.
    """
    drawn = drawn_annotations(objects)
    drawn = drawn[np.isin(objects.shapes.roi[drawn], ENCLOSING)]
    cores = present_cores(objects)
    wanted = [_is_wanted(objects, row, selection) for row in drawn.tolist()]
    named = drawn[np.array(wanted, bool)]
    ignored = drawn[objects.of_class(_is_ignored)[drawn]]
    if selection.whole_image:
        chosen = drawn[:0]
    elif selection.tma:
        wanted = [_is_wanted(objects, row, selection) for row in cores.tolist()]
        chosen = cores[np.array(wanted, bool)] if selection.names_some else cores
    elif selection.names_some:
        chosen = np.concatenate([named, _cores_called(objects, cores, selection, named)])
        ignored = np.setdiff1d(ignored, named)
    else:
        chosen = np.setdiff1d(drawn, ignored)
        chosen = chosen if len(chosen) else cores
    if not len(chosen) and not selection.whole_image:
        raise SelectionError(_nothing_selected(objects, drawn, cores, selection))

    image = shapely.box(0, 0, width, height)
    holes = shapely.union_all(_areas(objects, ignored))
    missing, there = (
        shapely.union_all(_areas(objects, rows)) for rows in (missing_cores(objects), cores)
    )
    around = shapely.union(holes, shapely.difference(missing, there))
    if selection.whole_image:
        return (Region(-1, bytes(16), "whole image", None, shapely.difference(image, around)),)
    is_core = np.isin(chosen, cores)
    cut = shapely.intersection(_areas(objects, chosen), image)
    cut = shapely.difference(cut, np.where(is_core, holes, around))
    regions = tuple(
        Region(
            row,
            objects.ids[row].tobytes(),
            _label(objects, row),
            objects.path_class(row),
            geometry,
            core,
        )
        for row, geometry, core in zip(chosen.tolist(), cut, is_core.tolist(), strict=True)
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
    # Who drew an annotation meanwhile did not take the cores away.
    cores = [Selection(tma=True)] if any(region.is_core for region in regions) else []
    now: list[Region] = []
    for one in (selection, *cores):
        with contextlib.suppress(SelectionError):
            now += select_regions(objects, one, width, height)
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


def _areas(objects: ObjectTable, rows: IntArray) -> GeometryArray:
    return valid_areas(objects.shapes.take(rows).geometries)


def _is_ignored(path_class: PathClass) -> bool:
    return path_class.is_ignored and str(path_class) != _REGION_CLASS


def _is_wanted(objects: ObjectTable, row: int, selection: Selection) -> bool:
    path_class = objects.path_class(row)
    if path_class is not None and path_class.is_called(*selection.within):
        return True
    called = {same_name(objects.names.get(row, "")), str(objects.uuid(row))} - {""}
    return not called.isdisjoint(map(same_name, selection.selected))


def _cores_called(
    objects: ObjectTable, cores: IntArray, selection: Selection, named: IntArray
) -> IntArray:
    """Find the cores that are selected by a name that no annotation among `named` has."""
    by_name = Selection(selected=selection.selected)
    taken = {same_name(objects.names.get(row, "")) for row in named.tolist()}
    called: npt.NDArray[np.bool_] = np.array(
        [
            _is_wanted(objects, row, by_name) and same_name(objects.names.get(row, "")) not in taken
            for row in cores.tolist()
        ],
        bool,
    )
    return cores[called]


def _label(objects: ObjectTable, row: int) -> str:
    kind = "core" if objects.kind[row] == ObjectKind.TMA_CORE else "annotation"
    path_class, above = objects.path_class(row), int(objects.parent[row])
    label = objects.names.get(row) or (
        str(path_class) if path_class else f"{kind} {str(objects.uuid(row))[:8]}"
    )
    in_core = above >= 0 and objects.kind[above] == ObjectKind.TMA_CORE
    return f"{_label(objects, above)} - {label}" if in_core else label  # as QuPath shows it


def _nothing_selected(
    objects: ObjectTable, drawn: IntArray, cores: IntArray, selection: Selection
) -> str:
    missing = missing_cores(objects)
    gone = [row for row in missing.tolist() if _is_wanted(objects, row, selection)]
    if gone:
        return f"the TMA core {_label(objects, gone[0])!r} is marked as missing"
    if selection.tma and not len(cores):
        if len(missing):
            return "all TMA cores are marked as missing"
        return "no TMA cores; let QuPath find them (TMA > TMA dearrayer), or leave out `tma`"
    could_be = cores if selection.tma else np.concatenate([drawn, cores])
    if not len(could_be):
        return "no annotations that enclose an area; draw one in QuPath, or use `whole_image`"
    if not selection.names_some:
        return (
            "all annotations are of ignored classes; name one with `within`, or use `whole_image`"
        )
    names = {objects.names.get(row) or _label(objects, row) for row in could_be.tolist()}
    classes = {str(c) for row in could_be.tolist() if (c := objects.path_class(row)) is not None}
    there = [_listed(classes)] if selection.within else []
    return f"no {selection}; there are: {'; and called '.join([*there, _listed(names)])}"


def _listed(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:20])) or "none"
