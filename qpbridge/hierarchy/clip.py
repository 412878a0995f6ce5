"""Large objects and the regions that they lie in, or stick out of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely

from qpbridge.hierarchy.regions import Region
from qpbridge.objects import GeometryArray, IntArray
from qpbridge.outlines import ROUNDING, areas_only


def clip_to_regions(
    geometries: GeometryArray, regions: Sequence[Region]
) -> tuple[GeometryArray, IntArray, IntArray]:
    """Cut off what lies outside of the regions, and find the region that each object belongs to.

    QuPath puts an annotation below another only if that covers it whole; so does this.

    Parameters
    ----------
    geometries
        Polygons (n,).
    regions
        Possibly nested or overlapping.

    Returns
    -------
    pieces
        Polygons or multipolygons (m,).
    source
        int64 (m,), which of the objects each piece is of, ascending: mostly its only one; of an
        object that crosses from one region into another there is a piece in each.
    region
        int64 (m,), the smallest region that covers the piece.
    """
    everywhere = shapely.union_all([region.geometry for region in regions])
    shapely.prepare(everywhere)
    crossing = ~shapely.covered_by(geometries, everywhere)
    inside = geometries.copy()
    inside[crossing] = areas_only(shapely.intersection(geometries[crossing], everywhere))
    owner = np.full(len(inside), -1, np.int64)
    by_size = np.argsort([region.geometry.area for region in regions], kind="stable")
    for i in by_size:
        wide = shapely.buffer(regions[i].geometry, ROUNDING, join_style="mitre")
        shapely.prepare(wide)
        owner[(owner < 0) & shapely.covered_by(inside, wide)] = i
    empty = shapely.is_empty(inside)
    whole = np.flatnonzero((owner >= 0) & ~empty)
    pieces, source, region = [inside[whole]], [whole], [owner[whole]]
    left = np.flatnonzero((owner < 0) & ~empty)
    rest = inside[left]
    for i in by_size[::-1] if len(left) else ():
        piece = areas_only(shapely.intersection(rest, regions[i].geometry))
        some = ~shapely.is_empty(piece)
        pieces.append(piece[some])
        source.append(left[some])
        region.append(np.full(some.sum(), i, np.int64))
        rest = areas_only(shapely.difference(rest, regions[i].geometry))
    sources = np.concatenate(source)
    order = np.argsort(sources, kind="stable")
    return np.concatenate(pieces)[order], sources[order], np.concatenate(region)[order]
