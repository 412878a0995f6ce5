"""Shape measurements, against a real QuPath's and against formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.affinity
from golden_measurements import read_golden
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.measurements.hulls import hull_diameters
from qpbridge.measurements.shape import shape_measurements, shape_names
from qpbridge.objects import RoiKind, Shapes

CASES = ["he_calibrated", "he_uncalibrated", "he_anisotropic_shape_only", "hdab_calibrated"]
NAMES = ("Area", "Length", "Circularity", "Solidity", "Max diameter", "Min diameter")


@pytest.mark.parametrize("case", CASES)
def test_values_of_qupath(shared: Path, case: str) -> None:
    golden = read_golden(shared / "qupath" / "golden_measurements" / case)
    found = shape_measurements(golden.shapes, golden.mpp)
    names, values = found.names, found.matrix
    ellipse = golden.shapes.roi == RoiKind.ELLIPSE
    assert len(values) == 70
    for column, name in enumerate(names):
        expected = np.array([golden.value(i, name) for i in range(len(values))])
        compared = np.ones(len(values), bool)
        if name == "Length µm":
            # QuPath 0.6.0 gives the length of ellipses in pixels.
            compared = ~ellipse
        np.testing.assert_allclose(values[compared, column], expected[compared], rtol=2e-7)


def test_length_of_ellipses_in_micrometres(shared: Path) -> None:
    folder = shared / "qupath" / "golden_measurements"
    golden = read_golden(folder / "he_uncalibrated")
    rows = np.flatnonzero(golden.shapes.roi == RoiKind.ELLIPSE)
    values = shape_measurements(golden.shapes.take(rows), (0.25, 0.25)).matrix
    expected = [golden.value(int(i), "Length px") / 4 for i in rows]
    np.testing.assert_allclose(values[:, 1], expected, rtol=2e-7)
    assert values[0, 1] == pytest.approx(51.73, abs=0.005)


def test_names() -> None:
    assert shape_names((0.5, 0.5)) == (
        "Area µm^2",
        "Length µm",
        "Circularity",
        "Solidity",
        "Max diameter µm",
        "Min diameter µm",
    )
    assert "µ".encode() == b"\xc2\xb5"
    assert shape_names((0.5, 0.5))[0].encode() == b"Area \xc2\xb5m^2"
    assert shape_names(None)[::5] == ("Area px^2", "Min diameter px")


def test_by_hand() -> None:
    square = shapely.box(1e5, 2e5, 1e5 + 40, 2e5 + 30)
    donut = square.difference(shapely.box(1e5 + 10, 2e5 + 10, 1e5 + 20, 2e5 + 20))
    values = shape_measurements(np.array([square, donut]), (0.5, 0.5)).matrix
    circularity = 4 * np.pi * 300 / 70**2
    np.testing.assert_allclose(values[0], [300, 70, circularity, 1, 25, 15], rtol=1e-12)
    np.testing.assert_allclose(values[1], [275, 90, circularity, 275 / 300, 25, 15], rtol=1e-12)


def test_what_has_no_such_value_is_nan() -> None:
    geometries = np.array(
        [
            shapely.LineString([(0, 0), (3, 4)]),
            shapely.MultiPoint([(0, 0), (6, 8)]),
            shapely.Point(1, 1),
            shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)]),
            shapely.Polygon(),
            None,
        ]
    )
    values = shape_measurements(geometries, None).matrix
    nan = np.nan
    expected = [
        [nan, 5, nan, nan, 5, 0],
        [nan, nan, nan, nan, 10, 0],
        [nan, nan, nan, nan, 0, 0],
        [2, 8, nan, 2 / 3, np.sqrt(10), 1],
        [nan] * 6,
        [nan] * 6,
    ]
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert geometries[5] is None


def test_no_objects() -> None:
    found = shape_measurements(Shapes.empty(), (0.5, 0.5))
    names, values = found.names, found.matrix
    assert values.shape == (0, len(names))
    values = shape_measurements(Shapes.empty(3), (0.5, 0.5)).matrix
    assert np.isnan(values).all()


def test_the_input_stays_as_it_is() -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    geometries = np.array([bow_tie, shapely.box(0, 0, 1, 1)])
    values = shape_measurements(geometries, (1, 2)).matrix
    assert values[0, 0] == 16
    assert np.isnan(values[0, 2])
    assert geometries[0] is bow_tie
    assert shapely.get_coordinates(geometries[1]).max() == 1


points = st.lists(
    st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=1, max_size=12, unique=True
)


@settings(max_examples=150, deadline=None)
@given(clouds=st.lists(points, min_size=1, max_size=6), far=st.sampled_from([0, 2**17]))
def test_diameters_of_any_hull(clouds: list[list[tuple[int, int]]], far: int) -> None:
    hulls = shapely.convex_hull(
        np.array([shapely.MultiPoint(np.add(cloud, far)) for cloud in clouds], dtype=object)
    )
    largest, smallest = hull_diameters(hulls)
    np.testing.assert_allclose(largest, 2 * shapely.minimum_bounding_radius(hulls), rtol=1e-9)
    for hull, width in zip(hulls, smallest, strict=True):
        assert width == pytest.approx(_width_by_turning(hull), rel=1e-9, abs=1e-9)


def _width_by_turning(hull: shapely.Geometry) -> float:
    """Turn each edge upright: what is then the width of the hull is a width in question."""
    if hull.geom_type != "Polygon":
        return 0.0
    xy = np.asarray(hull.exterior.coords) - hull.exterior.coords[0]
    angles = np.arctan2(*np.diff(xy, axis=0).T)
    turned = np.outer(np.cos(angles), xy[:, 0]) - np.outer(np.sin(angles), xy[:, 1])
    return float(np.ptp(turned, axis=1).min())


def test_widths_where_many_vertices_lie_in_line() -> None:
    """Rounding gives the edges of a straight side directions that differ by next to nothing."""
    rng = np.random.default_rng(4)
    hulls = []
    for angle in range(0, 180, 7):
        box = shapely.affinity.rotate(shapely.box(0, 0, 30, 4), angle)
        side = box.exterior.interpolate(np.sort(rng.uniform(0, box.length, 40)))
        hulls.append(shapely.Polygon([*side, *box.exterior.coords[:4]]).convex_hull)
    assert max(shapely.get_num_coordinates(hulls)) > 12
    _, smallest = hull_diameters(np.array(hulls))
    np.testing.assert_allclose(smallest, 4, rtol=1e-9)


def test_circles_with_many_points_on_them() -> None:
    """The smallest circle of a regular polygon is held by more points than it needs."""
    hulls = np.array([shapely.Point(7e4, 3e4).buffer(10, quad_segs=q) for q in range(1, 60)])
    largest, smallest = hull_diameters(shapely.convex_hull(hulls))
    np.testing.assert_allclose(largest, 20, rtol=1e-9)
    sides = 4 * np.arange(1, 60)
    np.testing.assert_allclose(smallest, 20 * np.cos(np.pi / sides), rtol=1e-9)


def test_measurements_turn_with_the_shape() -> None:
    rng = np.random.default_rng(3)
    cloud = shapely.MultiPoint(rng.normal(0, 20, (30, 2)))
    star = shapely.concave_hull(cloud, 0.3)
    turned = [shapely.affinity.rotate(star, angle, origin=(0, 0)) for angle in range(0, 360, 15)]
    values = shape_measurements(np.array(turned), (0.25, 0.25)).matrix
    np.testing.assert_allclose(values, np.tile(values[:1], (len(turned), 1)), rtol=1e-9)
