"""Several targets in one command, and what they have to do with one another."""

import numpy as np
import pytest
import shapely
from cli_helpers import objects_of
from models.test_foreign import Level, write

from qpbridge import AnnotationUpdate, Edit, ObjectKind, open_project
from qpbridge.hierarchy.provenance import Origin, origins


@pytest.fixture
def dark(tmp_path):
    """A model whose glands are whatever is dark: the nuclei of the generated slide."""
    own = {"target": "glands", "mpp": 0.5, "decode": {"min_area_um2": 12.0}}
    return write(tmp_path / "dark", script=Level(), metadata={"qpbridge": own})


def by(model):
    """Options to segment by a model of TorchScript."""
    return "--model", model, "--trust"


def test_nuclei_are_found_last_and_lie_below_the_glands_that_hold_them(qpbridge, project, dark):
    printed = qpbridge.json(
        "segment", project, "--target", "nuclei", "--target", "glands", *by(dark)
    )
    assert [run["target"] for run in printed["runs"]] == ["glands", "nuclei"]
    assert [run["model"]["name"] for run in printed["runs"]] == ["dark", "nuclei_he"]
    table = objects_of(project)
    glands = np.flatnonzero(origins(table, "glands") == Origin.OURS)
    nuclei = np.flatnonzero(origins(table, "nuclei") == Origin.OURS)
    assert len(glands) == printed["runs"][0]["images"][0]["found"] > 10
    assert (table.kind[glands] == ObjectKind.ANNOTATION).all()
    assert {str(table.path_class(row)) for row in glands} == {"Gland"}
    inside = np.isin(table.parent[nuclei], glands)
    geometries = table.geometries
    held = shapely.STRtree(geometries[glands]).query(
        shapely.centroid(geometries[nuclei]), predicate="intersects"
    )[0]
    assert inside.sum() == len(np.unique(held)) > 0.5 * len(nuclei)
    for row in nuclei[inside]:
        assert geometries[table.parent[row]].intersects(shapely.centroid(geometries[row]))
    regions = {row for row, name in table.names.items() if name in ("left", "ring")}
    assert set(table.parent[glands].tolist()) <= regions
    summary = table.measurement("Glands: Area %")[sorted(regions)]
    assert (summary > 0).all() and (summary < 50).all()


def test_glands_are_replaced_without_losing_the_nuclei_below_them(qpbridge, project, dark):
    qpbridge("segment", project, "--target", "nuclei", "--target", "glands", *by(dark))
    before = objects_of(project)
    nuclei = origins(before, "nuclei") == Origin.OURS
    report = qpbridge.json("segment", project, "--target", "glands", *by(dark))
    image = report["images"][0]
    assert image["replaced"] == image["found"] == (origins(before, "glands") == Origin.OURS).sum()
    after = objects_of(project)
    assert (origins(after, "nuclei") == Origin.OURS).sum() == nuclei.sum()
    again = qpbridge.json("segment", project)["images"][0]
    assert again["replaced"] == again["found"] == nuclei.sum()


def test_a_gland_that_a_person_named_stays_and_is_no_region(qpbridge, project, dark):
    qpbridge("segment", project, "--target", "glands", *by(dark))
    table = objects_of(project)
    gland = int(np.flatnonzero(origins(table, "glands") == Origin.OURS)[0])
    entry = open_project(project).images[0]
    entry.apply(Edit(update={table.ids[gland].tobytes(): AnnotationUpdate(metadata={"a": "b"})}))
    shifted = shapely.affinity.translate(table.geometries[gland], 1, 0)
    moved = table.take([gland]).replace(
        shapes=type(table.shapes).from_geometries([shifted]), parent=np.array([-1])
    )
    above = table.ids[table.parent[gland]][None]
    entry.apply(Edit(remove=moved.ids))
    entry.apply(Edit(add=moved, add_below=above))
    image = qpbridge.json("segment", project, "--target", "glands", *by(dark))["images"][0]
    assert image["kept_changed"] == 1
    assert {region["name"] for region in image["regions"]} == {"left", "ring"}


def test_glands_can_be_detections(qpbridge, project, dark):
    qpbridge(
        "segment",
        project,
        "--target",
        "glands",
        "--model",
        dark,
        "--trust",
        "--write",
        "detections",
    )
    table = objects_of(project)
    glands = table.take(origins(table, "glands") == Origin.OURS)
    assert len(glands) and (glands.kind == ObjectKind.DETECTION).all()
    qpbridge("remove", project, "--target", "glands")
    assert not (origins(objects_of(project), "glands") != Origin.OTHER).any()
    assert not any(n.startswith("Glands: ") for n in objects_of(project).measurement_names)


def test_one_model_for_each_target(qpbridge, project, dark):
    qpbridge("segment", project, "--model", dark, *by(dark), code=1)
    assert "only one model for each target" in qpbridge.stderr
    qpbridge("segment", project, *by(dark), "--target", "nuclei", code=1)
    assert "segments glands, not nuclei" in qpbridge.stderr


def test_what_must_be_known_of_a_model_is_said_once(qpbridge, project, dark):
    own = {"target": "vessels", "mpp": 0.5, "notice": "never seen a vessel"}
    folder = write(dark.parent / "vessels", script=Level(), metadata={"qpbridge": own})
    qpbridge("segment", project, "--model", folder, "--trust")
    assert qpbridge.stderr.count("vessels: never seen a vessel") == 1
