"""GeoJSON of every dialect, in every packing, and broken in every way."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    RoiKind,
)
from qpbridge.project.geojson import read_geojson, write_geojson

SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0], [0, 0]]
TRIANGLE = [[10, 20], [30.5, 20], [20, 40.25], [10, 20]]
POLYGON = {"type": "Polygon", "coordinates": [TRIANGLE]}


def read(tmp_path: Path, document: object) -> ObjectTable:
    path = tmp_path / "objects.geojson"
    path.write_text(json.dumps(document), "utf-8")
    return read_geojson(path)


def feature(geometry: object = None, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry or POLYGON, "properties": properties}


class TestDialects:
    @pytest.mark.parametrize(
        "document",
        [
            {"type": "FeatureCollection", "features": [feature()]},
            [feature()],
            [[feature()], []],
            feature(),
            POLYGON,
            [POLYGON],
            {"type": "Feature", "geometry": POLYGON},
            {"type": "Feature", "geometry": POLYGON, "properties": None},
        ],
    )
    def test_containers(self, tmp_path: Path, document: object) -> None:
        table = read(tmp_path, document)
        assert table.kind.tolist() == [ObjectKind.ANNOTATION]
        assert table.geometries[0].equals(shapely.Polygon(TRIANGLE))

    @pytest.mark.parametrize(
        ("properties", "identity", "kind"),
        [
            ({"objectType": "detection"}, None, ObjectKind.DETECTION),
            ({"object_type": "cell"}, None, ObjectKind.CELL),
            ({"object_type": "tma_core"}, None, ObjectKind.TMA_CORE),
            ({"objectType": "tmaCore"}, None, ObjectKind.TMA_CORE),
            ({"type": "tile"}, None, ObjectKind.TILE),
            ({"objectType": "nonsense"}, "PathCellObject", ObjectKind.ANNOTATION),
            ({}, "PathDetectionObject", ObjectKind.DETECTION),
            ({}, "PathAnnotationObject", ObjectKind.ANNOTATION),
            ({}, 17, ObjectKind.ANNOTATION),
        ],
    )
    def test_types(
        self, tmp_path: Path, properties: dict[str, object], identity: object, kind: ObjectKind
    ) -> None:
        table = read(tmp_path, {**feature(**properties), "id": identity})
        assert table.kind.tolist() == [kind]

    @pytest.mark.parametrize(
        ("classification", "names", "color"),
        [
            ("Tumor: Positive", ("Tumor", "Positive"), None),
            (None, None, None),
            ("", None, None),
            ({}, None, None),
            ({"name": "Tumor"}, ("Tumor",), None),
            ({"name": "A: B", "color": None}, ("A", "B"), None),
            ({"name": "A", "color": []}, ("A",), None),
            ({"name": "A", "color": [1, 2, 3]}, ("A",), (1, 2, 3)),
            ({"name": "A", "color": [1, 2, 3, 128]}, ("A",), (1, 2, 3)),
            ({"name": "A", "colorRGB": -377282}, ("A",), (250, 62, 62)),
            ({"names": ["A", "B", "C"], "color": [1, 2, 3]}, ("A", "B", "C"), (1, 2, 3)),
            (
                {"name": "B", "colorRGB": -1, "parentClass": {"name": "A", "colorRGB": 0}},
                ("A", "B"),
                (255, 255, 255),
            ),
        ],
    )
    def test_classes(
        self,
        tmp_path: Path,
        classification: object,
        names: tuple[str, ...] | None,
        color: tuple[int, int, int] | None,
    ) -> None:
        found = read(tmp_path, feature(classification=classification)).path_class(0)
        assert (found and found.names) == names
        assert (found and found.color) == color

    @pytest.mark.parametrize(
        "measurements",
        [
            {"a": 1.5, "b": "NaN", "c": "Infinity", "d": "-inf", "e": None},
            [
                {"name": "a", "value": 1.5},
                {"name": "b", "value": math.nan},
                {"name": "c", "value": math.inf},
                {"name": "d", "value": -math.inf},
                {"name": "e"},
            ],
        ],
    )
    def test_measurements(self, tmp_path: Path, measurements: object) -> None:
        table = read(tmp_path, feature(measurements=measurements))
        assert table.measurement_names == ("a", "b", "c", "d", "e")
        np.testing.assert_array_equal(
            table.measurements, [[1.5, math.nan, math.inf, -math.inf, math.nan]]
        )

    def test_measurements_of_different_names(self, tmp_path: Path) -> None:
        table = read(
            tmp_path,
            [feature(measurements={"b": 1}), feature(), feature(measurements={"a": 2, "b": 3})],
        )
        assert table.measurement_names == ("b", "a")
        np.testing.assert_array_equal(
            table.measurements, [[1, math.nan], [math.nan, math.nan], [3, 2]]
        )

    @pytest.mark.parametrize(
        ("geometry", "roi"),
        [
            ({"type": "Point", "coordinates": [1, 2]}, RoiKind.POINTS),
            ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, RoiKind.POINTS),
            ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, RoiKind.LINE),
            ({"type": "LineString", "coordinates": [[1, 2], [3, 4], [5, 7]]}, RoiKind.POLYLINE),
            ({"type": "MultiLineString", "coordinates": [TRIANGLE, SQUARE]}, RoiKind.LINES),
            ({"type": "Polygon", "coordinates": [SQUARE]}, RoiKind.RECTANGLE),
            ({"type": "Polygon", "coordinates": [SQUARE[::-1]]}, RoiKind.RECTANGLE),
            (POLYGON, RoiKind.POLYGON),
            ({**POLYGON, "isEllipse": True}, RoiKind.ELLIPSE),
            (
                {"type": "Polygon", "coordinates": [SQUARE, [[1, 1], [2, 1], [2, 2], [1, 1]]]},
                RoiKind.GEOMETRY,
            ),
            ({"type": "MultiPolygon", "coordinates": [[SQUARE], [TRIANGLE]]}, RoiKind.GEOMETRY),
            ({"type": "MultiPolygon", "coordinates": [[TRIANGLE]]}, RoiKind.POLYGON),
            ({"type": "Polygon", "coordinates": [[[*p, 7] for p in TRIANGLE]]}, RoiKind.POLYGON),
        ],
    )
    def test_geometries(self, tmp_path: Path, geometry: dict[str, object], roi: RoiKind) -> None:
        table = read(tmp_path, [feature(), feature(geometry), feature(POLYGON)])
        assert table.shapes.roi.tolist() == [RoiKind.POLYGON, roi, RoiKind.POLYGON]
        assert table.geometries[2].equals(shapely.Polygon(TRIANGLE))
        if roi is not RoiKind.ELLIPSE:
            truth = shapely.force_2d(shapely.geometry.shape(geometry))
            assert shapely.equals(table.geometries[1], truth)

    def test_plane_and_the_rest(self, tmp_path: Path) -> None:
        table = read(
            tmp_path,
            {
                **feature(
                    {**POLYGON, "plane": {"z": 2}},
                    objectType="cell",
                    name=5,
                    color=-377282,
                    isLocked=True,
                    metadata={"a": "b", "n": 1.5, "list": []},
                ),
                "nucleusGeometry": POLYGON,
                "id": "11223344-5566-4600-8000-000000030d42",
            },
        )
        assert table.plane.tolist() == [[-1, 2, 0]]
        assert (table.names[0], table.colors[0]) == ("5", (250, 62, 62))
        assert table.metadata[0] == {"a": "b", "n": "1.5"}
        assert table.locked.all()
        assert str(table.uuid(0)) == "11223344-5566-4600-8000-000000030d42"
        assert table.nuclei is not None
        assert table.nuclei.geometries[0].equals(shapely.Polygon(TRIANGLE))


FULL: dict[str, Any] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "11223344-5566-4500-8000-0000000493e2",
            "geometry": {**POLYGON, "plane": {"c": 0, "z": 1, "t": 2}, "isEllipse": True},
            "nucleusGeometry": {"type": "MultiPolygon", "coordinates": [[TRIANGLE], [SQUARE]]},
            "properties": {
                "objectType": "cell",
                "name": "x",
                "color": [1, 2, 3],
                "classification": {"names": ["a", "b"], "color": [1, 2, 3]},
                "isLocked": True,
                "measurements": {"a": 1, "b": "NaN"},
                "metadata": {"k": "v"},
                "childObjects": [feature({"type": "LineString", "coordinates": TRIANGLE})],
            },
        },
        feature(
            {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
            measurements=[{"name": "q", "value": 2}],
            classification={"name": "x", "colorRGB": -3, "parentClass": {"name": "y"}},
        ),
    ],
}
ODD = (None, True, 5, -1, 1e308, 10**30, "", "NaN", [], [[]], [1], {}, {"a": 1}, math.nan, "Point")


def places(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [here, *(place for key in keys for place in places(node[key], (*here, key)))]


@given(st.lists(st.tuples(st.sampled_from(places(FULL)[1:]), st.sampled_from(ODD)), max_size=2))
@settings(max_examples=200, deadline=None)
def test_odd_values_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    """Never another error than ours, and what is read can be written."""
    document = copy.deepcopy(FULL)
    for place, value in changes:
        node: Any = document
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
        except (KeyError, TypeError, IndexError):
            pass  # the other change took it away
    path = tmp_path_factory.getbasetemp() / "odd.geojson"
    path.write_text(json.dumps(document))
    try:
        table = read_geojson(path)
    except FormatError:
        return
    if (np.abs(table.shapes.coords) < 1e12).all():
        write_geojson(dataclasses.replace(table, nuclei=None), path)
        assert len(read_geojson(path)) == len(table)


class TestFiles:
    def test_zip_is_read_entry_by_entry(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("one.geojson", json.dumps([feature(), feature()]))
            archive.writestr("notes.txt", "not JSON")
            archive.writestr("two.json", json.dumps(feature()))
        assert len(read_geojson(path)) == 3

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps(feature()), "utf-8-sig")
        assert len(read_geojson(path)) == 1

    @pytest.mark.parametrize("packing", ["gz", "zip"])
    def test_bombs(self, tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qpbridge.project.geojson_files.MAX_SMALL", 1 << 20)
        text = b"[" + b" " * (8 << 20) + b"]"
        path = tmp_path / f"a.{packing}"
        if packing == "gz":
            path.write_bytes(gzip.compress(text))
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.geojson", text)
        with pytest.raises(FormatError, match="suspicious"):
            read_geojson(path)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00\xff\xfe",
            b"{",
            b"[1]",
            b"3",
            b"{}",
            b'{"type":"FeatureCollection"}',
            b'{"type":"Topology"}',
            gzip.compress(b"[]")[:-6],
            b"PK\x03\x04 not a zip",
            b"[" * 100_000,
            b"[" * 900 + b"]" * 900 + b"x",
            b"[" + b"9" * 5000 + b"]",
        ],
    )
    def test_not_geojson(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "a.geojson"
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"a\.geojson"):
            read_geojson(path)

    def test_empty_archive(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(FormatError, match=r"without a \.geojson"):
            read_geojson(tmp_path / "a.zip")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectError, match="can't be read"):
            read_geojson(tmp_path / "a.geojson")

    @pytest.mark.parametrize(
        ("broken", "what"),
        [
            (feature({"type": "GeometryCollection", "geometries": []}), "GeometryCollection"),
            (feature({"type": "Polygon"}), "without coordinates"),
            (feature({"type": "Polygon", "coordinates": [TRIANGLE[:3]]}), "not closed"),
            (feature({"type": "Polygon", "coordinates": [SQUARE[:2]]}), "too few vertices"),
            (feature({"type": "Polygon", "coordinates": [[]]}), "too few vertices"),
            (feature({"type": "Polygon", "coordinates": [[*TRIANGLE[:3], [1, 1]]]}), "not closed"),
            (feature({"type": "Polygon", "coordinates": [["a", "b", "c", "d"]]}), "position"),
            (feature({"type": "Polygon", "coordinates": [[[1], [2], [3], [1]]]}), "position"),
            (feature({"type": "Polygon", "coordinates": [5]}), "broken"),
            (feature({"type": "LineString", "coordinates": [[1, 1]]}), "too few vertices"),
            (feature({"type": "Point", "coordinates": [None, 1]}), "position"),
            (feature({"type": "Point", "coordinates": [10**400, 1]}), "position"),
            (feature(measurements={"a": "many"}), "no number"),
            (feature(measurements={"a": [1, 2]}), "no number"),
            (feature(measurements=[1]), "broken"),
            (feature(classification=5), "broken"),
            (feature(classification={"name": ": "}), "class without a name"),
            (feature(color=[300, 0, 0]), "colour"),
            ({"type": "Feature", "geometry": None}, "no geometry"),
            ({"type": "Feature", "geometry": POLYGON, "properties": [1]}, "properties"),
        ],
    )
    def test_broken_features_are_named(
        self, tmp_path: Path, broken: dict[str, object], what: str
    ) -> None:
        with pytest.raises(FormatError, match=what) as caught:
            read(tmp_path, [feature(), broken])
        assert "object 2" in str(caught.value)
        assert "objects.geojson" in str(caught.value)
