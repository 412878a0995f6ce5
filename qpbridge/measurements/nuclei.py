"""All that is measured of the nuclei or cells in a picture, under QuPath's names.

A nucleus on its own has plain names (``Area µm^2``, ``Hematoxylin: Mean``). A cell has those of its
nucleus and its own with a word in front (``Nucleus: Area µm^2``, ``Cell: Area µm^2``), and the
intensities of its compartments, see `qpbridge.measurements.compartments`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.measurements.color import deconvolve
from qpbridge.measurements.compartments import Covered, compartments
from qpbridge.measurements.intensity import intensity_names, statistics
from qpbridge.measurements.moments import DEFINITIONS as MOMENTS
from qpbridge.measurements.moments import moment_measurements
from qpbridge.measurements.names import CELL, CYTOPLASM, MEMBRANE, NUCLEUS, RATIO, WHOLE
from qpbridge.measurements.raster import covered_pixels, filled_pixels
from qpbridge.measurements.shape import shape_measurements, shape_names
from qpbridge.measurements.texture import (
    CHROMATIN_CV,
    CHROMATIN_ENTROPY,
    chromatin_heterogeneity,
    haralick_features,
    haralick_names,
)
from qpbridge.objects import FloatArray, GeometryArray, MeasurementTable, Shapes, Stains

HEMATOXYLIN = "Hematoxylin"

DEFINITIONS: Mapping[str, str] = {
    RATIO: (
        "Area of the nucleus over that of the whole cell, nucleus included; 1 at most (as QuPath "
        "has it)."
    ),
}
"""What a cell has beside what its parts have, by name."""


@dataclass(frozen=True)
class Measuring:
    """How objects are measured.

    Parameters
    ----------
    mpp
        µm per full-resolution pixel (x, y).
    stains
        The image's own.
    downsample
        Full-resolution pixels per pixel of the pictures.
    all_features
        Also what takes longer and few need: further measurements of the nucleus's shape, and the
        texture of its hematoxylin, which must be among the stains.
    """

    mpp: tuple[float, float]
    stains: Stains
    downsample: float = 1.0
    all_features: bool = False

    @property
    def pixel(self) -> float:
        """µm per pixel of the pictures."""
        return self.downsample * math.sqrt(self.mpp[0] * self.mpp[1])


def measured_names(how: Measuring, *, cells: bool = False) -> tuple[str, ...]:
    """Return the names of what `measure_objects` measures, in order."""
    shape, intensity = shape_names(how.mpp), intensity_names(how.stains.stain_names)
    if not cells:
        return (*shape, *intensity, *_further_names(how, ""))
    return (
        *(f"{part}{name}" for part in (NUCLEUS, CELL) for name in shape),
        RATIO,
        *(f"{p}{name}" for p in (NUCLEUS, CYTOPLASM, MEMBRANE, CELL) for name in intensity),
        *_further_names(how, NUCLEUS),
    )


def measure_objects(
    rgb: npt.NDArray[np.uint8],
    shapes: Shapes,
    how: Measuring,
    *,
    nuclei: Shapes | None = None,
    corner: tuple[float, float] = (0.0, 0.0),
) -> MeasurementTable:
    """Measure the nuclei, or the cells, of a picture.

    Parameters
    ----------
    rgb
        uint8 (height, width, 3).
    shapes
        n outlines, full-resolution pixels; they may overlap.
    how
        Which measurements.
    nuclei
        The nuclei of cells, n of them; None: the shapes are nuclei, or whatever has no parts.
    corner
        x and y of the picture's upper left corner, in its own pixels.

    Returns
    -------
    measurements
        Those of `measured_names`; NaN where an object doesn't have it.
    """
    size = (rgb.shape[0], rgb.shape[1])
    inner = shapes if nuclei is None else nuclei
    covered = covered_pixels(inner, size, corner, how.downsample)
    stained = _stained(rgb, covered, how)
    n = len(shapes)
    if nuclei is None:
        columns = [shape_measurements(shapes, how.mpp).matrix, _intensity(stained, covered, n)]
    else:
        cell = covered_pixels(shapes, size, corner, how.downsample)
        of_cell = _stained(rgb, cell, how)
        cytoplasm, membrane = compartments(cell, covered, size)
        columns = [
            shape_measurements(nuclei, how.mpp).matrix,
            cell_shapes(shapes, nuclei, how.mpp).matrix,
            _intensity(stained, covered, n),
            *(
                _intensity(of_cell[:, part], (cell[0][part], cell[1][part]), n)
                for part in (cytoplasm, membrane, np.s_[:])
            ),
        ]
    if how.all_features:
        columns.append(_further(rgb, stained, inner, covered, corner, how))
    names = measured_names(how, cells=nuclei is not None)
    return MeasurementTable(names, np.concatenate(columns, axis=1))


def cell_shapes(cells: Shapes, nuclei: Shapes, mpp: tuple[float, float]) -> MeasurementTable:
    """Measure what of the shape of cells is not that of their nuclei alone.

    Returns
    -------
    measurements
        ``Cell: Area µm^2`` to ``Nucleus/Cell area ratio``, seven.
    """
    shape = shape_measurements(cells, mpp).renamed(CELL.__add__)
    return shape | MeasurementTable.of({RATIO: area_ratio(nuclei.geometries, cells.geometries)})


def area_ratio(nuclei: GeometryArray, cells: GeometryArray) -> FloatArray:
    """Divide the areas of nuclei by those of their cells, float64 (n,); see `DEFINITIONS`.

    Where cells are nuclei grown by a fixed distance, the ratio follows from the size of the nucleus
    and from how dense the nuclei are: it says nothing about cytoplasm that was never seen. NaN for
    a cell without area.
    """
    inner, whole = shapely.area(nuclei), shapely.area(cells)
    ratio: FloatArray = np.divide(inner, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return np.minimum(ratio, 1.0, out=ratio)


def _stained(
    rgb: npt.NDArray[np.uint8], covered: Covered, how: Measuring
) -> npt.NDArray[np.float32]:
    """Separate the stains of some pixels only, float32 (stains, k)."""
    return deconvolve(rgb.reshape(-1, 3).take(covered[1], axis=0), how.stains)


def _intensity(values: npt.NDArray[np.float32], covered: Covered, n: int) -> FloatArray:
    """Measure stains, float32 (c, k), of objects: float64 (n, 6 c)."""
    return np.concatenate([statistics(v, covered[0], n) for v in values], axis=1)


def _further_names(how: Measuring, prefix: str) -> tuple[str, ...]:
    if not how.all_features:
        return ()
    texture = haralick_names(HEMATOXYLIN, how.pixel, prefix or WHOLE)
    chromatin = (CHROMATIN_ENTROPY, CHROMATIN_CV)
    return (*(f"{prefix}{n}" for n in MOMENTS), *texture, *(f"{prefix}{n}" for n in chromatin))


def _further(
    rgb: npt.NDArray[np.uint8],
    stained: npt.NDArray[np.float32],
    nuclei: Shapes,
    covered: Covered,
    corner: tuple[float, float],
    how: Measuring,
) -> FloatArray:
    size, n = (rgb.shape[0], rgb.shape[1]), len(nuclei)
    filled = filled_pixels(nuclei, size, corner, how.downsample)
    under_texture = _hematoxylin(_stained(rgb, filled, how), filled, size, how)
    hematoxylin = _hematoxylin(stained, covered, size, how)
    return np.column_stack(
        [
            moment_measurements(nuclei, how.mpp).matrix,
            haralick_features(under_texture, *filled, n),
            chromatin_heterogeneity(hematoxylin, *covered, n).matrix,
        ]
    )


def _hematoxylin(
    stained: npt.NDArray[np.float32], covered: Covered, size: tuple[int, int], how: Measuring
) -> npt.NDArray[np.float32]:
    """Put the hematoxylin of some pixels where they are, float32 (height, width)."""
    channel = np.zeros(size, np.float32)
    channel.ravel()[covered[1]] = stained[how.stains.stain_names.index(HEMATOXYLIN)]
    return channel
