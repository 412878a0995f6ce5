"""QuPath's GeoJSON: its own exports read, and what we write checked as QuPath would."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

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
from qpbridge.project.geojson.write import read_geojson, write_geojson

TRIANGLE = [[10, 20], [30.5, 20], [20, 40.25], [10, 20]]
SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0], [0, 0]]


def written(table: ObjectTable) -> list[dict[str, Any]]:
    out = io.StringIO()
    write_geojson(table, out)

    def no_constant(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    document = json.loads(out.getvalue(), parse_constant=no_constant)
    assert document["type"] == "FeatureCollection"
    features: list[dict[str, Any]] = document["features"]
    return features


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
                properties = dict(qupaths["properties"])
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
        path = tmp_path / "hierarchy.geojson"
        path.write_text(json.dumps(hierarchy["root"]), "utf-8")
        table = read_geojson(path)
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
    monkeypatch.setattr("qpbridge.project.geojson.write.CHUNK", 100)
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
