"""From decoded GeoJSON features to columns: some thousand at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError
from qpbridge.ids import random_ids
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, PathClass, RoiKind
from qpbridge.project.colors import Rgb
from qpbridge.project.geojson.properties import (
    as_numbers,
    read_class,
    read_color,
    read_id,
    read_measurements,
    read_plane,
    short_id,
    whole_text,
    whole_texts,
)
from qpbridge.project.geojson.shapes import ShapeList
from qpbridge.project.geojson.split import Feature, features_in
from qpbridge.project.json_text import as_text

MAX_CELLS = 50_000_000
"""Measurements of the objects read at a time, with those that they lack: a table has them all."""

HALF = "had half a character in a text, in the place of which is \N{REPLACEMENT CHARACTER} now"

_KINDS = {
    "annotation": ObjectKind.ANNOTATION,
    "detection": ObjectKind.DETECTION,
    "cell": ObjectKind.CELL,
    "tile": ObjectKind.TILE,
    "tmacore": ObjectKind.TMA_CORE,
    "root": None,
}
_CLASS_NAMES = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmacore",
    "PathRootObject": "root",
}
"""QuPath 0.2 writes the name of a class in the place of an id, and no type; others as the type."""

_BROKEN = (RecursionError, TypeError, ValueError, AttributeError, KeyError, OverflowError)


class FeaturePlace(NamedTuple):
    """Where an object comes from.

    Parameters
    ----------
    number
        Of the object in the file, from 1.
    id
        As it is there.
    offset
        Of the feature that it is, or is nested in, in bytes.
    """

    number: int
    id: str | None
    offset: int

    def error(self, message: str) -> FormatError:
        """Make an error about this object."""
        return FormatError(f"object {self.number} {message}", offset=self.offset)

    def __str__(self) -> str:
        name = "" if self.id is None else f" ({self.id!r})"
        return f"object {self.number}{name} at byte {self.offset}"


class Problem(NamedTuple):
    """What is wrong with an object."""

    source: FeaturePlace
    what: str

    def __str__(self) -> str:
        return f"{self.source} {self.what}"


class Batch(NamedTuple):
    """Objects as read.

    Parameters
    ----------
    objects
        n objects; one that has a fault has no shape, or no nucleus.
    sources
        Where each comes from.
    has_id
        bool (n,), whether the id is from the file.
    faults, nucleus_faults, unclosed
        By row, what is wrong.
    notes
        By row, what was odd, and how it was taken.
    notes
        By row, what was changed in it.
    broken
        Features that could not be read at all.
    """

    objects: ObjectTable
    sources: list[FeaturePlace]
    has_id: npt.NDArray[np.bool_]
    faults: dict[int, str]
    nucleus_faults: dict[int, str]
    unclosed: list[int]
    notes: dict[int, str]
    broken: list[Problem]


class ClassList:
    """The distinct classes of a file; each form of them is parsed once."""

    def __init__(self) -> None:
        self.classes: dict[PathClass, int] = {}
        self.mended: set[int] = set()
        """Those that had half a character in a name."""
        self._of: dict[str, int] = {}
        self._last: Any = None
        self._last_index = -1

    def index(self, classification: Any) -> int:
        """Return the number of a class, given as in the file; -1: none."""
        if classification == self._last and type(classification) is type(self._last):
            return self._last_index
        key = classification if type(classification) is str else repr(classification)
        index = self._of.get(key)
        if index is None:
            found = read_class(classification)
            index = -1
            if found is not None:
                names, mended = zip(*map(whole_text, found.names), strict=True)
                found = PathClass(names, found.color)
                index = self.classes.setdefault(found, len(self.classes))
                if any(mended):
                    self.mended.add(index)
            self._of[key] = index
        self._last, self._last_index = classification, index
        return index


@dataclass
class FeatureList:
    """Grows object by object; `batch` makes the columns.

    Parameters
    ----------
    class_list
        The classes met so far.
    count
        How many objects came before in the file.
    """

    class_list: ClassList
    count: int
    shapes: ShapeList = field(default_factory=ShapeList)
    nuclei: ShapeList = field(default_factory=ShapeList)
    sources: list[FeaturePlace] = field(default_factory=list)
    broken: list[Problem] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    planes: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    locked: list[int] = field(default_factory=list)
    missing: set[int] = field(default_factory=set)
    ids: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, Rgb] = field(default_factory=dict)
    metadata: dict[int, dict[str, str]] = field(default_factory=dict)
    class_index: list[int] = field(default_factory=list)
    notes: dict[int, str] = field(default_factory=dict)
    # Rows and values of the objects that have measurements of the same names.
    measured: dict[tuple[str, ...], tuple[list[int], list[list[Any]]]] = field(default_factory=dict)

    def add(self, feature: Feature) -> None:
        """Append a feature and those nested in it, parents first."""
        left: list[tuple[Feature, int]] = [(feature, -1)]
        while left:
            (value, offset), parent = left.pop()
            properties = value.get("properties") or {}
            is_object = isinstance(properties, dict)
            kind, odd = _kind(value, properties if is_object else {})
            if kind is not None:
                row = len(self.kinds)
                self.count += 1
                source = FeaturePlace(self.count, short_id(value.get("id")), offset)
                if not is_object:
                    self.broken.append(Problem(source, "has properties that are no object"))
                    continue
                try:
                    self._append(row, kind, value, properties)
                except FormatError as error:
                    self.broken.append(Problem(source, f"has {error.message[:200]}"))
                except _BROKEN as error:
                    self.broken.append(Problem(source, f"is broken ({repr(error)[:200]})"))
                else:
                    if odd is not None:
                        self.notes[row] = odd
                    self.parents.append(parent)
                    self.sources.append(source)
                    parent = row
            children = properties.get("childObjects", properties.get("children"))
            if children and isinstance(children, list):
                nested = [(child, parent) for child in features_in(children, offset)]
                left += reversed(nested)

    def _append(
        self, row: int, kind: ObjectKind, feature: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> None:
        """Append one object; if something is raised, nothing of it is there."""
        geometry = feature.get("geometry") or {}
        if not isinstance(geometry, dict):
            raise FormatError(f"a geometry that is no object: {repr(geometry)[:40]}")
        get = properties.get
        plane = geometry.get("plane")
        plane = None if plane is None else read_plane(plane)
        class_index = self.class_list.index(get("classification"))
        half = class_index in self.class_list.mended
        color = read_color(get("color"))
        measurements = read_measurements(get("measurements"))
        self.shapes.add(geometry)
        try:
            self._add_nucleus(feature.get("nucleusGeometry"))
        except Exception:
            self.shapes.pop()
            raise
        self.kinds.append(kind)
        self.class_index.append(class_index)
        if plane is not None:
            self.planes[row] = plane
        if get("isLocked") is True:
            self.locked.append(row)
        if kind is ObjectKind.TMA_CORE and get("isMissing") is True:
            self.missing.add(row)
        identity = read_id(feature.get("id"))
        if identity is not None:
            self.ids[row] = identity
        name = get("name")
        if name is not None:
            self.names[row], broken = whole_text(as_text(name))
            half |= broken
        if color is not None:
            self.colors[row] = color
        metadata = get("metadata")
        if metadata and isinstance(metadata, dict):
            texts = {
                key: as_text(value)
                for key, value in metadata.items()
                if not isinstance(value, dict | list)
            }
            self.metadata[row], broken = whole_texts(texts)
            half |= broken
        if measurements:
            names = tuple(measurements)
            if not "".join(names).isascii():
                measurements, broken = whole_texts(measurements)
                names = tuple(measurements)
                half |= broken
            group = self.measured.get(names)
            if group is None:
                group = self.measured[names] = ([], [])
            group[0].append(row)
            group[1].append(list(measurements.values()))
        if half:
            self.notes[row] = HALF

    def _add_nucleus(self, nucleus: Any) -> None:
        if nucleus:
            self.nuclei.add(nucleus)
        else:
            self.nuclei.add_empty()

    def batch(self) -> Batch:
        """Make the columns.

        Raises
        ------
        FormatError
            If the objects have far too many different measurements.
        """
        n = len(self.kinds)
        shapes, faults, unclosed = self.shapes.shapes()
        nuclei, nucleus_faults, open_nuclei = self.nuclei.shapes()
        measured, no_numbers = self._measurements(n)
        ids, has_id = random_ids(n), np.zeros(n, bool)
        if self.ids:
            given = np.frombuffer(b"".join(self.ids.values()), np.uint8).reshape(-1, 16)
            ids[list(self.ids)] = given
            has_id[list(self.ids)] = True
        plane = np.tile(np.array([-1, 0, 0], np.int32), (n, 1))
        if self.planes:
            plane[list(self.planes)] = list(self.planes.values())
        locked = np.zeros(n, bool)
        locked[self.locked] = True
        table = ObjectTable(
            kind=np.array(self.kinds, np.uint8),
            shapes=shapes,
            nuclei=nuclei if (nuclei.roi != RoiKind.EMPTY).any() else None,
            ids=ids,
            class_index=np.array(self.class_index, np.int32),
            classes=tuple(self.class_list.classes),
            parent=np.array(self.parents, np.int64),
            plane=plane,
            measured=measured,
            locked=locked,
            names=self.names,
            colors=self.colors,
            metadata=self.metadata,
            missing=frozenset(self.missing),
        )
        return Batch(
            table,
            self.sources,
            has_id,
            no_numbers | faults,
            nucleus_faults,
            sorted({*unclosed, *open_nuclei}),
            self.notes,
            self.broken,
        )

    def _measurements(self, n: int) -> tuple[MeasurementTable, dict[int, str]]:
        names = tuple(dict.fromkeys(name for keys in self.measured for name in keys))
        if n * len(names) > MAX_CELLS:
            raise FormatError(
                f"the objects have {len(names):,} different measurements among them, which can't "
                "be a table",
                offset=self.sources[0].offset,
            )
        column = {name: i for i, name in enumerate(names)}
        measurements = np.full((n, len(names)), np.nan)
        faults: dict[int, str] = {}
        for keys, (rows, values) in self.measured.items():
            numbers, wrong = as_numbers(values)
            faults |= {rows[i]: what for i, what in wrong.items()}
            if names == keys and len(rows) == n:
                measurements = numbers
            else:
                measurements[np.ix_(rows, [column[name] for name in keys])] = numbers
        return MeasurementTable(names, measurements), faults


def _kind(
    feature: Mapping[str, Any], properties: Mapping[str, Any]
) -> tuple[ObjectKind | None, str | None]:
    """Tell the kind of an object, None for the root, and what is odd about it."""
    for key in ("objectType", "object_type"):
        if properties.get(key) is not None:
            kind = _kind_called(properties[key]) if isinstance(properties[key], str) else "?"
            if kind == "?":
                what = f"was of the unknown type {repr(properties[key])[:60]}, and is an annotation"
                return ObjectKind.ANNOTATION, what
            return kind, None
    kind = _kind_called(str(properties.get("type")))  # which may mean something else altogether
    if kind == "?":
        kind = _KINDS[_CLASS_NAMES.get(str(feature.get("id")), "annotation")]
    return kind, None


@lru_cache(maxsize=100)
def _kind_called(text: str) -> ObjectKind | Literal["?"] | None:
    name = _CLASS_NAMES.get(text.rpartition(".")[2], text)
    return _KINDS.get(name.lower().replace("_", "").replace(" ", ""), "?")
