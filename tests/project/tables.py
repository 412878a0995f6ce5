"""Tables of objects for tests, and how to compare them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    Plane,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.interface import Edit

TUMOR = PathClass(("Tumor",), (200, 0, 0))


def file_of(table: ObjectTable) -> bytes:
    """A new file that holds just these objects."""
    return apply_edit(None, Edit(add=table), qupath_version="0.6.0", entry_id="p.qpproj::1")


def read(data: bytes) -> ObjectTable:
    return read_image_data(data).objects


def measured(table: ObjectTable, row: int) -> dict[str, float]:
    """The measurements of one object that are not NaN."""
    pairs = zip(table.measurement_names, table.measurements[row].tolist(), strict=True)
    return {name: value for name, value in pairs if not np.isnan(value)}


def as_dict(table: ObjectTable, row: int, digits: int = 6) -> dict[str, Any]:
    """Everything about one object, to be compared."""
    parent = int(table.parent[row])

    def shape(shapes: Shapes | None) -> Any:
        if shapes is None or shapes.roi[row] == RoiKind.EMPTY:
            return None
        one = shapes.take([row])
        return int(one.roi[0]), one.rings.tolist(), one.parts.tolist(), one.coords.tolist()

    path_class = table.path_class(row)
    sure = None if table.probability is None else float(table.probability[row])
    return {
        "kind": int(table.kind[row]),
        "shape": shape(table.shapes),
        "nucleus": shape(table.nuclei),
        "plane": table.plane[row].tolist(),
        "class": path_class and path_class.names,
        "parent": table.uuid(parent) if parent >= 0 else None,
        "name": table.names.get(row),
        "color": table.colors.get(row),
        "metadata": dict(table.metadata.get(row, {})),
        "locked": bool(table.locked[row]),
        "measured": measured(table, row),
        "probability": None if sure is None or np.isnan(sure) else sure,
        "missing": row in table.missing,
    }


def by_id(table: ObjectTable) -> dict[Any, dict[str, Any]]:
    return {table.uuid(row): as_dict(table, row) for row in range(len(table))}


def many_cells(n: int, seed: int = 0) -> ObjectTable:
    """Cells of varied forms: vertices, nuclei, classes, locks."""
    generator = np.random.default_rng(seed)

    def polygons(count: np.ndarray) -> Shapes:
        rings = [np.linspace(0, 1, k, endpoint=False) for k in count]
        xy = [
            np.round(64 * np.stack([np.cos(6 * r), np.sin(6 * r)], 1)) / 64 + i
            for i, r in enumerate(rings)
        ]
        closed = [np.concatenate([ring, ring[:1]]) for ring in xy]
        return Shapes.from_rings(np.concatenate(closed), np.cumsum([0, *(len(c) for c in closed)]))

    nuclei = polygons(generator.integers(3, 8, n))
    empty = generator.random(n) < 0.2
    order = np.where(empty, n + np.arange(n), np.arange(n))
    return replace(
        ObjectTable.new(
            ObjectKind.CELL,
            polygons(generator.integers(3, 30, n)),
            measurement_names=["Area", "µ"],
            measurements=generator.random((n, 2)).astype(np.float32),
            plane=Plane(-1, 2, 1),
        ),
        nuclei=concatenate_shapes([nuclei, Shapes.empty(n)]).take(order),
        classes=(TUMOR, PathClass(("Tumor", "Positive")), PathClass(("名",))),
        class_index=generator.integers(-1, 3, n).astype(np.int32),
        locked=generator.random(n) < 0.1,
        probability=np.where(generator.random(n) < 0.3, np.nan, generator.random(n)),
    )
