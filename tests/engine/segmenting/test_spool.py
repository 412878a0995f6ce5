"""Tiles on disk: whatever a crash leaves of the file, what is read from it is right."""

from __future__ import annotations

import os

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.engine.segmenting.spool import FOLDER, Spool, open_spool, run_key
from qpbridge.errors import ProjectError
from qpbridge.objects import Shapes
from qpbridge.prediction.tiles.merge import TileObjects

KEY = run_key({"a": 1})


def some(number, n=3, classes=False):
    rng = np.random.default_rng(number)
    x, y = rng.uniform(0, 1000, (2, n))
    return TileObjects(
        Shapes.from_geometries(list(shapely.box(x, y, x + 5, y + 7))),
        rng.normal(size=(n, 4)),
        rng.normal(size=n),
        np.full(n, number),
        rng.integers(-1, 3, n) if classes else None,
    )


def same(one, other):
    def parts(found):
        shapes = found.shapes
        ragged = [shapes.roi, shapes.coords, shapes.rings, shapes.parts, shapes.objects]
        return [*ragged, found.measurements, found.depth, found.tile, found.class_index]

    return all(np.array_equal(a, b) for a, b in zip(parts(one), parts(other), strict=True))


@pytest.fixture
def project(tmp_path):
    return tmp_path / "project.qpproj"


@pytest.mark.parametrize("classes", [False, True])
def test_tiles_come_back_as_they_were_in_the_order_of_their_numbers(project, classes):
    with open_spool(project, "1", "nuclei", KEY) as spool:
        for number in (3, 0, 7):
            spool.add(number, some(number, number, classes))
        assert spool.done == (3, 0, 7)
        for found, number in zip(spool.load(), (0, 3, 7), strict=True):
            assert same(found, some(number, number, classes))
        spool.add(8, some(8))  # reading doesn't change where the next one goes
        assert len(list(spool.load())) == 4
    assert not (project.parent / FOLDER).exists()


def test_a_run_that_fails_is_gone_on_with(project):
    with pytest.raises(KeyboardInterrupt), open_spool(project, "1", "nuclei", KEY) as spool:
        spool.add(0, some(0))
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="again"), open_spool(project, "1", "nuclei", KEY) as spool:
        assert spool.done == (0,)
        spool.add(1, some(1))
        raise OSError("again")
    with open_spool(project, "1", "nuclei", KEY) as spool:
        assert all(same(found, some(i)) for i, found in enumerate(spool.load()))
        assert spool.done == (0, 1)


@pytest.mark.parametrize(
    ("image", "target", "key", "restart"),
    [
        ("2", "nuclei", KEY, False),
        ("1", "glands", KEY, False),
        ("1", "nuclei", run_key({"a": 2}), False),
        ("1", "nuclei", KEY, True),
    ],
)
def test_another_run_begins_anew(project, image, target, key, restart):
    with pytest.raises(KeyboardInterrupt), open_spool(project, "1", "nuclei", KEY) as spool:
        spool.add(0, some(0))
        raise KeyboardInterrupt
    with open_spool(project, image, target, key, restart=restart) as spool:
        assert spool.done == ()


def test_two_at_a_time_are_refused(project):
    with open_spool(project, "1", "nuclei", KEY):
        with pytest.raises(ProjectError, match="another qpbridge"):
            open_spool(project, "1", "nuclei", KEY).__enter__()
        with open_spool(project, "2", "nuclei", KEY), open_spool(project, "1", "glands", KEY):
            pass


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("spool") / "tiles"
    spool = Spool(path, KEY)
    for number in range(4):
        spool.add(number, some(number))
    spool.close()
    return path.read_bytes()


def test_a_length_that_lies_is_not_believed(written, tmp_path):
    path = tmp_path / "tiles"
    left = bytearray(written)
    start = written.index(b"PK") - 20  # of the first record: number, length, checksum
    left[start + 8 : start + 16] = (2**62).to_bytes(8, "little")
    path.write_bytes(left)
    spool = Spool(path, KEY)
    assert spool.done == ()
    spool.close()


@given(data=st.data())
def test_what_a_crash_leaves_is_read_up_to_where_it_is_whole(written, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("broken") / "tiles"
    length = data.draw(st.integers(0, len(written)))
    left = bytearray(written[:length])
    kind = data.draw(st.sampled_from(["cut", "zeros", "noise", "flip"]))
    if kind == "zeros":  # a file system that had made room but not written
        left += bytes(len(written) - length)
    elif kind == "noise":
        left += data.draw(st.binary(min_size=1, max_size=200))
    elif kind == "flip" and left:
        left[data.draw(st.integers(0, len(left) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(left)
    spool = Spool(path, KEY)
    kept = tuple(range(len(spool.done)))
    assert spool.done == kept
    for number, found in enumerate(spool.load()):
        assert same(found, some(number))
    spool.add(9, some(9))
    spool.close()
    again = Spool(path, KEY)
    assert again.done == (*kept, 9)
    assert same(list(again.load())[-1], some(9))
    again.close()


def test_the_key_depends_on_every_fact():
    facts = {"model": "x", "cores": np.arange(6).reshape(2, 3), "mpp": (0.5, 0.5)}
    keys = {run_key(facts), run_key({**facts, "model": "y"}), run_key({**facts, "mpp": (0.5, 0.4)})}
    keys.add(run_key({**facts, "cores": np.arange(1, 7).reshape(2, 3)}))
    assert len(keys) == 4
    assert run_key(dict(reversed(facts.items()))) == run_key(facts)


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="needs a user without all rights")
def test_a_folder_that_cant_be_written_is_named(project):
    project.parent.chmod(0o500)
    with pytest.raises(ProjectError, match=FOLDER):
        open_spool(project, "1", "nuclei", KEY).__enter__()
