"""A wrong value is named, wherever it comes from; one name need not be in a list."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import shapely

from qpbridge import AnnotationUpdate, MeasurementUpdate, Places
from qpbridge.engine.measuring.request import MeasureRequest, Surroundings
from qpbridge.engine.segmenting.request import Request
from qpbridge.errors import (
    MissingImageError,
    PixelSizeError,
    QpbridgeError,
    RequestError,
    UnknownImageError,
)
from qpbridge.hierarchy.regions import Selection
from qpbridge.objects import (
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    PathClass,
    Plane,
    Shapes,
)
from qpbridge.prediction.options import NucleusOptions
from qpbridge.project.interface import WorkflowStep

NAN, INF = float("nan"), float("inf")

WRONG = [
    (Selection, "within", 5),
    (Selection, "within", ("Tumor", None)),
    (Selection, "within", ("",)),
    (Selection, "selected", b"left"),
    (Selection, "whole_image", "yes"),
    (Request, "selection", "Tumor"),
    (Request, "device", "gpu 0"),
    (Request, "device", 0),
    (Request, "device", ""),
    *((Request, "mpp", value) for value in (0, -0.5, NAN, INF, 50, "0.5", True, (0.5, 0.5))),
    *((Request, "tile", value) for value in (0, 63, -1, 512.5, "512", True, None)),
    *((Request, name, value) for name in ("batch_size", "workers") for value in (0, -1, 1.5, "2")),
    (Request, "compiled", 1),
    (Request, "restart", "no"),
    (Request, "dry_run", None),
    (Request, "area_kind", "cells"),
    (Request, "area_kind", ObjectKind.CELL),
    (Request, "area_kind", 1),
    (Request, "nuclei", None),
    (Request, "command", ""),
    *((NucleusOptions, "cell_expansion", value) for value in (-1, 25.1, NAN, INF, "5")),
    *(
        (NucleusOptions, "positivity", value)
        for value in ((0.2, 0.1, 0.3), (0.1, 0.2), (0.2, 0.2, 0.3), (NAN,), (INF,), "0.2", ("a",))
    ),
    (NucleusOptions, "all_features", "all"),
    *((Surroundings, "delaunay", value) for value in (0, -1, NAN, "30")),
    *(
        (Surroundings, name, v)
        for name in ("density", "smooth")
        for v in ((0,), (-1,), (NAN,), "5")
    ),
    (Surroundings, "density", (INF,)),
    (Surroundings, "distances", 1),
    (MeasureRequest, "grading", "mvdd"),
    (MeasureRequest, "grading", ("mvd", 3)),
    (MeasureRequest, "mpp", NAN),
    (MeasureRequest, "selection", None),
    (MeasureRequest, "surroundings", 5),
    (MeasureRequest, "intensities", "no"),
    (MeasureRequest, "morphometry", 2),
    (MeasureRequest, "reference", ""),
    (MeasureRequest, "epithelium", ("Tumor",)),
]


@pytest.mark.parametrize(("kind", "field", "value"), WRONG)
def test_a_wrong_value_is_named(kind, field, value):
    with pytest.raises(RequestError) as caught:
        kind(**{field: value})
    error = caught.value
    assert error.field == field
    assert f"`{field}`" in str(error)
    assert isinstance(error, QpbridgeError)
    assert isinstance(error, ValueError)


def test_one_name_is_a_name():
    assert Selection(within="Tumor: Positive").within == ("Tumor: Positive",)
    assert Selection(selected="left") == Selection(selected=["left"])
    assert MeasureRequest(grading="mvd").grading == ("mvd",)
    assert Surroundings(density=50, smooth=np.array([10.0, 25])) == Surroundings(
        density=(50.0,), smooth=[10, 25]
    )
    assert NucleusOptions(positivity=0.2).positivity == (0.2,)


def test_regions_by_name_and_the_whole_image_exclude_one_another():
    for field in ("within", "selected"):
        with pytest.raises(RequestError, match="`whole_image`"):
            Selection(**{field: "a"}, whole_image=True)


def test_words_for_what_areas_are_written_as():
    assert Request(area_kind="detections").area_kind is ObjectKind.DETECTION
    assert Request(area_kind="annotations") == Request()
    assert Request(device="cuda:0, cuda:1", batch_size=np.int64(2)).batch_size == 2


@pytest.mark.parametrize(
    "error",
    [
        RequestError("tile", 0, "too small"),
        UnknownImageError("p.qpproj", "x", ("a",), ("1", "2")),
        PixelSizeError("a.svs", (1.0, 2.0), "the project", (0.01, 20.0)),
        MissingImageError("file:/a.svs"),
    ],
)
def test_errors_survive_copies_and_processes(error):
    for again in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert str(again) == str(error)


VALUES = [
    ("moved", lambda: Places(3)),
    ("moved", lambda: Places((("a", "b"),))),
    ("search", lambda: Places(search=("here",))),
    ("moved", lambda: Places.parse(3)),
    ("search", lambda: Places.parse(search=3)),
    ("c", lambda: Plane("a")),
    ("z", lambda: Plane(0, -1)),
    ("t", lambda: Plane(0, 0, 1.5)),
    ("text", lambda: PathClass.parse("")),
    ("text", lambda: PathClass.parse("Tumor: ")),
    ("text", lambda: PathClass.parse(None)),
    ("names", lambda: PathClass("Tumor")),
    ("names", lambda: PathClass(())),
    ("color", lambda: PathClass(("Tumor",), "red")),
    ("color", lambda: PathClass(("Tumor",), (0, 0, 256))),
    ("geometries", lambda: Shapes.from_geometries([3])),
    ("geometries", lambda: Shapes.from_geometries([shapely.GeometryCollection([POINT])])),
    ("mpp", lambda: TABLE.to_pandas(mpp=3)),
    ("mpp", lambda: TABLE.to_pandas(mpp=(0.5, 0))),
    ("mpp", lambda: TABLE.to_pandas(mpp=("a", 1))),
    ("image", lambda: TABLE.to_pandas(image=3)),
    ("rows", lambda: TABLE.to_pandas(rows=[2])),
    ("rows", lambda: TABLE.to_pandas(rows=[True])),
    ("rows", lambda: TABLE.to_pandas(rows="a")),
    ("tile", lambda: Request(tile=10**9)),
    ("metadata", lambda: AnnotationUpdate(3)),
    ("measurements", lambda: AnnotationUpdate(measurements=[1])),
    ("ids", lambda: MeasurementUpdate(3, MeasurementTable.empty(1))),
    ("measured", lambda: MeasurementUpdate(np.zeros((1, 16), np.uint8), {"a": 1})),
    ("measured", lambda: MeasurementUpdate(np.zeros((1, 16), np.uint8), MeasurementTable.empty(2))),
    ("name", lambda: WorkflowStep(3, "")),
]
POINT = shapely.Point(1, 2)
TABLE = ObjectTable.new(ObjectKind.ANNOTATION, Shapes.from_geometries([POINT, POINT]))


@pytest.mark.parametrize(("field", "make"), VALUES)
def test_values_of_the_wrong_kind_are_named(field, make):
    with pytest.raises(RequestError) as error:
        make()
    assert error.value.field == field
    assert f"`{field}`" in str(error.value)


def test_a_plane_is_a_tuple_of_three_all_the_same():
    plane = Plane(z=3)
    assert plane == (-1, 3, 0)
    assert pickle.loads(pickle.dumps(plane)) == copy.copy(plane) == plane._replace(z=3)
    assert isinstance(plane._replace(t=1), Plane)
