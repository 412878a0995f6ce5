"""Nuclei grown into cells, within the regions and whatever the tiles.

How far a cell goes depends on its nucleus, on the neighbours and on the region alone. So cells are
made twice: in each tile, with the neighbours that it sees beyond its border, to be measured on its
pixels; and once all tiles are merged, from the very nuclei that are written. The two are the same,
but for the rare nucleus by a border that two tiles don't see alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from qpbridge.decode.polygons import Rings, round_rings
from qpbridge.hierarchy.provenance import storable
from qpbridge.hierarchy.regions import Region, assign_regions
from qpbridge.measurements.expansion import SLACK, expand_nuclei
from qpbridge.objects import FloatArray, GeometryArray, IntArray, Shapes, concatenate_shapes
from qpbridge.outlines import areas_only

LARGEST_NUCLEUS = 20.0
"""µm; a tile sees the neighbours of a nucleus whole if they are no longer than this."""


def needed_halo(expansion: float) -> float:
    """Return how far around its core a tile must see for its cells to be right, µm."""
    return 2 * (1 + SLACK) * expansion + LARGEST_NUCLEUS


def decimals_for(coords: FloatArray) -> int:
    """Digits that QuPath's float32 coordinates can hold that far from the origin."""
    return 2 if np.abs(coords).max(initial=0) < 2**17 else 1


def round_outlines(rings: Rings) -> tuple[Shapes, IntArray]:
    """Round outlines to what QuPath stores, and keep them valid.

    Returns
    -------
    shapes
        Polygons of one ring each.
    kept
        int64 (len(shapes),), which of the rings each was; those without area are gone.
    """
    rounded = round_rings(rings.coords, rings.offsets, decimals_for(rings.coords))
    return Shapes.from_rings(storable(rounded.coords), rounded.offsets), rounded.owner


def grow_cells(
    nuclei: Shapes,
    rows: IntArray,
    mpp: tuple[float, float],
    expansion: float,
    regions: Sequence[Region],
) -> Shapes:
    """Grow some nuclei into cells, as they can be stored.

    Parameters
    ----------
    nuclei
        n polygons of one ring each, rounded as they are stored; server pixels.
    rows
        int64 (k,), those that grow; the others only limit them.
    mpp
        µm per pixel (x, y).
    expansion
        How far a cell reaches beyond its nucleus at most, µm.
    regions
        A cell stays in the innermost one that holds the centroid of its nucleus.

    Returns
    -------
    cells
        k polygons of one ring each, in the order of `rows`. Each is valid and contains its nucleus;
        two overlap by no more than rounding makes them, besides where their nuclei do.
    """
    if not len(rows):
        return Shapes.empty()
    geometries = nuclei.geometries
    innermost = np.full(len(nuclei), -1)
    innermost[rows], _ = assign_regions(shapely.points(nuclei.centroids()[rows]), regions)
    # a part of the regions, so that one of many vertices is not gone through for every cell
    low, high = (f(nuclei.take(rows).coords, axis=0) for f in (np.min, np.max))
    reach = 2 * expansion / np.array(mpp)
    outlines = np.array([region.geometry for region in regions], object)
    near = areas_only(shapely.intersection(outlines, shapely.box(*(low - reach), *(high + reach))))
    cells = expand_nuclei(geometries, mpp, expansion, near, which=innermost, rows=rows)
    return _storable_cells(cells, geometries[rows], nuclei.coords)


def cells_of_image(
    nuclei: Shapes,
    block: IntArray,
    mpp: tuple[float, float],
    expansion: float,
    regions: Sequence[Region],
) -> Shapes:
    """Grow all nuclei of an image into cells, some at a time, which bounds the memory.

    Parameters
    ----------
    nuclei
        n polygons, server pixels.
    block
        int64 (n,), which of them are grown together, such as those of a tile; -1: not at all, they
        only limit the others.
    mpp, expansion, regions
        As for `grow_cells`.

    Returns
    -------
    cells
        As many polygons as there are nuclei in a block that is not -1, in their order.
    """
    low, high = nuclei.bounds()
    reach = 2 * (1 + SLACK) * expansion / np.array(mpp)
    grown, order = [], []
    for number in np.unique(block[block >= 0]):
        mine = block == number
        corner, end = low[mine].min(axis=0) - reach, high[mine].max(axis=0) + reach
        near = np.flatnonzero((high >= corner).all(axis=1) & (low <= end).all(axis=1))
        rows = np.flatnonzero(mine[near])
        grown.append(grow_cells(nuclei.take(near), rows, mpp, expansion, regions))
        order.append(np.flatnonzero(mine))
    if not grown:
        return Shapes.empty()
    return concatenate_shapes(grown).take(np.argsort(np.concatenate(order)))


def _storable_cells(cells: GeometryArray, nuclei: GeometryArray, coords: FloatArray) -> Shapes:
    """Round cells, and let them contain their nuclei (which are as stored) all the same."""
    step = 10.0 ** -decimals_for(coords)
    rounded = _rounded(cells, nuclei)
    short = np.flatnonzero(~shapely.covers(rounded, nuclei))
    if len(short):
        wider = shapely.buffer(nuclei[short], 2 * step, join_style="mitre")
        rounded[short] = _rounded(shapely.union(rounded[short], wider), nuclei[short])
        lost = short[~shapely.covers(rounded[short], nuclei[short])]
        rounded[lost] = nuclei[lost]
    return Shapes.from_rings(*_rings(rounded))


def _rounded(polygons: GeometryArray, otherwise: GeometryArray) -> GeometryArray:
    """Round the outer rings of polygons; those that are something else, or vanish, are replaced."""
    single = shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON
    given = np.where(single, polygons, otherwise)
    coords, starts = _rings(given)
    shapes, kept = round_outlines(Rings(coords, starts, np.arange(len(given))))
    out = otherwise.copy()
    out[kept] = shapes.geometries
    return out


def _rings(polygons: GeometryArray) -> tuple[FloatArray, IntArray]:
    """Take the outer rings of polygons: vertices, and where each ring begins."""
    ring = shapely.get_exterior_ring(polygons)
    starts = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(ring))])
    return shapely.get_coordinates(ring), starts.astype(np.int64)
