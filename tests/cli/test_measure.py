"""Measuring again what is in a project."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of

from qpbridge import (
    AnnotationUpdate,
    Edit,
    MeasurementUpdate,
    ObjectKind,
    ObjectTable,
    PathClass,
    Shapes,
    open_project,
)
from qpbridge.engine.measuring import intensities
from qpbridge.engine.measuring import job as engine
from qpbridge.hierarchy.provenance import Origin, mint_ids, origins, storable
from qpbridge.measurements import definitions
from qpbridge.measurements.distances import signed_distance
from qpbridge.measurements.grading import SYSTEMS
from qpbridge.measurements.shape import shape_names
from qpbridge.objects import FloatArray, MeasurementTable, concatenate_shapes

MPP = 0.5


def made(target: str, geometries: Any, **columns: Any) -> ObjectTable:
    """Objects as qpbridge makes them."""
    kind = ObjectKind.DETECTION if target == "nuclei" else ObjectKind.ANNOTATION
    name = {"nuclei": "Nucleus", "glands": "Gland", "vessels": "Vessel"}[target]
    shapes = Shapes.from_geometries(shapely.transform(np.array(geometries), storable))
    table = ObjectTable.new(kind, shapes, path_class=PathClass((name,)), **columns)
    return replace(table, ids=mint_ids(table, target, np.zeros((0, 16), np.uint8)))


def discs(centres: Any, radius: Any) -> Any:
    return shapely.buffer(shapely.points(np.asarray(centres, float)), radius)


def ring(x: float, y: float, outer: float, inner: float) -> Any:
    return shapely.Point(x, y).buffer(outer).difference(shapely.Point(x, y).buffer(inner))


def cells(centres: Any) -> ObjectTable:
    """Cells as QuPath makes them; the last one has no nucleus."""
    n = len(centres)
    nuclei = [*Shapes.from_geometries(discs(centres[:-1], 4)).geometries]
    table = ObjectTable.new(ObjectKind.CELL, Shapes.from_geometries(discs(centres, 8)))
    inner = Shapes.from_geometries([*nuclei, shapely.box(0, 0, 1, 1)])
    empty = Shapes.empty(n)
    index = np.append(np.arange(n - 1), n)
    return replace(table, nuclei=concatenate_shapes([inner, empty]).take(index))


@pytest.fixture
def filled(project):
    """The project's regions, with all that can be measured in them."""
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(150, 350, 25), np.arange(180, 640, 25)), -1)
    centres = grid.reshape(-1, 2) + generator.uniform(-5, 5, (grid[..., 0].size, 2))
    nuclei = made(
        "nuclei",
        discs(centres, 5),
        measurement_names=["Detection probability", "Hematoxylin: Mean"],
        measurements=generator.random((len(centres), 2)),
    )
    glands = made("glands", [ring(200, 300, 50, 20), ring(305, 300, 52, 10)])
    vessels = made("vessels", [ring(250, 500, 30, 20)])
    by_qupath = cells([(700, 300), (720, 330), (740, 360), (705, 420)])
    entry = open_project(project).images[0]
    table = entry.read().objects
    names = {name: row for row, name in table.names.items()}
    for found, region in (
        (nuclei, "left"),
        (glands, "left"),
        (vessels, "left"),
        (by_qupath, "ring"),
    ):
        below = np.tile(table.ids[names[region]], (len(found), 1))
        entry.apply(Edit(add=found, add_below=below))
    annotate(project, (ring(250, 500, 3, 1), None, None))  # a region without anything in it
    return project


def named(table: ObjectTable, name: str) -> int:
    return {n: row for row, n in table.names.items()}[name]


def of_kind(table: ObjectTable, kind: ObjectKind) -> ObjectTable:
    return table.take(table.kind == kind)


def carried(table: ObjectTable) -> set[str]:
    there = ~np.isnan(table.measurements).all(axis=0)
    return {name for name, has in zip(table.measurement_names, there, strict=True) if has}


def column(table: ObjectTable, name: str) -> FloatArray:
    return table.measurement(name)


def test_nuclei_get_shapes_and_neighbours(qpbridge, filled):
    before = nuclei_of(filled)
    report = qpbridge.json("measure", filled)["images"][0]
    after = nuclei_of(filled)
    assert report["status"] == "written"
    assert report["counts"] == {"nuclei": len(after) + 4, "glands": 2, "vessels": 1}
    assert report["others"] == {"nuclei": 4, "glands": 0, "vessels": 0}
    geometries = shapely.transform(after.geometries, lambda xy: xy * MPP)
    np.testing.assert_allclose(column(after, "Area µm^2"), shapely.area(geometries), rtol=1e-5)
    centres = shapely.get_coordinates(shapely.centroid(geometries))
    apart = np.hypot(*(centres[:, None] - centres).transpose(2, 0, 1))
    apart[np.diag_indices(len(apart))] = np.inf
    nearest = column(after, "Nearest neighbor distance µm")
    np.testing.assert_allclose(nearest, apart.min(axis=1), rtol=1e-5)
    assert column(after, "Delaunay: Num neighbors").mean() > 4
    np.testing.assert_allclose(column(after, "Eccentricity"), 0, atol=0.05)
    # What was measured on pixels stays, and so do the objects.
    for name in ("Detection probability", "Hematoxylin: Mean"):
        np.testing.assert_array_equal(column(after, name), column(before, name))
    np.testing.assert_array_equal(after.ids, before.ids)
    assert (origins(after, "nuclei") == Origin.OURS).all()


def test_cells_have_names_of_their_own(qpbridge, filled):
    qpbridge("measure", filled, "--smooth", 25, "--morphometry")
    table = objects_of(filled)
    found = of_kind(table, ObjectKind.CELL)
    shapes = shape_names((MPP, MPP))
    names = carried(found)
    assert {f"{part}: {name}" for part in ("Nucleus", "Cell") for name in shapes} <= names
    assert not set(shapes) & names
    assert {"Nucleus/Cell area ratio", "Delaunay: Num neighbors"} <= names
    assert "Smoothed: 25 µm: Nucleus: Area µm^2" in names
    assert "Smoothed: 25 µm: Area µm^2" in carried(nuclei_of(filled))
    assert column(found, "Nucleus/Cell area ratio")[:3] == pytest.approx(0.25, rel=1e-3)
    assert np.isnan(column(found, "Nucleus: Area µm^2")[3])
    ring = named(table, "ring")
    assert column(table, "Nuclei: Count")[ring] == 4
    assert column(table, "Nuclei: Area mean µm^2")[ring] == pytest.approx(np.pi * 4, rel=0.02)
    assert column(table, "Nuclei: Nucleus/Cell area ratio mean")[ring] == pytest.approx(0.25, 1e-3)


def test_glands_and_vessels(qpbridge, filled):
    qpbridge("measure", filled)
    table = objects_of(filled)
    glands = table.take(origins(table, "glands") == Origin.OURS)
    vessels = table.take(origins(table, "vessels") == Origin.OURS)
    assert len(glands) == 2 and len(vessels) == 1
    assert column(glands, "Lumina count").tolist() == [1, 1]
    assert column(glands, "Epithelial height µm") == pytest.approx([15, 21], rel=0.01)
    assert column(glands, "Distance to nearest gland µm") == pytest.approx([1.5, 1.5], abs=0.1)
    assert column(glands, "Touching glands").tolist() == [1, 1]
    points = shapely.centroid(nuclei_of(filled).geometries)
    within = [shapely.contains(g, points).sum() for g in glands.geometries]
    assert column(glands, "Nuclei count").tolist() == within
    assert column(vessels, "Wall thickness µm") == pytest.approx([5], rel=0.01)
    assert "Distance to nearest vessel µm" not in carried(table)  # it is alone
    left = named(table, "left")
    assert column(table, "Glands: Count")[left] == 2
    assert column(table, "Glands: Touching %")[left] == 100
    assert column(table, "Glands: Nuclei count mean")[left] == np.mean(within)
    assert column(table, "Vessels: Count")[left] == 1
    # The region is smaller than a hot spot; where nothing was looked for, nothing is said.
    assert "Vessels: Hotspot density per mm^2" not in carried(table)
    assert np.isnan(column(table, "Glands: Count")[named(table, "ring")])
    without = np.setdiff1d(np.flatnonzero(table.kind == ObjectKind.ANNOTATION), [left])
    assert np.isnan(column(table, "Vessels: Count")[without]).all()


def test_summaries_are_those_that_a_run_writes(qpbridge, project):
    qpbridge("segment", project)
    before = objects_of(project)
    qpbridge("measure", project)
    after = objects_of(project)
    assert (before.ids == after.ids).all()
    for name in before.measurement_names:
        was, now = column(before, name), column(after, name)
        np.testing.assert_allclose(now, was, rtol=1e-5, err_msg=name)
    qpbridge("measure", project, "--grading", "isup", "--morphometry")
    assert "Nuclei: Circularity p10" in carried(objects_of(project))
    report = qpbridge.json("measure", project)["images"][0]
    assert {tuple(region["found_by"]) for region in report["regions"]} == {("nuclei",)}
    # and running again replaces all that was measured
    qpbridge("segment", project)
    again = objects_of(project)
    assert carried(again) == carried(before)
    assert {bytes(i) for i in again.ids} == {bytes(i) for i in before.ids}


def test_only_the_regions_asked_for(qpbridge, filled):
    report = qpbridge.json("measure", filled, "--selected", "ring")["images"][0]
    assert [region["name"] for region in report["regions"]] == ["ring"]
    assert report["counts"] == {"nuclei": 4, "glands": 0, "vessels": 0}
    assert "Area µm^2" not in carried(nuclei_of(filled))
    report = qpbridge.json("measure", filled, "--whole-image")["images"][0]
    assert report["regions"][0]["measurements"]["Nuclei: Count"] == len(nuclei_of(filled)) + 4


def test_distances(qpbridge, filled):
    qpbridge("measure", filled, "--distances", "--density", 50)
    table = objects_of(filled)
    nuclei = nuclei_of(filled)
    points = shapely.get_coordinates(shapely.centroid(nuclei.geometries)) * MPP
    region = shapely.transform(table.geometries[[named(table, "ring")]], lambda xy: xy * MPP)
    expected = signed_distance(points, region)
    found = column(nuclei, "Signed distance to annotation with Stroma µm")
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert (column(nuclei, "Signed distance to annotation with Tumor µm") < 0).all()
    assert "Signed distance to annotation with Gland µm" not in carried(nuclei)
    glands = column(nuclei, "Signed distance to gland outline µm")
    assert (glands < 0).any() and (glands > 0).any()
    assert column(nuclei, "Local density 50 µm per mm^2").max() > 0


def test_what_can_no_longer_be_told_is_taken_away(qpbridge, filled):
    qpbridge("measure", filled, "--distances")
    table = objects_of(filled)
    open_project(filled).images[0].apply(Edit(remove=table.ids[[named(table, "ring")]]))
    qpbridge("measure", filled, "--whole-image", "--distances")
    left = carried(nuclei_of(filled))
    assert "Signed distance to annotation with Tumor µm" in left


def test_what_a_person_measured_stays(qpbridge, filled):
    table = nuclei_of(filled)
    mine = table.take([0]).replace(
        ids=np.full((1, 16), 7, np.uint8),
        measured=MeasurementTable(("my score", "Circularity"), np.array([[3.5, 9.0]])),
        class_index=np.array([-1], np.int32),
    )
    left = objects_of(filled).ids[named(objects_of(filled), "left")][None]
    open_project(filled).images[0].apply(Edit(add=mine, add_below=left))
    qpbridge("measure", filled)
    after = objects_of(filled)
    row = np.flatnonzero((after.ids == 7).all(axis=1))[0]
    assert column(after, "my score")[row] == 3.5
    assert column(after, "Circularity")[row] == pytest.approx(1, abs=0.02)


def test_what_is_saved_meanwhile_is_kept(qpbridge, filled, monkeypatch):
    real = engine.plan_measurements
    calls = []

    def plan(*arguments):
        result = real(*arguments)
        if not calls:
            annotate(filled, (shapely.box(400, 400, 500, 500), "Stroma", "mine"))
        calls.append(1)
        return result

    monkeypatch.setattr(engine, "plan_measurements", plan)
    report = qpbridge.json("measure", filled)["images"][0]
    assert len(calls) == 2
    assert "mine" in objects_of(filled).names.values()
    assert "mine" in [region["name"] for region in report["regions"]]
    assert "Delaunay: Num neighbors" in carried(nuclei_of(filled))
    steps = [s.name for s in open_project(filled).images[0].read().workflow]
    assert steps.count("qpbridge: measure") == 1


def test_grading(qpbridge, filled):
    annotate(filled, (shapely.box(140, 540, 360, 650), "Normal", "normal"))
    options = ("--grading", "nottingham", "--grading", "isup", "--reference", "Normal")
    report = qpbridge.json("measure", filled, *options)["images"][0]
    regions = {region["name"]: region for region in report["regions"]}
    aid = regions["left"]["grading"]["nottingham"]
    table = objects_of(filled)
    left = named(table, "left")
    glands = sum(shapely.Point(0, 0).buffer(radius).area for radius in (50, 52))
    percent = 100 * glands * MPP**2 / column(table, "Evaluated area µm^2")[left]
    assert aid["measurements"]["Nottingham: Gland formation %"] == pytest.approx(percent, rel=1e-3)
    assert aid["measurements"]["Nottingham: Tubule score"] == 3
    assert aid["measurements"]["Nottingham: Nuclear area ratio"] == pytest.approx(1, abs=0.05)
    assert column(table, "Nottingham: Tubule score")[left] == 3
    # Profiles of 5 µm are of the smallest of Fuhrman's sizes.
    assert column(table, "Fuhrman: Size grade")[left] == 1
    assert column(table, "Nuclei: Equivalent diameter mean µm")[left] == pytest.approx(5, rel=0.02)
    assert "Nuclei: Circularity p10" not in table.measurement_names
    assert aid["absent"] == [] and "research" in aid["disclaimer"]
    assert not regions["normal"]["grading"]
    ring_aid = regions["ring"]["grading"]["nottingham"]
    assert any("Glands: Area %" in text for text in ring_aid["absent"])

    text = qpbridge("measure", filled, *options)
    assert "neither a grade nor a diagnosis" in text
    assert "Mitoses" in text and "Elston and Ellis" in text and "Fuhrman" in text
    assert "Glands: Area % (segment glands)" in text


def test_epithelium_and_gleason_patterns(qpbridge, filled):
    for i, name in enumerate(("Gleason 3", "Gleason 4")):
        annotate(filled, (shapely.box(150 + 100 * i, 200, 250 + 100 * i, 240), name, name))
    annotate(filled, (shapely.box(140, 220, 360, 380), "Epithelium", "tumour"))
    report = qpbridge.json(
        "measure",
        *(filled, "--selected", "left", "--epithelium", "Epithelium"),
        *("--grading", "gleason", "--grading", "colorectal"),
    )["images"][0]
    found = report["regions"][0]["measurements"]
    assert found["Gleason: Pattern 3 %"] == pytest.approx(50)
    assert found["Gleason: Grade group"] == 3  # 4 + 3, both being half
    area = shapely.area(discs([(200, 300), (305, 300)], [50, 52])).sum()
    tumour = 220 * 160
    assert found["Colorectal: Gland formation %"] == pytest.approx(100 * area / tumour, rel=0.1)


def test_notes_what_was_not_there(qpbridge, filled):
    options = ("--grading", "nottingham", "--reference", "Normal", "--epithelium", "Epithelium")
    report = qpbridge.json("measure", filled, *options)["images"][0]
    assert "no nuclei in annotations of class 'Normal'" in report["notes"]
    assert "no annotations of class 'Epithelium'" in qpbridge.stderr
    assert "Nottingham: Nuclear score" not in carried(objects_of(filled))


def test_a_gland_that_a_person_drew_counts(qpbridge, filled):
    annotate(filled, (ring(250, 120, 30, 8), "Gland", "drawn"))
    report = qpbridge.json("measure", filled)["images"][0]
    assert report["counts"]["glands"] == 3 and report["others"]["glands"] == 1
    assert "drawn" not in [region["name"] for region in report["regions"]]
    table = objects_of(filled)
    drawn = named(table, "drawn")
    assert column(table, "Epithelial height µm")[drawn] == pytest.approx(11, rel=0.02)
    # Asked for by name it is a region as well.
    qpbridge("measure", filled, "--within", "Gland")
    table = objects_of(filled)
    assert column(table, "Epithelial height µm")[drawn] == pytest.approx(11, rel=0.02)
    assert column(table, "Glands: Count")[drawn] == 1


@pytest.mark.parametrize("options", [(), ("--morphometry", "--distances", "--smooth", 50)])
def test_every_name_is_defined(qpbridge, filled, options):
    everything = [v for s in SYSTEMS for v in ("--grading", s)]
    qpbridge("measure", filled, "--density", 30, *everything, *options)
    undefined = [n for n in objects_of(filled).measurement_names if not definitions.find(n)]
    assert undefined == []


def test_nothing_to_measure_in(qpbridge, project):
    qpbridge("measure", project)  # regions alone: nothing was looked for, nothing is written
    assert not objects_of(project).measurement_names
    qpbridge("measure", project, "--within", "Other", code=1)
    assert "no annotations of class 'Other'" in qpbridge.stderr


def test_says_when_nuclei_were_found_twice(qpbridge, filled):
    nuclei = nuclei_of(filled)
    moved = replace(nuclei.shapes, coords=nuclei.shapes.coords + 1.5)
    again = ObjectTable.new(ObjectKind.DETECTION, moved)
    open_project(filled).images[0].apply(Edit(add=again))
    report = qpbridge.json("measure", filled)["images"][0]
    twice = 2 * len(nuclei)
    (note,) = report["notes"]
    assert note.startswith(f"{twice:,} of {twice + 4:,} nuclei lie within 2 µm of another")


def test_what_no_longer_holds_goes_with_the_objects(qpbridge, filled):
    qpbridge("measure", filled, "--grading", "nottingham", "--morphometry")
    before = objects_of(filled)
    left = named(before, "left")
    note = {before.ids[left].tobytes(): AnnotationUpdate({"qpbridge nuclei": "nuclei_he"})}
    open_project(filled).images[0].apply(Edit(update=note))
    qpbridge("remove", filled, "--target", "nuclei")
    table = objects_of(filled)
    left = named(table, "left")
    there = {
        n for n, v in zip(table.measurement_names, table.measurements[left], strict=True) if v == v
    }
    assert there and all(name.startswith("Glands: ") or "Vessels: " in name for name in there)


def test_intensities_are_those_of_a_run(qpbridge, project, monkeypatch):
    qpbridge("segment", project)
    before = nuclei_of(project)
    entry = open_project(project).images[0]
    names = [n for n in before.measurement_names if ": " in n and n in carried(before)]
    assert "Eosin: Std.Dev." in names
    wrong = MeasurementUpdate(
        before.ids, MeasurementTable(tuple(names), np.full((len(before), len(names)), 9.0))
    )
    entry.apply(Edit(measure=[wrong]))
    monkeypatch.setattr(intensities, "WINDOW", 100)
    qpbridge("measure", project, "--intensities", "--smooth", 20)
    after = nuclei_of(project)
    for name in names:
        np.testing.assert_allclose(column(after, name), column(before, name), rtol=1e-5)
    smooth = column(after, "Smoothed: 20 µm: Hematoxylin: Mean")
    assert np.abs(smooth - column(after, "Hematoxylin: Mean")).max() < 1


def test_intensities_of_cells(qpbridge, filled):
    qpbridge("measure", filled, "--intensities")
    table = of_kind(objects_of(filled), ObjectKind.CELL)
    names = carried(table)
    assert {"Nucleus: Hematoxylin: Mean", "Cell: Eosin: Max"} <= names
    assert not {"Hematoxylin: Mean", "Eosin: Max"} & names
    assert np.isnan(column(table, "Nucleus: Hematoxylin: Mean")).tolist() == [False] * 3 + [True]
    assert np.isfinite(column(table, "Cell: Hematoxylin: Mean")).all()
    largest = [column(table, f"{part}: Hematoxylin: Max")[:3] for part in ("Nucleus", "Cell")]
    assert (largest[0] <= largest[1]).all()


def test_cells_of_a_run_are_measured_as_by_the_run(qpbridge, project):
    qpbridge("segment", project, "--cell-expansion", 5, "--features", "all")
    before = objects_of(project)
    report = qpbridge.json("measure", project, "--intensities", "--distances")["images"][0]
    after = objects_of(project)
    assert report["counts"]["nuclei"] == (before.kind == ObjectKind.CELL).sum()
    assert report["others"]["nuclei"] == 0
    np.testing.assert_array_equal(after.ids, before.ids)
    for name in before.measurement_names:
        was, now = column(before, name), column(after, name)
        same = np.isclose(now, was, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert same.all(), name
    assert [name for name in after.measurement_names if definitions.find(name) is None] == []
