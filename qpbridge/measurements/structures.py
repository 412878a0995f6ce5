"""Measurements of glands and vessels.

Lumina are holes. A section shows profiles: what is called the height of an epithelium or the
thickness of a wall here is larger where the plane cuts it obliquely. For research use; no
diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from qpbridge.measurements.hulls import hull_diameters
from qpbridge.measurements.names import (
    COMPACTNESS,
    LINE,
    LINE_WIDTH,
    LUMEN,
    LUMEN_RATIO,
    LUMINA,
    NEAREST,
    NUCLEI_COUNT,
    OUTLINE_SOLIDITY,
    THICKNESS,
    TOUCHING,
)
from qpbridge.measurements.shape import shape_measurements
from qpbridge.objects import (
    FloatArray,
    GeometryArray,
    MeasurementTable,
    ObjectTable,
    Shapes,
)
from qpbridge.outlines import areas_um2, valid_shapes

LEAST_LUMEN = 10.0
"""A hole below this is a gap between cells, or an error, rather than a lumen, µm^2."""

TOUCH = 2.0
"""Outlines that are no further apart than this touch, µm: some two pixels of the models' own."""

DEFINITIONS: Mapping[str, str] = {
    LUMEN: "Area of all lumina (holes) of a gland or vessel.",
    **dict.fromkeys(LUMEN_RATIO.values(), "Lumen area over the area within the outer outline."),
    LUMINA: (
        f"Number of lumina (holes of at least {LEAST_LUMEN:g} µm²); several in one gland hint at a "
        "cribriform pattern."
    ),
    THICKNESS["glands"]: (
        "Mean thickness of the epithelium between outer outline and lumina: twice its area over "
        "the length of all outlines, exact where it is the same all round; NaN without lumen."
    ),
    THICKNESS["vessels"]: "As the epithelial height, of a vessel's wall; NaN without lumen.",
    OUTLINE_SOLIDITY: (
        "Area within the outer outline over that of its convex hull; QuPath's own Solidity leaves "
        "lumina out of the area."
    ),
    COMPACTNESS: (
        "Diameter of the circle with the area within the outer outline, over the max diameter "
        "[Russ, The Image Processing Handbook]: 1 for a disc, less for what is long or branched."
    ),
    NUCLEI_COUNT: "Nuclei with their centroid in the epithelium (not in a lumen) of a gland.",
    **dict.fromkeys(
        NEAREST.values(), "Smallest distance between outlines, to any other; NaN alone."
    ),
    **{
        name: f"Number of other {target} whose outline is within {TOUCH:g} µm."
        for target, name in TOUCHING.items()
    },
    LINE: "Length of the centre line of a vessel seen from above.",
    LINE_WIDTH: "Mean width along that line.",
}
"""What each measurement of a gland or vessel is, by name."""


def measure_again(
    target: str, objects: ObjectTable, nuclei: FloatArray, mpp: tuple[float, float]
) -> MeasurementTable:
    """Measure glands or vessels that are there, and how near one another they are.

    Parameters
    ----------
    target
        glands or vessels.
    objects
        All of them (n), since the nearest may be any.
    nuclei
        float64 (m, 2), centroids of the nuclei, full-resolution pixels; counted in glands.
    mpp
        µm per pixel (x, y).

    Returns
    -------
    measurements
        Vessels seen from above keep their centre lines, and have no lumina.
    """
    shapes = valid_shapes(objects.shapes)
    measured = shape_measurements(shapes, mpp)
    if LINE in objects.measured and np.isfinite(objects.measured[LINE]).any():
        return measured | objects.measured.select((LINE, LINE_WIDTH))
    measured |= lumen_measurements(target, shapes, mpp)
    measured |= outline_measurements(target, shapes, mpp)
    measured |= neighbour_measurements(target, shapes, mpp)
    if target == "glands" and len(nuclei):
        measured |= count_nuclei(shapes, nuclei)
    return measured


def lumen_measurements(target: str, shapes: Shapes, mpp: tuple[float, float]) -> MeasurementTable:
    """Measure the lumina of glands or vessels, which are holes.

    Returns
    -------
    measurements
        The area of all lumina of each, and its ratio to the area within the outer outline.
    """
    inner = hole_area(shapes.geometries) * mpp[0] * mpp[1]
    outer = areas_um2(shapes.geometries, mpp) + inner
    return MeasurementTable.of({LUMEN: inner, LUMEN_RATIO[target]: inner / outer})


def line_measurements(length: FloatArray, width: FloatArray, mpp: float) -> MeasurementTable:
    """Measure vessels seen from above.

    Parameters
    ----------
    length
        float64 (n,), of the centre line of each, in pixels.
    width
        float64 (n,), the width along the centre line, summed up over its length.
    mpp
        µm per pixel.

    Returns
    -------
    measurements
        Length of the centre line and mean width of each; NaN without a line.
    """
    mean = np.divide(width, length, out=np.full(len(length), np.nan), where=length > 0)
    return MeasurementTable.of({LINE: length * mpp, LINE_WIDTH: mean * mpp})


def outline_measurements(target: str, shapes: Shapes, mpp: tuple[float, float]) -> MeasurementTable:
    """Measure walls and outlines of glands or vessels; for the definitions see `DEFINITIONS`.

    Returns
    -------
    measurements
        Number of lumina; epithelial height of glands or wall thickness of
        vessels, NaN without lumen; solidity and compactness of the outer outline.
    """
    scaled = _scaled(shapes, mpp)
    parts, owner = shapely.get_parts(scaled, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    owner, outer = owner[part], np.diff(part, prepend=-1) > 0
    within = shapely.area(shapely.polygons(rings))
    lumen = ~outer & (within >= LEAST_LUMEN)

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(owner, values, len(scaled)).astype(np.float64)

    lumina, filled = total(lumen * 1.0), total(outer * within)
    wall = 2 * (filled - total(lumen * within)) / total((outer | lumen) * shapely.length(rings))
    wall[lumina == 0] = np.nan
    hull = shapely.convex_hull(scaled)
    longest, _ = hull_diameters(hull)
    return MeasurementTable.of(
        {
            LUMINA: lumina,
            THICKNESS[target]: wall,
            OUTLINE_SOLIDITY: filled / shapely.area(hull),
            COMPACTNESS: np.sqrt(4 / np.pi * filled) / longest,
        }
    )


def neighbour_measurements(
    target: str, shapes: Shapes, mpp: tuple[float, float]
) -> MeasurementTable:
    """Measure how near the next gland or vessel is; for the definitions see `DEFINITIONS`.

    Parameters
    ----------
    target, shapes, mpp
        As for `lumen_measurements`; all that lie near count, so pass those of a whole region or
        more.

    Returns
    -------
    measurements
        Distance to the nearest other in µm, NaN for one that is alone; how many others touch.
    """
    scaled = _scaled(shapes, mpp)
    tree = shapely.STRtree(scaled)
    nearest = np.full(len(scaled), np.nan)
    (one, _), distance = tree.query_nearest(
        scaled, exclusive=True, return_distance=True, all_matches=False
    )
    nearest[one] = distance
    one, other = tree.query(scaled, predicate="dwithin", distance=TOUCH)
    touching = np.bincount(one[one != other], minlength=len(scaled)).astype(np.float64)
    return MeasurementTable.of({NEAREST[target]: nearest, TOUCHING[target]: touching})


def count_nuclei(shapes: Shapes, centroids: FloatArray) -> MeasurementTable:
    """Count the nuclei of each gland (or vessel), lumina left out.

    Parameters
    ----------
    shapes
        n of them, full-resolution pixels.
    centroids
        float64 (m, 2), of the nuclei, full-resolution pixels.

    Returns
    -------
    measurements
        `NUCLEI_COUNT`.
    """
    geometries = shapes.geometries
    found, _ = shapely.STRtree(shapely.points(centroids)).query(geometries, predicate="contains")
    return MeasurementTable.of({NUCLEI_COUNT: np.bincount(found, minlength=len(geometries))})


def hole_area(geometries: GeometryArray) -> FloatArray:
    """Area of the holes of polygons and multipolygons, float64 (n,)."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    filled = shapely.area(shapely.polygons(shapely.get_exterior_ring(parts)))
    holes: FloatArray = filled - shapely.area(parts)
    return np.bincount(owner, holes, len(geometries)).astype(np.float64)


def _scaled(shapes: Shapes, mpp: tuple[float, float]) -> GeometryArray:
    """Geometries in µm."""
    return np.asarray(shapely.transform(shapes.geometries, lambda xy: xy * mpp))
