"""Add objects of one's own, from arrays, below an annotation of a QuPath project.

Stands for any program that finds something: here it is a grid of hexagons inside the annotation.

python examples/add_own_objects.py project.qpproj "Name of an annotation"
"""

import sys

import numpy as np
import shapely

import qpbridge

RADIUS = 40.0


def hexagons_inside(geometry: shapely.Geometry) -> np.ndarray:
    x0, y0, x1, y1 = geometry.bounds
    x, y = np.meshgrid(np.arange(x0, x1, 2 * RADIUS), np.arange(y0, y1, 2 * RADIUS))
    angle = np.arange(6) * np.pi / 3
    corners = RADIUS * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centers = np.stack([x.ravel(), y.ravel()], axis=1)
    hexagons = shapely.polygons(centers[:, None] + corners)
    return hexagons[shapely.contains(geometry, hexagons)]


def main(path: str, name: str) -> None:
    entry = qpbridge.open_project(path)[0]
    data = entry.read()
    (row,) = (row for row, known in data.objects.names.items() if known == name)
    shapes = qpbridge.Shapes.from_geometries(hexagons_inside(data.objects.geometries[row]))
    table = qpbridge.ObjectTable.new(
        qpbridge.ObjectKind.DETECTION,
        shapes,
        path_class=qpbridge.PathClass(("Hexagon",), (240, 160, 0)),
        measurement_names=["Area px^2"],
        measurements=shapely.area(shapes.geometries),
    )
    below = np.tile(data.objects.ids[row], (len(table), 1))
    entry.apply(qpbridge.Edit(add=table, add_below=below), data.state)
    print(f"{len(table)} hexagons added below {name!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
