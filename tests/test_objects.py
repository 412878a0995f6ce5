from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.ids import random_ids
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
)

GEOMETRIES = [
    shapely.Polygon([(0, 0), (4, 0), (4, 3)]),
    shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(2, 2), (4, 2), (4, 4)]]),
    shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 7, 8)]),
    shapely.LineString([(0, 0), (1, 5)]),
    shapely.LineString([(0, 0), (1, 5), (2, 2)]),
    shapely.MultiLineString([[(0, 0), (1, 1)], [(4, 4), (6, 5), (7, 7)]]),
    shapely.MultiPoint([(1, 2), (3, 4)]),
]
KINDS = [
    RoiKind.POLYGON,
    RoiKind.GEOMETRY,
    RoiKind.GEOMETRY,
    RoiKind.LINE,
    RoiKind.POLYLINE,
    RoiKind.LINES,
    RoiKind.POINTS,
]


@given(st.lists(st.integers(0, len(GEOMETRIES) - 1), max_size=12), st.data())
def test_shapes_keep_geometries_in_any_selection(chosen, data):
    shapes = Shapes.from_geometries([GEOMETRIES[i] for i in chosen])
    assert list(shapes.roi) == [KINDS[i] for i in chosen]
    index = data.draw(
        st.lists(st.integers(0, len(chosen) - 1), max_size=8) if chosen else st.just([])
    )
    for taken, i in zip(shapes.take(np.array(index, int)).geometries, index, strict=True):
        assert taken.equals(GEOMETRIES[chosen[i]])


FLAT = shapely.Polygon([(3, 3), (5, 5), (3, 3), (3, 3)])


@given(st.lists(st.integers(0, len(GEOMETRIES)), max_size=12), st.floats(-1e5, 1e5))
def test_centroids_are_shapelys(chosen, shift):
    given = [([*GEOMETRIES, FLAT])[i] for i in chosen]
    geometries = [shapely.transform(g, lambda xy: xy + shift) for g in given]
    shapes = concatenate_shapes([Shapes.from_geometries(geometries), Shapes.empty(1)])
    expected = [g.centroid.coords[0] for g in geometries]
    assert shapes.centroids()[:-1] == pytest.approx(np.reshape(expected, (-1, 2)), abs=1e-6)
    assert np.isnan(shapes.centroids()[-1]).all()


def test_centroids_of_what_has_holes_or_nothing():
    donut = shapely.box(0, 0, 10, 10).difference(shapely.box(5, 0, 10, 10))
    shapes = concatenate_shapes([Shapes.from_geometries([donut]), Shapes.empty(1)])
    np.testing.assert_array_equal(shapes.centroids(), [[2.5, 5], [np.nan, np.nan]])
    assert Shapes.empty().centroids().shape == (0, 2)


def test_corner_shapes_become_boxes_and_ellipses():
    shapes = concatenate_shapes(
        [
            Shapes.corners(RoiKind.RECTANGLE, 1, 2, 5, 9),
            Shapes.corners(RoiKind.ELLIPSE, 0, 0, 20, 10),
            Shapes.empty(1),
        ]
    )
    box, ellipse, nothing = shapes.geometries
    assert box.equals(shapely.box(1, 2, 5, 9))
    assert ellipse.area == pytest.approx(np.pi * 10 * 5, rel=2e-3)
    assert ellipse.bounds == pytest.approx((0, 0, 20, 10))
    assert nothing is None


def test_collections_are_refused():
    with pytest.raises(ValueError, match="GeometryCollection"):
        Shapes.from_geometries([shapely.GeometryCollection([shapely.Point(0, 0)])])


def test_take_keeps_rows_together_and_lost_parents_become_the_root():
    table = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries(GEOMETRIES[:3]),
        path_class=PathClass(("Tumor",)),
        measurement_names=["a"],
        measurements=[[1], [2], [3]],
    )
    table.parent[:] = [-1, 0, 1]
    table = ObjectTable(**{**table.__dict__, "names": {1: "one", 2: "two"}})
    taken = table.take([2, 1])
    assert list(taken.parent) == [1, -1]
    assert taken.names == {0: "two", 1: "one"}
    assert list(taken.measurement("a")) == [3, 2]
    assert taken.uuid(0) == table.uuid(2)
    assert str(taken.path_class(1)) == "Tumor"
    with pytest.raises(KeyError, match="no measurement 'b'"):
        taken.measurement("b")


def test_columns_of_wrong_length_are_refused():
    with pytest.raises(ValueError, match="ids has shape"):
        ObjectTable.new(ObjectKind.DETECTION, Shapes.empty(2), ids=random_ids(3))


def test_data_frame():
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries([shapely.box(0, 0, 2, 2)]),
        measurement_names=["Area µm^2"],
        measurements=[[4.0]],
    )
    frame = table.to_pandas()
    assert frame.loc[0, "Centroid X px"] == 1
    assert frame.loc[0, "Area µm^2"] == 4
    assert frame.loc[0, "Object ID"] == str(table.uuid(0))
    assert frame.loc[0, "Parent ID"] is None


def test_classes():
    derived = PathClass.parse("Tumor: Positive", (1, 2, 3))
    assert derived.names == ("Tumor", "Positive")
    assert str(derived) == "Tumor: Positive"
    assert PathClass(("Ignore*",)).is_ignored
    assert not derived.is_ignored
    with pytest.raises(ValueError, match="name of a class"):
        PathClass.parse("Tumor: ")


def test_random_ids_are_version_4_and_different():
    ids = random_ids(1000)
    assert len({bytes(i) for i in ids}) == 1000
    assert set(ids[:, 6] >> 4) == {4}


def test_a_data_frame_has_a_row_for_what_has_no_shape() -> None:
    shapes = concatenate_shapes(
        [Shapes.empty(1), Shapes.from_geometries([shapely.box(0, 0, 2, 4)])]
    )
    frame = ObjectTable.new(ObjectKind.DETECTION, shapes).to_pandas()
    assert frame["Centroid X px"].isna().tolist() == [True, False]
    assert frame["Centroid Y px"].tolist()[1] == 2


def test_inner_shapes_are_the_nuclei_of_cells_that_have_one():
    outer = Shapes.from_geometries([shapely.box(0, 0, n, n) for n in (7, 8, 9)])
    table = ObjectTable.new(ObjectKind.CELL, outer)
    assert table.inner_shapes is outer
    nuclei = [Shapes.empty(1), Shapes.from_geometries([shapely.box(1, 1, 2, 2)]), Shapes.empty(1)]
    inner = table.replace(nuclei=concatenate_shapes(nuclei)).inner_shapes
    assert shapely.area(inner.geometries).tolist() == [49, 1, 81]
