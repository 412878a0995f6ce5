"""Columns against QuPath's own words and numbers, and against slow twins."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ellipe
from table_values import values

from qpbridge import open_project
from qpbridge.ids import id_texts, random_ids
from qpbridge.objects import (
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.tables.column_types import clean
from qpbridge.tables.columns import object_columns
from qpbridge.tables.sizes import sizes

TUMOR, POSITIVE = PathClass(("Tumor",)), PathClass(("Tumor", "Positive"))


def hand_made() -> ObjectTable:
    """An annotation with a cell and two detections, one of them in a second annotation, too."""
    shapes = concatenate_shapes(
        [
            Shapes.corners(RoiKind.RECTANGLE, 0, 0, 40, 20),
            Shapes.from_geometries([shapely.box(2, 2, 6, 6), shapely.box(30, 2, 32, 4)]),
            Shapes.corners(RoiKind.ELLIPSE, 20, 0, 60, 20),
            Shapes.from_geometries([shapely.box(33, 9, 35, 11)]),
            Shapes.from_geometries([shapely.LineString([(0, 0), (3, 4)])]),
            Shapes.empty(1),
        ]
    )
    A, D, C = ObjectKind.ANNOTATION, ObjectKind.DETECTION, ObjectKind.CELL  # noqa: N806
    table = ObjectTable.new(D, shapes)
    return table.replace(
        kind=np.array([A, C, D, A, D, A, D], np.uint8),
        classes=(POSITIVE, TUMOR),
        class_index=np.array([1, 1, 0, -1, -1, -1, 1], np.int32),
        parent=np.array([-1, 0, 0, -1, 3, -1, -1]),
        names={0: "left", 4: "a name"},
        measured=MeasurementTable(
            ("Area µm^2", "Nuclei: Count", "Name"),
            np.array(
                [
                    [np.nan, 2, np.nan],
                    [11, np.nan, np.nan],
                    [np.nan, np.nan, np.nan],
                    [np.nan, np.nan, np.nan],
                    [33, np.nan, np.nan],
                    [44, np.nan, np.nan],
                    [np.nan, np.nan, np.nan],
                ]
            ),
        ),
        metadata={0: {"who": "me", "_hidden": "x"}},
    )


def test_names_order_and_texts_are_those_of_qupath():
    table = hand_made()
    columns = object_columns(table, "a.svs", (0.5, 0.25))
    found = {name: values(column) for name, column in columns.items()}
    root, nan = "Root object (Image)", pytest.approx(np.nan, nan_ok=True)
    cells = [
        ["Annotation", "left", "Tumor", root, "Rectangle", 10, 2.5],
        ["Cell", None, "Tumor", "left", "Polygon", 2, 1],
        ["Detection", None, "Tumor: Positive", "left", "Polygon", 15.5, 0.75],
        ["Annotation", None, None, root, "Ellipse", 20, 2.5],
        ["Detection", "a name", None, "Annotation", "Polygon", 17, 2.5],
        ["Annotation", None, None, root, "Line", 0.75, 0.5],
        ["Detection", None, "Tumor", root, None, None, None],
    ]
    names = ["Object type", "Name", "Classification", "Parent", "ROI"]
    names += ["Centroid X µm", "Centroid Y µm"]
    ellipse = pytest.approx(np.pi * 10 * 2.5)
    assert list(found.items()) == [
        ("Image", ["a.svs"] * 7),
        ("Object ID", [str(table.uuid(i)) for i in range(7)]),
        *((n, [row[i] for row in cells]) for i, n in enumerate(names)),
        # live for annotations that have an area, as stored for all else
        ("Area µm^2", [100, 11, nan, ellipse, 33, 44, nan]),
        ("Perimeter µm", [50, None, None, pytest.approx(42.89, abs=0.01), None, None, None]),
        ("Length µm", [None] * 5 + [pytest.approx(np.hypot(1.5, 1)), None]),
        ("Num Detections", [3, None, None, 2, None, 0, None]),
        ("Num Tumor (base)", [2, None, None, 1, None, 0, None]),
        ("Num Tumor", [1, None, None, 0, None, 0, None]),
        ("Num Tumor: Positive", [1, None, None, 1, None, 0, None]),
        ("Tumor: Positive %", [100, None, None, 100, None, nan, None]),
        ("who", ["me"] + [None] * 6),
        # the other annotations were never searched
        ("Nuclei: Count", [2, None, None, None, None, None, None]),
    ]


def test_columns_are_those_of_the_rows_asked_for():
    table = hand_made()
    names = list(object_columns(table, "a", None, rows=table.kind == ObjectKind.DETECTION))
    assert names[-3:] == ["Centroid X px", "Centroid Y px", "Area µm^2"]
    drawn = object_columns(table, "a", None, rows=np.array([3, 0]))
    assert values(drawn["Num Detections"]) == [2, 3]
    assert values(drawn["Area px^2"]) == [pytest.approx(np.pi * 200), 800]
    assert len(values(drawn["Object ID"])) == 2


def test_tissue_microarray():
    box = [Shapes.corners(RoiKind.ELLIPSE, x, 0, x + 10, 10) for x in (0, 20)]
    inner = [Shapes.from_geometries([shapely.box(2, 2, 4, 4)])] * 2
    table = ObjectTable.new(ObjectKind.TMA_CORE, concatenate_shapes(box + inner)).replace(
        kind=np.array([4, 4, 0, 1], np.uint8),
        parent=np.array([-1, -1, 0, 2]),
        names={0: "A-1", 1: "A-2"},
        missing=frozenset({1}),
    )
    found = {name: values(column) for name, column in object_columns(table, "a", None).items()}
    assert found["TMA Core"] == ["A-1", "A-2", "A-1", "A-1"]
    assert found["Parent"][2:] == ["A-1", "A-1 - Annotation"]
    assert found["Missing core"] == ["false", "true", None, None]
    assert found["Num Detections"] == [1, 0, 1, None]


def test_planes():
    table = ObjectTable.new(ObjectKind.DETECTION, Shapes.from_geometries([shapely.box(0, 0, 2, 2)]))
    shapes = concatenate_shapes([table.shapes] * 3 + [Shapes.empty(1)])
    table = ObjectTable.new(ObjectKind.DETECTION, shapes).replace(
        kind=np.array([0, 1, 1, 1], np.uint8),
        plane=np.array([[-1, 2, 0], [-1, 2, 0], [-1, 0, 0], [-1, 0, 0]], np.int32),
    )
    found = object_columns(table, "a", None)
    assert "Timepoint" not in found
    assert values(found["Z-slice"]) == [2, 2, 0, None]
    assert values(found["Num Detections"])[0] == 1


CASES = ("basic", "attrs", "cells", "planes", "tma", "multi", "unnamed", "odd_geometry")


@pytest.mark.parametrize("version", ["v0.3.2", "v0.5.1", "v0.6.0"])
@pytest.mark.parametrize("case", CASES)
def test_golden_projects(shared: Path, version: str, case: str):
    """What QuPath itself says of these objects: ids, names, outlines and their sizes."""
    folder = shared / "qupath/golden" / version / case
    dump = json.loads((folder / "dump.json").read_text("utf-8"))
    project = open_project(folder / "project/project.qpproj", "embedded")
    compared = 0
    for image, entry in zip(dump["images"], project.images, strict=True):
        if not image["hasImageData"]:
            continue
        truth = image["raw"]["hierarchy"]["objects"]
        types = {
            "PathAnnotationObject": "Annotation",
            "PathDetectionObject": "Detection",
            "PathCellObject": "Cell",
            "PathTileObject": "Tile",
            "TMACoreObject": "TMA core",
        }
        found = {
            name: values(column)
            for name, column in object_columns(entry.read().objects, entry.name, None).items()
        }
        for i, t in enumerate(truth[1:]):
            drawn = t["class"].endswith("PathAnnotationObject")
            if version != "v0.3.2":  # whose files have no ids
                assert found["Object ID"][i] == t["id"]
            assert found["Object type"][i] == types[t["class"].rsplit(".")[-1]]
            assert found["Name"][i] == t["name"]
            assert found["Classification"][i] == (t["pathClass"] and t["pathClass"]["string"])
            parent = truth[t["parentIndex"]]
            if parent["name"] is not None and parent["name"] == t["name"]:
                assert found["Parent"][i].endswith(parent["name"])
            roi = t["roi"]
            assert found["ROI"][i] == roi["roiName"].replace("Area", "Geometry")
            wkt = shapely.from_wkt(roi["wkt"])
            if drawn and wkt.area:
                assert found["Area px^2"][i] == pytest.approx(roi["area"], rel=1e-5)
                assert found["Perimeter px"][i] == pytest.approx(roi["length"], rel=1e-5)
            elif drawn and wkt.length:
                assert found["Length px"][i] == pytest.approx(roi["length"], rel=1e-5)
            if wkt.is_empty:
                continue
            for axis, at in zip("XY", wkt.centroid.coords[0], strict=True):
                assert found[f"Centroid {axis} px"][i] == pytest.approx(at, rel=1e-4, abs=0.05)
            compared += 1
    assert compared


@given(st.lists(st.uuids(), max_size=20))
def test_ids(ids: list[uuid.UUID]):
    packed = np.array([list(i.bytes) for i in ids], np.uint8).reshape(-1, 16)
    assert id_texts(packed).astype(str).tolist() == [str(i) for i in ids]


def test_what_no_table_takes_is_replaced():
    assert clean("half \ud83d") == "half ?"
    assert clean("a\rb\r\nc\n") == "a\nb\nc\n"
    table = hand_made()
    half = MeasurementTable(("a", "\ude00", "b"), table.measurements)
    table = table.replace(metadata={0: {"\ud83d": "x"}}, measured=half)
    names = list(object_columns(table, "a", None))
    assert names[-3:] == ["?", "a", "b"]  # of two that read the same the first stays


@pytest.mark.parametrize("mpp", [(1.0, 1.0), (0.5, 0.5), (0.5, 0.25)])
def test_outlines_equal_shapely(mpp):
    ring = shapely.Point(50, 60).buffer(20).difference(shapely.Point(52, 60).buffer(5))
    geometries = [
        shapely.box(3, 4, 9, 20),
        ring,
        shapely.union(ring, shapely.box(0, 0, 4, 4)),
        shapely.LineString([(0, 0), (3, 4), (10, 4)]),
        shapely.MultiPoint([(0, 0), (1, 2), (8, 1)]),
        shapely.MultiLineString([[(0, 0), (1, 1)], [(5, 5), (9, 9)]]),
    ]
    shapes = Shapes.from_geometries(geometries)
    scaled = shapely.transform(np.array(geometries), lambda xy: xy * mpp)
    area, length = sizes(shapes, mpp)
    assert area == pytest.approx([g.area for g in scaled])
    assert length == pytest.approx([g.length for g in scaled])
    assert shapes.centroids() == pytest.approx(
        np.array([g.centroid.coords[0] for g in geometries]), rel=1e-12
    )


@given(st.tuples(*[st.floats(0.01, 1000)] * 2), st.tuples(*[st.floats(0.1, 10)] * 2))
def test_ellipses(axes, mpp):
    shapes = Shapes.corners(RoiKind.ELLIPSE, 7, 5, 7 + axes[0], 5 - axes[1])
    minor, major = sorted(a * m / 2 for a, m in zip(axes, mpp, strict=True))
    area, length = sizes(shapes, mpp)
    assert area[0] == pytest.approx(np.pi * minor * major)
    assert length[0] == pytest.approx(4 * major * ellipe(1 - (minor / major) ** 2), rel=5e-4)
    assert shapes.centroids()[0] == pytest.approx([7 + axes[0] / 2, 5 - axes[1] / 2])


boxes = st.tuples(*[st.integers(0, 12)] * 4, st.integers(0, 1), st.integers(-1, 2))


@given(st.lists(boxes, max_size=12), st.lists(boxes, min_size=1, max_size=6))
def test_counts_equal_those_of_a_slow_twin(detections, annotations):
    every = [*annotations, *detections]
    geometries = [shapely.box(x, y, x + w + 1, y + h + 1) for x, y, w, h, *_ in every]
    table = ObjectTable.new(ObjectKind.DETECTION, Shapes.from_geometries(geometries)).replace(
        kind=np.array([ObjectKind.ANNOTATION] * len(annotations) + [1] * len(detections), np.uint8),
        plane=np.array([[-1, z, 0] for *_, z, _ in every], np.int32),
        classes=(PathClass(("b",)), PathClass(("a",)), PathClass(("a",), (1, 2, 3))),
        class_index=np.array([c for *_, c in every], np.int32),
    )
    columns = object_columns(table, "i", None)
    for name, wanted in (("Num Detections", None), ("Num a", (1, 2)), ("Num b", (0,))):
        expected = [
            sum(
                geometries[i].intersects(geometries[j].centroid)
                and table.plane[i, 1] == table.plane[j, 1]
                and (wanted is None or table.class_index[j] in wanted)
                for j in range(len(annotations), len(every))
            )
            for i in range(len(annotations))
        ]
        if name in columns:
            assert values(columns[name])[: len(annotations)] == expected
        else:
            assert not any(expected)


def test_an_image_without_objects_has_columns():
    empty = ObjectTable.new(ObjectKind.DETECTION, Shapes.empty(0), ids=random_ids(0))
    columns = object_columns(empty, "a", None)
    assert list(columns)[:2] == ["Image", "Object ID"]
    assert [values(column) for column in columns.values()] == [[]] * len(columns)
