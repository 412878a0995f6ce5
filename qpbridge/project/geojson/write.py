"""QuPath's GeoJSON dialect, written in the form of QuPath 0.6, and read in all its forms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.errors import OutlineError
from qpbridge.ids import id_texts
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Plane, RoiKind, Shapes, offsets
from qpbridge.project.colors import default_color
from qpbridge.project.files.compressed import atomic_text
from qpbridge.project.geojson.grid import MAX_COORDINATE, OnGrid, on_grid, rounded, smallest_box
from qpbridge.project.geojson.read import read_geojson

__all__ = ["Written", "read_geojson", "write_geojson"]

CHUNK = 10_000
"""Objects that are turned into text at a time."""

_TYPE_NAMES = {
    ObjectKind.ANNOTATION: "annotation",
    ObjectKind.DETECTION: "detection",
    ObjectKind.CELL: "cell",
    ObjectKind.TILE: "tile",
    ObjectKind.TMA_CORE: "tmaCore",
}


@dataclass(frozen=True)
class Written:
    """What was written, and what could not be written as it is.

    Parameters
    ----------
    objects
        How many.
    repaired
        Objects whose outline (or nucleus) crossed or touched itself, perhaps only once rounded.
    flat
        Objects without area, in the place of which there is a tiny box.
    """

    objects: int
    repaired: int = 0
    flat: int = 0


def write_geojson(table: ObjectTable, file: Path | str | TextIO) -> Written:
    """Write objects as a FeatureCollection that QuPath 0.5 and later can import.

    Coordinates are rounded to 0.01 pixels, as QuPath does anyway, and outlines that are invalid
    after that are repaired. All objects stand side by side: GeoJSON keeps no parents. What no
    object of a kind has been measured for is left out; what just some lack is NaN.

    Parameters
    ----------
    table
        The objects; each needs a shape.
    file
        Where to: a path (compressed if it ends in ``.gz`` or ``.zip``; complete or not there), or a
        stream.

    Raises
    ------
    ProjectError
        If the file can't be written.
    OutlineError
        If an outline crosses itself so often that it can't be repaired.
    ValueError
        If an object has no shape, or coordinates that are not finite.
    """
    if not isinstance(file, str | Path):
        return _write(table, file)
    with atomic_text(Path(file), ".geojson") as out:
        return _write(table, out)


def _write(table: ObjectTable, out: TextIO) -> Written:
    out.write('{"type":"FeatureCollection","features":[')
    columns = table.carried()
    repaired = flat = 0
    for start in range(0, len(table), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(table)))
        out.write(",\n" if start else "\n")
        shapes = _checked(table.shapes.take(rows))
        nuclei = _checked(Shapes.empty() if table.nuclei is None else table.nuclei.take(rows))
        out.write(",\n".join(_features(table, rows, shapes.shapes, nuclei.shapes, columns)))
        for part in (shapes, nuclei):
            repaired += int(part.repaired.sum())
            flat += int(part.flat.sum())
    out.write("\n]}\n")
    out.flush()
    return Written(len(table), repaired, flat)


def _checked(shapes: Shapes) -> OnGrid:
    if not (np.abs(shapes.coords) < MAX_COORDINATE).all():
        raise ValueError("coordinates that are not finite, or beyond any image")
    found = on_grid(shapes)
    if found.tangled.any():
        row = np.flatnonzero(found.tangled)[0]
        raise OutlineError(*shapely.bounds(shapes.take([row]).geometries[0]).tolist())
    return found


def _features(
    table: ObjectTable,
    rows: npt.NDArray[np.int64],
    shapes: Shapes,
    nucleus_shapes: Shapes,
    columns: Mapping[int, npt.NDArray[np.int64]],
) -> Iterator[str]:
    """Write the objects of some rows, whose shapes and nuclei (none, or as many) are valid."""
    planes = [_plane_text(plane) for plane in table.plane[rows].tolist()]
    geometries = _geometry_texts(shapes, planes)
    nuclei = [""] * len(rows)
    if len(nucleus_shapes):
        texts = _geometry_texts(nucleus_shapes, planes)
        nuclei = [text and f'"nucleusGeometry":{text},' for text in texts]
    measurements = _measurement_texts(table, rows, columns)
    kinds = [_TYPE_NAMES[ObjectKind(kind)] for kind in table.kind[rows].tolist()]
    classes = [*map(_class_text, table.classes), ""]  # index -1: none
    class_index = table.class_index[rows].tolist()
    locked = [',"isLocked":true' if is_so else "" for is_so in table.locked[rows].tolist()]
    ids = id_texts(table.ids[rows]).astype(str).tolist()
    for i, row in enumerate(rows.tolist()):
        if not geometries[i]:
            raise ValueError(f"object {row} has no shape, which GeoJSON can't express for QuPath")
        yield (
            f'{{"type":"Feature","id":"{ids[i]}",'
            f'"geometry":{geometries[i]},{nuclei[i]}"properties":{{"objectType":"{kinds[i]}"'
            f"{_name_and_color(table, row)}{classes[class_index[i]]}{locked[i]}"
            f"{_missing_text(table, row)}{measurements[i]}"
            f"{_metadata_text(table.metadata.get(row))}}}}}"
        )


def _geometry_texts(shapes: Shapes, planes: Sequence[str]) -> list[str]:
    """Write each shape, all of them valid on QuPath's grid; "" where there is none."""
    texts = [""] * len(shapes)
    simple = np.flatnonzero(shapes.roi == RoiKind.POLYGON)
    polygons = shapes.take(simple)
    text, at = _vertices_text(polygons.coords)
    ends = at[polygons.rings].tolist()
    for k, i in enumerate(simple.tolist()):
        ring = text[ends[k] : ends[k + 1] - 1]
        texts[i] = f'{{"type":"Polygon","coordinates":[[{ring}]]{planes[i]}}}'
    others = np.flatnonzero((shapes.roi != RoiKind.EMPTY) & (shapes.roi != RoiKind.POLYGON))
    for i, geometry in zip(others.tolist(), shapes.take(others).geometries, strict=True):
        is_ellipse = shapes.roi[i] == RoiKind.ELLIPSE
        ellipse = ',"isEllipse":true' if is_ellipse else ""
        plain = _on_grid(geometry) if is_ellipse else geometry
        texts[i] = f"{{{_geometry_text(plain)}{planes[i]}{ellipse}}}"
    return texts


def _on_grid(ellipse: Any) -> Any:
    """Round the outline of an ellipse; of a tiny one, of which that leaves nothing, the box."""
    outline = shapely.transform(ellipse, rounded)
    return outline if outline.is_valid else smallest_box(shapely.get_coordinates(ellipse))


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
    if kind == "MultiPoint" and len(geometry.geoms) == 1:
        kind, coordinates = "Point", _line_text(geometry)
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


def _missing_text(table: ObjectTable, row: int) -> str:
    if table.kind[row] != ObjectKind.TMA_CORE:
        return ""
    return f',"isMissing":{"true" if row in table.missing else "false"}'


def _metadata_text(metadata: Mapping[str, str] | None) -> str:
    return f',"metadata":{_text(dict(metadata))}' if metadata else ""


def _plane_text(plane: Sequence[int]) -> str:
    c, z, t = plane
    return "" if (c, z, t) == Plane() else f',"plane":{{"c":{c},"z":{z},"t":{t}}}'


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
