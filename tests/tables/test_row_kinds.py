"""Rows of regions and of images: what qpbridge summed up, once where regions are nested."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely
from table_values import values

from qpbridge.hierarchy.provenance import mint_ids, storable
from qpbridge.ids import random_ids
from qpbridge.measurements.region_names import EVALUATED_AREA, SUMMARY_NAMES
from qpbridge.measurements.regions import summarize
from qpbridge.measurements.shape import shape_measurements
from qpbridge.measurements.structures import lumen_measurements
from qpbridge.objects import MeasurementTable, ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.tables.row_kinds import ROWS

MPP = 0.5
REGIONS = {
    "outer": shapely.box(0, 0, 400, 400),
    "inner": shapely.box(100, 100, 200, 200),
    "apart": shapely.box(500, 0, 600, 400),
    "not searched": shapely.box(700, 0, 900, 400),
}


def entry() -> Any:
    server = SimpleNamespace(mpp=(MPP, MPP), width=2000, height=400)
    return SimpleNamespace(name="a.svs", server=server)


def read(columns: Any) -> dict[str, list[Any]]:
    return {name: values(column) for name, column in columns.items()}


def searched(target: str, geometries: list[Any]) -> tuple[ObjectTable, ObjectTable]:
    """Regions with their summaries as a run writes them, and below them what it found."""
    kind = ObjectKind.DETECTION if target == "nuclei" else ObjectKind.ANNOTATION
    shapes = Shapes.from_geometries(shapely.transform(np.array(geometries), storable))
    columns = shape_measurements(shapes, (MPP, MPP))
    if target == "glands":
        columns |= lumen_measurements(target, shapes, (MPP, MPP))
    found = ObjectTable.new(
        kind,
        shapes,
        path_class=PathClass(("Nucleus" if target == "nuclei" else "Gland",)),
    ).replace(measured=columns)
    found = found.replace(ids=mint_ids(found, target, random_ids(0)))
    inside = shapely.contains(
        np.array(list(REGIONS.values()))[:, None], shapely.centroid(shapes.geometries)
    )
    summaries = [
        summary_of(target, found, members, shapely.area(region) * MPP**2)
        for members, region in zip(inside, REGIONS.values(), strict=True)
    ]
    measured = np.array([list(s.values()) for s in summaries])
    measured[list(REGIONS).index("not searched")] = np.nan
    drawn = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries(list(REGIONS.values())),
        measurement_names=tuple(summaries[0]),
        measurements=measured,
    ).replace(names=dict(enumerate(REGIONS)))
    return drawn, found


def summary_of(target: str, found: ObjectTable, members: Any, area: float) -> dict[str, float]:
    return summarize(target, found.measured.take(members), area)


def joined(drawn: ObjectTable, found: ObjectTable) -> ObjectTable:
    n, m = len(drawn), len(found)
    names = (*drawn.measurement_names, *found.measurement_names)
    measured = np.full((n + m, len(names)), np.nan)
    measured[:n, : len(drawn.measurement_names)] = drawn.measurements
    measured[n:, len(drawn.measurement_names) :] = found.measurements
    shapes = Shapes.from_geometries([*drawn.geometries, *found.geometries])
    return ObjectTable.new(ObjectKind.ANNOTATION, shapes).replace(
        kind=np.concatenate([drawn.kind, found.kind]),
        ids=np.concatenate([drawn.ids, found.ids]),
        classes=found.classes,
        class_index=np.array([-1] * n + [0] * m, np.int32),
        names=drawn.names,
        measured=MeasurementTable(names, measured),
    )


def blobs(n: int, hole: bool = False) -> list[Any]:
    """Round shapes anywhere, in regions and outside."""
    generator = np.random.default_rng(n)
    where = generator.uniform(5, 395, (n, 2)) * (2.5, 1)
    round_ = shapely.buffer(shapely.points(where), generator.uniform(4, 9, n))
    return [b.difference(b.centroid.buffer(2)) if hole else b for b in round_]


@pytest.mark.parametrize("target", ["nuclei", "glands"])
def test_the_row_of_an_image_sums_up_the_union_of_its_regions(target):
    drawn, found = searched(target, blobs(200, hole=target == "glands"))
    row = read(ROWS["images"](entry(), joined(drawn, found)))
    union = shapely.union_all(list(REGIONS.values())[:3])
    members = shapely.contains(union, shapely.centroid(found.geometries))
    assert 0 < members.sum() < 200
    expected = summary_of(target, found, members, union.area * MPP**2)
    assert {name: row[name][0] for name in expected} == pytest.approx(expected)
    assert row["Image"] == ["a.svs"]
    assert row["Object type"] == ["Root object (Image)"]
    assert row["Num regions"] == [4]
    if target == "nuclei":
        assert row["Num Detections"] == row["Num Nucleus"] == [200]


def test_an_image_with_one_region_has_its_sums():
    drawn, found = searched("nuclei", blobs(100))
    alone = drawn.take([0])
    row = read(ROWS["images"](entry(), joined(alone, found)))
    assert [row[name][0] for name in SUMMARY_NAMES] == pytest.approx(alone.measurements[0].tolist())


def test_an_image_in_which_nothing_was_found():
    drawn, _ = searched("nuclei", blobs(5))
    empty = drawn.replace(
        measured=MeasurementTable(
            drawn.measurement_names, np.where(np.isnan(drawn.measurements), np.nan, 0.0)
        )
    )
    empty.measurements[:3, list(SUMMARY_NAMES).index(EVALUATED_AREA)] = 1000.0
    row = read(ROWS["images"](entry(), empty))
    assert row["Nuclei: Count"] == row["Nuclei: Density per mm^2"] == [0]
    assert np.isnan(row["Nuclei: Area mean µm^2"]).all()
    assert row["Num Detections"] == [0]


def test_an_image_that_was_not_searched():
    drawn, _ = searched("nuclei", blobs(5))
    row = read(ROWS["images"](entry(), drawn.take([3])))
    assert list(row) == ["Image", "Object type", "Name", "Num Detections", "Num regions"]
    assert row["Num Detections"] == [0]


def test_regions_are_the_annotations_that_qpbridge_did_not_make():
    drawn, found = searched("glands", blobs(30, hole=True))
    moved = found.replace(names={0: "a gland that a person named"})
    rows = read(ROWS["regions"](entry(), joined(drawn, moved)))
    assert rows["Name"] == list(REGIONS)
    assert list(rows)[-len(drawn.measurement_names) :] == list(drawn.measurement_names)
    assert "Circularity" not in rows
    assert rows["Glands: Count"][:3] == drawn.measurements[:3, 0].tolist()
    assert rows["Glands: Count"][3] is None  # nobody computed it
    assert rows["Area µm^2"] == [r.area * MPP**2 for r in REGIONS.values()]


def test_objects_are_all():
    drawn, found = searched("nuclei", blobs(30))
    rows = read(ROWS["objects"](entry(), joined(drawn, found)))
    assert rows["Object type"] == ["Annotation"] * 4 + ["Detection"] * 30
    assert rows["Area µm^2"][4:] == found.measurement("Area µm^2").tolist()
