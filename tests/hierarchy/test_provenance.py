from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.hierarchy.provenance import TARGETS, Origin, made_by_us, mint_ids, origins, storable
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes

NOBODY = np.zeros((0, 16), np.uint8)


def nuclei(n=5, seed=0, size=100_000.0):
    rng = np.random.default_rng(seed)
    geometries = [
        shapely.Point(*rng.uniform(0, size, 2)).buffer(rng.uniform(3, 9)) for _ in range(n)
    ]
    shapes = Shapes.from_geometries(geometries)
    shapes = replace(shapes, coords=storable(shapes.coords))
    table = ObjectTable.new(ObjectKind.DETECTION, shapes, path_class=PathClass(("Nucleus",)))
    return replace(table, ids=mint_ids(table, "nuclei", NOBODY))


def test_own_objects_are_known_again_and_only_for_their_target():
    table = nuclei()
    assert (origins(table, "nuclei") == Origin.OURS).all()
    assert (origins(table, "glands") == Origin.OTHER).all()
    assert str(table.uuid(0)).startswith("71706272-")
    assert table.uuid(0).version == 8


def test_objects_of_others_are_never_ours():
    table = nuclei()
    other = ObjectTable.new(ObjectKind.DETECTION, table.shapes, path_class=PathClass(("Nucleus",)))
    assert (origins(other, "nuclei") == Origin.OTHER).all()
    assert (origins(other) == Origin.OTHER).all()
    assert not made_by_us(other.ids).any()


def test_the_ids_alone_tell_what_is_ours():
    table = nuclei(2)
    vessels = table.replace(ids=mint_ids(table, "vessels", NOBODY))
    later = table.ids.copy()
    later[:, 4] = len(TARGETS)  # of a version that knows more targets
    ids = np.concatenate([table.ids, vessels.ids, later])
    assert made_by_us(ids).tolist() == [True] * 4 + [False] * 2
    assert made_by_us(ids, "nuclei").tolist() == [True] * 2 + [False] * 4
    assert made_by_us(ids, "glands", "vessels").tolist() == [False] * 2 + [True] * 2 + [False] * 2
    moved = replace(table.shapes, coords=table.shapes.coords + 5.0)
    assert made_by_us(table.replace(shapes=moved).ids).all()
    assert (origins(table.replace(shapes=moved)) == Origin.CHANGED).all()
    assert (origins(vessels) == Origin.OURS).all()


def moved(table):
    coords = table.shapes.coords.copy()
    coords[: table.shapes.rings[1]] += 1
    return replace(table, shapes=replace(table.shapes, coords=coords))


CHANGES = {
    "moved": moved,
    "reclassified": lambda t: replace(
        t,
        classes=(*t.classes, PathClass(("Tumor",))),
        class_index=np.array([1, 0, 0, 0, 0], np.int32),
    ),
    "class removed": lambda t: replace(t, class_index=np.array([-1, 0, 0, 0, 0], np.int32)),
    "renamed": lambda t: replace(t, names={0: "mitosis"}),
    "coloured": lambda t: replace(t, colors={0: (1, 2, 3)}),
    "locked": lambda t: replace(t, locked=np.array([True] + [False] * 4)),
    "made an annotation": lambda t: replace(t, kind=np.array([0, 1, 1, 1, 1], np.uint8)),
    "other plane": lambda t: replace(t, plane=np.array([[-1, 1, 0]] + [[-1, 0, 0]] * 4, np.int32)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_a_person_changes_is_noticed(change):
    assert list(origins(change(nuclei()), "nuclei")) == [Origin.CHANGED] + [Origin.OURS] * 4


def test_measurements_and_ring_order_are_not_a_persons_change():
    table = nuclei(1)
    ring = table.shapes.coords[:-1]
    for turned in (np.roll(ring, 3, axis=0), ring[::-1]):
        coords = np.concatenate([turned, turned[:1]])
        same = replace(table, shapes=replace(table.shapes, coords=coords))
        assert origins(same, "nuclei")[0] == Origin.OURS


@given(st.floats(0, 4_000_000), st.integers(0, 1000))
def test_ids_survive_float32_and_two_decimals(offset, seed):
    table = nuclei(3, seed, 10)
    coords = storable(table.shapes.coords + offset)
    table = replace(table, shapes=replace(table.shapes, coords=coords))
    table = replace(table, ids=mint_ids(table, "nuclei", NOBODY))
    for trip in (
        lambda c: c.astype(np.float32).astype(float),
        lambda c: np.round(c, 2),
        lambda c: np.round(c.astype(np.float32).astype(float), 2).astype(np.float32).astype(float),
    ):
        back = replace(table, shapes=replace(table.shapes, coords=trip(coords)))
        assert (origins(back, "nuclei") == Origin.OURS).all()


def test_ids_in_use_are_avoided_and_still_known():
    table = nuclei()
    again = replace(table, ids=mint_ids(table, "nuclei", table.ids[:2]))
    assert (again.ids[2:] == table.ids[2:]).all()
    assert not (again.ids[:2] == table.ids[:2]).all(axis=1).any()
    assert (origins(again, "nuclei") == Origin.OURS).all()


def test_twins_get_different_ids():
    twins = nuclei(1).take([0, 0, 0])
    ids = mint_ids(twins, "nuclei", NOBODY)
    assert len({bytes(i) for i in ids}) == 3


def test_a_hundred_thousand_ids_differ():
    rings = np.random.default_rng(0).uniform(0, 1000, (100_000, 4, 2))
    rings[:, 3] = rings[:, 0]
    shapes = Shapes.from_rings(rings.reshape(-1, 2), np.arange(100_001) * 4)
    table = ObjectTable.new(ObjectKind.DETECTION, shapes)
    ids = mint_ids(table, "nuclei", NOBODY)
    assert (ids[:, 5] == 0).all()
