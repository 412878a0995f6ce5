"""The columns of QuPath's measurement exports, by QuPath's names and in its order.

Names, order and texts are those of QuPath 0.6.0 (`PathObjectLazyValues`, and the value factories
that use it). QuPath exports one type of object at a time; here a table can hold all types. What
QuPath computes while it exports is filled in for annotations (``Area µm^2`` ...), counts for TMA
cores too (``Num Detections`` ...); it takes the place of a stored measurement of that name, as in
QuPath.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.errors import RequestError, SlideError
from qpbridge.ids import id_texts
from qpbridge.objects import IntArray, ObjectKind, ObjectTable, RoiKind
from qpbridge.outlines import ENCLOSING
from qpbridge.project.interface import ImageEntry
from qpbridge.project.uris import path_from_uri
from qpbridge.tables.column_types import (
    Column,
    Columns,
    Numbers,
    Texts,
    clean,
    few_texts,
    some_numbers,
    texts,
)
from qpbridge.tables.counts import count_detections
from qpbridge.tables.presence import HOLDERS, carried
from qpbridge.tables.scores import POSITIVE, Score, class_scores, is_detection, positive_count
from qpbridge.tables.sizes import LINES, sizes

IMAGE = "Image"
"""The column that every table has."""
ENTRY, PATH = "Entry ID", "Image path"
"""What tells images of one name apart."""
NAMING = (
    IMAGE,
    "Object ID",
    "Object type",
    "Name",
    "Classification",
    "TMA Core",
    "Parent",
    "Parent ID",
    "Missing core",
)
"""The columns that come first, and say what a row is of."""
ROOT_NAME = "Root object (Image)"
"""How QuPath calls the image as an object."""

TYPE_NAMES = {
    ObjectKind.ANNOTATION: "Annotation",
    ObjectKind.DETECTION: "Detection",
    ObjectKind.CELL: "Cell",
    ObjectKind.TILE: "Tile",
    ObjectKind.TMA_CORE: "TMA core",
}

ROI_NAMES = {
    RoiKind.POLYGON: "Polygon",
    RoiKind.RECTANGLE: "Rectangle",
    RoiKind.ELLIPSE: "Ellipse",
    RoiKind.LINE: "Line",
    RoiKind.POLYLINE: "Polyline",
    RoiKind.POINTS: "Points",
    RoiKind.GEOMETRY: "Geometry",
    RoiKind.LINES: "Geometry",
}


def object_columns(
    table: ObjectTable,
    image: str,
    mpp: tuple[float, float] | None,
    rows: npt.ArrayLike | None = None,
) -> Columns:
    """Describe objects in QuPath's export columns.

    Parameters
    ----------
    table
        All objects of an image.
    image
        Its name.
    mpp
        µm per pixel (x, y) of the image; None: lengths are in pixels.
    rows
        Index or mask of the objects to describe, n of them, None for all. The columns are those
        that any of them has.

    Returns
    -------
    dict
        `Column` by name, in QuPath's order.
    """
    index = as_index(table, rows)
    some = table if rows is None else table.take(index)
    columns = {IMAGE: Column("text", lambda: texts(np.zeros(len(index), np.int64), [image]))}
    groups = [_properties(table, some, index), _outlines(some, mpp)]
    if np.isin(some.kind, HOLDERS).any():
        groups.append(_counts(table, index, mpp))
    for group in (*groups, _metadata(some)):
        for name, column in group.items():
            columns.setdefault(name, column)  # of two with one name QuPath has the first
    return _with_measurements(columns, table, some)


def with_identity(columns: Columns, entry: ImageEntry) -> Columns:
    """Say which image of the project rows are of, and which file: two can have one name.

    Parameters
    ----------
    columns
        Those of an image's objects, or its own.
    entry
        The image.

    Returns
    -------
    dict
        With `ENTRY` and `PATH` behind what names an object; the path is the one that the project
        has, its URI where that is of no file, and empty where it has none.
    """
    image = columns[IMAGE].values()
    assert isinstance(image, Texts)
    n, path = len(image.codes), entry.server.uri
    if path is not None:
        with contextlib.suppress(SlideError):
            path = str(path_from_uri(path))

    def same(text: str | None) -> Texts:
        return texts(np.full(n, 0 if text else -1), [text] if text else [])

    own = {
        ENTRY: Column("text", partial(same, entry.id)),
        PATH: Column("text", partial(same, path)),
    }
    named = list(itertools.takewhile(lambda name: name in NAMING, columns))
    first = {name: columns[name] for name in named}
    return {**first, **own, **{n: c for n, c in columns.items() if n not in first and n not in own}}


def as_index(table: ObjectTable, rows: npt.ArrayLike | None) -> IntArray:
    """Turn an index, a mask, or None for all into row numbers, int64 (n,).

    Raises
    ------
    RequestError
        If it is something else, or there is no such row.
    """
    n = len(table)
    if rows is None:
        return np.arange(n, dtype=np.int64)
    chosen = np.asarray(rows)
    if not chosen.size:
        return np.zeros(0, np.int64)
    mask = chosen.dtype == bool
    index = np.flatnonzero(chosen) if mask else chosen
    if (
        chosen.ndim != 1
        or (mask and len(chosen) != n)
        or not np.issubdtype(index.dtype, np.integer)
        or (not mask and (index.min() < -n or index.max() >= n))
    ):
        raise RequestError("rows", rows, f"expected a mask of {n} objects, or an index into them")
    return index.astype(np.int64) % max(n, 1)


def parent_ids(table: ObjectTable, rows: npt.ArrayLike | None = None) -> Column:
    """Make a column of the ids of objects' parents, for all or some rows; none: the root."""
    parent = table.parent[as_index(table, rows)]

    def values() -> Texts:
        found, codes = np.unique(parent, return_inverse=True)
        ids = id_texts(table.ids[found]).astype(str)
        return texts(np.where(parent < 0, -1, codes), ids.tolist())

    return Column("text", values)


def _properties(table: ObjectTable, some: ObjectTable, index: IntArray) -> Columns:
    def kinds() -> Texts:
        return texts(some.kind.astype(np.int64), [TYPE_NAMES[kind] for kind in ObjectKind])

    def parents() -> Texts:
        rows, codes = np.unique(table.parent[index], return_inverse=True)
        return texts(codes, [displayed_name(table, int(row)) for row in rows])

    columns = {
        "Object ID": Column("id", lambda: id_texts(some.ids)),
        "Object type": Column("text", kinds),
        "Name": Column("text", lambda: few_texts(len(some), some.names)),
        "Classification": Column(
            "text", lambda: texts(some.class_index, [str(c) for c in some.classes])
        ),
    }
    if (table.kind == ObjectKind.TMA_CORE).any():
        columns["TMA Core"] = Column("text", lambda: _cores(table, index))
    columns["Parent"] = Column("text", parents)
    cores = some.kind == ObjectKind.TMA_CORE
    if cores.any():
        missing = np.where(cores, np.isin(np.arange(len(some)), list(some.missing)), -1)
        columns["Missing core"] = Column("text", lambda: texts(missing, ["false", "true"]))
    return columns


def displayed_name(table: ObjectTable, row: int) -> str:
    """Name an object (-1: the root) as QuPath's object tree does."""
    if row < 0:
        return ROOT_NAME
    path_class = table.path_class(row)
    kind = TYPE_NAMES[ObjectKind(table.kind[row])]
    name = table.names.get(row, kind if path_class is None else f"{kind} ({path_class})")
    parent = int(table.parent[row])
    if parent >= 0 and table.kind[parent] == ObjectKind.TMA_CORE:
        return f"{displayed_name(table, parent)} - {name}"
    return name


def _cores(table: ObjectTable, index: IntArray) -> Texts:
    """Find the TMA core that each object is or lies in."""
    row = index.copy()
    while (searching := (row >= 0) & (table.kind[row] != ObjectKind.TMA_CORE)).any():
        row[searching] = table.parent[row[searching]]
    rows, codes = np.unique(row, return_inverse=True)
    names = [displayed_name(table, int(r)) for r in rows]
    return texts(np.where(row < 0, -1, codes), names)


def _outlines(some: ObjectTable, mpp: tuple[float, float] | None) -> Columns:
    unit, scale = ("px", (1.0, 1.0)) if mpp is None else ("µm", mpp)
    shapeless = some.shapes.roi == RoiKind.EMPTY
    drawn = np.flatnonzero(some.kind == ObjectKind.ANNOTATION)
    shapes = some.shapes.take(drawn)
    center = cache(lambda: some.shapes.centroids() * scale)
    size = cache(lambda: sizes(shapes, scale))

    def rois() -> Texts:
        names = [ROI_NAMES.get(kind, "") for kind in RoiKind]
        return texts(np.where(shapeless, -1, some.shapes.roi.astype(np.int64)), names)

    def place(axis: int) -> Numbers:
        return Numbers(center()[:, axis], shapeless)

    def plane(axis: int) -> Numbers:
        return Numbers(some.plane[:, axis].astype(np.int64), shapeless)

    def of_annotations(kinds: Sequence[RoiKind], make: Callable[[], npt.NDArray[Any]]) -> Numbers:
        fits = np.isin(shapes.roi, kinds)
        return some_numbers(len(some), drawn[fits], make()[fits])

    def points() -> IntArray:
        first, last = (shapes.rings[shapes.parts[shapes.objects[i:][: len(drawn)]]] for i in (0, 1))
        return last - first

    columns = {}
    if not len(some) or (some.kind != ObjectKind.TMA_CORE).any():
        columns["ROI"] = Column("text", rois)
    for axis, name in enumerate("XY"):
        columns[f"Centroid {name} {unit}"] = Column("float", partial(place, axis))
    for axis, name in ((1, "Z-slice"), (2, "Timepoint")):
        if (some.plane[~shapeless, axis] > 0).any():
            columns[name] = Column("int", partial(plane, axis))
    if (shapes.roi == RoiKind.POINTS).any():
        columns["Num points"] = Column("int", partial(of_annotations, (RoiKind.POINTS,), points))
    if np.isin(shapes.roi, ENCLOSING).any():
        area = partial(of_annotations, ENCLOSING, lambda: size()[0])
        columns[f"Area {unit}^2"] = Column("float", area)
        perimeter = partial(of_annotations, ENCLOSING, lambda: size()[1])
        columns[f"Perimeter {unit}"] = Column("float", perimeter)
    if np.isin(shapes.roi, LINES).any():
        length = partial(of_annotations, LINES, lambda: size()[1])
        columns[f"Length {unit}"] = Column("float", length)
    return columns


def _counts(table: ObjectTable, index: IntArray, mpp: tuple[float, float] | None) -> Columns:
    """Count the detections in annotations and TMA cores, all and by class."""
    holders = np.flatnonzero(np.isin(table.kind[index], HOLDERS))
    drawn = np.flatnonzero(table.kind[index] == ObjectKind.ANNOTATION)
    count = cache(lambda: count_detections(table, index[holders], is_detection(table)))

    def column(score: Score) -> Numbers:
        return some_numbers(len(index), holders, score.compute(count()))

    def density() -> Numbers:
        """Divide by area, which QuPath does for this one class, and for annotations."""
        shapes = table.shapes.take(index[drawn])
        area, _ = sizes(shapes, (1.0, 1.0) if mpp is None else (mpp[0] / 1000, mpp[1] / 1000))
        wide = np.isin(shapes.roi, ENCLOSING) & (area > 0)
        number = positive_count(table, count()[np.isin(holders, drawn)])
        values = np.divide(number, area, out=np.full(len(drawn), np.nan), where=wide)
        return some_numbers(len(index), drawn, values)

    scores = class_scores(table)
    columns = {name: Column(score.kind, partial(column, score)) for name, score in scores.items()}
    if f"Num {POSITIVE}" in scores and len(drawn):
        columns[f"Num {POSITIVE} per {'px' if mpp is None else 'mm'}^2"] = Column("float", density)
    return columns


def _metadata(some: ObjectTable) -> Columns:
    """Columns of metadata; QuPath hides keys that begin with an underscore."""
    by_key: dict[str, dict[int, str]] = {}
    for row, metadata in sorted(some.metadata.items()):
        for key, value in metadata.items():
            if not key.startswith("_"):
                by_key.setdefault(clean(key), {})[row] = value
    return {
        key: Column("text", partial(few_texts, len(some), values)) for key, values in by_key.items()
    }


def _with_measurements(columns: Columns, table: ObjectTable, some: ObjectTable) -> Columns:
    """Add the measurements that objects of `some` carry."""
    there = carried(table, some)

    def stored(column: int) -> Numbers:
        return Numbers(some.measurements[:, column], ~there[:, column])

    def live_or_stored(live: Column, column: int) -> Numbers:
        first, second = live.values(), stored(column)
        assert isinstance(first, Numbers)
        values = np.where(first.absent, second.values, first.values)
        return Numbers(values, first.absent & second.absent)

    out = dict(columns)
    for i in np.flatnonzero(there.any(axis=0)).tolist():
        name = clean(table.measurement_names[i])
        live = columns.get(name)
        if name not in out:
            out[name] = Column("float", partial(stored, i))
        elif live is not None and live.kind == "float":
            out[name] = Column("float", partial(live_or_stored, live, i))
    return out
