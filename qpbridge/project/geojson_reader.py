"""Reading GeoJSON of every QuPath version, and of others who write for QuPath."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, RoiKind, random_ids
from qpbridge.project.colors import Rgb, unpack_argb
from qpbridge.project.geojson_shapes import GEOMETRIES, ShapeList

MAX_RATIO = 200
"""How many times its compressed size a file may have; GeoJSON shrinks to a tenth or so."""

MAX_SMALL = 64 << 20
"""Bytes that any file may have uncompressed, whatever the ratio."""

_KINDS = {
    "annotation": ObjectKind.ANNOTATION,
    "detection": ObjectKind.DETECTION,
    "cell": ObjectKind.CELL,
    "tile": ObjectKind.TILE,
    "tmacore": ObjectKind.TMA_CORE,
    "root": None,
}
# QuPath 0.2 writes the name of a class in the place of an id, and no type.
_LEGACY_IDS = {
    "PathAnnotationObject": "annotation",
    "PathDetectionObject": "detection",
    "PathCellObject": "cell",
    "PathTileObject": "tile",
    "TMACoreObject": "tmacore",
    "PathRootObject": "root",
}


def read_geojson(path: Path | str) -> ObjectTable:
    """Read objects from a ``.geojson``, ``.json``, ``.gz`` or ``.zip`` file.

    Accepted are a FeatureCollection, a list (also of lists), one feature or one geometry, in the
    forms of all QuPath versions since 0.2. What has no type is an annotation; a UUID is kept as
    id, anything else replaced by a new one; children keep their parents where they are nested.

    Raises
    ------
    FormatError
        If the file is something else, or one of its features is broken (which one is said).
    ProjectError
        If it can't be read.
    """
    path = Path(path)
    objects = _Objects()
    try:
        with _without_collector():
            for text in _texts(path):
                objects.add_all(_parsed(text))
            return objects.table()
    except FormatError as error:
        raise error.in_file(path) from error
    except RecursionError as error:
        raise FormatError("nested too deeply", path=path) from error
    except OSError as error:
        raise ProjectError(f"{path}: can't be read ({error.strerror or error})") from error


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage among millions of young lists, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _texts(path: Path) -> Iterator[bytes]:
    """Read the file, or the JSON files in an archive, without trusting their stated sizes."""
    limit = max(MAX_SMALL, MAX_RATIO * path.stat().st_size)
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        try:
            if magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as packed:
                    yield _limited(cast(IO[bytes], packed), limit)
            elif magic == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    ends = (".geojson", ".json")
                    names = [n for n in archive.namelist() if n.lower().endswith(ends)]
                    if not names:
                        raise FormatError("an archive without a .geojson or .json file in it")
                    for name in names:
                        with archive.open(name) as packed_entry:
                            text = _limited(packed_entry, limit)
                        limit -= len(text)
                        yield text
            else:
                yield file.read()
        except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
            raise FormatError(f"a damaged or cut off archive ({error})") from error
        except (RuntimeError, NotImplementedError) as error:
            raise FormatError(f"an archive that can't be opened ({error})") from error


def _limited(file: IO[bytes], limit: int) -> bytes:
    data = file.read(max(limit, 0) + 1)
    if len(data) > limit:
        raise FormatError("unpacks to a suspicious size; unpack it by hand if you trust it")
    return data


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError("not text in UTF-8", offset=error.start) from error
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON, or cut off: {error.msg} in line {error.lineno}") from error
    except ValueError as error:
        raise FormatError(f"not JSON that makes sense: {error}") from error


def _features(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _features(item)
        return
    kind = str(node.get("type")) if isinstance(node, dict) else ""
    if kind == "FeatureCollection" and isinstance(node.get("features"), list):
        yield from _features(node["features"])
    elif kind == "Feature":
        yield node
    elif kind in GEOMETRIES:
        yield {"type": "Feature", "geometry": node}
    else:
        raise FormatError("not GeoJSON: no FeatureCollection, Feature or geometry")


@dataclass
class _Objects:
    """Grows object by object; `table` makes the columns."""

    shapes: ShapeList = field(default_factory=ShapeList)
    nuclei: ShapeList = field(default_factory=ShapeList)
    kinds: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    planes: list[tuple[int, int, int]] = field(default_factory=list)
    locked: list[bool] = field(default_factory=list)
    ids: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    colors: dict[int, Rgb] = field(default_factory=dict)
    metadata: dict[int, dict[str, str]] = field(default_factory=dict)
    class_index: list[int] = field(default_factory=list)
    classes: dict[PathClass, int] = field(default_factory=dict)
    class_of: dict[str, int] = field(default_factory=dict)
    # Rows and values of the objects that have measurements of the same names.
    measured: dict[tuple[str, ...], tuple[list[int], list[list[Any]]]] = field(default_factory=dict)

    def add_all(self, document: Any) -> None:
        for feature in _features(document):
            self.add(feature, -1)

    def add(self, feature: Mapping[str, Any], parent: int) -> None:
        properties = feature.get("properties") or {}
        if not isinstance(properties, dict):
            raise FormatError(f"object {len(self.kinds) + 1} has properties that are no object")
        kind = _kind(feature, properties)
        if kind is not None:
            row = len(self.kinds)
            try:
                self._append(row, kind, feature, properties)
            except FormatError as error:
                raise FormatError(f"object {row + 1}: {error.message}") from error
            except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
                raise FormatError(f"object {row + 1} is broken ({error!r})") from error
            self.parents.append(parent)
            parent = row
        children = properties.get("childObjects", properties.get("children"))
        for child in _features(children if isinstance(children, list) else []):
            self.add(child, parent)

    def _append(
        self, row: int, kind: ObjectKind, feature: Mapping[str, Any], properties: Mapping[str, Any]
    ) -> None:
        geometry = feature.get("geometry") or {}
        self.shapes.add(geometry)
        nucleus = feature.get("nucleusGeometry")
        if nucleus:
            self.nuclei.add(nucleus)
        else:
            self.nuclei.add_empty()
        self.kinds.append(kind)
        self.planes.append(_plane(geometry))
        self.locked.append(properties.get("isLocked") is True)
        self.class_index.append(self._class(properties.get("classification")))
        identity = _identity(feature.get("id"))
        if identity is not None:
            self.ids[row] = identity
        name = properties.get("name")
        if name is not None:
            self.names[row] = _text(name)
        color = _color(properties.get("color"))
        if color is not None:
            self.colors[row] = color
        metadata = properties.get("metadata")
        if metadata and isinstance(metadata, dict):
            self.metadata[row] = {
                key: _text(value)
                for key, value in metadata.items()
                if not isinstance(value, dict | list)
            }
        self._measure(row, properties.get("measurements"))

    def _class(self, classification: Any) -> int:
        key = repr(classification)  # the few classes of many objects are parsed once
        if key not in self.class_of:
            found = _path_class(classification)
            self.class_of[key] = (
                -1 if found is None else self.classes.setdefault(found, len(self.classes))
            )
        return self.class_of[key]

    def _measure(self, row: int, measurements: Any) -> None:
        if not measurements:
            return
        if isinstance(measurements, list):
            measurements = {_text(item["name"]): item.get("value") for item in measurements}
        rows, values = self.measured.setdefault(tuple(measurements), ([], []))
        rows.append(row)
        values.append(list(measurements.values()))

    def table(self) -> ObjectTable:
        """Make the table.

        Raises
        ------
        FormatError
            If outlines or measurements are not what they should be.
        """
        n = len(self.kinds)
        names = tuple(dict.fromkeys(name for keys in self.measured for name in keys))
        column = {name: i for i, name in enumerate(names)}
        measurements = np.full((n, len(names)), np.nan)
        for keys, (rows, values) in self.measured.items():
            measurements[np.ix_(rows, [column[name] for name in keys])] = _numbers(rows, values)
        ids = random_ids(n)
        if self.ids:
            given = np.frombuffer(b"".join(self.ids.values()), np.uint8).reshape(-1, 16)
            ids[list(self.ids)] = given
        nuclei = self.nuclei.shapes()
        return ObjectTable(
            kind=np.array(self.kinds, np.uint8),
            shapes=self.shapes.shapes(),
            nuclei=nuclei if (nuclei.roi != RoiKind.EMPTY).any() else None,
            ids=ids,
            class_index=np.array(self.class_index, np.int32),
            classes=tuple(self.classes),
            parent=np.array(self.parents, np.int64),
            plane=np.array(self.planes, np.int32).reshape(n, 3),
            measurement_names=names,
            measurements=measurements,
            locked=np.array(self.locked, bool),
            names=self.names,
            colors=self.colors,
            metadata=self.metadata,
        )


def _kind(feature: Mapping[str, Any], properties: Mapping[str, Any]) -> ObjectKind | None:
    for key in ("objectType", "object_type", "type"):
        if isinstance(properties.get(key), str):
            text = properties[key].lower().replace("_", "").replace(" ", "")
            return _KINDS.get(text, ObjectKind.ANNOTATION)
    return _KINDS[_LEGACY_IDS.get(str(feature.get("id")), "annotation")]


def _identity(text: Any) -> bytes | None:
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        return uuid.UUID(text).bytes
    except ValueError:
        return None


def _plane(geometry: Mapping[str, Any]) -> tuple[int, int, int]:
    plane = geometry.get("plane")
    if not isinstance(plane, dict):
        return -1, 0, 0
    c, z, t = int(plane.get("c", -1)), int(plane.get("z", 0)), int(plane.get("t", 0))
    if not all(-1 <= index < 2**31 for index in (c, z, t)):
        raise FormatError(f"a plane that no image has: {plane}")
    return c, z, t


def _path_class(value: Any) -> PathClass | None:
    """Read a classification in any of its forms; nested parents come before the name."""
    if not value or value == "Unclassified":
        return None
    if isinstance(value, str):
        return PathClass.parse(value)
    names = value.get("names") or value.get("name")
    if not names:
        return None
    color = _color(value.get("color", value.get("colorRGB")))
    parts = names if isinstance(names, list) else str(names).split(":")
    above = _path_class(value.get("parentClass"))
    full = (*(above.names if above else ()), *(str(part).strip() for part in parts))
    if not all(full):
        raise FormatError(f"a class without a name: {names!r}")
    return PathClass(full, color)


def _color(value: Any) -> Rgb | None:
    if isinstance(value, int):
        return unpack_argb(value)
    if isinstance(value, list) and len(value) in (3, 4):
        r, g, b = (int(v) for v in value[:3])
        if not all(0 <= v <= 255 for v in (r, g, b)):
            raise FormatError(f"a colour outside of 0 to 255: {value}")
        return r, g, b
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbers(rows: list[int], values: list[list[Any]]) -> npt.NDArray[np.float64]:
    # NumPy reads "NaN" and "Infinity" too, and None as NaN.
    try:
        return np.array(values, np.float64).reshape(len(rows), len(values[0]))
    except (TypeError, ValueError, OverflowError):
        for row, numbers in zip(rows, values, strict=True):
            try:
                np.array(numbers, np.float64).reshape(len(numbers))
            except (TypeError, ValueError, OverflowError) as error:
                raise FormatError(
                    f"object {row + 1} has a measurement that is no number ({error})"
                ) from error
        raise
