"""Objects below their parents: the same as by looking at each pair."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.hierarchy import placement
from qpbridge.hierarchy.placement import place
from qpbridge.objects import ObjectKind, ObjectTable, RoiKind, Shapes, concatenate_shapes

ANNOTATION, DETECTION, CELL, TILE, CORE = ObjectKind
HOLDERS = (ANNOTATION, CORE)


def table(*items: tuple[ObjectKind, object], parent=None, planes=None) -> ObjectTable:
    shapes = [s if isinstance(s, Shapes) else Shapes.from_geometries([s]) for _, s in items]
    made = ObjectTable.new(ANNOTATION, concatenate_shapes(shapes))
    made = made.replace(kind=np.array([kind for kind, _ in items], np.uint8))
    if parent is not None:
        made = made.replace(parent=np.array(parent, np.int64))
    if planes is not None:
        made = made.replace(plane=np.array(planes, np.int32).reshape(-1, 3))
    return made


def slowly(new: ObjectTable, existing: ObjectTable) -> tuple[list[int], list[int]]:
    """The rule, word by word, for objects that have no parents yet."""
    both = [(existing, i, i) for i in range(len(existing))]
    both += [(new, i, len(existing) + i) for i in range(len(new))]
    holders = []
    for which, i, row in both:
        geometry = which.geometries[i]
        if which.kind[i] in HOLDERS and geometry is not None and geometry.area > 0:
            holders.append((-geometry.area, row, geometry, which.plane[i, 1:].tolist()))
    holders.sort(key=lambda h: h[:2])
    # a border takes in what lies on it: to the last digit, as QuPath has the middle of two points
    centroids = shapely.points(new.shapes.centroids())
    parents, below = [], []
    for i in range(len(new)):
        me, geometry = len(existing) + i, new.geometries[i]
        owner = -1
        for _, row, area, plane in holders:  # a smaller one comes later
            if row == me and new.kind[i] == ANNOTATION:
                break
            if plane != new.plane[i, 1:].tolist() or new.kind[i] == CORE:
                continue
            if new.kind[i] == ANNOTATION:
                if area.buffer(0.02, join_style="mitre").covers(geometry):
                    owner = row
            elif area.intersects(centroids[i]):
                owner = row
        parents.append(owner - len(existing) if owner >= len(existing) else -1)
        below.append(owner if owner < len(existing) else -1)
    return parents, below


corner = st.integers(0, 8)
boxes = st.tuples(corner, corner, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: shapely.box(b[0], b[1], b[0] + b[2], b[1] + b[3])
)
rings = boxes.map(lambda b: b.difference(b.buffer(-0.4, join_style="mitre")))
discs = st.tuples(corner, corner, st.integers(1, 4)).map(
    lambda c: Shapes.corners(RoiKind.ELLIPSE, c[0], c[1], c[0] + c[2], c[1] + c[2])
)
lines = st.tuples(corner, corner, corner, corner).map(
    lambda c: shapely.LineString([c[:2], (c[2] + 0.5, c[3])])
)
points = st.lists(st.tuples(corner, corner), min_size=1, max_size=3).map(shapely.MultiPoint)
objects = st.tuples(st.sampled_from(list(ObjectKind)), boxes | rings | discs | lines | points)


@st.composite
def tables(draw: st.DrawFn) -> ObjectTable:
    items = draw(st.lists(objects, max_size=10))
    if not items:
        return table((ANNOTATION, shapely.box(0, 0, 1, 1))).take([])
    planes = [(draw(st.integers(-1, 1)), draw(st.sampled_from([0, 0, 1])), 0) for _ in items]
    return table(*items, planes=planes)


@given(tables(), tables(), st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_equals_the_slow_way(new: ObjectTable, existing: ObjectTable, at_a_time: int) -> None:
    before, placement.AT_A_TIME = placement.AT_A_TIME, at_a_time
    try:
        found = place(new, existing)
    finally:
        placement.AT_A_TIME = before
    parents, below = slowly(new, existing)
    assert found.parent.tolist() == parents
    assert found.below.tolist() == below


@given(tables(), tables(), st.data())
@settings(max_examples=100, deadline=None)
def test_parents_stay_and_there_are_no_circles(
    new: ObjectTable, existing: ObjectTable, data: st.DataObject
) -> None:
    parent = [data.draw(st.integers(-1, row - 1)) for row in range(len(new))]
    turned = np.arange(len(new))[::-1]
    new = new.replace(parent=np.array(parent, np.int64)).take(turned)  # children first, too
    found = place(new, existing)
    given_one = new.parent >= 0
    np.testing.assert_array_equal(found.parent[given_one], new.parent[given_one])
    assert (found.below[given_one] == -1).all()
    assert not ((found.parent >= 0) & (found.below >= 0)).any()
    for start in range(len(new)):
        row, steps = start, 0
        while row >= 0:
            row, steps = found.parent[row], steps + 1
            assert steps <= len(new)


def test_nested_annotations_and_the_smallest_wins():
    outer, inner = shapely.box(0, 0, 100, 100), shapely.box(10, 10, 50, 50)
    existing = table((ANNOTATION, outer))
    new = table(
        (DETECTION, shapely.box(20, 20, 22, 22)),
        (ANNOTATION, inner),
        (DETECTION, shapely.box(60, 60, 62, 62)),
        (CELL, shapely.box(98, 98, 110, 110)),  # its centroid is outside
        (ANNOTATION, shapely.box(90, 90, 101, 101)),  # and this sticks out
        (ANNOTATION, shapely.box(90, 90, 100.01, 100.01)),  # which is rounding
    )
    found = place(new, existing)
    assert found.parent.tolist() == [1, -1, -1, -1, -1, 4]
    assert found.below.tolist() == [-1, 0, 0, -1, -1, -1]


def test_equal_outlines_go_below_each_other_once():
    box = shapely.box(0, 0, 10, 10)
    found = place(
        table((ANNOTATION, box), (ANNOTATION, box), (DETECTION, box)), table((ANNOTATION, box))
    )
    assert found.below.tolist() == [0, -1, -1]
    assert found.parent.tolist() == [-1, 0, 1]


def test_an_outline_in_the_image_that_crosses_itself_still_holds():
    bow_tie = np.array([[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]], float)
    existing = table((ANNOTATION, Shapes.from_rings(bow_tie, np.array([0, 5]))))
    found = place(table((DETECTION, shapely.box(8, 4, 9, 6))), existing)
    assert found.below.tolist() == [0]


def test_what_is_nested_in_an_object_cannot_hold_it():
    """A child that is larger than its parent: the parent stays where it is."""
    new = table(
        (ANNOTATION, shapely.box(4, 4, 6, 6)),
        (ANNOTATION, shapely.box(0, 0, 10, 10)),
        parent=[-1, 0],
    )
    found = place(new, table((ANNOTATION, shapely.box(50, 50, 51, 51))))
    assert found.parent.tolist() == [-1, 0]


@pytest.mark.slow
def test_a_million_detections_below_thousands_of_annotations():
    generator = np.random.default_rng(0)
    ring = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]], float)
    places = generator.uniform(0, 10_000, (1_000_000, 2))
    coords = (places[:, None] + ring).reshape(-1, 2)
    nuclei = ObjectTable.new(DETECTION, Shapes.from_rings(coords, np.arange(1_000_001) * 5))
    grid = [
        shapely.box(x, y, x + 200, y + 200)
        for x in range(0, 10_000, 200)
        for y in range(0, 10_000, 200)
    ]
    found = place(nuclei, table(*[(ANNOTATION, box) for box in grid]))
    column, row = np.floor((places + 2) / 200).astype(int).T
    inside = (column < 50) & (row < 50)
    np.testing.assert_array_equal(found.below[inside], (column * 50 + row)[inside])
