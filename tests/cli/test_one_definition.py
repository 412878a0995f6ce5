"""A number has one definition: what a run writes is what measuring again would, and it stays."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, objects_of
from models.test_foreign import Level, write

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
from qpbridge.hierarchy.provenance import Origin, origins
from qpbridge.objects import MeasurementTable, RoiKind


@pytest.fixture
def by_dark(tmp_path):
    """Options for a model whose glands are whatever is dark: the nuclei of the generated slide."""
    own = {"target": "glands", "mpp": 0.5, "decode": {"min_area_um2": 12.0}}
    model = write(tmp_path / "dark", script=Level(), metadata={"qpbridge": own})
    return "--target", "glands", "--model", model, "--trust"


def regions_of(project) -> dict[str, dict[str, float]]:
    """What is told of regions, by their names; without what could not be computed."""
    table = objects_of(project)
    told = {}
    for row, name in table.names.items():
        values = zip(table.measurement_names, table.measurements[row].tolist(), strict=True)
        told[name] = {measured: value for measured, value in values if value == value}
    return told


def reshape(project, row: int, geometry) -> None:
    """Give an object another outline, as a person does: its id stays."""
    table = objects_of(project)
    entry = open_project(project).images[0]
    one = table.take([row]).replace(
        shapes=Shapes.from_geometries([geometry]), parent=np.array([-1]), nuclei=None
    )
    entry.apply(Edit(remove=one.ids))
    entry.apply(Edit(add=one, add_below=table.ids[[table.parent[row]]]))


def by_hand(project) -> None:
    """Correct a gland and two nuclei, and draw three nuclei of another class or none."""
    table = objects_of(project)
    for target, count in (("glands", 1), ("nuclei", 2)):
        rows = np.flatnonzero(origins(table, target) == Origin.OURS)[:count]
        for row in rows.tolist():
            moved = shapely.affinity.scale(table.geometries[row], 1.3, 0.8)
            now = objects_of(project)
            (here,) = np.flatnonzero((now.ids == table.ids[row]).all(axis=1))
            reshape(project, int(here), moved)
    discs = shapely.buffer(shapely.points([[200.5, 300], [230, 330], [600, 150]]), [9, 12, 20])
    drawn = ObjectTable.new(ObjectKind.DETECTION, Shapes.from_geometries(discs))
    other = drawn.replace(
        classes=(PathClass(("Lymphocyte",)),), class_index=np.array([0, 0, -1], np.int32)
    )
    open_project(project).images[0].apply(Edit(add=other))


@pytest.mark.parametrize(
    "cells", [pytest.param((), marks=pytest.mark.slow), ("--cell-expansion", 4)]
)
def test_regions_tell_the_same_after_a_run_and_after_measuring(qpbridge, project, by_dark, cells):
    annotate(project, (Shapes.corners(RoiKind.ELLIPSE, 100, 200, 330, 400), "Tumor", "nested"))
    qpbridge("segment", project, *by_dark)
    qpbridge("segment", project, *cells)
    by_hand(project)
    for again in (by_dark, cells):
        told = qpbridge.json("segment", project, *again)["images"][0]
        after_run = regions_of(project)
        measured = qpbridge.json("measure", project)["images"][0]
        after_measure = regions_of(project)
        assert after_run == after_measure
        for one, other in zip(told["regions"], measured["regions"], strict=True):
            assert one["name"] == other["name"]
            assert other["measurements"].items() <= one["measurements"].items()
    assert told["kept_changed"] == 2
    counts = {name: values.get("Nuclei: Count") for name, values in after_run.items()}
    table = objects_of(project)
    ours = table.take(np.isin(table.kind, (ObjectKind.DETECTION, ObjectKind.CELL)))
    points = shapely.points(ours.shapes.centroids())
    pen = shapely.box(0, 0, 120, 160)
    for name in ("left", "ring", "nested"):
        (row,) = (row for row, called in table.names.items() if called == name)
        region = table.geometries[row].difference(pen)
        assert counts[name] == shapely.intersects(region, points).sum() > 10
    assert after_run["left"]["Glands: Nuclei count mean"] > 0
    assert "Nuclei: Orientation entropy" in after_run["left"]


def test_what_somebody_measured_stays_where_the_object_does(qpbridge, project):
    first = qpbridge.json("segment", project)["images"][0]
    assert first["lost_measurements"] == 0
    table = objects_of(project)
    nuclei = table.take(origins(table, "nuclei") == Origin.OURS)
    some = nuclei.ids[:6]
    score = MeasurementTable(("Score", "Nuclei per field"), np.arange(12.0).reshape(6, 2))
    entry = open_project(project).images[0]
    entry.apply(Edit(measure=[MeasurementUpdate(some, score)]))
    qpbridge("measure", project)  # what this adds is no work of a person
    again = qpbridge.json("segment", project)["images"][0]
    assert again["replaced"] == again["found"] == first["found"]
    assert again["lost_measurements"] == 0
    table = objects_of(project)
    assert "Delaunay: Num neighbors" not in table.measurement_names
    kept = {uid.tobytes(): row for row, uid in enumerate(table.ids)}
    rows = [kept[uid.tobytes()] for uid in some]
    np.testing.assert_array_equal(
        table.measured.select(score.names).take(rows).matrix, score.matrix
    )
    assert np.isfinite(table.measured["Score"]).sum() == 6
    # an Ignore* annotation over one of them, and it is gone
    box = table.geometries[rows[0]].buffer(30)
    annotate(project, (box, "Ignore*", "not here"))
    inside = shapely.intersects(box, shapely.points(table.take(rows).shapes.centroids())).sum()
    qpbridge("segment", project, "--restart")
    assert f"{inside} object" in qpbridge.stderr and "measurements that somebody" in qpbridge.stderr
    left = 6 - inside
    assert np.isfinite(objects_of(project).measured["Score"]).sum() == left
    removed = qpbridge.json("remove", project, "--target", "nuclei")["images"]
    assert [item["lost_measurements"] for item in removed] == [left]


def test_metadata_of_an_object_stays_with_it(qpbridge, project):
    qpbridge("segment", project)
    table = objects_of(project)
    row = int(np.flatnonzero(origins(table, "nuclei") == Origin.OURS)[3])
    uid = table.ids[row].tobytes()
    entry = open_project(project).images[0]
    entry.apply(Edit(update={uid: AnnotationUpdate(metadata={"seen by": "me"})}))
    qpbridge("segment", project)
    table = objects_of(project)
    (here,) = (r for r, one in enumerate(table.ids) if one.tobytes() == uid)
    assert table.metadata[here] == {"seen by": "me"}


def test_detections_of_other_classes_can_be_left_out(qpbridge, project):
    qpbridge("segment", project)
    before = regions_of(project)
    discs = shapely.buffer(shapely.points([[200.5, 300], [230, 330], [240, 500]]), [40, 30, 50])
    drawn = ObjectTable.new(ObjectKind.DETECTION, Shapes.from_geometries(discs))
    classes = (PathClass(("Lymphocyte",)), PathClass(("Nucleus", "Positive")))
    index = np.array([0, -1, 1], np.int32)
    entry = open_project(project).images[0]
    entry.apply(Edit(add=drawn.replace(classes=classes, class_index=index)))
    qpbridge("measure", project)
    count, area = "Nuclei: Count", "Nuclei: Area mean µm^2"
    every = regions_of(project)
    assert every["left"][count] == before["left"][count] + 3
    assert every["left"][area] > 1.5 * before["left"][area]
    report = qpbridge.json("measure", project, "--classes", "Nucleus")["images"][0]
    assert (report["left_out"], report["others"]["nuclei"]) == (2, 1)
    assert regions_of(project)["left"][count] == before["left"][count] + 1
    assert regions_of(project)["ring"] == before["ring"]
    said = qpbridge("measure", project, "--classes", "Lymphocyte", "--classes", "Nucleus: Positive")
    assert regions_of(project)["left"][count] == 2
    assert "nuclei (2 not by qpbridge)" in said and "of other classes left out" in said
    step = open_project(project).images[0].read().workflow[-1]
    assert step.parameters["classes"] == "Lymphocyte, Nucleus: Positive"
    told = regions_of(project)
    qpbridge("measure", project, "--classes", "Nukleus", code=1)
    assert "no detections or cells of class 'Nukleus'; there are: 'Nucleus'" in qpbridge.stderr
    assert regions_of(project) == told
