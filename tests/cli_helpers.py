"""Short ways to make annotations, to look at a project, and to draw in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qpbridge import Edit, ObjectKind, ObjectTable, PathClass, Shapes, open_project
from qpbridge.objects import concatenate_shapes


def annotations(*items) -> ObjectTable:
    """Make annotations from (Shapes or geometry, class or None, name or None)."""
    shapes, classes, index, names = [], [], [], {}
    for row, (shape, path_class, name) in enumerate(items):
        shapes.append(shape if isinstance(shape, Shapes) else Shapes.from_geometries([shape]))
        index.append(-1 if path_class is None else len(classes))
        if path_class is not None:
            classes.append(PathClass.parse(path_class))
        if name is not None:
            names[row] = name
    return ObjectTable.new(ObjectKind.ANNOTATION, concatenate_shapes(shapes)).replace(
        classes=tuple(classes), class_index=np.array(index, np.int32), names=names
    )


def annotate(project: Path, *items, image: int = 0) -> ObjectTable:
    """Add annotations, given as for `annotations`, to an image of a project."""
    table = annotations(*items)
    open_project(project).images[image].apply(Edit(add=table))
    return table


def objects_of(project: Path, image: int = 0) -> ObjectTable:
    return open_project(project).images[image].read().objects


def nuclei_of(project: Path, image: int = 0) -> ObjectTable:
    table = objects_of(project, image)
    return table.take(table.kind == ObjectKind.DETECTION)
