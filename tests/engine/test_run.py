"""The tile machinery with a network that needs no training: dark discs on a white ground."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import shapely
from scipy import ndimage

from qpbridge.engine.merge import Found, merge_tiles
from qpbridge.engine.plan import plan_tiles
from qpbridge.engine.regions import Region
from qpbridge.engine.run import MERGE_MARGIN, core_depth, find_objects
from qpbridge.objects import Shapes

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
    return lambda x, y, w, h: padded[y + 500 : y + 500 + h, x + 500 : x + 500 + w]


def infer(batch):
    return (batch[..., 0] < 128).astype(np.float32)[:, None]


def decoder(core, halo):
    def decode(pixels, maps, corner):
        labels, n = ndimage.label(maps[0] > 0.5)
        centres = np.array(ndimage.center_of_mass(labels > 0, labels, range(1, n + 1)))
        centres = centres.reshape(-1, 2)[:, ::-1] + 0.5
        depth = core_depth(centres, core, halo)
        kept = depth >= -MERGE_MARGIN
        radius = np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)[kept]
        discs = shapely.buffer(shapely.points(centres[kept] + corner), radius)
        return Found(
            Shapes.from_geometries(discs),
            radius[:, None] * 1.0,
            depth[kept],
            np.zeros(kept.sum(), int),
        )

    return decode


def whole_objects(tiles):
    return merge_tiles(tiles, MERGE_MARGIN)


@pytest.mark.parametrize("tile", [64, 96, 200, 1024])
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 2)])
def test_every_disc_is_found_once_and_whole_whatever_the_tiles(tile, batch_size, workers):
    image, centres = disc_image()
    whole = Region(-1, bytes(16), "", None, shapely.box(0, 0, 400, 400))
    plan = plan_tiles([whole], 1.0, tile=tile, halo=16, stride=16)
    seen: list[int] = []
    found = find_objects(
        plan,
        reader(image),
        infer,
        decoder(plan.core, plan.halo),
        merge=whole_objects,
        batch_size=batch_size,
        workers=workers,
        progress=seen.append,
    )
    assert seen == list(range(1, len(plan) + 1))
    got = shapely.get_coordinates(shapely.centroid(found.shapes.geometries))
    assert len(got) == len(centres)
    distance = np.hypot(*(got[:, None] - centres[None]).transpose(2, 0, 1)).min(axis=0)
    assert distance.max() < 0.5
    assert found.measurements.min() > RADIUS - 0.5


def squares(*items):
    """Make what tiles found: (x, y, side, depth, tile)."""
    return Found(
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
    whole = Region(-1, bytes(16), "", None, shapely.box(0, 0, 200, 200))
    plan = plan_tiles([whole], 1.0, tile=64, halo=16, stride=16)

    def broken(x, y, w, h):
        raise OSError("the disc was taken out")

    before = threading.active_count()
    with pytest.raises(OSError, match="taken out"):
        find_objects(
            plan,
            broken,
            infer,
            decoder(plan.core, plan.halo),
            merge=whole_objects,
            batch_size=2,
            workers=2,
        )
    assert threading.active_count() <= before
