"""The tile machinery with a network that needs no training: dark discs on a white ground."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shapely
from scipy import ndimage

from qpbridge.hierarchy.regions import Region
from qpbridge.objects import Shapes
from qpbridge.prediction.tiles.merge import TileObjects, merge_tiles, numbered
from qpbridge.prediction.tiles.plan import plan_tiles
from qpbridge.prediction.tiles.run import MERGE_MARGIN, Threads, core_depth, run_tiles

RADIUS = 6


def disc_image(size=400, n=60, seed=1):
    rng = np.random.default_rng(seed)
    centres: list[np.ndarray] = []
    while len(centres) < n:
        c = rng.integers(RADIUS, size - RADIUS, 2)
        if all(np.hypot(*(c - other)) > 2 * RADIUS + 2 for other in centres):
            centres.append(c)
    y, x = np.mgrid[:size, :size]
    image = np.full((size, size, 3), 255, np.uint8)
    for cx, cy in centres:
        image[np.hypot(x + 0.5 - cx, y + 0.5 - cy) < RADIUS] = 0
    return image, np.array(centres, float)


def reader(image):
    padded = np.pad(image, ((500, 500), (500, 500), (0, 0)), constant_values=255)

    def read(tile):
        (x, y), (w, h) = tile.corner, tile.size
        return padded[y + 500 : y + 500 + h, x + 500 : x + 500 + w]

    return read


def infer(batch):
    return (batch[..., 0] < 128).astype(np.float32)[:, None]


def find(pixels, maps, tile):
    labels, n = ndimage.label(maps[0] > 0.5)
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, n + 1)))
    centres = centres.reshape(-1, 2)[:, ::-1] + 0.5
    depth = core_depth(centres, tile)
    kept = depth >= -MERGE_MARGIN
    radius = np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)[kept]
    discs = shapely.buffer(shapely.points(centres[kept] + tile.corner), radius)
    return TileObjects(
        Shapes.from_geometries(discs), radius[:, None] * 1.0, depth[kept], np.zeros(kept.sum(), int)
    )


def discs_plan(tile, size=400):
    whole = Region(-1, bytes(16), "", None, shapely.box(0, 0, size, size))
    return plan_tiles([whole], 1.0, tile=tile, halo=16, stride=16)


@pytest.mark.parametrize("tile", [64, 96, 200, 1024])
@pytest.mark.parametrize(
    ("batch_size", "threads"),
    [(1, Threads(1)), (3, Threads(2)), (1, Threads(1, 1)), (3, Threads(2, 3))],
)
def test_every_disc_is_found_once_and_whole_whatever_the_tiles(tile, batch_size, threads):
    image, centres = disc_image()
    plan = discs_plan(tile)
    tiles = list(
        run_tiles(
            plan,
            range(len(plan)),
            reader(image),
            infer,
            find,
            batch_size=batch_size,
            threads=threads,
        )
    )
    assert [number for number, _ in tiles] == list(range(len(plan)))
    found = merge_tiles([numbered(part, number) for number, part in tiles], MERGE_MARGIN)
    got = shapely.get_coordinates(shapely.centroid(found.shapes.geometries))
    assert len(got) == len(centres)
    distance = np.hypot(*(got[:, None] - centres[None]).transpose(2, 0, 1)).min(axis=0)
    assert distance.max() < 0.5
    assert found.measurements.min() > RADIUS - 0.5


def squares(*items):
    """Make what tiles found: (x, y, side, depth, tile)."""
    return TileObjects(
        Shapes.from_geometries([shapely.box(x, y, x + s, y + s) for x, y, s, _, _ in items]),
        np.arange(len(items), dtype=float)[:, None],
        np.array([i[3] for i in items], float),
        np.array([i[4] for i in items]),
    )


def test_of_two_versions_the_deeper_stays():
    first, second = squares((0, 0, 10, 2.0, 0)), squares((1, 0, 10, -1.0, 1))
    assert merge_tiles([first, second], 8).measurements.ravel().tolist() == [0]
    assert merge_tiles([second, first], 8).tile.tolist() == [0]


def test_touching_neighbours_and_objects_of_one_tile_both_stay():
    touching = merge_tiles([squares((0, 0, 10, 2.0, 0)), squares((9, 0, 10, 2.0, 1))], 8)
    assert len(touching) == 2
    nested = merge_tiles([squares((0, 0, 10, 2.0, 0), (1, 1, 4, 3.0, 0))], 8)
    assert len(nested) == 2


def test_what_only_overlaps_a_loser_stays():
    chain = squares((0, 0, 10, 3.0, 0), (4, 0, 10, 2.0, 1), (8, 0, 10, 1.0, 2))
    assert merge_tiles([chain], 8).measurements.ravel().tolist() == [0, 2]


def test_an_error_in_a_thread_ends_the_run_and_its_threads():
    plan = discs_plan(64, size=200)

    def broken(tile):
        raise OSError("the disc was taken out")

    before = threading.active_count()
    for threads in (Threads(2), Threads(1, 2)):
        tiles = run_tiles(
            plan, range(len(plan)), broken, infer, find, batch_size=2, threads=threads
        )
        with pytest.raises(OSError, match="taken out"):
            list(tiles)
    assert threading.active_count() <= before


def test_only_a_few_tiles_are_under_way_at_a_time():
    plan = discs_plan(64)
    read = []

    def count(tile):
        read.append(tile)
        return np.full((tile.size[1], tile.size[0], 3), 255, np.uint8)

    for threads in (Threads(2), Threads(1, 2)):
        read.clear()
        tiles = run_tiles(plan, range(len(plan)), count, infer, find, batch_size=1, threads=threads)
        next(tiles)
        assert len(read) < 16 < len(plan)
        tiles.close()
