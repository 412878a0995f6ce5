"""Outlines against geometry that is known exactly, and against random maps."""

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from qpbridge.decode.polygons import instances_to_polygons, round_rings

MAPS = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
CORNERS = arrays(np.float64, st.tuples(st.integers(3, 12), st.just(2)), elements=st.floats(0, 0.12))


def centres(shape):
    rows, columns = np.indices(shape)
    return columns.ravel() + 0.5, rows.ravel() + 0.5


def test_a_rectangle_lies_on_the_edges_of_its_pixels():
    labels = np.zeros((12, 15), int)
    labels[2:6, 3:9] = 5
    rings = instances_to_polygons(labels, tolerance=0)
    assert rings.owner.tolist() == [5]
    assert rings.polygons()[0].bounds == (3, 2, 9, 6)
    assert (rings.coords[0] == rings.coords[-1]).all()
    # clockwise as displayed, which is counter-clockwise where y points up
    assert shapely.is_ccw(shapely.get_exterior_ring(rings.polygons()[0]))


def test_outlines_follow_the_level_between_pixels():
    radius, x0, y0 = 7.3, 20.4, 17.8
    x, y = centres((40, 40))
    distance = np.hypot(x - x0, y - y0).reshape(40, 40)
    level = 1 / (1 + np.exp(distance - radius))
    rings = instances_to_polygons((level > 0.5).astype(int), level, 0.5, tolerance=0.05)
    from_centre = np.hypot(*(rings.coords - (x0, y0)).T)
    assert np.abs(from_centre - radius).max() < 0.08
    assert rings.polygons()[0].area == pytest.approx(np.pi * radius**2, rel=0.01)
    # another threshold, another radius
    wide = instances_to_polygons((level > 0.2).astype(int), level, 0.2, tolerance=0.05)
    assert np.abs(np.hypot(*(wide.coords - (x0, y0)).T) - radius - np.log(4)).max() < 0.08


def test_instances_at_the_border_of_the_map_end_there():
    labels = np.ones((4, 6), int)
    level = np.full((4, 6), 0.9)
    assert instances_to_polygons(labels, level).polygons()[0].bounds == (0, 0, 6, 4)


def test_touching_instances_share_a_smooth_seam():
    labels = np.zeros((40, 40), int)
    rows, columns = np.indices(labels.shape)
    labels[5:35, 5:35] = 1
    labels[(labels == 1) & (columns > 13 + rows / 3)] = 2  # stairs, three rows each
    level = (labels > 0) * 0.9
    one, two = instances_to_polygons(labels, level).polygons()
    assert one.intersection(two).area < 2
    assert shapely.union(one, two).area == pytest.approx(900, abs=12)

    def roughness(polygon):
        """Spread of the seam around the straight line that the stairs stand for, in pixels."""
        y = np.arange(10, 30, 0.1)
        seam = polygon.exterior.intersection(shapely.box(15, 10, 27, 30))
        points = shapely.points(14 + y / 3, y)
        distance = shapely.distance(seam, points)
        return distance.max() - distance.min()

    plain = instances_to_polygons(labels, tolerance=0).polygons()[0]
    assert roughness(one) < 0.6 * roughness(plain)
    assert roughness(one) < 0.3


def test_nothing_gives_nothing():
    rings = instances_to_polygons(np.zeros((5, 5), int), np.zeros((5, 5)))
    assert len(rings.owner) == 0 and rings.offsets.tolist() == [0] and len(rings.polygons()) == 0
    assert len(round_rings(rings.coords, rings.offsets).owner) == 0


@settings(max_examples=100, deadline=None)
@given(MAPS)
def test_each_label_gets_the_outline_of_its_largest_part_without_holes(labels):
    rings = instances_to_polygons(labels, tolerance=0)
    assert rings.owner.tolist() == [v for v in np.unique(labels) if v]
    polygons = rings.polygons()
    assert shapely.is_valid(polygons).all()
    x, y = centres(labels.shape)
    for value, polygon in zip(rings.owner, polygons, strict=True):
        parts, count = ndimage.label(labels == value)
        filled = [
            ndimage.binary_fill_holes(parts == part + 1, np.ones((3, 3))) for part in range(count)
        ]
        inside = shapely.contains_xy(polygon, x, y).reshape(labels.shape)
        assert any((inside == part).all() for part in filled)
        # corners are cut by an eighth of a pixel, so that the largest may differ by little
        assert inside.sum() >= max(part.sum() for part in filled) * 0.7


@settings(max_examples=100, deadline=None)
@given(MAPS, st.integers(0, 2**32 - 1))
def test_rounded_outlines_of_random_levels_are_valid(labels, seed):
    level = np.random.default_rng(seed).random(labels.shape)
    rings = instances_to_polygons(labels, level, 0.4)
    rounded = round_rings(rings.coords * 0.37, rings.offsets, 1)
    assert shapely.is_valid(rounded.polygons()).all()


@settings(max_examples=150, deadline=None)
@given(st.lists(CORNERS, min_size=1, max_size=5))
@example([np.array([[0.03, 0.06], [0.02, 0.03], [0.01, 0]])])  # in a line but for floating point
def test_rounding_leaves_valid_rings_and_is_stable(corners):
    closed = [np.concatenate([c, c[:1]]) for c in corners]
    offsets = np.cumsum([0, *map(len, closed)])
    rings = round_rings(np.concatenate(closed), offsets)
    polygons = rings.polygons()
    assert shapely.is_valid(polygons).all() and (shapely.area(polygons) > 0).all()
    assert (np.round(rings.coords, 2) == rings.coords).all()
    assert (np.diff(rings.owner) > 0).all()
    again = round_rings(rings.coords, rings.offsets)
    assert (again.coords == rings.coords).all() and (again.offsets == rings.offsets).all()


def test_rounding_keeps_good_rings_and_drops_what_collapses():
    good = np.array([[0, 0], [4.004, 0], [4, 3], [0, 3], [0, 0]])
    point = np.array([[9, 9], [9.001, 9], [9, 9.002], [9, 9]])
    bow = np.array([[20, 20], [24, 24], [24, 20], [20, 21], [20, 20.0]])
    rings = round_rings(np.concatenate([good, point, bow]), np.array([0, 5, 9, 14]))
    assert rings.owner.tolist() == [0, 2]
    first, last = rings.polygons()
    assert first.equals(shapely.box(0, 0, 4, 3))
    largest = max(shapely.get_parts(shapely.make_valid(shapely.Polygon(bow))), key=shapely.area)
    assert last.area == pytest.approx(largest.area, abs=0.1)
