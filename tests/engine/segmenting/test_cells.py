"""Cells of an image: the same whatever the tiles, within the regions, around their nuclei."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy import ndimage

from qpbridge.decode import decoders
from qpbridge.decode.instances import Instances, label_means
from qpbridge.decode.polygons import Rings
from qpbridge.engine.runs import RunRecord
from qpbridge.engine.segmenting.result import plan_result
from qpbridge.hierarchy.provenance import mint_ids, storable
from qpbridge.hierarchy.regions import Region
from qpbridge.measurements.color import H_E
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.outlines import areas_of
from qpbridge.prediction.cells import (
    cells_of_image,
    decimals_for,
    grow_cells,
    needed_halo,
    round_outlines,
)
from qpbridge.prediction.nuclei import NucleusFinder
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.tiles.merge import numbered
from qpbridge.prediction.tiles.plan import plan_tiles
from qpbridge.prediction.tiles.run import Threads, run_tiles

SIZE = 500
MPP = (0.5, 0.5)
RECORD = RunRecord(
    "nuclei", "some_model", "1", 0.5, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "x"
)


def region(geometry, row=-1):
    return Region(row, bytes(15) + bytes([row + 1]), "", None, geometry)


WHOLE = region(shapely.box(0, 0, SIZE, SIZE))


def some_nuclei(seed, n=150, size=SIZE, origin=0.0):
    """Ellipses as nuclei are stored, many touching."""
    rng = np.random.default_rng(seed)
    circles = shapely.buffer(shapely.points(rng.uniform(10, size - 10, (n, 2)) + origin), 8.0)
    centre = shapely.get_coordinates(shapely.centroid(circles))
    factor = rng.uniform(0.5, 1.2, (n, 2))
    xy, owner = shapely.get_coordinates(circles, return_index=True)
    xy = centre[owner] + (xy - centre[owner]) * factor[owner]
    circles = shapely.set_coordinates(circles, xy)
    later, earlier = shapely.STRtree(circles).query(circles, predicate="intersects")
    taken: list[shapely.Geometry] = []
    for i, circle in enumerate(circles):
        rest = circle.difference(shapely.union_all(circles[earlier[(later == i) & (earlier < i)]]))
        if rest.geom_type == "Polygon" and rest.area > 40 and not rest.interiors:
            taken.append(rest)
    coords, owner = shapely.get_coordinates(taken, return_index=True)
    rings = np.r_[0, np.cumsum(np.bincount(owner))]
    return round_outlines(Rings(coords, rings, np.arange(len(taken))))[0]


def shared_areas(one, other=None):
    other = one if other is None else other
    first, second = shapely.STRtree(one).query(other, predicate="intersects")
    apart = first != second
    return shapely.area(shapely.intersection(other[first[apart]], one[second[apart]]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("expansion", [0.5, 3.0, 8.0])
@pytest.mark.parametrize("origin", [0.0, 70_000.0, 200_000.0])
def test_what_holds_of_all_cells(seed, expansion, origin):
    nuclei = some_nuclei(seed, origin=origin)
    hole = shapely.Point(origin + 250, origin + 250).buffer(60)
    outline = shapely.box(*[origin + 40.3] * 2, *[origin + 430.7] * 2).difference(hole)
    centroids = shapely.points(nuclei.centroids())
    inside = np.flatnonzero(shapely.contains(outline, centroids))
    cells = grow_cells(nuclei, inside, MPP, expansion, [region(outline)])
    geometries, inner = cells.geometries, nuclei.geometries[inside]
    step = 10.0 ** -decimals_for(nuclei.coords)
    assert len(cells) == len(inside) > 20
    assert shapely.is_valid(geometries).all()
    assert shapely.covers(geometries, inner).all()
    np.testing.assert_array_equal(storable(cells.coords), cells.coords)
    outside = shapely.difference(geometries, outline.buffer(3 * step))
    near = shapely.buffer(inner, 5 * step)
    assert (shapely.covers(near, outside) | shapely.is_empty(outside)).all()
    reach = shapely.buffer(inner, 1.03 * expansion / 0.5 + 3 * step, quad_segs=32)
    assert shapely.covers(reach, geometries).all()
    assert shared_areas(geometries).max(initial=0) < 40 * 3 * step  # along a whole side
    np.testing.assert_allclose(areas_of(cells), shapely.area(geometries))


def test_blocks_change_nothing():
    nuclei = some_nuclei(3)
    rng = np.random.default_rng(0)
    one = cells_of_image(nuclei, np.zeros(len(nuclei), int), MPP, 5.0, [WHOLE])
    for count in (2, 9):
        block = rng.integers(0, count, len(nuclei))
        some = cells_of_image(nuclei, block, MPP, 5.0, [WHOLE])
        np.testing.assert_array_equal(some.coords, one.coords)
        np.testing.assert_array_equal(some.rings, one.rings)
    block[::3] = -1
    left = cells_of_image(nuclei, block, MPP, 5.0, [WHOLE])
    np.testing.assert_array_equal(left.coords, one.take(block >= 0).coords)
    assert not len(cells_of_image(nuclei, np.full(len(nuclei), -1), MPP, 5.0, [WHOLE]))


def test_a_cell_stays_in_the_innermost_region_of_its_nucleus():
    discs = shapely.buffer(shapely.points([[190, 200], [210, 200], [320, 200]]), 6.0)
    nuclei = Shapes.from_geometries(shapely.transform(discs, storable))
    nest = region(shapely.box(100, 100, 200, 300), 0)
    cells = grow_cells(nuclei, np.arange(3), MPP, 10.0, [WHOLE, nest]).geometries
    assert cells[0].bounds[2] == pytest.approx(200, abs=0.02)
    assert cells[1].bounds[0] == pytest.approx(200, abs=0.2)  # the border is half-way
    assert cells[2].area == pytest.approx(np.pi * 26**2, rel=0.05)


def test_pixels_that_are_not_square():
    nuclei = Shapes.from_geometries([shapely.transform(shapely.Point(99, 99).buffer(4), storable)])
    (cell,) = grow_cells(nuclei, np.arange(1), (0.5, 0.25), 5.0, [WHOLE]).geometries
    np.testing.assert_allclose(cell.bounds, [85, 75, 113, 123], atol=0.7)


# -- a whole run, with a network and a decoder that need no training


def decode_blobs(maps):
    labels = ndimage.label(maps[0] > 0.5)[0]
    return Instances(labels, label_means(labels, maps[0]), maps[0], 0.5)


@pytest.fixture
def bundle(monkeypatch):
    monkeypatch.setitem(decoders.DECODERS, "blobs", lambda: lambda maps, *, mpp: decode_blobs(maps))
    own = {"target": "nuclei", "decoder": "blobs", "mpp": 0.5, "decode": {}}
    return Bundle("some_model", Path("some_model"), {"version": "1", "qpbridge": own})


@pytest.fixture(scope="module")
def level():
    """Soft discs that don't touch, close to one another."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    picture = np.zeros((SIZE, SIZE), np.float32)
    for cy in range(20, SIZE - 10, 22):
        for cx in range(20, SIZE - 10, 22):
            dx, dy = rng.uniform(-3, 3, 2)
            away = np.hypot(x - cx - dx, y - cy - dy)
            picture = np.maximum(picture, np.clip((rng.uniform(5, 8) - away) / 4 + 0.5, 0, 1))
    return picture.astype(np.float32)


def segmented(bundle, level, tile, regions=(WHOLE,), objects=None):
    options = NucleusOptions(cell_expansion=5.0)
    halo = int(np.ceil(needed_halo(5.0) / 0.5))
    plan = plan_tiles(regions, 1.0, tile=tile, halo=halo, stride=16)
    target = NucleusFinder(bundle, plan, MPP, H_E, options=options, regions=tuple(regions))
    wide = np.pad(level, 700)

    def read(tile):
        (x, y), (w, h) = tile.corner, tile.size
        return wide[y + 700 : y + 700 + h, x + 700 : x + 700 + w]

    def find(pixels, maps, tile):
        rgb = (255 - 200 * pixels[..., None] * [1.0, 0.8, 0.5]).astype(np.uint8)
        return target.find(rgb, maps, tile)

    tiles = run_tiles(
        plan,
        range(len(plan)),
        read,
        lambda batch: batch[:, None],
        find,
        batch_size=2,
        threads=Threads(2),
    )
    found = target.merge([numbered(part, number) for number, part in tiles])
    objects = objects or ObjectTable.new(ObjectKind.ANNOTATION, Shapes.empty())
    edit, _ = plan_result(target, objects, tuple(regions), found, RECORD)
    assert edit.add is not None
    return len(plan), edit


@pytest.mark.parametrize("tile", [210, 260])
def test_the_same_nuclei_give_the_same_cells_whatever_the_tiles(bundle, level, tile):
    count, whole = segmented(bundle, level, 2048)
    assert count == 1
    count, tiled = segmented(bundle, level, tile)
    assert count >= 9
    one, other = (e.add.take(np.argsort(e.add.ids.view("V16").ravel())) for e in (whole, tiled))
    assert len(one) > 400
    np.testing.assert_array_equal(one.ids, other.ids)  # that is: nuclei, cells and classes
    np.testing.assert_allclose(one.measurements, other.measurements, rtol=1e-5, atol=1e-7)
    assert np.isfinite(one.measurement("Membrane: Eosin: Mean")).all()


def test_what_a_tile_saw_otherwise_is_measured_again(bundle, level, monkeypatch):
    """Tiles that see no neighbours measure cells that are too large; the areas are right."""
    real = NucleusFinder._decode

    def alone(self, maps, tile):
        shapes, depth, probability, classes = real(self, maps, tile)
        near = depth >= -8
        return shapes.take(near), depth[near], probability[near], classes

    with monkeypatch.context() as patch:
        patch.setattr(NucleusFinder, "_decode", alone)
        _, edit = segmented(bundle, level, 210)
    _, whole = segmented(bundle, level, 2048)
    one, other = (e.add.take(np.argsort(e.add.ids.view("V16").ravel())) for e in (whole, edit))
    np.testing.assert_array_equal(one.ids, other.ids)
    for name in ("Cell: Area µm^2", "Cell: Solidity", "Nucleus/Cell area ratio"):
        np.testing.assert_allclose(one.measurement(name), other.measurement(name), rtol=1e-6)
    differ = one.measurement("Cell: Eosin: Mean") != other.measurement("Cell: Eosin: Mean")
    assert 0.05 < differ.mean() < 0.8


def test_new_cells_leave_room_for_what_a_person_corrected(bundle, level):
    _, first = segmented(bundle, level, 2048)
    corrected = first.add.take([200]).replace(parent=np.array([-1]))
    wide = shapely.buffer(corrected.nuclei.geometries[0], 3.0)
    corrected = corrected.replace(nuclei=Shapes.from_geometries([wide]))
    _, again = segmented(bundle, level, 2048, objects=corrected)
    assert len(again.add) == len(first.add) - 1
    assert not len(again.remove)
    assert shared_areas(again.add.geometries, np.array([wide])).max(initial=0) < 1


def test_a_cell_s_id_tells_of_its_nucleus_and_outline():
    nuclei = some_nuclei(1, 20)
    cells = grow_cells(nuclei, np.arange(len(nuclei)), MPP, 4.0, [WHOLE])
    table = ObjectTable.new(ObjectKind.CELL, cells, path_class=PathClass(("Nucleus",)))
    nobody = np.zeros((0, 16), np.uint8)
    both = mint_ids(table.replace(nuclei=nuclei), "nuclei", nobody)
    for other in (
        table,
        table.replace(nuclei=Shapes.empty(len(nuclei))),
        table.replace(nuclei=cells),
        table.replace(nuclei=nuclei.take(np.roll(np.arange(len(nuclei)), 1))),
        table.replace(shapes=nuclei, nuclei=cells),
    ):
        assert not (mint_ids(other, "nuclei", nobody) == both).all(axis=1).any()
    bare = mint_ids(table, "nuclei", nobody)
    none = mint_ids(table.replace(nuclei=Shapes.empty(len(nuclei))), "nuclei", nobody)
    np.testing.assert_array_equal(bare, none)
