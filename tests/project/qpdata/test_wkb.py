"""Well-known binary, against shapely's."""

from __future__ import annotations

import pytest
import shapely

from qpbridge.objects import RoiKind, Shapes
from qpbridge.project.embedded.qpdata.wkb import ShapesBuilder, write_wkb

HOLED = shapely.box(0, 0, 90, 90).difference(shapely.box(10.25, 10, 20, 20))
GEOMETRIES = [
    HOLED,
    shapely.MultiPolygon([HOLED, shapely.box(100, 0, 101, 1)]),
    shapely.MultiLineString([[(0, 0), (1, 2.5)], [(3, 3), (4, 4), (5, 3)]]),
]


def read(*wkb: bytes) -> Shapes:
    builder = ShapesBuilder()
    for one in wkb:
        builder.read(one)
    return builder.shapes()


@pytest.mark.parametrize("order", [0, 1])
def test_shapely_agrees(order: int) -> None:
    shapes = Shapes.from_geometries(GEOMETRIES)
    for row, geometry in enumerate(GEOMETRIES):
        assert shapely.from_wkb(write_wkb(shapes, row)).equals_exact(geometry)
    found = read(*(shapely.to_wkb(g, byte_order=order) for g in GEOMETRIES))
    assert found.roi.tolist() == shapes.roi.tolist()
    for ours, theirs in zip(found.geometries, GEOMETRIES, strict=True):
        assert ours.equals_exact(theirs)


def test_rare_geometries_are_read_too() -> None:
    mixed = shapely.GeometryCollection([shapely.Point(0, 0), HOLED, shapely.box(200, 0, 201, 1)])
    deep = shapely.force_3d(HOLED)
    found = read(*map(shapely.to_wkb, (mixed, deep, shapely.Polygon(), shapely.Point(1, 2))))
    assert [RoiKind(k) for k in found.roi] == [
        RoiKind.GEOMETRY,
        RoiKind.GEOMETRY,
        RoiKind.EMPTY,
        RoiKind.POINTS,
    ]
    assert found.geometries[0].area == HOLED.area + 1
    assert found.geometries[1].equals_exact(HOLED)


def test_broken_bytes_are_refused() -> None:
    good = shapely.to_wkb(GEOMETRIES[1], byte_order=0)
    unclosed = bytearray(shapely.to_wkb(shapely.box(0, 0, 1, 1), byte_order=0))
    unclosed[-1] ^= 1
    for bad in (b"", b"\0", good[:40], good[:-3], b"\0\0\0\0\x06\xff\xff\xff\xff", bytes(unclosed)):
        with pytest.raises(ValueError):
            read(bad)


def test_empty_parts_are_left_out() -> None:
    lines = shapely.from_wkt("MULTILINESTRING ((0 0, 1 1), EMPTY)")
    polygons = shapely.MultiPolygon([shapely.Polygon(), shapely.box(0, 0, 1, 1)])
    found = read(shapely.to_wkb(lines), shapely.to_wkb(polygons))
    assert [g.length for g in found.geometries] == [2**0.5, 4]


def test_coordinates_of_any_dimension_are_skipped_rightly() -> None:
    for wkt in ("POINT ZM (1 2 3 4)", "MULTIPOINT Z ((1 2 3))", "LINESTRING M (0 0 1, 5 5 2)"):
        for flavor in ("iso", "extended"):
            geometry = shapely.from_wkt(wkt)
            wkb = shapely.to_wkb(
                shapely.set_srid(geometry, 4326), flavor=flavor, include_srid=flavor == "extended"
            )
            assert len(read(wkb)) == 1
