"""How many detections lie in an annotation, as QuPath counts while it shows a table.

QuPath goes by place, not by the object tree: a detection counts to every annotation, or TMA core,
of its plane that holds its centroid (`PathObjectHierarchy.getAllDetectionsForROI`, QuPath 0.6.0).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import IntArray, ObjectTable
from qpbridge.outlines import ENCLOSING, each_held, valid_areas


def count_detections(
    table: ObjectTable, holders: IntArray, detections: npt.NDArray[np.bool_]
) -> IntArray:
    """Count the detections in annotations, by class.

    Parameters
    ----------
    table
        All objects of an image.
    holders
        int64 (m,), rows of annotations and TMA cores.
    detections
        bool (n,), which objects are counted.

    Returns
    -------
    counts
        int64 (m, classes + 1); the last column counts those without a class. One that encloses no
        area holds nothing.
    """
    classes = len(table.classes) + 1
    counts = np.zeros((len(holders), classes), np.int64)
    wide = np.flatnonzero(np.isin(table.shapes.roi[holders], ENCLOSING))
    areas = valid_areas(table.shapes.take(holders[wide]).geometries)
    rows = np.flatnonzero(detections)
    points = table.shapes.take(rows).centroids()
    rows, points = rows[~np.isnan(points[:, 0])], points[~np.isnan(points[:, 0])]
    planes = table.plane[rows, 1:]
    for i, held in each_held(shapely.points(points), areas):
        here = (planes[held] == table.plane[holders[wide[i]], 1:]).all(axis=1)
        index = table.class_index[rows[held[here]]]
        counts[wide[i]] = np.bincount(np.where(index < 0, classes - 1, index), minlength=classes)
    return counts
