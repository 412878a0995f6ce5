"""What a person drew, and on which plane: annotations that qpbridge did not make, and TMA cores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.hierarchy.provenance import made_by_us
from qpbridge.objects import IntArray, ObjectKind, ObjectTable


def on_first_plane(objects: ObjectTable) -> npt.NDArray[np.bool_]:
    """Tell which objects lie on the first z-slice and time point, the only plane that is read."""
    first: npt.NDArray[np.bool_] = (objects.plane[:, 1:] == 0).all(axis=1)
    return first


def drawn_annotations(objects: ObjectTable, *, every_plane: bool = False) -> IntArray:
    """Find the annotations that qpbridge did not make.

    Parameters
    ----------
    objects
        What an image holds.
    every_plane
        Whether those on other planes than the first count. They do in a table, which lists all that
        a person drew, as QuPath's own does. They don't where they would limit, hold or measure what
        was found: pixels are read, and objects found, on the first plane alone.

    Returns
    -------
    rows
        int64 (n,), ascending; areas, lines and points.
    """
    drawn = (objects.kind == ObjectKind.ANNOTATION) & ~made_by_us(objects.ids)
    return np.flatnonzero(drawn if every_plane else drawn & on_first_plane(objects))


def present_cores(objects: ObjectTable) -> IntArray:
    """Find the cores of a tissue microarray that are not marked as missing.

    Returns
    -------
    rows
        int64 (n,), in the order of the grid; on the first plane.
    """
    return np.setdiff1d(_cores(objects), missing_cores(objects), assume_unique=True)


def missing_cores(objects: ObjectTable) -> IntArray:
    """Find the cores of a tissue microarray that are marked as missing, as `present_cores` does."""
    rows = _cores(objects)
    return rows[np.isin(rows, list(objects.missing))]


def _cores(objects: ObjectTable) -> IntArray:
    return np.flatnonzero((objects.kind == ObjectKind.TMA_CORE) & on_first_plane(objects))
