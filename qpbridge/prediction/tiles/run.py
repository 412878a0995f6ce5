"""Tiles through reading, the network and the decoder, with bounded queues between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.prediction.tiles.plan import Tile, TilePlan
from qpbridge.prediction.tiles.stages import Stages

In = TypeVar("In")
Out = TypeVar("Out")
Pixels = npt.NDArray[np.uint8]
Maps = npt.NDArray[np.float32]
Batch = tuple[int, ...]

MERGE_MARGIN = 8.0
"""How far outside of a tile's core, in grid pixels, an object's centroid may lie to be reported."""


@dataclass(frozen=True)
class Threads:
    """How the stages share the processor.

    Parameters
    ----------
    network
        Batches that are in the network at the same time.
    others
        Threads that read, and as many that decode; 0: each thread of the network does that as well,
        which is the fastest where the network runs on the same processor.
    """

    network: int = 1
    others: int = 0


def run_tiles(
    plan: TilePlan,
    numbers: Sequence[int],
    read: Callable[[Tile], Pixels],
    infer: Callable[[Pixels], Maps],
    find: Callable[[Pixels, Maps, Tile], TileObjects],
    *,
    batch_size: int,
    threads: Threads,
    stages: Stages | None = None,
) -> Iterator[tuple[int, TileObjects]]:
    """Find the objects of tiles.

    Parameters
    ----------
    plan
        All tiles.
    numbers
        Which of them.
    read
        From a tile to its pixels with halo, uint8 (height, width, 3).
    infer
        From uint8 (b, height, width, 3) to the network's maps, float32 (b, c, height, width).
    find
        From the pixels and maps of a tile to objects in server pixels whose `depth` is their
        centroid's place (see `core_depth`).
    batch_size
        Largest number of tiles per batch.
    threads
        How many of what.
    stages
        Counts the time of reading and of the network.

    Yields
    ------
    number, found
        For each tile, in the order of `numbers`, as soon as it is done.
    """
    stages = stages or Stages()

    def read_batch(batch: Batch) -> Pixels:
        with stages("read"):
            return np.stack([read(plan[number]) for number in batch])

    def infer_batch(pixels: Pixels) -> Maps:
        with stages("network"):
            return infer(pixels)

    def find_all(batch: Batch, pixels: Pixels, maps: Maps) -> list[TileObjects]:
        return [find(p, m, plan[number]) for number, p, m in zip(batch, pixels, maps, strict=True)]

    def whole(batch: Batch) -> tuple[Batch, list[TileObjects]]:
        pixels = read_batch(batch)
        return batch, find_all(batch, pixels, infer_batch(pixels))

    batches = plan.batches(numbers, batch_size)
    with ExitStack() as pools:

        def through(
            function: Callable[[In], Out], items: Iterable[In], count: int
        ) -> Iterator[Out]:
            pool = pools.enter_context(ThreadPoolExecutor(count))
            pools.callback(pool.shutdown, wait=False, cancel_futures=True)
            return _map_bounded(pool, function, items, 2 * count)

        if threads.others:
            pixels = through(lambda b: (b, read_batch(b)), batches, threads.others)
            maps = through(lambda r: (*r, infer_batch(r[1])), pixels, threads.network)
            done = through(lambda m: (m[0], find_all(*m)), maps, threads.others)
        else:
            done = through(whole, batches, threads.network)
        for batch, parts in done:
            yield from zip(batch, parts, strict=True)


def core_depth(centroids: npt.NDArray[np.float64], tile: Tile) -> npt.NDArray[np.float64]:
    """Measure how far inside the core of a tile points lie.

    Parameters
    ----------
    centroids
        float64 (n, 2), in grid pixels from the upper left corner of what was read.
    tile
        The tile.

    Returns
    -------
    depth
        float64 (n,): distance to the core's nearest side; negative outside of the core.
    """
    inner = centroids - tile.halo
    size = np.array([tile.width, tile.height])
    depth: npt.NDArray[np.float64] = np.minimum(inner, size - inner).min(axis=1, initial=np.inf)
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
