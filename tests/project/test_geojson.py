"""QuPath's GeoJSON: its own exports read, and what we write checked as QuPath would."""

from __future__ import annotations

import copy
import dataclasses
import gzip
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    Plane,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.colors import unpack_argb
from qpbridge.project.geojson import read_geojson, write_geojson

SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0], [0, 0]]
TRIANGLE = [[10, 20], [30.5, 20], [20, 40.25], [10, 20]]
POLYGON = {"type": "Polygon", "coordinates": [TRIANGLE]}


def written(table: ObjectTable) -> list[dict[str, Any]]:
    out = io.StringIO()
    write_geojson(table, out)

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    document = json.loads(out.getvalue(), parse_constant=no_constant)
    assert document["type"] == "FeatureCollection"
    features: list[dict[str, Any]] = document["features"]
    return features


def read(tmp_path: Path, document: object) -> ObjectTable:
    path = tmp_path / "objects.geojson"
    path.write_text(json.dumps(document), "utf-8")
    return read_geojson(path)


def feature(geometry: object = None, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry or POLYGON, "properties": properties}


def annotation(shapes: Shapes, **columns: Any) -> ObjectTable:
    return ObjectTable.new(ObjectKind.ANNOTATION, shapes, **columns)


class TestGolden:
    """QuPath's own exports hold what QuPath itself read from the project."""

    ROIS: ClassVar = {
        "RectangleROI": RoiKind.RECTANGLE,
        "EllipseROI": RoiKind.ELLIPSE,
        "PolygonROI": RoiKind.POLYGON,
        "LineROI": RoiKind.LINE,
        "PolylineROI": RoiKind.POLYLINE,
        "PointsROI": RoiKind.POINTS,
        "GeometryROI": RoiKind.GEOMETRY,
        "AreaROI": RoiKind.GEOMETRY,
    }
    KINDS: ClassVar = {
        "PathAnnotationObject": ObjectKind.ANNOTATION,
        "PathDetectionObject": ObjectKind.DETECTION,
        "PathCellObject": ObjectKind.CELL,
        "PathTileObject": ObjectKind.TILE,
        "TMACoreObject": ObjectKind.TMA_CORE,
    }
    CASES = ("basic", "attrs", "cells", "planes", "tma", "multi", "stats", "unnamed", "pyramid")

    @pytest.mark.parametrize("version", ["v0.3.2", "v0.5.1", "v0.6.0"])
    @pytest.mark.parametrize("case", CASES)
    def test_equals_the_project(self, shared: Path, version: str, case: str) -> None:
        folder = shared / "qupath/golden" / version / case
        dump = json.loads((folder / "dump.json").read_text("utf-8"))
        compared = 0
        for image in dump["images"]:
            for ending in ("geojson", "pretty.geojson", "array.json"):
                path = folder / f"objects-{image['id']}.{ending}"
                if path.exists():
                    self.compare(read_geojson(path), image["raw"]["hierarchy"]["objects"], version)
                    compared += 1
        assert compared

    def compare(self, table: ObjectTable, truth: list[dict[str, Any]], version: str) -> None:
        truth = [t for t in truth if t["roi"] is not None]  # all but the root
        assert len(table) == len(truth)
        modern = version != "v0.3.2"
        for i, t in enumerate(truth):
            assert table.kind[i] == self.KINDS[t["class"].rsplit(".")[-1]]
            if modern:
                assert str(table.uuid(i)) == t["id"]
                assert dict(table.metadata.get(i, {})) == t["metadata"]
            assert table.names.get(i) == t["name"]
            assert table.locked[i] == t["locked"]
            if t["color"] is not None:
                assert table.colors[i] == unpack_argb(t["color"])
            assert tuple(table.plane[i]) == tuple(t["roi"]["plane"][k] for k in "czt")
            self.compare_class(table.path_class(i), t["pathClass"])
            self.compare_measurements(table, i, t["measurements"])
            self.compare_shape(table.shapes, i, t["roi"], modern)
            if t.get("nucleus"):
                assert table.nuclei is not None
                self.compare_shape(table.nuclei, i, t["nucleus"], modern)

    def compare_class(self, found: PathClass | None, truth: dict[str, Any] | None) -> None:
        if truth is None:
            assert found is None
        else:
            assert found is not None
            assert list(found.names) == truth["names"]
            assert found.color == unpack_argb(truth["color"])

    def compare_measurements(
        self, table: ObjectTable, i: int, truth: list[tuple[str, float | str]]
    ) -> None:
        for name, value in truth:
            np.testing.assert_allclose(table.measurement(name)[i], float(value), rtol=1e-6)
        there = {
            n
            for n, v in zip(table.measurement_names, table.measurements[i], strict=True)
            if not math.isnan(v)
        }
        assert there <= {name for name, _ in truth}

    def compare_shape(self, shapes: Shapes, i: int, truth: dict[str, Any], modern: bool) -> None:
        expected = self.ROIS[truth["class"].rsplit(".")[-1]]
        if expected is RoiKind.ELLIPSE and not modern:
            expected = RoiKind.POLYGON  # old exports don't say what is an ellipse
        geometry = shapely.from_wkt(truth["wkt"])
        found = RoiKind(shapes.roi[i])
        if found is RoiKind.RECTANGLE and expected in (RoiKind.POLYGON, RoiKind.GEOMETRY):
            assert shapely.equals(geometry, shapely.envelope(geometry))  # as QuPath would
        else:
            assert found == expected
        ours = shapes.geometries[i]
        assert shapely.hausdorff_distance(ours, geometry) < (
            0.3 if found is RoiKind.ELLIPSE else 0.011
        )
        np.testing.assert_allclose(shapely.bounds(ours), shapely.bounds(geometry), atol=0.011)

    @pytest.mark.parametrize("version", ["v0.3.2", "v0.5.1", "v0.6.0"])
    @pytest.mark.parametrize("case", CASES)
    def test_written_again_is_the_same(
        self, shared: Path, tmp_path: Path, version: str, case: str
    ) -> None:
        for path in sorted((shared / "qupath/golden" / version / case).glob("objects-?.geojson")):
            table = read_geojson(path)
            write_geojson(table, tmp_path / "again.geojson")
            assert_same(read_geojson(tmp_path / "again.geojson"), table)

    @pytest.mark.parametrize("case", CASES)
    def test_written_as_qupath_writes(self, shared: Path, case: str) -> None:
        """Key by key: what v0.6 exports is what we make of it, but for the order of vertices."""
        for path in sorted((shared / "qupath/golden/v0.6.0" / case).glob("objects-?.geojson")):
            ours = written(read_geojson(path))
            theirs = json.loads(path.read_text("utf-8"))["features"]
            for mine, qupaths in zip(ours, theirs, strict=True):
                assert list(mine) == list(qupaths)
                properties = {k: v for k, v in qupaths["properties"].items() if k != "isMissing"}
                # A value that just some objects of a kind carry is NaN in the others.
                values = properties.get("measurements", {})
                found = mine["properties"].get("measurements", {})
                assert {k: v for k, v in found.items() if v != "NaN"} == {
                    k: v for k, v in values.items() if v != "NaN"
                }
                for each in (mine["properties"], properties):
                    each.pop("measurements", None)
                assert mine["properties"] == properties
                assert list(mine["properties"]) == list(properties)
                assert mine["geometry"]["type"] == qupaths["geometry"]["type"]
                assert mine["geometry"].get("plane") == qupaths["geometry"].get("plane")

    def test_nested_children_know_their_parents(self, shared: Path, tmp_path: Path) -> None:
        folder = shared / "qupath/golden/v0.6.0/cells"
        hierarchy = json.loads((folder / "objects-1.hierarchy.json").read_text("utf-8"))
        table = read(tmp_path, hierarchy["root"])
        dump = json.loads((folder / "dump.json").read_text("utf-8"))
        truth = dump["images"][0]["raw"]["hierarchy"]["objects"][1:]
        assert [str(table.uuid(i)) for i in range(len(table))] == [t["id"] for t in truth]
        assert table.parent.tolist() == [t["parentIndex"] - 1 for t in truth]


def assert_same(found: ObjectTable, table: ObjectTable) -> None:
    """Compare all that GeoJSON can express."""
    assert len(found) == len(table)
    for column in ("kind", "ids", "plane", "locked"):
        np.testing.assert_array_equal(getattr(found, column), getattr(table, column))
    assert [found.path_class(i) for i in range(len(found))] == [
        table.path_class(i) for i in range(len(table))
    ]
    for column in ("names", "colors"):
        assert getattr(found, column) == getattr(table, column)
    assert found.metadata == {i: m for i, m in table.metadata.items() if m}
    for name in table.measurement_names:
        if not np.isnan(table.measurement(name)).all():
            np.testing.assert_array_equal(found.measurement(name), table.measurement(name))
    np.testing.assert_array_equal(found.shapes.roi, table.shapes.roi)
    np.testing.assert_allclose(found.shapes.coords, table.shapes.coords, atol=0.005001)
    for name in ("rings", "parts", "objects"):
        np.testing.assert_array_equal(getattr(found.shapes, name), getattr(table.shapes, name))
    if table.nuclei is not None and (table.nuclei.roi != RoiKind.EMPTY).any():
        assert found.nuclei is not None
        np.testing.assert_array_equal(found.nuclei.roi, table.nuclei.roi)
        np.testing.assert_allclose(found.nuclei.coords, table.nuclei.coords, atol=0.005001)


coordinate = st.floats(-1e6, 1e6, allow_nan=False)
cents = st.integers(-10_000_000, 10_000_000).map(lambda k: k / 100)
label = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
class_name = st.text(
    st.characters(exclude_characters=":\n\r", exclude_categories=["Cs", "Zs"]),
    min_size=1,
    max_size=6,
).filter(lambda t: t == t.strip())


@st.composite
def shapes(draw: st.DrawFn) -> Shapes:
    kind = draw(st.sampled_from(["fan", "holes", "two", "rectangle", "ellipse", "line", "points"]))
    x, y = draw(cents), draw(cents)
    w, h = (draw(st.integers(1, 10_000)) for _ in range(2))
    if kind in ("rectangle", "ellipse"):
        roi = RoiKind.RECTANGLE if kind == "rectangle" else RoiKind.ELLIPSE
        return Shapes.corners(roi, x, y, round(x + w, 2), round(y + h, 2))
    if kind == "line":
        return Shapes.corners(RoiKind.LINE, x, y, draw(cents), draw(cents))
    if kind == "points":
        points = draw(st.lists(st.tuples(cents, cents), min_size=1, max_size=5))
        return Shapes.from_geometries([shapely.MultiPoint(points)])
    outer = shapely.Point(x, y).buffer(10 + w, quad_segs=draw(st.integers(1, 8)))
    if kind == "holes":
        outer = outer.difference(shapely.Point(x, y).buffer(4, quad_segs=2))
    elif kind == "two":
        outer = shapely.MultiPolygon([outer, shapely.Point(x + 3 * (10 + w), y).buffer(5)])
    return Shapes.from_geometries([outer])


@st.composite
def tables(draw: st.DrawFn) -> ObjectTable:
    parts = draw(st.lists(shapes(), min_size=1, max_size=6))
    n = len(parts)
    names = draw(st.lists(label, max_size=3, unique=True))
    values = st.floats(width=64)
    classes = draw(st.lists(st.lists(class_name, min_size=1, max_size=3), max_size=3))
    unique = tuple(dict.fromkeys(PathClass(tuple(c), (1, 2, 3)) for c in classes))
    rows = st.integers(0, n - 1)
    table = annotation(
        concatenate_shapes(parts),
        measurement_names=names,
        measurements=[[draw(values) for _ in names] for _ in range(n)],
        plane=Plane(draw(st.integers(-1, 3)), draw(st.integers(0, 3)), draw(st.integers(0, 3))),
    )
    return dataclasses.replace(
        table,
        kind=np.array([draw(st.sampled_from(list(ObjectKind))) for _ in parts], np.uint8),
        classes=unique,
        class_index=np.array([draw(st.integers(-1, len(unique) - 1)) for _ in parts], np.int32),
        locked=np.array([draw(st.booleans()) for _ in parts]),
        names=draw(st.dictionaries(rows, label)),
        colors=draw(st.dictionaries(rows, st.just((255, 128, 0)))),
        metadata=draw(st.dictionaries(rows, st.dictionaries(label, label, max_size=2))),
    )


@given(tables())
@settings(max_examples=50, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, table: ObjectTable) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.geojson"
    write_geojson(table, path)
    assert_same(read_geojson(path), table)


@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8))
@settings(max_examples=100, deadline=None)
def test_outlines_are_valid_after_rounding(points: list[tuple[float, float]]) -> None:
    """Whatever a polygon looks like, QuPath must be able to read it."""
    ring = np.array([*points, points[0]])
    (found,) = written(annotation(Shapes.from_rings(ring, np.array([0, len(ring)]))))
    geometry = shapely.from_geojson(json.dumps(found["geometry"]))
    assert shapely.is_valid(geometry)
    assert geometry.area > 0
    coords = shapely.get_coordinates(geometry)
    np.testing.assert_array_equal(coords, np.round(coords, 2))


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([[0, 0], [10, 10], [10, 0], [0, 10]], 50.0),  # a bow tie
        ([[0, 0], [10, 0], [10, 10], [5, 0.001]], 25.0),  # touches itself after rounding
        ([[5, 5], [5.001, 5], [5, 5.001]], 1e-4),  # smaller than the grid
        ([[5, 5], [9, 5], [7, 5]], 4e-2),  # flat
    ],
)
def test_repair(points: list[list[float]], area: float) -> None:
    ring = np.array([*points, points[0]], float)
    (found,) = written(annotation(Shapes.from_rings(ring, np.array([0, len(ring)]))))
    geometry = shapely.from_geojson(json.dumps(found["geometry"]))
    assert shapely.is_valid(geometry)
    assert geometry.area == pytest.approx(area, abs=0.1 if area > 1 else 1e-6)


def test_the_form_of_a_feature() -> None:
    table = annotation(
        Shapes.from_rings(np.array(TRIANGLE), np.array([0, 4])),
        path_class=PathClass(("Tumor", "Positive")),
        ids=np.frombuffer(bytes(range(16)), np.uint8).reshape(1, 16),
        plane=Plane(-1, 1, 0),
        measurement_names=["Area µm^2", "50%"],
        measurements=[[1.5, math.inf]],
    )
    table = dataclasses.replace(
        table,
        locked=np.array([True]),
        names={0: 'a "name"'},
        colors={0: (255, 128, 0)},
        metadata={0: {"k": "v"}},
    )
    out = io.StringIO()
    write_geojson(table, out)
    assert out.getvalue() == (
        '{"type":"FeatureCollection","features":[\n{"type":"Feature",'
        '"id":"00010203-0405-0607-0809-0a0b0c0d0e0f","geometry":{"type":"Polygon",'
        '"coordinates":[[[10, 20],[30.5, 20],[20, 40.25],[10, 20]]],'
        '"plane":{"c":-1,"z":1,"t":0}},"properties":{"objectType":"annotation",'
        '"name":"a \\"name\\"","color":[255, 128, 0],'
        '"classification":{"names":["Tumor","Positive"],"color":[200, 50, 50]},"isLocked":true,'
        '"measurements":{"Area µm^2":1.5,"50%":"Infinity"},"metadata":{"k":"v"}}}\n]}\n'
    )


def test_numbers_have_two_decimals() -> None:
    points = [[0.004, -0.004], [-12.345678, 1e9], [123456.789, 99999.999], [0.1, -7.5]]
    (found,) = written(annotation(Shapes.from_geometries([shapely.MultiPoint(points)])))
    assert found["geometry"]["coordinates"] == [
        [0, 0],
        [-12.35, 1e9],
        [123456.79, 100000],
        [0.1, -7.5],
    ]


def test_measurements_of_two_kinds_stay_apart() -> None:
    square = np.array(SQUARE, float)
    table = annotation(
        Shapes.from_rings(np.tile(square, (4, 1)), np.arange(5) * 5),
        measurement_names=["of annotations", "of detections", "b"],
        measurements=[
            [1, math.nan, math.nan],
            [math.nan, 2, 3],
            [math.nan, math.nan, 4],
            [math.nan] * 3,
        ],
    )
    kinds = [
        ObjectKind.ANNOTATION,
        ObjectKind.DETECTION,
        ObjectKind.DETECTION,
        ObjectKind.DETECTION,
    ]
    features = written(dataclasses.replace(table, kind=np.array(kinds, np.uint8)))
    assert [f["properties"].get("measurements") for f in features] == [
        {"of annotations": 1.0},
        {"of detections": 2.0, "b": 3.0},
        {"of detections": "NaN", "b": 4.0},
        None,
    ]


def test_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qpbridge.project.geojson.CHUNK", 100)
    n = 1_001
    ring = np.array(TRIANGLE, float)
    shift = np.repeat(np.arange(n) * 1.25, 4)[:, None]
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_rings(np.tile(ring, (n, 1)) + shift, np.arange(n + 1) * 4),
        measurement_names=["i"],
        measurements=np.arange(n, dtype=float),
    )
    for name in ("a.geojson", "a.geojson.gz"):
        write_geojson(table, tmp_path / name)
        assert_same(read_geojson(tmp_path / name), table)


def test_nothing(tmp_path: Path) -> None:
    write_geojson(annotation(Shapes.empty()), tmp_path / "a.geojson")
    assert len(read_geojson(tmp_path / "a.geojson")) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_coordinates_must_make_sense(tmp_path: Path, bad: float) -> None:
    ring = np.array(TRIANGLE)
    ring[1, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        write_geojson(annotation(Shapes.from_rings(ring, np.array([0, 4]))), tmp_path / "a.geojson")
    assert list(tmp_path.iterdir()) == []


def test_no_shape() -> None:
    with pytest.raises(ValueError, match="object 0 has no shape"):
        written(annotation(Shapes.empty(1)))


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
        monkeypatch.setattr("qpbridge.project.geojson_reader.MAX_SMALL", 1 << 20)
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
            (feature({"type": "Polygon", "coordinates": [TRIANGLE[:3]]}), "too few vertices"),
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
