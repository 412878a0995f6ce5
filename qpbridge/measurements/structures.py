"""Measurements of glands and vessels, and what a region's add up to.

Lumina are holes. A section shows profiles: what is called the height of an epithelium or the
thickness of a wall here is larger where the plane cuts it obliquely. For research use; no
diagnosis.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely

from qpbridge.measurements.hulls import hull_diameters
from qpbridge.measurements.shape import shape_measurements
from qpbridge.measurements.summary import EVALUATED_AREA, percentage, with_statistic
from qpbridge.objects import FloatArray, GeometryArray, Shapes
from qpbridge.outlines import areas_um2

AREA, LUMEN, LUMINA = "Area µm^2", "Lumen area µm^2", "Lumina count"
LINE, WIDTH = "Centre line length µm", "Width mean µm"
COMPACTNESS, SOLIDITY = "Outline compactness", "Outline solidity"
THICKNESS = {"glands": "Epithelial height µm", "vessels": "Wall thickness µm"}
NUCLEI = "Nuclei count"

LEAST_LUMEN = 10.0
"""A hole below this is a gap between cells, or an error, rather than a lumen, µm^2."""

TOUCHING = 2.0
"""Outlines that are no further apart than this touch, µm: some two pixels of the models' own."""

DEFINITIONS: Mapping[str, str] = {
    LUMEN: "Area of all lumina (holes) of a gland or vessel.",
    "Lumen/gland area ratio": "Lumen area over the area within the outer outline.",
    "Lumen/vessel area ratio": "Lumen area over the area within the outer outline.",
    LUMINA: (
        f"Number of lumina (holes of at least {LEAST_LUMEN:g} µm²); several in one gland hint at a "
        "cribriform pattern."
    ),
    "Epithelial height µm": (
        "Mean thickness of the epithelium between outer outline and lumina: twice its area over "
        "the length of all outlines, exact where it is the same all round; NaN without lumen."
    ),
    "Wall thickness µm": "As the epithelial height, of a vessel's wall; NaN without lumen.",
    SOLIDITY: "Area within the outer outline over that of its convex hull; QuPath's own Solidity "
    "leaves lumina out of the area.",
    COMPACTNESS: (
        "Diameter of the circle with the area within the outer outline, over the max diameter "
        "[Russ, The Image Processing Handbook]: 1 for a disc, less for what is long or branched."
    ),
    NUCLEI: "Nuclei with their centroid in the epithelium (not in a lumen) of a gland.",
    "Distance to nearest gland µm": "Smallest distance between outlines, to any other; NaN alone.",
    "Distance to nearest vessel µm": "Smallest distance between outlines, to any other; NaN alone.",
    "Touching glands": f"Number of other glands whose outline is within {TOUCHING:g} µm.",
    "Touching vessels": f"Number of other vessels whose outline is within {TOUCHING:g} µm.",
    LINE: "Length of the centre line of a vessel seen from above.",
    WIDTH: "Mean width along that line.",
    "Glands: Count": "Glands with a point inside the region (Vessels: the same).",
    "Glands: Density per mm^2": "Glands per mm² of the evaluated area (Vessels: the same).",
    "Glands: Area %": "Area of all, lumina included, in % of the evaluated area (Vessels: same).",
    "Glands: NAME mean UNIT": "Mean of NAME over the glands that have it (Vessels: the same).",
    "Glands: Several lumina %": "Share of glands with two lumina or more (Vessels: the same).",
    "Glands: Touching %": "Share of glands that touch another (Vessels: the same).",
    "Vessels: Centre line length µm": "Length of the centre lines of all vessels of a region.",
    "Vessels: Width mean µm": "Mean width along all these lines.",
}
"""What each measurement is, by name; ``Glands: ...`` and ``Vessels: ...`` are of a region."""

AVERAGED = (LUMEN, LUMINA, *THICKNESS.values(), "Circularity", "Solidity", SOLIDITY, COMPACTNESS)
"""What a region's mean is told of, where it was measured; beside what lies near, and in."""


def area_measurements(shapes: Shapes, mpp: tuple[float, float]) -> dict[str, FloatArray]:
    """Measure shapes as QuPath does (`qpbridge.measurements.shape`), by name; holes don't count."""
    names, values = shape_measurements(shapes, mpp)
    return dict(zip(names, values.T, strict=True))


def lumen_measurements(
    target: str, shapes: Shapes, mpp: tuple[float, float]
) -> dict[str, FloatArray]:
    """Measure the lumina of glands or vessels, which are holes.

    Returns
    -------
    dict
        The area of all lumina of each, float64 (n,), and its ratio to the area within the outer
        outline.
    """
    inner = hole_area(shapes.geometries) * mpp[0] * mpp[1]
    outer = areas_um2(shapes.geometries, mpp) + inner
    return {LUMEN: inner, _ratio(target): inner / outer}


def line_measurements(length: FloatArray, width: FloatArray, mpp: float) -> dict[str, FloatArray]:
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
    dict
        Length of the centre line and mean width of each; NaN without a line.
    """
    mean = np.divide(width, length, out=np.full(len(length), np.nan), where=length > 0)
    return {LINE: length * mpp, WIDTH: mean * mpp}


def outline_measurements(
    target: str, shapes: Shapes, mpp: tuple[float, float]
) -> dict[str, FloatArray]:
    """Measure walls and outlines of glands or vessels; for the definitions see `DEFINITIONS`.

    Returns
    -------
    dict
        By name, float64 (n,): number of lumina; epithelial height of glands or wall thickness of
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
    return {
        LUMINA: lumina,
        THICKNESS[target]: wall,
        SOLIDITY: filled / shapely.area(hull),
        COMPACTNESS: np.sqrt(4 / np.pi * filled) / longest,
    }


def neighbour_measurements(
    target: str, shapes: Shapes, mpp: tuple[float, float]
) -> dict[str, FloatArray]:
    """Measure how near the next gland or vessel is; for the definitions see `DEFINITIONS`.

    Parameters
    ----------
    target, shapes, mpp
        As for `lumen_measurements`; all that lie near count, so pass those of a whole region or
        more.

    Returns
    -------
    dict
        By name, float64 (n,): distance to the nearest other in µm, NaN for one that is alone; how
        many others touch.
    """
    scaled = _scaled(shapes, mpp)
    tree = shapely.STRtree(scaled)
    nearest = np.full(len(scaled), np.nan)
    (one, _), distance = tree.query_nearest(
        scaled, exclusive=True, return_distance=True, all_matches=False
    )
    nearest[one] = distance
    one, other = tree.query(scaled, predicate="dwithin", distance=TOUCHING)
    touching = np.bincount(one[one != other], minlength=len(scaled)).astype(np.float64)
    return {_nearest(target): nearest, _touching(target): touching}


def count_nuclei(shapes: Shapes, centroids: FloatArray) -> dict[str, FloatArray]:
    """Count the nuclei of each gland (or vessel), lumina left out.

    Parameters
    ----------
    shapes
        n of them, full-resolution pixels.
    centroids
        float64 (m, 2), of the nuclei, full-resolution pixels.

    Returns
    -------
    dict
        `NUCLEI`, float64 (n,).
    """
    geometries = shapes.geometries
    found, _ = shapely.STRtree(shapely.points(centroids)).query(geometries, predicate="contains")
    return {NUCLEI: np.bincount(found, minlength=len(geometries)).astype(np.float64)}


def hole_area(geometries: GeometryArray) -> FloatArray:
    """Area of the holes of polygons and multipolygons, float64 (n,)."""
    parts, owner = shapely.get_parts(geometries, return_index=True)
    filled = shapely.area(shapely.polygons(shapely.get_exterior_ring(parts)))
    holes: FloatArray = filled - shapely.area(parts)
    return np.bincount(owner, holes, len(geometries)).astype(np.float64)


def summarize_areas(
    target: str, measurements: Mapping[str, FloatArray], evaluated_area: float
) -> dict[str, float]:
    """Summarize the glands or vessels of one region.

    Parameters
    ----------
    target
        glands or vessels.
    measurements
        By name, float64 (n,) each, as the functions of this module give them.
    evaluated_area
        Of the part of the region that was searched, µm^2.

    Returns
    -------
    dict
        Count, density, area in % and on average (lumen included), evaluated area; of what else was
        measured, the mean (`AVERAGED`), the share with several lumina, the share that touches;
        where centre lines were, their length in all and the mean width along them. NaN where there
        is nothing to divide by.
    """
    area = measurements[AREA] + measurements.get(LUMEN, 0.0)
    n = len(area)
    searched = evaluated_area if evaluated_area > 0 else np.nan
    values = {
        "Count": float(n),
        "Density per mm^2": n / searched * 1e6,
        "Area %": float(area.sum()) / searched * 100,
        with_statistic(AREA, "mean"): _mean(area),
    }
    for name in (_ratio(target), *AVERAGED, NUCLEI, _nearest(target)):
        if name in measurements:
            values[with_statistic(name, "mean")] = _mean(measurements[name])
    if LUMINA in measurements:
        values["Several lumina %"] = percentage(measurements[LUMINA] > 1)
    if _touching(target) in measurements:
        values["Touching %"] = percentage(measurements[_touching(target)] > 0)
    if LINE in measurements:
        length, width = measurements[LINE], measurements[WIDTH]
        total = float(length.sum())
        values[LINE] = total
        values[WIDTH] = float(np.nansum(length * width)) / total if total > 0 else np.nan
    named = {f"{target.capitalize()}: {name}": value for name, value in values.items()}
    return {**named, EVALUATED_AREA: float(evaluated_area)}


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _scaled(shapes: Shapes, mpp: tuple[float, float]) -> GeometryArray:
    """Geometries in µm."""
    return np.asarray(shapely.transform(shapes.geometries, lambda xy: xy * mpp))


def _ratio(target: str) -> str:
    return f"Lumen/{target.removesuffix('s')} area ratio"


def _nearest(target: str) -> str:
    return f"Distance to nearest {target.removesuffix('s')} µm"


def _touching(target: str) -> str:
    return f"Touching {target}"
