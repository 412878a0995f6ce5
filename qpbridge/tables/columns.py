"""The columns of QuPath's measurement exports, by QuPath's names and in its order.

Names, order and texts are those of QuPath 0.6.0 (`PathObjectLazyValues`, and the value factories
that use it). QuPath exports one type of object at a time; here a table can hold all types. What
QuPath computes while it exports is filled in for annotations (``Area µm^2`` ...), counts for TMA
cores too (``Num Detections`` ...); it takes the place of a stored measurement of that name, as in
QuPath.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from qpbridge.objects import FloatArray, IntArray, ObjectKind, ObjectTable, RoiKind
from qpbridge.tables.counts import count_detections
from qpbridge.tables.outlines import AREAS, LINES, centroids, sizes
from qpbridge.tables.scores import POSITIVE, Score, class_scores, is_detection, positive_count

IMAGE = "Image"
"""The column that every table has."""
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

_HOLDERS = (ObjectKind.ANNOTATION, ObjectKind.TMA_CORE)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_HYPHENS = (8, 13, 18, 23)


@dataclass(frozen=True, eq=False)
class Column:
    """One column, computed when asked for.

    Parameters
    ----------
    kind
        What it holds.
    values
        Makes the values, n of them: of ids, ASCII bytes (n,); of other texts, a pandas Categorical;
        of numbers, a masked array of float64 or int64. What an object doesn't have is masked (a
        text: missing); NaN is what it has, but could not be computed.
    """

    kind: Literal["id", "text", "int", "float"]
    values: Callable[[], Any]


Columns = dict[str, Column]


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
    if rows is not None:
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    index: IntArray = np.arange(len(table)) if rows is None else rows.astype(np.int64)
    some = table if rows is None else table.take(index)
    columns = {IMAGE: Column("text", lambda: texts(np.zeros(len(index), np.int64), [image]))}
    groups = [_properties(table, some, index), _outlines(some, mpp)]
    if np.isin(some.kind, _HOLDERS).any():
        groups.append(_counts(table, index, mpp))
    for group in (*groups, _metadata(some)):
        for name, column in group.items():
            columns.setdefault(
                name, column
            )  # of two that are called the same, QuPath has the first
    return _with_measurements(columns, table, some)


def _whole(text: str) -> str:
    """Replace half a character, as a hostile or broken file may hold: no file takes it."""
    return text.encode("utf-8", "replace").decode("utf-8")


def parent_ids(table: ObjectTable, rows: npt.ArrayLike | None = None) -> Column:
    """Make a column of the ids of objects' parents, for all or some rows; none: the root."""
    parent = table.parent if rows is None else table.parent[np.asarray(rows)]

    def values() -> pd.Categorical:
        found, codes = np.unique(parent, return_inverse=True)
        return texts(
            np.where(parent < 0, -1, codes), id_texts(table.ids[found]).astype(str).tolist()
        )

    return Column("text", values)


def texts(codes: npt.NDArray[Any], labels: Sequence[str]) -> pd.Categorical:
    """Make a column of texts from an index into labels (n,); negative: none."""
    whole = [_whole(label) for label in labels]
    different = list(dict.fromkeys(whole))
    position = {label: i for i, label in enumerate(different)}
    new = np.array([*(position[label] for label in whole), -1], np.int64)
    return pd.Categorical.from_codes(
        np.where(codes < 0, -1, new[codes]), pd.Index(different, dtype=object)
    )


def id_texts(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.bytes_]:
    """Write UUIDs, uint8 (n, 16), as texts: ASCII bytes (n,) of 36 characters."""
    out = np.full((len(ids), 36), ord("-"), np.uint8)
    digits = np.delete(np.arange(36), _HYPHENS)
    out[:, digits[::2]] = _HEX[ids >> 4]
    out[:, digits[1::2]] = _HEX[ids & 15]
    return out.view("S36").ravel()


def _properties(table: ObjectTable, some: ObjectTable, index: IntArray) -> Columns:
    def kinds() -> pd.Categorical:
        return texts(some.kind.astype(np.int64), [TYPE_NAMES[kind] for kind in ObjectKind])

    def parents() -> pd.Categorical:
        rows, codes = np.unique(table.parent[index], return_inverse=True)
        return texts(codes, [displayed_name(table, int(row)) for row in rows])

    columns = {
        "Object ID": Column("id", lambda: id_texts(some.ids)),
        "Object type": Column("text", kinds),
        "Name": Column("text", lambda: _few_texts(len(some), some.names)),
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


def _cores(table: ObjectTable, index: IntArray) -> pd.Categorical:
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
    center = cache(lambda: centroids(some.shapes) * scale)
    size = cache(lambda: sizes(shapes, scale))

    def rois() -> pd.Categorical:
        names = [ROI_NAMES.get(kind, "") for kind in RoiKind]
        return texts(np.where(shapeless, -1, some.shapes.roi.astype(np.int64)), names)

    def place(axis: int) -> Any:
        return np.ma.array(center()[:, axis], mask=shapeless)

    def plane(axis: int) -> Any:
        return np.ma.array(some.plane[:, axis].astype(np.int64), mask=shapeless)

    def of_annotations(kind: Sequence[RoiKind], make: Callable[[], FloatArray]) -> Any:
        values = _masked(len(some), np.float64)
        fits = np.isin(shapes.roi, kind)
        values[drawn[fits]] = make()[fits]
        return values

    def points() -> Any:
        values = _masked(len(some), np.int64)
        fits = shapes.roi == RoiKind.POINTS
        first, last = (shapes.rings[shapes.parts[shapes.objects[i:][: len(drawn)]]] for i in (0, 1))
        values[drawn[fits]] = (last - first)[fits]
        return values

    columns = {}
    if not len(some) or (some.kind != ObjectKind.TMA_CORE).any():
        columns["ROI"] = Column("text", rois)
    for axis, name in enumerate("XY"):
        columns[f"Centroid {name} {unit}"] = Column("float", partial(place, axis))
    for axis, name in ((1, "Z-slice"), (2, "Timepoint")):
        if (some.plane[~shapeless, axis] > 0).any():
            columns[name] = Column("int", partial(plane, axis))
    if (shapes.roi == RoiKind.POINTS).any():
        columns["Num points"] = Column("int", points)
    if np.isin(shapes.roi, AREAS).any():
        area = partial(of_annotations, AREAS, lambda: size()[0])
        columns[f"Area {unit}^2"] = Column("float", area)
        perimeter = partial(of_annotations, AREAS, lambda: size()[1])
        columns[f"Perimeter {unit}"] = Column("float", perimeter)
    if np.isin(shapes.roi, LINES).any():
        columns[f"Length {unit}"] = Column(
            "float", partial(of_annotations, LINES, lambda: size()[1])
        )
    return columns


def _counts(table: ObjectTable, index: IntArray, mpp: tuple[float, float] | None) -> Columns:
    """Count the detections in annotations and TMA cores, all and by class."""
    holders = np.flatnonzero(np.isin(table.kind[index], _HOLDERS))
    drawn = np.flatnonzero(table.kind[index] == ObjectKind.ANNOTATION)
    count = cache(lambda: count_detections(table, index[holders], is_detection(table)))

    def column(score: Score) -> Any:
        values = _masked(len(index), np.int64 if score.kind == "int" else np.float64)
        values[holders] = score.compute(count())
        return values

    def density() -> Any:
        """Divide by area, which QuPath does for this one class, and for annotations."""
        shapes = table.shapes.take(index[drawn])
        area, _ = sizes(shapes, (1.0, 1.0) if mpp is None else (mpp[0] / 1000, mpp[1] / 1000))
        wide = np.isin(shapes.roi, AREAS) & (area > 0)
        number = positive_count(table, count()[np.isin(holders, drawn)])
        values = _masked(len(index), np.float64)
        values[drawn] = np.divide(number, area, out=np.full(len(drawn), np.nan), where=wide)
        return values

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
                by_key.setdefault(_whole(key), {})[row] = value
    return {
        key: Column("text", partial(_few_texts, len(some), values))
        for key, values in by_key.items()
    }


def _with_measurements(columns: Columns, table: ObjectTable, some: ObjectTable) -> Columns:
    """Add the measurements that objects of `some` carry.

    A kind of object carries what any object of it has. What nobody in the image has could not be
    computed, and is carried by all.
    """
    there = ~np.isnan(some.measurements)
    nowhere = np.isnan(table.measurements).all(axis=0)
    carries = np.zeros((len(ObjectKind), len(table.measurement_names)), bool)
    for kind in np.unique(some.kind):
        carries[kind] = there[some.kind == kind].any(axis=0) | nowhere

    def stored(column: int) -> Any:
        values = some.measurements[:, column]
        return np.ma.array(values, mask=~carries[some.kind, column])

    def live_or_stored(live: Column, column: int) -> Any:
        values = live.values().copy()
        absent = np.ma.getmaskarray(values)
        values[absent] = stored(column)[absent]
        return values

    out = dict(columns)
    for i in np.flatnonzero(carries.any(axis=0)).tolist():
        name = _whole(table.measurement_names[i])
        live = columns.get(name)
        if name not in out:
            out[name] = Column("float", partial(stored, i))
        elif live is not None and live.kind == "float":
            out[name] = Column("float", partial(live_or_stored, live, i))
    return out


def _few_texts(n: int, values: Mapping[int, str]) -> pd.Categorical:
    """Make a column of `n` texts of which there are few, by row."""
    codes = np.full(n, -1, np.int64)
    codes[list(values)] = np.arange(len(values))
    return texts(codes, list(values.values()))


def _masked(n: int, dtype: type) -> Any:
    return np.ma.array(np.zeros(n, dtype), mask=True)
