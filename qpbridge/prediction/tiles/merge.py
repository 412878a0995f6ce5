"""From the objects of single tiles to those of the image: none twice, none lost, none cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import FloatArray, IntArray, Shapes, concatenate_shapes

SAME_OBJECT = 0.5
"""Two outlines from different tiles are one object if they share this much of the smaller one."""


@dataclass(frozen=True, eq=False)
class TileObjects:
    """Objects as they come out of a tile, or of all tiles.

    Parameters
    ----------
    shapes
        Polygons in server pixels, n of them.
    measurements
        float64 (n, k).
    depth
        float64 (n,), how far inside the tile's core the centroid lies, in grid pixels; negative
        outside of it.
    tile
        int64 (n,), number of the tile.
    class_index
        int64 (n,), index into the model's classes; -1: the class of the target. None: all -1.
    """

    shapes: Shapes
    measurements: FloatArray
    depth: FloatArray
    tile: IntArray
    class_index: IntArray | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def take(self, index: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> TileObjects:
        """Select by integer index or boolean mask; without a copy where all stay."""
        if index.dtype == np.bool_ and index.all():
            return self
        return TileObjects(
            self.shapes.take(index),
            self.measurements[index],
            self.depth[index],
            self.tile[index],
            None if self.class_index is None else self.class_index[index],
        )


def numbered(found: TileObjects, tile: int) -> TileObjects:
    """Say which tile objects were found in."""
    return replace(found, tile=np.full(len(found), tile, np.int64))


def concatenate_tiles(tiles: Iterable[TileObjects]) -> TileObjects:
    """Put objects behind one another."""
    parts = list(tiles)
    classes = [part.class_index for part in parts if part.class_index is not None]
    return TileObjects(
        concatenate_shapes([part.shapes for part in parts]),
        np.concatenate([part.measurements for part in parts]),
        np.concatenate([part.depth for part in parts]),
        np.concatenate([part.tile for part in parts]),
        np.concatenate(classes) if len(classes) == len(parts) else None,
    )


def merge_tiles(tiles: Iterable[TileObjects], margin: float) -> TileObjects:
    """Put the objects of all tiles together.

    Every tile also reports objects whose centroid lies up to `margin` outside of its core, since
    neighbours see slightly different outlines of an object on their border, and each could take
    the other for its owner. Of two that are the same object, the one deeper in its core stays.

    Parameters
    ----------
    tiles
        What each tile found, with ``depth >= -margin``.
    margin
        In grid pixels.

    Returns
    -------
    found
        Objects in the order of the tiles.
    """
    found = concatenate_tiles(tiles)
    near = np.flatnonzero(found.depth < margin * 2)
    if not len(near):
        return found
    geometries = found.shapes.take(near).geometries
    first, second = shapely.STRtree(geometries).query(geometries, predicate="intersects")
    apart = (first < second) & (found.tile[near[first]] != found.tile[near[second]])
    first, second = first[apart], second[apart]
    shared = shapely.area(shapely.intersection(geometries[first], geometries[second]))
    smaller = np.minimum(shapely.area(geometries[first]), shapely.area(geometries[second]))
    same = shared > SAME_OBJECT * smaller
    lost = _weaker(first[same], second[same], found.depth[near])
    keep = np.ones(len(found), bool)
    keep[near[lost]] = False
    return found.take(keep)


def _weaker(
    first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], depth: FloatArray
) -> npt.NDArray[np.intp]:
    """Of conflicting pairs, choose which objects go: those that lose to one that stays."""
    rank = np.empty(len(depth), np.int64)
    rank[np.lexsort((np.arange(len(depth)), -depth))] = np.arange(len(depth))
    swap = rank[first] > rank[second]
    winner, loser = np.where(swap, second, first), np.where(swap, first, second)
    gone = np.zeros(len(depth), bool)
    for i in np.argsort(rank[winner], kind="stable"):
        if not gone[winner[i]]:
            gone[loser[i]] = True
    return np.flatnonzero(gone)
