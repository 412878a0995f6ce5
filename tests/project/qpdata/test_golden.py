"""What is read from files of real QuPath versions, against what QuPath itself reads from them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from qpbridge.objects import ObjectKind, ObjectTable, RoiKind, Shapes
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.embedded.qpdata.java_classes import KINDS
from qpbridge.project.interface import Edit, ImageData

TOLERANCE = 0.011
"""QuPath rounds to 0.01 px and to float32 where it reads geometries."""

ROI_KINDS = {
    "RectangleROI": RoiKind.RECTANGLE,
    "EllipseROI": RoiKind.ELLIPSE,
    "LineROI": RoiKind.LINE,
    "PolygonROI": RoiKind.POLYGON,
    "PolylineROI": RoiKind.POLYLINE,
    "PointsROI": RoiKind.POINTS,
    "AreaROI": RoiKind.GEOMETRY,
    "GeometryROI": RoiKind.GEOMETRY,
}


def golden_images(shared: Path) -> list[tuple[Path, dict[str, Any]]]:
    """All data files, each with what QuPath read from it."""
    found = []
    for dump in sorted((shared / "qupath" / "golden").glob("*/*/dump.json")):
        for image in json.loads(dump.read_text())["images"]:
            path = dump.parent / "project" / "data" / image["id"] / "data.qpdata"
            if path.exists():
                found.append((path, image["raw"]))
    assert len(found) > 70
    return found


def rgb(color: int | None) -> tuple[int, int, int] | None:
    return None if color is None else (color >> 16 & 255, color >> 8 & 255, color & 255)


def number(value: float | str) -> float:
    return float(value)


def as_printed(value: object) -> str:
    """What Python's printing of Java shows of a property."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_printed, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}={as_printed(item)}' for key, item in value.items())}}}"
    return str(value)


def assert_same_grid(image: ImageData, hierarchy: dict[str, Any]) -> None:
    expected = hierarchy["tmaGrid"]
    if expected is None:
        assert image.tma_grid is None
        return
    assert image.tma_grid is not None
    cores = image.tma_grid.cores
    assert cores.shape == (expected["height"], expected["width"])
    rows = [core["objectIndex"] for core in expected["cores"]]
    if None not in rows:  # which QuPath tells by the ids
        assert (cores.ravel() + 1).tolist() == rows  # the dump counts the root
    names = [image.objects.names[row] for row in cores.ravel().tolist()]
    assert names == [core["name"] for core in expected["cores"]]


def assert_same_shape(shapes: Shapes, row: int, expected: dict[str, Any]) -> None:
    kind = RoiKind(shapes.roi[row])
    theirs = shapely.from_wkt(expected["wkt"])
    ours = shapes.geometries[row]
    if kind is RoiKind.LINES:
        assert theirs.geom_type == "MultiLineString"
    else:
        assert kind is ROI_KINDS[expected["class"].rsplit(".")[-1]]
    if theirs.is_empty:  # rounded away by QuPath
        assert ours.area < TOLERANCE**2
        return
    assert np.allclose(ours.bounds, theirs.bounds, atol=2 * TOLERANCE)
    if kind is RoiKind.ELLIPSE:
        assert ours.area == pytest.approx(theirs.area, rel=0.02)
        corners = shapely.normalize([ours, theirs])  # QuPath 0.6 begins with another one
        assert shapely.equals_exact(*corners, 1e-3)
    else:
        assert shapely.hausdorff_distance(ours, theirs) <= 2 * TOLERANCE
        assert ours.area == pytest.approx(theirs.area, abs=0.2, rel=1e-3)


def assert_same_objects(table: ObjectTable, expected: list[dict[str, Any]], ids: bool) -> None:
    expected = [o for o in expected if o["class"] in KINDS]
    row_of = {o["index"]: row for row, o in enumerate(expected)}
    assert len(table) == len(expected)
    for row, wanted in enumerate(expected):
        assert ObjectKind(table.kind[row]) is KINDS[wanted["class"]]
        assert table.parent[row] == row_of.get(wanted["parentIndex"], -1)
        if ids:
            assert str(table.uuid(row)) == wanted["id"]
        assert table.names.get(row) == wanted["name"]
        assert table.colors.get(row) == rgb(wanted["color"])
        assert dict(table.metadata.get(row, {})) == wanted["metadata"]
        assert bool(table.locked[row]) is wanted["locked"]
        assert (row in table.missing) is wanted.get("missing", False)
        sure = math.nan if table.probability is None else table.probability[row]
        np.testing.assert_equal(sure, number(wanted["classProbability"]))
        found, path_class = table.path_class(row), wanted["pathClass"]
        if path_class is None:
            assert found is None
        else:
            assert found is not None
            assert list(found.names) == path_class["names"]
            assert found.color is None or found.color == rgb(path_class["color"])
        plane = wanted["roi"]["plane"]
        assert table.plane[row].tolist() == [plane["c"], plane["z"], plane["t"]]
        assert_same_shape(table.shapes, row, wanted["roi"])
        nucleus = wanted.get("nucleus")
        if nucleus is not None:
            assert table.nuclei is not None
            assert_same_shape(table.nuclei, row, nucleus)
        elif table.nuclei is not None:
            assert table.nuclei.roi[row] == RoiKind.EMPTY
        measured = {name: number(value) for name, value in wanted["measurements"]}
        for name, value in measured.items():
            ours = table.measurement(name)[row]
            assert ours == value or (math.isnan(ours) and math.isnan(value))
        for name in set(table.measurement_names) - set(measured):
            assert math.isnan(table.measurement(name)[row])


def test_everything_qupath_reads_is_read(shared: Path) -> None:
    for path, raw in golden_images(shared):
        image: ImageData = read_image_data(path.read_bytes())
        assert image.image_type.name == (raw["imageType"] or "UNSET")
        assert [s.name for s in image.workflow] == [s["name"] for s in raw["workflow"]]
        # Versions differ in the semicolon behind scripts that they make up.
        assert [s.script.rstrip(";") for s in image.workflow] == [
            s["script"].rstrip(";") for s in raw["workflow"]
        ]
        if raw.get("stains") is None:
            assert image.stains is None
        else:
            assert image.stains is not None
            assert image.stains.name == raw["stains"]["name"]
            given = [s for s in raw["stains"]["stains"] if not s["residual"]]
            assert list(image.stains.stain_names) == [s["name"] for s in given]
            vectors = [(s["r"], s["g"], s["b"]) for s in given]
            assert np.allclose(image.stains.vectors, vectors, atol=1e-6)
            assert list(image.stains.background) == raw["stains"]["background"]
        assert {name: as_printed(value) for name, value in image.properties.items()} == {
            name: found["value"]
            for name, found in raw["properties"].items()
            if found["class"].startswith("java.")
        }
        assert_same_grid(image, raw["hierarchy"])
        has_ids = "v0.3.2" not in path.parts
        assert_same_objects(image.objects, raw["hierarchy"]["objects"], ids=has_ids)


def test_an_empty_edit_changes_no_byte(shared: Path) -> None:
    for path, _ in golden_images(shared):
        data = path.read_bytes()
        assert apply_edit(data, Edit()) == data
