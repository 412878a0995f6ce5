"""Glands and vessels: larger than a tile sees, joined across tiles, cut to the regions."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from scipy import ndimage

from qpbridge.decode import decoders
from qpbridge.decode.instances import Instances, label_means
from qpbridge.engine.runs import RunRecord
from qpbridge.engine.segmenting.result import plan_result
from qpbridge.hierarchy.clip import clip_to_regions
from qpbridge.hierarchy.provenance import Origin, mint_ids, origins
from qpbridge.hierarchy.regions import Region
from qpbridge.hierarchy.targets import ids_below
from qpbridge.models.bundle import Bundle
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.prediction.placed import classify
from qpbridge.prediction.structures import StructureFinder
from qpbridge.prediction.tiles.merge import numbered
from qpbridge.prediction.tiles.plan import plan_tiles
from qpbridge.prediction.tiles.run import Threads, run_tiles

SIZE = 600
RECORD = RunRecord(
    "glands", "some_model", "1", 1.0, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), "x"
)


def decode_blobs(maps, *, mpp, min_area_um2=0.0):
    labels = ndimage.label(maps[0] > 0.5)[0]
    return Instances(labels, label_means(labels, maps[0]), maps[0], 0.5)


@pytest.fixture
def bundle(monkeypatch):
    monkeypatch.setitem(decoders.DECODERS, "blobs", lambda: decode_blobs)
    own = {"target": "glands", "decoder": "blobs", "mpp": 1.0, "decode": {"min_area_um2": 20.0}}
    return Bundle("some_model", Path("some_model"), {"version": "1", "qpbridge": own})


def picture():
    """Rings up to 260 pixels wide, and small discs, none touching another; softly drawn."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    level = np.zeros((SIZE, SIZE))
    for cx, cy, radius, hole in (
        (170, 180, 130, 60),
        (450, 150, 90, 0),
        (430, 420, 110, 30),
        (128, 420, 20, 0),
        (60, 500, 8, 0),
        (256, 512, 9, 3),
    ):
        away = np.hypot(x - cx, y - cy)
        level += np.clip((radius - away) / 6 + 0.5, 0, 1) * np.clip((away - hole) / 6 + 0.5, 0, 1)
    return level.astype(np.float32)


def find(bundle, level, tile, regions):
    plan = plan_tiles(regions, 1.0, tile=tile, halo=32, stride=16)
    wide = np.pad(level, 700)
    target = StructureFinder(bundle, plan, (1.0, 1.0))

    def read(tile):
        (x, y), (w, h) = tile.corner, tile.size
        return wide[y + 700 : y + 700 + h, x + 700 : x + 700 + w]

    tiles = run_tiles(
        plan,
        range(len(plan)),
        read,
        lambda batch: batch[:, None],
        target.find,
        batch_size=2,
        threads=Threads(2),
    )
    return target, target.merge([numbered(found, number) for number, found in tiles])


def whole():
    return Region(-1, bytes(16), "", None, shapely.box(0, 0, SIZE, SIZE))


@pytest.mark.parametrize("tile", [128, 192, 256, 1024])
def test_objects_are_whole_whatever_the_tiles(bundle, tile):
    level = picture()
    _, once = find(bundle, level, 2048, [whole()])
    _, found = find(bundle, level, tile, [whole()])
    expected, got = once.shapes.geometries, found.shapes.geometries
    assert len(expected) == len(got) == 6
    order = [int(np.argmax(shapely.area(shapely.intersection(got, one)))) for one in expected]
    assert sorted(order) == list(range(6))
    one, other = expected, got[order]
    iou = shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other))
    assert iou.min() > 0.98
    assert (shapely.get_num_interior_rings(other) == shapely.get_num_interior_rings(one)).all()
    # pixels and probability are summed over the cores, so each pixel counts once
    assert np.allclose(found.measurements[order], once.measurements, rtol=0.01)


def test_what_was_found_is_cut_measured_and_put_below_its_region(bundle):
    left = Region(0, b"L" * 16, "left", None, shapely.box(0, 0, 250, SIZE))
    right = Region(1, b"R" * 16, "right", None, shapely.box(260, 0, SIZE, SIZE))
    objects = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries([left.geometry, right.geometry]),
        ids=np.frombuffer(left.id + right.id, np.uint8).reshape(2, 16),
    )
    target, found = find(bundle, picture(), 256, [left, right])
    edit, result = plan_result(target, objects, (left, right), found, RECORD)
    made = edit.add
    assert result.found == len(made) == 8  # two rings lie in both
    assert (made.kind == ObjectKind.ANNOTATION).all()
    assert (origins(made, "glands") == Origin.OURS).all()
    assert {str(made.path_class(row)) for row in range(8)} == {"Gland"}
    for row, geometry in enumerate(made.geometries):
        region = left if edit.add_below[row].tobytes() == left.id else right
        assert region.geometry.buffer(0.02).covers(geometry) and geometry.is_valid
    area = shapely.area(made.geometries)
    assert np.allclose(made.measurement("Area µm^2"), area, rtol=1e-4)
    small = np.argmin(shapely.distance(made.geometries, shapely.Point(430, 420)))
    assert made.measurement("Lumen area µm^2")[small] == pytest.approx(np.pi * 30**2, rel=0.05)
    ratio = made.measurement("Lumen/gland area ratio")[small]
    assert ratio == pytest.approx((30 / 110) ** 2, rel=0.05)
    assert 0.7 < made.measurement("Detection probability").min() <= 1
    summary = result.summaries[1]
    assert summary["Glands: Count"] == 4
    cap = shapely.Point(170, 180).buffer(130).intersection(right.geometry).area
    filled = np.pi * (90**2 + 110**2) + cap
    assert summary["Glands: Area %"] == pytest.approx(100 * filled / (340 * SIZE), rel=0.05)


def test_a_run_again_replaces_its_own_and_leaves_what_was_corrected(bundle):
    region = Region(0, b"L" * 16, "all", None, shapely.box(0, 0, SIZE, SIZE))
    objects = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries([region.geometry]),
        ids=np.frombuffer(region.id, np.uint8).reshape(1, 16),
    )
    target, found = find(bundle, picture(), 256, [region])
    made = plan_result(target, objects, (region,), found, RECORD)[0].add
    corrected = made.geometries.copy()
    corrected[0] = shapely.affinity.translate(corrected[0], 3, 3)
    before = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries([region.geometry, *corrected]),
        ids=np.concatenate([objects.ids, made.ids]),
    )
    before = classify(before, bundle, None)
    edit, result = plan_result(target, before, (region,), found, RECORD)
    assert result.existing.changed.tolist() == [1]
    assert sorted(result.existing.replaced.tolist()) == list(range(2, 7))
    assert len(edit.add) == 5  # not once more what a person corrected


def test_nuclei_go_below_the_gland_that_holds_them(bundle):
    region = Region(0, b"L" * 16, "all", None, shapely.box(0, 0, SIZE, SIZE))
    ring = shapely.difference(shapely.Point(100, 100).buffer(50), shapely.Point(100, 100).buffer(9))
    glands = ObjectTable.new(ObjectKind.ANNOTATION, Shapes.from_geometries([ring]))
    glands = classify(glands, bundle, None)
    ids = mint_ids(glands, "glands", np.zeros((0, 16), np.uint8))
    table = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries([region.geometry, ring]),
        ids=np.concatenate([np.frombuffer(region.id, np.uint8)[None], ids]),
    ).replace(
        parent=np.array([-1, 0]),
        classes=(PathClass(("Gland",)),),
        class_index=np.array([-1, 0], np.int32),
    )
    points = shapely.points([[100, 70], [100, 100], [300, 300]])  # in the ring, lumen, outside
    below = ids_below(table, (region,), np.zeros(3, np.int64), points)
    assert [row.tobytes() for row in below] == [ids[0].tobytes(), region.id, region.id]


@pytest.mark.parametrize("tile", [128, 1024])
def test_centre_lines_go_on_across_tiles_and_end_at_the_region(tile):
    own = {"target": "vessels", "decoder": "lines", "mpp": 1.0, "decode": {"min_area_um2": 9.0}}
    bundle = Bundle("lines", Path("lines"), {"version": "1", "qpbridge": own})
    level = np.zeros((SIZE, SIZE), np.float32)
    level[300:309, 40:560] = 0.9
    region = Region(-1, bytes(16), "", None, shapely.box(0, 0, 300, SIZE))
    target, found = find(bundle, level, tile, [whole()])
    record = replace(RECORD, target="vessels")
    nothing = ObjectTable.new(ObjectKind.ANNOTATION, Shapes.empty())
    for searched, length in ((whole(), 520), (region, 260)):
        edit, result = plan_result(target, nothing, (searched,), found, record)
        assert len(edit.add) == 1
        assert edit.add.measurement("Centre line length µm")[0] == pytest.approx(length, rel=0.04)
        assert result.summaries[0]["Vessels: Width mean µm"] == pytest.approx(9, abs=0.5)


@pytest.mark.parametrize(
    ("box", "pieces"),
    [
        ((10, 10, 20, 20), {1: 100}),  # in the inner one
        ((60, 60, 80, 80), {0: 400}),  # in the outer one only
        ((40, 10, 60, 20), {0: 200}),  # out of the inner one: the outer one covers it
        ((90, 10, 120, 20), {0: 100}),  # half outside
        ((95, 45, 215, 55), {0: 50, 2: 1000}),  # from one region into another, and out
        ((110, 10, 120, 20), {}),  # outside of all
    ],
)
def test_objects_are_cut_to_the_regions_they_lie_in(box, pieces):
    boxes = [(0, 0, 100, 100), (0, 0, 50, 50), (100, 40, 200, 60)]
    regions = [Region(i, bytes([i] * 16), "", None, shapely.box(*b)) for i, b in enumerate(boxes)]
    cut, source, region = clip_to_regions(np.array([shapely.box(*box)]), regions)
    assert dict(zip(region.tolist(), shapely.area(cut).tolist(), strict=True)) == pieces
    assert not source.any()
