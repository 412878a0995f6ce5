"""Counts and scores by class, against the values in QuPath's own tests."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from table_values import values

from qpbridge.objects import ObjectKind, ObjectTable, PathClass, RoiKind, Shapes, concatenate_shapes
from qpbridge.tables.columns import object_columns
from qpbridge.tables.scores import class_scores


def detections(**numbers: int) -> ObjectTable:
    """So many detections of each class, named as in ``Tumor__1+``."""
    classes = tuple(PathClass(tuple(name.split("__"))) for name in numbers)
    index = np.repeat(np.arange(len(classes)), list(numbers.values()))
    shapes = Shapes.from_geometries([shapely.box(4, 4, 6, 6)] * len(index))
    table = ObjectTable.new(ObjectKind.DETECTION, shapes)
    return table.replace(classes=classes, class_index=index.astype(np.int32))


def scores_of(table: ObjectTable) -> dict[str, float]:
    counts = np.bincount(table.class_index, minlength=len(table.classes) + 1)[None]
    return {name: score.compute(counts)[0] for name, score in class_scores(table).items()}


QUPATH = {
    "Tumor__Negative": 25,
    "Tumor__1+": 25,
    "Tumor__2+": 25,
    "Tumor__3+": 25,
    "Stroma__Negative": 50,
    "Stroma__1+": 10,
    "Stroma__2+": 10,
    "Stroma__3+": 30,
    "Artefact": 50,
}


def test_values_of_qupath():
    """Those of `TestObservableMeasurementTableData` in QuPath 0.6.0."""
    assert scores_of(detections(**QUPATH)) == {
        "Num Detections": 250,
        "Num Stroma (base)": 100,
        "Num Tumor (base)": 100,
        "Num Artefact": 50,
        "Num Stroma: 1+": 10,
        "Num Stroma: 2+": 10,
        "Num Stroma: 3+": 30,
        "Num Stroma: Negative": 50,
        "Num Tumor: 1+": 25,
        "Num Tumor: 2+": 25,
        "Num Tumor: 3+": 25,
        "Num Tumor: Negative": 25,
        "Tumor: Positive %": 75,
        "Stroma: Positive %": 50,
        "Stroma + Tumor: Positive %": 62.5,
        "Tumor: H-score": 150,
        "Stroma: H-score": 120,
        "Stroma + Tumor: H-score": 135,
    }
    more = scores_of(detections(**QUPATH, Tumor=10))
    assert (more["Num Tumor (base)"], more["Tumor: H-score"]) == (110, 150)


def test_classes_without_a_base():
    found = scores_of(detections(Positive=3, Negative=1, Tumor__Positive=5))
    assert found == {
        "Num Detections": 9,
        "Num Tumor (base)": 5,
        "Num Negative": 1,
        "Num Positive": 3,
        "Num Tumor: Positive": 5,
        "Positive %": 75,
        "Tumor: Positive %": 100,
        " + Tumor: Positive %": pytest.approx(800 / 9),
    }


@pytest.mark.parametrize(
    ("mpp", "name", "area"), [((0.5, 0.25), "mm^2", 0.1 * 0.05), (None, "px^2", 200 * 200)]
)
def test_density_of_positive(mpp, name, area):
    cells = detections(Positive=3, Negative=1)
    drawn = [Shapes.corners(RoiKind.RECTANGLE, 0, 0, 200, 200), Shapes.empty(1)]
    table = ObjectTable.new(
        ObjectKind.DETECTION, concatenate_shapes([*drawn, cells.shapes])
    ).replace(
        kind=np.array([0, 0, 1, 1, 1, 1], np.uint8),
        classes=cells.classes,
        class_index=np.concatenate([[-1, -1], cells.class_index]).astype(np.int32),
    )
    found = values(object_columns(table, "a", mpp)[f"Num Positive per {name}"])
    assert found[0] == pytest.approx(3 / area)
    assert np.isnan(found[1])
    assert found[2:] == [None] * 4
