"""Places where objects were, and what is remembered of them."""

from __future__ import annotations

import json
import tracemalloc
import zlib

import numpy as np
import pytest
import shapely

from qpbridge.engine.memory import Memory, Places
from qpbridge.objects import Shapes


def boxes(*centers, side=8.0) -> Shapes:
    h = side / 2
    return Shapes.from_geometries([shapely.box(x - h, y - h, x + h, y + h) for x, y in centers])


def ids(n: int):
    return np.arange(16 * n, dtype=np.uint8).reshape(n, 16)


def test_a_place_is_taken_by_what_is_as_large_and_around_the_same_point():
    places = Places.of(boxes((50, 50), (90, 50)), ids(2))
    assert places.radius == pytest.approx(8 / np.sqrt(np.pi))
    moved = [(53, 52), (50, 56), (58, 50), (90, 50)]
    assert places.taken(boxes(*moved)).tolist() == [True, False, False, True]
    # a speck or a gland in the same place is something else
    assert places.taken(boxes((50, 50), side=3)).tolist() == [False]
    assert places.taken(boxes((50, 50), side=17)).tolist() == [False]
    assert places.taken(boxes((50, 50), side=15)).tolist() == [True]
    assert places.taken(Shapes.empty()).tolist() == []
    assert Places.none().taken(boxes((50, 50))).tolist() == [False]


def test_a_note_says_all():
    outline = shapely.Point(10, 10).buffer(100)
    memory = Memory(
        Places.of(boxes((50, 50), (90, 50)), ids(2)), {bytes(16): ("ab", outline)}, 1, ids(3)
    )
    again = Memory.read(memory.note("nuclei", "0" * 16).content)
    np.testing.assert_array_equal(again.places.ids, memory.places.ids)
    np.testing.assert_array_equal(again.places.xy, memory.places.xy)
    np.testing.assert_array_equal(again.places.radius, memory.places.radius)
    np.testing.assert_array_equal(again.removed, memory.removed)
    assert again.added == 1
    assert again.regions[bytes(16)][0] == "ab"
    assert again.regions[bytes(16)][1].equals(outline)


HEAD = {"places": 1, "added": 1, "removed": 0, "regions": {}}


def note(head: object, data: bytes = bytes(28)) -> bytes:
    return zlib.compress(json.dumps(head).encode() + b"\n" + data)


def test_places_as_large_as_a_file_says_cost_no_more_for_it():
    centres = shapely.points(np.mgrid[0:400:20, 0:400:20].reshape(2, -1).T.astype(float))
    shapes = Shapes.from_geometries(shapely.buffer(centres, 5))
    n = 50_000  # with all 400 objects these would be 20 million pairs
    lies = Places(
        np.zeros((n, 16), np.uint8),
        np.full((n, 2), 200, np.float32),
        np.full(n, 1e6, np.float32),
    )
    tracemalloc.start()
    try:
        taken = lies.plus(Places.of(shapes.take([7]), np.ones((1, 16), np.uint8))).taken(shapes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.flatnonzero(taken).tolist() == [7]
    assert peak < 50e6


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        note(HEAD)[:-3],
        note({**HEAD, "places": 2}),
        note({**HEAD, "places": -1}),
        note({**HEAD, "added": 2}),
        note({**HEAD, "places": "x"}),
        note({**HEAD, "places": 1e300}),
        note([1]),
        note({}),
        note({**HEAD, "regions": {"zz": ["", ""]}}),
        note({**HEAD, "regions": {"00": ["", "nonsense"]}}),
        note({**HEAD, "regions": {"00": ["", shapely.Point(1, 2).wkb_hex]}}),
        note({**HEAD, "regions": {"00": None}}),
        note({**HEAD, "regions": [1]}),
        note(HEAD, bytes(24) + b"\xff" * 4),
    ],
)
def test_a_note_that_lies_is_refused(content):
    with pytest.raises(ValueError):
        Memory.read(content)
