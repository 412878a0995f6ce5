"""The compartments of cells: which pixels are cytoplasm, which are membrane."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from qpbridge.measurements.names import CELL, CYTOPLASM, MEMBRANE, NUCLEUS, WHOLE
from qpbridge.objects import IntArray

Covered = tuple[IntArray, IntArray]
"""Owner and pixel, as `qpbridge.measurements.raster.covered_pixels` gives them."""

DEFINITIONS: Mapping[str, str] = {
    f"{NUCLEUS}NAME": "A measurement of the nucleus of a cell; NAME as it is without a cell.",
    f"{CYTOPLASM}NAME": "An intensity of those pixels of the cell that are not of its nucleus.",
    f"{MEMBRANE}NAME": (
        "An intensity of those pixels of the cell that have a neighbour outside (above, below, "
        "left or right), of the nucleus or not."
    ),
    f"{CELL}NAME": "A measurement of the whole cell, nucleus included.",
    f"{WHOLE}NAME": "A texture of an object that is no cell.",
}
"""What the first word of a measurement stands for; QuPath's (from 0.6 on)."""


def compartments(
    cell: Covered, nucleus: Covered, size: tuple[int, int]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Tell which pixels of cells are cytoplasm, and which are membrane, by QuPath's rule.

    As read in QuPath 0.6 (``ObjectMeasurements``): cytoplasm is what is not nucleus; the membrane
    is one pixel wide, inside the cell, and part of the cytoplasm or the nucleus as well. What lies
    beyond the window is not asked.

    Parameters
    ----------
    cell, nucleus
        Owner and pixel of the cells' pixels, k of them, and of the nuclei's; by owner and then by
        pixel. A cell and its nucleus have the same owner.
    size
        Height and width of the window.

    Returns
    -------
    cytoplasm, membrane
        bool (k,) each.
    """
    width, whole = size[1], size[0] * size[1]
    owner, pixel = cell
    of_cell, of_nucleus = _finder(cell, whole), _finder(nucleus, whole)
    column = pixel % width
    beside = (np.diff(pixel) == 1) & (np.diff(owner) == 0)
    inside = np.append(beside, False)[: len(pixel)] | (column == width - 1)
    inside &= np.insert(beside, 0, False)[: len(pixel)] | (column == 0)
    inside &= of_cell(owner, np.maximum(pixel - width, 0)) | (pixel < width)
    inside &= of_cell(owner, np.minimum(pixel + width, whole - 1)) | (pixel >= whole - width)
    return ~of_nucleus(owner, pixel), ~inside


def _finder(covered: Covered, whole: int) -> Callable[[IntArray, IntArray], npt.NDArray[np.bool_]]:
    """Return what tells which pixels (k,) are of the objects (k,) that are asked for.

    A map of owners answers at once, but for pixels of several objects: those are searched for.
    """
    owner, pixel = covered
    label = np.zeros(whole, np.int32)
    label[pixel] = owner + 1
    several = np.zeros(whole, bool)
    several[pixel[label[pixel] != owner + 1]] = True

    def find(who: IntArray, where: IntArray) -> npt.NDArray[np.bool_]:
        there: npt.NDArray[np.bool_] = label[where] == who + 1
        unsure = np.flatnonzero(~there & several[where])
        if len(unsure):
            key, wanted = owner * whole + pixel, who[unsure] * whole + where[unsure]
            at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
            there[unsure] = key[at] == wanted
        return there

    return find
