from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from cli_helpers import annotations

from qpbridge.errors import SelectionError
from qpbridge.hierarchy.provenance import mint_ids
from qpbridge.hierarchy.regions import Selection, assign_regions, select_regions
from qpbridge.objects import RoiKind, Shapes

RECTANGLE = Shapes.corners(RoiKind.RECTANGLE, 10, 10, 50, 40)
EVERYTHING = annotations(
    (shapely.box(0, 0, 100, 100), None, "tissue"),
    (RECTANGLE, "Tumor", None),
    (Shapes.corners(RoiKind.ELLIPSE, 60, 60, 80, 90), "Stroma", "nest"),
    (shapely.box(0, 0, 20, 20), "Ignore*", None),
    (shapely.box(50, 0, 60, 10), "Region*", None),
    (shapely.LineString([(0, 0), (50, 50)]), "Tumor", "ruler"),
    (shapely.MultiPoint([(1, 1), (2, 2)]), None, "counts"),
)


def labels(selection, objects=EVERYTHING, size=(100, 100)):
    return [r.label for r in select_regions(objects, selection, *size)]


def test_areas_are_regions_but_not_ignored_ones_lines_or_points():
    assert labels(Selection()) == ["tissue", "Tumor", "nest", "Region*"]


def test_choosing_by_class_and_by_name():
    assert labels(Selection(within=("Tumor",))) == ["Tumor"]
    assert labels(Selection(selected=("nest",))) == ["nest"]
    assert labels(Selection(within=("Tumor",), selected=("tissue",))) == ["tissue", "Tumor"]
    assert labels(Selection(selected=(str(EVERYTHING.uuid(1)),))) == ["Tumor"]
    assert labels(Selection(within=("Ignore*",))) == ["Ignore*"]


def test_ignored_areas_are_cut_out():
    tissue = select_regions(EVERYTHING, Selection(selected=("tissue",)), 100, 100)[0]
    assert tissue.geometry.area == 100 * 100 - 20 * 20
    whole = select_regions(EVERYTHING, Selection(whole_image=True), 200, 100)[0]
    assert whole.geometry.area == 200 * 100 - 20 * 20
    assert whole.row == -1
    assert whole.id == bytes(16)


def test_regions_end_at_the_image():
    region = select_regions(EVERYTHING, Selection(selected=("tissue",)), 50, 40)[0]
    assert region.geometry.bounds == (0, 0, 50, 40)
    with pytest.raises(SelectionError, match="outside of the image"):
        select_regions(EVERYTHING, Selection(selected=("nest",)), 50, 40)


def test_hand_drawn_outlines_that_cross_themselves_are_repaired():
    bow = annotations((shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)]), None, "bow"))
    region = select_regions(bow, Selection(), 100, 100)[0]
    assert region.geometry.is_valid
    assert region.geometry.area == pytest.approx(50)


def test_own_annotations_and_other_slices_are_no_regions():
    table = annotations((shapely.box(0, 0, 9, 9), None, "a"), (shapely.box(0, 0, 9, 9), None, "b"))
    assert labels(
        Selection(), replace(table, plane=np.array([[-1, 1, 0], [-1, 0, 0]], np.int32))
    ) == ["b"]
    own = replace(
        table, ids=np.concatenate([mint_ids(table, "glands", table.ids)[:1], table.ids[1:]])
    )
    assert labels(Selection(), own) == ["b"]


@pytest.mark.parametrize(
    ("objects", "selection", "message"),
    [
        (
            annotations((shapely.LineString([(0, 0), (1, 1)]), None, None)),
            Selection(),
            "`whole_image`",
        ),
        (annotations((shapely.box(0, 0, 1, 1), "Ignore*", None)), Selection(), "ignored classes"),
        (EVERYTHING, Selection(within=("Tumour",)), "of class 'Tumour'; there are: .*Tumor"),
        (EVERYTHING, Selection(selected=("x",)), "called 'x'"),
    ],
)
def test_nothing_to_segment_is_explained(objects, selection, message):
    with pytest.raises(SelectionError, match=message):
        select_regions(objects, selection, 100, 100)


def test_a_point_belongs_to_the_smallest_region_that_holds_it():
    regions = select_regions(EVERYTHING, Selection(), 100, 100)
    points = shapely.points([(70, 75), (30, 30), (90, 5), (150, 5)])
    innermost, inside = assign_regions(points, regions)
    assert [regions[i].label if i >= 0 else None for i in innermost] == [
        "nest",
        "Tumor",
        "tissue",
        None,
    ]
    assert inside.sum(axis=0).tolist() == [2, 2, 1, 0]
