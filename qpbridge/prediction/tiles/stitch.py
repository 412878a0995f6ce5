"""From the parts of large objects in single tiles to whole ones.

A gland or a vessel can be larger than what a tile sees around it, so it can't be left to one tile.
Each tile reports what lies in its core and a margin around it; two parts from neighbouring tiles
that agree in the strip that both report are one object.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from qpbridge.objects import GeometryArray, IntArray, Shapes
from qpbridge.prediction.tiles.merge import TileObjects, concatenate_tiles
from qpbridge.prediction.tiles.plan import TilePlan

AGREEMENT = 0.5
"""Two parts are of one object if they share this much of the smaller, in the strip of both."""


def stitch_tiles(tiles: Iterable[TileObjects], plan: TilePlan, margin: float) -> TileObjects:
    """Join the parts of objects that lie in several tiles.

    Parameters
    ----------
    tiles
        What each tile found in its core and `margin` around it; `TileObjects.measurements` are sums
        over the pixels in the core alone (the first is their number), `TileObjects.depth` how far
        inside of the core a part stays.
    plan
        The tiles.
    margin
        In grid pixels.

    Returns
    -------
    found
        Objects, their sums added up, in the order of their first tiles. What no pixel of a core
        belongs to is left out: the neighbour found nothing there.
    """
    found = concatenate_tiles(tiles)
    first, second = _agreeing(found, plan, margin)
    count, group = connected_components(
        coo_array((np.ones(len(first)), (first, second)), shape=(len(found),) * 2), directed=False
    )
    members = np.bincount(group, minlength=count)
    alone = found.take(np.flatnonzero((members[group] == 1) & (found.measurements[:, 0] > 0)))
    joined = [
        _join(found, rows)
        for rows in np.split(np.argsort(group, kind="stable"), np.cumsum(members)[:-1])
        if len(rows) > 1
    ]
    return concatenate_tiles([alone, *joined])


def _agreeing(found: TileObjects, plan: TilePlan, margin: float) -> tuple[IntArray, IntArray]:
    """Pairs of parts from different tiles that are of one object, int64 (k,) twice."""
    near = np.flatnonzero(found.depth < margin)
    geometries = found.shapes.take(near).geometries
    first, second = shapely.STRtree(geometries).query(geometries, predicate="intersects")
    tile = found.tile[near]
    apart = (first < second) & (tile[first] != tile[second])
    if found.class_index is not None:
        kind = found.class_index[near]
        apart &= kind[first] == kind[second]
    first, second = first[apart], second[apart]
    strip = shapely.intersection(
        _reported(plan, tile[first], margin), _reported(plan, tile[second], margin)
    )
    one, two = (shapely.intersection(geometries[part], strip) for part in (first, second))
    shared = shapely.area(shapely.intersection(one, two))
    same = shared > AGREEMENT * np.minimum(shapely.area(one), shapely.area(two))
    return near[first[same]], near[second[same]]


def _reported(plan: TilePlan, tile: IntArray, margin: float) -> GeometryArray:
    """Rectangles that tiles report from, in server pixels."""
    corner, size = plan.cores[tile, :2], plan.cores[tile, 2:]
    low = (corner - margin) * plan.downsample
    high = (corner + size + margin) * plan.downsample
    boxes: GeometryArray = shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1])
    return boxes


def _join(found: TileObjects, rows: npt.NDArray[np.intp]) -> TileObjects:
    parts = found.take(rows)
    whole = shapely.union_all(parts.shapes.geometries)
    first = parts.take(np.zeros(1, np.intp))
    sums = parts.measurements.sum(axis=0, keepdims=True)
    return TileObjects(
        Shapes.from_geometries([whole]), sums, first.depth, first.tile, first.class_index
    )
