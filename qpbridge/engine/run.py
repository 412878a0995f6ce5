"""Tiles through reading, the network and the decoder, with bounded queues between them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge.engine.merge import Found
from qpbridge.engine.plan import TilePlan

In = TypeVar("In")
Out = TypeVar("Out")
Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]

MERGE_MARGIN = 8.0
"""How far outside of a tile's core, in grid pixels, an object's centroid may lie to be reported."""


def find_objects(
    plan: TilePlan,
    read: Callable[[int, int, int, int], Pixels],
    infer: Callable[[Pixels], Maps],
    decode: Callable[[Pixels, Maps, tuple[int, int]], Found],
    *,
    batch_size: int,
    workers: int,
    merge: Callable[[Sequence[Found]], Found],
    progress: Callable[[int], None] = lambda _: None,
) -> Found:
    """Find the objects of all tiles of a plan.

    Parameters
    ----------
    plan
        Which tiles.
    read
        From x, y, width, height in grid pixels to uint8 (height, width, 3).
    infer
        From uint8 (b, side, side, 3) to the network's maps, float32 (b, c, side, side).
    decode
        From the pixels and maps of one tile, and x, y of its upper left corner in grid pixels, to
        objects in server pixels whose `depth` is their centroid's place (see `core_depth`).
    batch_size
        Tiles per batch.
    workers
        Threads that read, and as many that decode.
    merge
        Makes the image's objects of the tiles'.
    progress
        Called with the number of tiles done, whenever it changes.

    Returns
    -------
    found
        All objects of the tiles, each once. The order depends on the plan only.
    """
    limit = batch_size + workers
    with ThreadPoolExecutor(workers) as readers, ThreadPoolExecutor(workers) as decoders:

        def read_tile(origin: npt.NDArray[np.int64]) -> Pixels:
            x, y = (int(v) - plan.halo for v in origin)
            return read(x, y, plan.side, plan.side)

        def through_network() -> Iterator[tuple[Pixels, Maps, int]]:
            tiles = _map_bounded(readers, read_tile, plan.origins, limit)
            numbers = itertools.count()
            while batch := list(itertools.islice(tiles, batch_size)):
                yield from zip(batch, infer(np.stack(batch)), numbers, strict=False)

        def decode_tile(item: tuple[Pixels, Maps, int]) -> Found:
            pixels, maps, number = item
            x, y = (int(v) - plan.halo for v in plan.origins[number])
            found = decode(pixels, maps, (x, y))
            return Found(
                found.shapes,
                found.measurements,
                found.depth,
                np.full(len(found), number, np.int64),
                found.class_index,
            )

        done: list[Found] = []
        try:
            for found in _map_bounded(decoders, decode_tile, through_network(), limit):
                done.append(found)
                progress(len(done))
        except BaseException:
            readers.shutdown(wait=False, cancel_futures=True)
            decoders.shutdown(wait=False, cancel_futures=True)
            raise
    return merge(done)


def core_depth(centroids: npt.NDArray[np.float64], core: int, halo: int) -> npt.NDArray[np.float64]:
    """Measure how far inside the core of a tile points lie.

    Parameters
    ----------
    centroids
        float64 (n, 2), in grid pixels from the tile's upper left corner, halo included.
    core, halo
        In grid pixels.

    Returns
    -------
    depth
        float64 (n,): distance to the core's nearest side; negative outside of the core.
    """
    inner = centroids - halo
    depth: npt.NDArray[np.float64] = np.minimum(inner, core - inner).min(axis=1, initial=np.inf)
    return depth


def _map_bounded(
    pool: Executor, function: Callable[[In], Out], items: Iterable[In], limit: int
) -> Iterator[Out]:
    """Map in a pool, in order, with at most `limit` items under way."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= limit:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
