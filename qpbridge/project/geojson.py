"""QuPath's GeoJSON dialect, written in the form of QuPath 0.6, and read in all its forms."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Plane, RoiKind, Shapes, offsets
from qpbridge.project.colors import default_color
from qpbridge.project.geojson_reader import read_geojson
from qpbridge.project.safety import atomic_file

__all__ = ["read_geojson", "write_geojson"]

CHUNK = 10_000
"""Objects that are turned into text at a time."""

GRID = 0.01
"""Pixels to which QuPath rounds what it reads."""

_TYPE_NAMES = {
    ObjectKind.ANNOTATION: "annotation",
    ObjectKind.DETECTION: "detection",
    ObjectKind.CELL: "cell",
    ObjectKind.TILE: "tile",
    ObjectKind.TMA_CORE: "tmaCore",
}


def write_geojson(table: ObjectTable, file: Path | str | TextIO) -> None:
    """Write objects as a FeatureCollection that QuPath 0.5 and later can import.

    Coordinates are rounded to 0.01 pixels, as QuPath does anyway, and outlines that are invalid
    after that are repaired. All objects stand side by side: GeoJSON keeps no parents. What no
    object of a kind has been measured for is left out; what just some lack is NaN.

    Parameters
    ----------
    table
        The objects; each needs a shape.
    file
        Where to: a path (compressed if it ends in ``.gz``; complete or not there), or a stream.

    Raises
    ------
    ProjectError
        If the file can't be written.
    ValueError
        If an object has no shape, or coordinates that are not finite.
    """
    if not isinstance(file, str | Path):
        _write(table, file)
        return
    with atomic_file(Path(file)) as raw:
        if str(file).lower().endswith(".gz"):
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6) as packed:
                _write_bytes(table, cast(BinaryIO, packed))
        else:
            _write_bytes(table, raw)


def _write_bytes(table: ObjectTable, raw: BinaryIO) -> None:
    text = io.TextIOWrapper(raw, "utf-8", "replace")
    _write(table, text)
    text.detach()  # or it would close the file below


def _write(table: ObjectTable, out: TextIO) -> None:
    out.write('{"type":"FeatureCollection","features":[')
    columns = _measured(table)
    for start in range(0, len(table), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(table)))
        out.write(",\n" if start else "\n")
        out.write(",\n".join(_features(table, rows, columns)))
    out.write("\n]}\n")
    out.flush()


def _features(
    table: ObjectTable, rows: npt.NDArray[np.int64], columns: Mapping[int, npt.NDArray[np.int64]]
) -> Iterator[str]:
    planes = [_plane_text(plane) for plane in table.plane[rows].tolist()]
    geometries = _geometry_texts(table.shapes.take(rows), planes)
    nuclei = [""] * len(rows)
    if table.nuclei is not None:
        texts = _geometry_texts(table.nuclei.take(rows), planes)
        nuclei = [text and f'"nucleusGeometry":{text},' for text in texts]
    measurements = _measurement_texts(table, rows, columns)
    kinds = [_TYPE_NAMES[ObjectKind(kind)] for kind in table.kind[rows].tolist()]
    classes = [*map(_class_text, table.classes), ""]  # index -1: none
    class_index = table.class_index[rows].tolist()
    locked = [',"isLocked":true' if is_so else "" for is_so in table.locked[rows].tolist()]
    ids = table.ids[rows].tobytes().hex()
    for i, row in enumerate(rows.tolist()):
        if not geometries[i]:
            raise ValueError(f"object {row} has no shape, which GeoJSON can't express for QuPath")
        u = ids[32 * i : 32 * i + 32]
        yield (
            f'{{"type":"Feature","id":"{u[:8]}-{u[8:12]}-{u[12:16]}-{u[16:20]}-{u[20:]}",'
            f'"geometry":{geometries[i]},{nuclei[i]}"properties":{{"objectType":"{kinds[i]}"'
            f"{_name_and_color(table, row)}{classes[class_index[i]]}{locked[i]}{measurements[i]}"
            f"{_metadata_text(table.metadata.get(row))}}}}}"
        )


def _geometry_texts(shapes: Shapes, planes: Sequence[str]) -> list[str]:
    """Write each shape, rounded and valid; "" where there is none."""
    if not (np.abs(shapes.coords) < 1e12).all():
        raise ValueError("coordinates that are not finite, or beyond any image")
    texts = [""] * len(shapes)
    simple = np.flatnonzero(shapes.roi == RoiKind.POLYGON)
    simple = simple[np.diff(shapes.take(simple).rings) >= 4]
    polygons = shapes.take(simple)
    polygons = replace(polygons, coords=_rounded(polygons.coords))
    valid = shapely.is_valid(polygons.geometries)
    text, at = _vertices_text(polygons.coords)
    ends = at[polygons.rings].tolist()
    for k, i in enumerate(simple.tolist()):
        if valid[k]:
            ring = text[ends[k] : ends[k + 1] - 1]
            texts[i] = f'{{"type":"Polygon","coordinates":[[{ring}]]{planes[i]}}}'
    for i in np.flatnonzero(shapes.roi != RoiKind.EMPTY).tolist():
        if not texts[i]:
            ellipse = ',"isEllipse":true' if shapes.roi[i] == RoiKind.ELLIPSE else ""
            texts[i] = f"{{{_geometry_text(_on_grid(shapes.take([i])))}{planes[i]}{ellipse}}}"
    return texts


def _vertices_text(coords: npt.NDArray[np.float64]) -> tuple[str, npt.NDArray[np.int64]]:
    """Write all vertices (m, 2) as ``[x, y],`` with up to two decimals, as QuPath does.

    Returns
    -------
    text, at
        All of it, and (m + 1,) where each vertex begins.
    """
    # One row of characters for each number, of which only the needed ones are kept: Python
    # would spend most of an export on turning millions of numbers into text one by one.
    hundredths = np.rint(coords * 100).astype(np.int64).ravel()
    whole, cents = np.divmod(np.abs(hundredths), 100)
    digits = len(str(whole.max(initial=0)))
    if digits < 10:
        whole = whole.astype(np.uint32)  # which divides faster
    chars = np.empty((len(whole), digits + 7), np.uint8)
    keep = np.ones(chars.shape, bool)
    chars[:, :2] = np.frombuffer(b"[-", np.uint8)
    keep[1::2, 0] = False
    keep[:, 1] = hundredths < 0
    for column in range(digits + 1, 1, -1):
        if column <= digits:
            keep[:, column] = whole > 0
        whole, digit = np.divmod(whole, 10)
        chars[:, column] = digit + ord("0")
    chars[:, -5] = ord(".")
    chars[:, -4] = cents // 10 + ord("0")
    chars[:, -3] = cents % 10 + ord("0")
    keep[:, -5] = keep[:, -4] = cents > 0
    keep[:, -3] = cents % 10 > 0
    chars[0::2, -2:] = np.frombuffer(b", ", np.uint8)
    chars[1::2, -2:] = np.frombuffer(b"],", np.uint8)
    lengths = keep.reshape(len(coords), 2 * (digits + 7)).sum(axis=1)
    return chars[keep].tobytes().decode("ascii"), offsets(lengths)


def _geometry_text(geometry: Any) -> str:
    kind = geometry.geom_type
    if kind == "Point":
        coordinates = _line_text(geometry)
    elif kind == "Polygon":
        coordinates = _polygon_text(geometry)
    elif kind == "MultiPolygon":
        coordinates = f"[{','.join(map(_polygon_text, geometry.geoms))}]"
    elif kind == "MultiLineString":
        coordinates = f"[{','.join(f'[{_line_text(line)}]' for line in geometry.geoms)}]"
    else:
        coordinates = f"[{_line_text(geometry)}]"
    return f'"type":"{kind}","coordinates":{coordinates}'


def _polygon_text(polygon: Any) -> str:
    rings = (polygon.exterior, *polygon.interiors)
    return f"[{','.join(f'[{_line_text(ring)}]' for ring in rings)}]"


def _line_text(geometry: Any) -> str:
    text, _ = _vertices_text(shapely.get_coordinates(geometry))
    return text[:-1]


def _rounded(coords: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.round(coords, 2) + 0.0  # which makes -0.0 positive


def _on_grid(shape: Shapes) -> Any:
    """Return the geometry of one shape, rounded, and repaired where that made it invalid."""
    roi = RoiKind(shape.roi[0])
    if roi in (RoiKind.POLYGON, RoiKind.GEOMETRY) and (np.diff(shape.rings) < 4).any():
        return _smallest_box(shape.coords)  # a sliver of one or two vertices
    geometry = shape.geometries[0]
    if roi is RoiKind.POINTS and len(shape.coords) == 1:
        geometry = shapely.Point(shape.coords[0])
    rounded = shapely.transform(geometry, _rounded)
    if shapely.is_valid(rounded) or roi in (RoiKind.LINE, RoiKind.POLYLINE, RoiKind.LINES):
        return rounded
    with np.errstate(all="ignore"):
        repaired = shapely.set_precision(shapely.make_valid(rounded), GRID)
    polygons = [shapely.transform(part, _rounded) for part in _polygons(repaired)]
    whole = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    return whole if polygons and whole.is_valid else _smallest_box(shape.coords)


def _polygons(geometry: Any) -> list[Any]:
    if hasattr(geometry, "geoms"):
        return [polygon for part in geometry.geoms for polygon in _polygons(part)]
    return [geometry] if geometry.geom_type == "Polygon" and not geometry.is_empty else []


def _smallest_box(coords: npt.NDArray[np.float64]) -> Any:
    """Return the box around a shape that rounding leaves without area; at least 0.01 px wide."""
    low = np.floor(coords.min(axis=0) / GRID)
    high = np.maximum(np.ceil(coords.max(axis=0) / GRID), low + 1)
    return shapely.box(*_rounded(np.concatenate([low, high]) * GRID))


def _measured(table: ObjectTable) -> dict[int, npt.NDArray[np.int64]]:
    """Return, for each kind, which measurements its objects carry: those any of them has."""
    there = ~np.isnan(table.measurements)
    nowhere = ~there.any(axis=0)
    return {
        int(kind): np.flatnonzero(there[table.kind == kind].any(axis=0) | nowhere)
        for kind in np.unique(table.kind)
    }


def _measurement_texts(
    table: ObjectTable, rows: npt.NDArray[np.int64], columns: Mapping[int, npt.NDArray[np.int64]]
) -> list[str]:
    texts = [""] * len(rows)
    values = table.measurements[rows]
    carrying = ~np.isnan(values).all(axis=1)
    for kind, chosen in columns.items():
        some = np.flatnonzero((table.kind[rows] == kind) & carrying)
        names = (_text(table.measurement_names[c]).replace("%", "%%") for c in chosen)
        form = ',"measurements":{' + ",".join(f"{name}:%s" for name in names) + "}"
        block = values[np.ix_(some, chosen)]
        plain = np.asarray(np.isfinite(block).all(axis=1)).tolist()
        for i, numbers, is_plain in zip(some.tolist(), block.tolist(), plain, strict=True):
            texts[i] = form % tuple(numbers if is_plain else map(_number, numbers))
    return texts


def _number(value: float) -> str:
    if np.isfinite(value):
        return repr(value)
    return '"NaN"' if np.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'


def _class_text(path_class: PathClass) -> str:
    # QuPath throws on a class without a colour.
    r, g, b = path_class.color or default_color(path_class.names)
    names = path_class.names
    name = f'"name":{_text(names[0])}' if len(names) == 1 else f'"names":{_text(list(names))}'
    return f',"classification":{{{name},"color":[{r}, {g}, {b}]}}'


def _name_and_color(table: ObjectTable, row: int) -> str:
    name = f',"name":{_text(table.names[row])}' if row in table.names else ""
    if row not in table.colors:
        return name
    r, g, b = table.colors[row]
    return f'{name},"color":[{r}, {g}, {b}]'


def _metadata_text(metadata: Mapping[str, str] | None) -> str:
    return f',"metadata":{_text(dict(metadata))}' if metadata else ""


def _plane_text(plane: Sequence[int]) -> str:
    c, z, t = plane
    return "" if (c, z, t) == Plane() else f',"plane":{{"c":{c},"z":{z},"t":{t}}}'


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
