"""Outlines: the one place that repairs, fills and cuts them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.errors import OutlineError
from qpbridge.objects import (
    FloatArray,
    GeometryArray,
    IntArray,
    RoiKind,
    Shapes,
    concatenate_shapes,
)

ENCLOSING = (RoiKind.POLYGON, RoiKind.RECTANGLE, RoiKind.ELLIPSE, RoiKind.GEOMETRY)
"""Regions of interest that enclose something."""

CHUNK = 2**18
"""Points or outlines that are looked at together; bounds the memory."""

ROUNDING = 0.02
"""Pixels by which outlines move when QuPath reads and saves them."""


MOST_FACES = 1000
"""Areas that an outline may enclose by crossing itself; a repair takes their number squared."""

LARGE = 5000
"""Vertices from which on even finding out whether an outline crosses itself can take long."""


def tangled(geometries: GeometryArray) -> npt.NDArray[np.bool_]:
    """Find the outlines that cross themselves so often that no repair of them would end.

    Shapely can't be interrupted, and takes minutes and gigabytes where an outline of some hundred
    vertices runs at random, so this is to be known before. What is allowed grows with the number
    of vertices: the time for many outlines is bounded by the size of the file that they are from.

    Parameters
    ----------
    geometries
        Polygons, multipolygons or None, object array (n,).

    Returns
    -------
    numpy.ndarray
        bool (n,); valid outlines are never among them, unless they are large and dense.
    """
    found = _dense(geometries)
    rows = np.flatnonzero(~found)
    rows = rows[_broken(geometries[rows])]
    rows = rows[shapely.get_dimensions(geometries[rows]) == 2]
    found[rows] = [_has_many_faces(geometry) for geometry in geometries[rows]]
    return found


def valid(geometries: GeometryArray) -> npt.NDArray[np.bool_]:
    """Tell which geometries are valid, bool (n,); large outlines that are dense count as not."""
    known = ~_dense(geometries)
    known[known] = shapely.is_valid(geometries[known])
    return known


def _dense(geometries: GeometryArray) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(geometries), bool)
    areas = shapely.get_dimensions(geometries) == 2  # a line may cross itself as it likes
    large = np.flatnonzero(areas & (shapely.get_num_coordinates(geometries) > LARGE))
    found[large] = [crowded([geometry], floor=0) for geometry in geometries[large]]
    return found


def crowded(geometries: Sequence[shapely.Geometry], floor: int = 100_000) -> bool:
    """Whether edges of outlines lie so much across each other that their union would never end.

    Parameters
    ----------
    geometries
        Polygons or lines, of any parts.
    floor
        Pairs of edges that may always meet, beside 32 for each edge.
    """
    parts = shapely.get_parts(geometries)
    lines = np.concatenate([shapely.get_rings(parts), parts[shapely.get_dimensions(parts) == 1]])
    xy, line = shapely.get_coordinates(lines, return_index=True)
    inner = line[1:] == line[:-1]
    low, high = np.minimum(xy[1:], xy[:-1])[inner], np.maximum(xy[1:], xy[:-1])[inner]
    edges = shapely.box(*low.T, *high.T)
    return _is_crowded(edges, floor) or _is_crowded(lines, max(floor, 100_000))


def _is_crowded(shapes: GeometryArray, floor: int) -> bool:
    tree = shapely.STRtree(shapes)
    most, met = 32 * len(shapes) + floor, 0
    step = max(1, 4_000_000 // max(len(shapes), 1))
    for start in range(0, len(shapes), step):
        met += tree.query(shapes[start : start + step]).shape[1]
        if met > most:
            return True
    return False


def _has_many_faces(geometry: shapely.Geometry) -> bool:
    if crowded([geometry], floor=1000):
        return True
    lines = shapely.get_parts(shapely.boundary(geometry))
    lines = lines[~shapely.is_empty(lines)]  # which GEOS doesn't survive
    try:
        lines = shapely.node(shapely.multilinestrings(lines))
    except shapely.errors.GEOSException:  # it gives up where too much lies too close together
        return True
    faces = shapely.get_num_geometries(shapely.polygonize(shapely.get_parts(lines)))
    return bool(faces > min(MOST_FACES, 150 + shapely.get_num_coordinates(geometry) // 4))


def repaired(geometries: GeometryArray) -> GeometryArray:
    """Make what is invalid valid, whatever comes out of it: areas, lines, or both.

    Raises
    ------
    OutlineError
        If an outline is `tangled`.
    """
    return _repaired(geometries, _broken(geometries))


def valid_areas(geometries: GeometryArray) -> GeometryArray:
    """Repair self-crossing outlines, as drawn by hand, and keep their areas only.

    Raises
    ------
    OutlineError
        If an outline is `tangled`.
    """
    rows = _broken(geometries)
    whole = _repaired(geometries, rows)
    if len(rows):
        whole[rows] = shapely.buffer(whole[rows], 0)
    return whole


def valid_shapes(shapes: Shapes) -> Shapes:
    """Do the same to shapes; those that are valid, or nothing, stay as they are.

    Raises
    ------
    OutlineError
        If an outline is `tangled`.
    """
    rows = _broken(shapes.geometries)
    if not len(rows):
        return shapes
    index = np.arange(len(shapes))
    index[rows] = len(shapes) + np.arange(len(rows))
    areas = Shapes.from_geometries(valid_areas(shapes.geometries[rows]))
    return concatenate_shapes([shapes, areas]).take(index)


def _broken(geometries: GeometryArray) -> IntArray:
    return np.flatnonzero(~valid(geometries) & ~shapely.is_missing(geometries))


def _repaired(geometries: GeometryArray, rows: IntArray) -> GeometryArray:
    if not len(rows):
        return geometries
    hopeless = rows[tangled(geometries[rows])]
    if len(hopeless):
        raise OutlineError(*shapely.bounds(geometries[hopeless[0]]).tolist())
    out = geometries.copy()
    out[rows] = made_valid(geometries[rows])
    return out


def made_valid(geometries: GeometryArray) -> GeometryArray:
    """Make geometries valid that are not `tangled`.

    What a ring encloses that crosses itself is kept, and what lies in an odd number of rings. GEOS
    gives up at rings without any extent; its other way, by which outer rings add up, takes these.
    That way leaves a line as it is but for parts without extent; the first would cut it wherever
    it crosses itself.
    """
    out = np.empty(len(geometries), object)
    areas = shapely.get_dimensions(geometries) == 2
    out[~areas] = shapely.make_valid(geometries[~areas], method="structure")
    for row in np.flatnonzero(areas):
        try:
            out[row] = shapely.make_valid(geometries[row])
        except shapely.errors.GEOSException:
            out[row] = shapely.make_valid(geometries[row], method="structure", keep_collapsed=False)
    return out


def areas_of(shapes: Shapes) -> FloatArray:
    """Compute areas in square pixels, float64 (n,), with few geometries in memory at a time."""
    starts = range(0, len(shapes), CHUNK)
    parts = [shapes.take(np.arange(i, min(i + CHUNK, len(shapes)))) for i in starts]
    return np.concatenate([np.zeros(0), *(shapely.area(part.geometries) for part in parts)])


def areas_um2(geometries: GeometryArray, mpp: tuple[float, float]) -> FloatArray:
    """Measure areas in µm^2, float64 (n,), of outlines in pixels of µm (x, y)."""
    areas: FloatArray = shapely.area(geometries) * mpp[0] * mpp[1]
    return areas


def without_holes(geometries: GeometryArray) -> GeometryArray:
    """Give polygons and multipolygons without their holes."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    outer = shapely.polygons(shapely.get_exterior_ring(parts))
    single = np.bincount(owner, minlength=len(geometries)) == 1
    filled = geometries.copy()
    filled[single] = outer[single[owner]]
    for row in np.flatnonzero(~single):
        filled[row] = shapely.union_all(outer[owner == row])
    return filled


def areas_only(geometries: GeometryArray) -> GeometryArray:
    """Keep polygons, and drop the lines and points that a cut can leave."""
    mixed = shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION
    geometries[mixed] = shapely.buffer(geometries[mixed], 0)
    flat = shapely.get_dimensions(geometries) < 2
    geometries[flat] = shapely.Polygon()
    return valid_areas(geometries)


def each_held(
    points: GeometryArray, holders: GeometryArray
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Go from the largest area to the smallest, and find the points in each.

    Parameters
    ----------
    points
        Shapely points (n,).
    holders
        Valid polygons or multipolygons (m,).

    Yields
    ------
    holder, held
        Index into `holders`; and int64 (k,) into `points`, those inside or on the border. Of two
        equal areas the first comes first.
    """
    tree = shapely.STRtree(points)
    for i in np.argsort(-shapely.area(holders), kind="stable").tolist():
        yield i, tree.query(holders[i], predicate="intersects")


def containing(points: FloatArray, polygons: GeometryArray) -> IntArray:
    """Find in which polygon points lie, int64 (n,): its row, the smallest if several; -1: none.

    Parameters
    ----------
    points
        float64 (n, 2); a point on an outline is within.
    polygons
        Object array (m,), in the same units.
    """
    out = np.full(len(points), -1, np.int64)
    area = shapely.area(polygons)
    for start in range(0, len(points), CHUNK):
        some = points[start : start + CHUNK]
        there = np.flatnonzero(np.isfinite(some[:, 0]) & np.isfinite(some[:, 1]))
        tree = shapely.STRtree(shapely.points(some[there]))
        # Polygons ask for points, not the other way round: who asks is prepared, which makes the
        # answer quick for outlines of many vertices.
        polygon, point = tree.query(polygons, predicate="intersects")
        order = np.argsort(-area[polygon], kind="stable")
        out[start + there[point[order]]] = polygon[order]
    return out
