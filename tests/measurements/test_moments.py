"""Moments of polygons, against formulas and against scikit-image on fine pictures."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from qpbridge.measurements.moments import (
    COMPACTNESS,
    DEFINITIONS,
    ECCENTRICITY,
    EXTENT,
    ORIENTATION,
    area_moments,
    moment_measurements,
)
from qpbridge.measurements.names import DIAMETER
from qpbridge.measurements.raster import rasterize
from qpbridge.objects import RoiKind, Shapes, concatenate_shapes


def blob(seed: int) -> shapely.Polygon:
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = 8 + rng.normal(0, 1, 3) @ np.cos(np.outer([1, 2, 3], angle) + rng.random((3, 1)))
    ring = np.stack([2 * radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return shapely.affinity.rotate(shapely.Polygon(ring + 30), rng.uniform(0, 180))


def shapes_of_many_kinds() -> list[shapely.Geometry]:
    donut = blob(2).difference(shapely.Point(33, 29).buffer(4))
    two = shapely.MultiPolygon([blob(3), shapely.box(60.3, 50.2, 68.1, 70)])
    two_hollow = two.difference(shapely.box(62, 55, 66, 61)).difference(shapely.box(28, 28, 31, 33))
    return [blob(0), blob(1), donut, two, two_hollow, shapely.box(3.25, 4.125, 50, 9)]


def test_against_a_fine_picture() -> None:
    fine = 24
    geometries = shapes_of_many_kinds()
    found = moment_measurements(np.array(geometries, dtype=object), (0.5, 0.5))
    assert list(found) == list(DEFINITIONS)
    for i, geometry in enumerate(geometries):
        shape = Shapes.from_geometries([geometry])
        labels = rasterize(shape, (80 * fine, 80 * fine), downsample=1 / fine)
        (props,) = regionprops(labels)
        scale = 0.5 / fine
        eigenvalues = np.array(props.inertia_tensor_eigvals) * scale**2
        area = props.area * scale**2
        # scikit-image turns from the vertical.
        angle = np.degrees(props.orientation) + 90
        expected = {
            DIAMETER: props.equivalent_diameter_area * scale,
            ECCENTRICITY: props.eccentricity,
            EXTENT: props.extent,
            COMPACTNESS: area / (2 * np.pi * eigenvalues.sum()),
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, rel=3e-3), name
        turned = (found[ORIENTATION][i] - angle + 90) % 180 - 90
        assert abs(turned) < 0.2


def test_by_hand() -> None:
    """A box of 40 by 30 px, on pixels of 0.5 by 1 µm."""
    box = shapely.box(1e5, 2e5, 1e5 + 40, 2e5 + 30)
    hollow = box.difference(shapely.box(1e5 + 10, 2e5 + 10, 1e5 + 20, 2e5 + 16))
    area, centroid, moments = area_moments(np.array([box, hollow.reverse()]))
    np.testing.assert_allclose(area, [1200, 1140], rtol=1e-12)
    np.testing.assert_allclose(centroid[0], [1e5 + 20, 2e5 + 15], rtol=1e-15)
    np.testing.assert_allclose(moments[0], [30 * 40**3 / 12, 40 * 30**3 / 12, 0], atol=1e-6)
    mean = (1200 * 20 - 60 * 15) / 1140
    xx = 160_000 + 1200 * 20**2 - 6 * 10**3 / 12 - 60 * 15**2 - 1140 * mean**2
    assert moments[1, 0] == pytest.approx(xx, rel=1e-12)
    found = moment_measurements(np.array([box]), (0.5, 1))
    assert found[DIAMETER][0] == pytest.approx(np.sqrt(4 * 600 / np.pi))
    assert found[ORIENTATION][0] == pytest.approx(90)
    assert found[ECCENTRICITY][0] == pytest.approx(np.sqrt(1 - (20 / 30) ** 2))
    assert found[EXTENT][0] == pytest.approx(1)
    assert found[COMPACTNESS][0] == pytest.approx(600 / (2 * np.pi * (20**2 + 30**2) / 12))


def test_ellipses_have_their_eccentricity_and_angle() -> None:
    disc = shapely.Point(0, 0).buffer(1, quad_segs=500)
    angles = np.arange(0, 180, 7.5)
    turned = [
        # y points down: shapely's positive angle is clockwise on the screen.
        shapely.affinity.rotate(shapely.affinity.scale(disc, 10, 6), -a, origin=(0, 0))
        for a in angles
    ]
    found = moment_measurements(np.array(turned), (0.25, 0.25))
    np.testing.assert_allclose(found[ECCENTRICITY], 0.8, rtol=1e-5)
    np.testing.assert_allclose((found[ORIENTATION] - angles + 90) % 180, 90, atol=1e-6)
    assert (found[ORIENTATION] < 180).all()
    np.testing.assert_allclose(found[DIAMETER], 2 * np.sqrt(60) / 4, rtol=1e-5)
    np.testing.assert_allclose(found[COMPACTNESS], 4 * 60 / (2 * (100 + 36)), rtol=1e-5)
    np.testing.assert_allclose(found[EXTENT][0], np.pi / 4, rtol=1e-5)


def test_a_hair_below_the_horizontal_is_0() -> None:
    centers = np.random.default_rng(0).integers(0, 1000, (200, 1, 2))
    diamond = np.array([[-5.3, 0], [0, -2.1], [5.3, 0], [0, 2.1]])
    found = moment_measurements(shapely.polygons(centers + diamond), (1, 1))
    assert (found[ORIENTATION] < 180).all()
    assert (found[ORIENTATION] == 0).any()


def test_no_axis_is_longer() -> None:
    square = shapely.affinity.rotate(shapely.box(0, 0, 2, 2), 20)
    disc = shapely.Point(1e5, 1e5).buffer(20)
    found = moment_measurements(np.array([square, disc]), (0.5, 0.5))
    assert np.isnan(found[ORIENTATION]).all()
    assert found[ECCENTRICITY].tolist() == [0, 0]
    np.testing.assert_allclose(found[COMPACTNESS], [3 / np.pi, 1], rtol=2e-3)


def test_without_area_nan() -> None:
    geometries = np.array(
        [shapely.LineString([(0, 0), (3, 4)]), shapely.Point(1, 1), shapely.Polygon(), None]
    )
    for values in moment_measurements(geometries, (1, 1)).values():
        assert np.isnan(values).all()
    for values in moment_measurements(Shapes.empty(), (1, 1)).values():
        assert values.shape == (0,)
    for values in moment_measurements(Shapes.empty(2), (1, 1)).values():
        assert np.isnan(values).all()


def test_kinds_of_shapes() -> None:
    bow_tie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    shapes = concatenate_shapes(
        [
            Shapes.corners(RoiKind.RECTANGLE, 10, 0, 0, 5),
            Shapes.corners(RoiKind.ELLIPSE, 0, 0, 10, 6),
            Shapes.from_geometries([bow_tie, shapely.LineString([(0, 0), (1, 1)])]),
        ]
    )
    found = moment_measurements(shapes, (1, 1))
    assert found[EXTENT][0] == pytest.approx(1)
    # by QuPath's polygon of the ellipse, whose corners lie on a grid
    assert found[ECCENTRICITY][1] == pytest.approx(0.8, rel=1e-4)
    assert found[DIAMETER][2] == pytest.approx(np.sqrt(4 * 8 / np.pi))
    assert np.isnan(found[DIAMETER][3])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    angle=st.floats(0, 360),
    grown=st.floats(0.1, 10),
    shift=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
)
def test_moved_turned_and_grown(
    seed: int, angle: float, grown: float, shift: tuple[float, float]
) -> None:
    shape = blob(seed)
    other = shapely.affinity.rotate(shape, angle)
    other = shapely.affinity.translate(shapely.affinity.scale(other, grown, grown), *shift)
    found = moment_measurements(np.array([shape, other]), (1, 1))
    assert found[DIAMETER][1] == pytest.approx(found[DIAMETER][0] * grown, rel=1e-6)
    for name in (ECCENTRICITY, COMPACTNESS):
        assert found[name][1] == pytest.approx(found[name][0], rel=1e-5)
    turned = (found[ORIENTATION][1] - found[ORIENTATION][0] + angle + 90) % 180 - 90
    assert abs(turned) < 1e-3
    area, centroid, _ = area_moments(np.array([other]))
    assert area[0] == pytest.approx(other.area, rel=1e-9)
    np.testing.assert_allclose(centroid[0], other.centroid.coords[0], rtol=1e-9, atol=1e-6)
