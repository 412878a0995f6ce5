"""Texts in GeoJSON that are odd: other encodings, half characters, unknown types, endless names."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qpbridge.errors import FormatError, RequestError
from qpbridge.objects import ObjectKind
from qpbridge.project.geojson import split as geojson_split
from qpbridge.project.geojson.read import read_geojson, salvage_geojson

SQUARE = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
HALF = "\N{REPLACEMENT CHARACTER}"


def feature(**properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": SQUARE, "properties": properties}


def text(*features: Any) -> str:
    return json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False)


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "a.geojson"
    path.write_bytes(data)
    return path


NAMES = text(feature(name="Dr. Müller", measurements={"Area µm^2": 3.0}))


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (NAMES.encode("utf-8"), None),
        (NAMES.encode("utf-8-sig"), None),
        (NAMES.encode("cp1252"), "cp1252"),
        (NAMES.encode("utf-16"), "utf-16-le"),
        (NAMES.encode("utf-16-le"), "utf-16-le"),
        (b"\xfe\xff" + NAMES.encode("utf-16-be"), "utf-16-be"),
        (NAMES.encode("utf-16-be"), "utf-16-be"),
        (NAMES.encode("utf-32"), "utf-32-le"),
        (NAMES.encode("utf-32-be"), "utf-32-be"),
    ],
)
@pytest.mark.parametrize("window", [8, 4 << 20])
def test_text_of_older_versions_is_read_and_said(
    tmp_path: Path, data: bytes, encoding: str | None, window: int, monkeypatch
) -> None:
    monkeypatch.setattr(geojson_split, "WINDOW", window)
    path = file(tmp_path, data)
    found = salvage_geojson(path)
    assert found.encoding == encoding
    assert found.objects.names == {0: "Dr. Müller"}
    assert found.objects.measurement_names == ("Area µm^2",)
    assert not found.repaired.count and not found.left_out.count
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert read_geojson(path).names == {0: "Dr. Müller"}
    assert len(caught) == (encoding is not None)
    path.write_bytes(gzip.compress(data))
    assert salvage_geojson(path).encoding == encoding


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    path = file(tmp_path, text(feature(name="肿瘤 Łódź")).encode("gb18030"))
    found = salvage_geojson(path, encoding="GB18030")
    assert found.objects.names == {0: "肿瘤 Łódź"} and found.encoding is None
    for name in ("no such", "hex", "undefined"):
        with pytest.raises(RequestError, match="encoding"):
            salvage_geojson(path, encoding=name)
    path = file(tmp_path, NAMES.encode("utf-16"))
    assert read_geojson(path, encoding="utf-16").names == {0: "Dr. Müller"}


def test_utf_8_with_a_broken_byte_is_no_older_text(tmp_path: Path) -> None:
    data = text(feature(name="Köln"), feature(name="XY")).encode().replace(b"XY", b"\xff")
    with pytest.raises(FormatError, match="not text in UTF-8") as caught:
        salvage_geojson(file(tmp_path, data))
    assert caught.value.offset == data.index(b"\xff")
    nowhere = text(feature(name="XY")).encode().replace(b"XY", b"\xff\x81")
    with pytest.raises(FormatError, match="neither in UTF-8 nor in Windows-1252"):
        salvage_geojson(file(tmp_path, nowhere))


def test_half_characters_are_replaced_and_told(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        json.dumps(
            [
                feature(name="\ud800"),
                feature(classification={"names": ["T", "\udc00x"], "color": [1, 2, 3]}),
                feature(measurements={"m\ud800": 1, "n": 2}),
                feature(metadata={"\ud800": "\udfff", "k": "v"}),
                feature(name="\ud83d\udd2c", classification="T"),
                feature(classification={"names": ["T", "\udc00x"]}),
            ]
        ).encode(),
    )
    found = salvage_geojson(path)
    objects = found.objects
    assert objects.names == {0: HALF, 4: "\N{MICROSCOPE}"}
    assert [c.names for c in objects.classes] == [("T", HALF + "x"), ("T",)]
    assert objects.measurement_names == ("m" + HALF, "n")
    assert objects.metadata == {3: {HALF: HALF, "k": "v"}}
    assert [p.source.number for p in found.repaired.first] == [1, 2, 3, 4, 6]
    assert "half a character" in str(found.repaired.first[0])
    with pytest.warns(UserWarning, match="object 1 .*half a character.*and 4 others"):
        read_geojson(path)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ObjectKind.ANNOTATION, "PathAnnotationObject"),
        (ObjectKind.DETECTION, "PathDetectionObject"),
        (ObjectKind.DETECTION, "qupath.lib.objects.PathDetectionObject"),
        (ObjectKind.CELL, "PathCellObject"),
        (ObjectKind.TILE, "PathTileObject"),
        (ObjectKind.TMA_CORE, "TMACoreObject"),
    ],
)
@pytest.mark.parametrize("key", ["objectType", "object_type", "type"])
def test_a_type_may_be_the_name_of_a_class(
    tmp_path: Path, kind: ObjectKind, name: str, key: str
) -> None:
    found = salvage_geojson(file(tmp_path, text(feature(**{key: name})).encode()))
    assert found.objects.kind.tolist() == [kind] and not found.repaired.count


def test_an_unknown_type_is_told(tmp_path: Path) -> None:
    odd = [feature(objectType="Zelle"), feature(objectType=5), feature(object_type=["cell"])]
    fine = [feature(type="tumor region"), feature(objectType=None), feature(), feature(type=3)]
    path = file(tmp_path, text(*odd, *fine, feature(objectType="PathRootObject")).encode())
    found = salvage_geojson(path)
    assert found.objects.kind.tolist() == [ObjectKind.ANNOTATION] * 7
    assert [p.source.number for p in found.repaired.first] == [1, 2, 3]
    assert "was of the unknown type 'Zelle', and is an annotation" in str(found.repaired.first[0])
    with pytest.warns(UserWarning, match="Zelle"):
        read_geojson(path)


@pytest.mark.parametrize(
    "classification",
    [
        {"names": ["a"] * 10_000},
        {"name": ":".join("a" * 10_000)},
        ": ".join("a" * 10_000),
    ],
)
def test_a_class_of_endless_names_is_left_out(tmp_path: Path, classification: object) -> None:
    found = salvage_geojson(
        file(tmp_path, text(feature(classification=classification), feature()).encode())
    )
    assert len(found.objects) == 1
    assert "a class of 10,000 names" in str(found.left_out.first[0])


def test_what_is_nested_too_deeply_costs_one_object(tmp_path: Path) -> None:
    deep: Any = "x"
    for _ in range(600):
        deep = [deep]
    path = file(tmp_path, text(feature(name=deep), feature(name="b")).encode())
    try:
        found = salvage_geojson(path)
    except FormatError as error:
        assert "nested too deeply" in str(error)
    else:
        assert len(found.objects) + found.left_out.count == 2


def test_names_that_differ_from_object_to_object_are_refused_before_they_take_memory(
    tmp_path: Path,
) -> None:
    path = file(
        tmp_path, text(*(feature(measurements={f"m{i}": 1.0}) for i in range(20_000))).encode()
    )
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"objects have [\d,]+ different measurements"):
            salvage_geojson(path)
        assert tracemalloc.get_traced_memory()[1] < 600e6
    finally:
        tracemalloc.stop()


def test_many_measurements_of_some_objects_are_a_table(tmp_path: Path) -> None:
    some = [feature(measurements={f"m{k}": k for k in range(60)}) for _ in range(10)]
    path = file(tmp_path, text(*some, *(feature() for _ in range(5000))).encode())
    found = salvage_geojson(path)
    assert found.objects.measurements.shape == (5010, 60)
    assert np.isfinite(found.objects.measurements).sum() == 600


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:

    os.mkfifo(tmp_path / "fifo.geojson")
    for path in (tmp_path / "fifo.geojson", tmp_path, Path("/dev/zero")):
        with pytest.raises(FormatError, match="not a file"):
            salvage_geojson(path)
