"""A person works in QuPath, and saves, while a run is under way."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of

from qpbridge import AnnotationUpdate, Edit, ObjectKind, open_project
from qpbridge.engine import remove
from qpbridge.prediction import search


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something after the nuclei are found, before they are written."""

    def arrange(act):
        real = search.run_tiles

        def run(*args, **kwargs):
            yield from real(*args, **kwargs)
            act()

        monkeypatch.setattr(search, "run_tiles", run)

    return arrange


def test_an_annotation_drawn_meanwhile_stays(qpbridge, project, meanwhile):
    qpbridge("segment", project, "--selected", "left")
    expected = {bytes(i) for i in nuclei_of(project).ids}
    qpbridge("remove", project)

    def draw():
        annotate(project, (shapely.box(10, 300, 300, 600), "Stroma", "mine"))
        entry = open_project(project).images[0]
        ids = entry.read().objects.ids
        entry.apply(Edit(update={ids[0].tobytes(): AnnotationUpdate({"seen by": "AB"})}))

    meanwhile(draw)
    report = qpbridge.json("segment", project, "--selected", "left")["images"][0]
    table = objects_of(project)
    assert report["status"] == "written"
    assert report["found"] == len(expected)
    assert {bytes(i) for i in nuclei_of(project).ids} == expected
    assert "mine" in table.names.values()
    assert table.metadata[0]["seen by"] == "AB"
    assert "qpbridge nuclei" in table.metadata[0]


def test_what_is_excluded_meanwhile_holds_no_nuclei(qpbridge, project, meanwhile):
    pen = shapely.box(0, 300, 400, 700)
    meanwhile(lambda: annotate(project, (pen, "Ignore*", "artefact")))
    report = qpbridge.json("segment", project, "--selected", "left")["images"][0]
    nuclei = nuclei_of(project)
    assert report["found"] == len(nuclei) > 5
    assert not shapely.intersects(pen, shapely.centroid(nuclei.geometries)).any()
    area = shapely.box(40, 50, 360, 300).difference(shapely.box(0, 0, 120, 160)).area
    assert report["regions"][0]["measurements"]["Evaluated area µm^2"] == area / 4


def test_a_nucleus_corrected_meanwhile_stays(qpbridge, project, meanwhile):
    qpbridge("segment", project, "--selected", "left")
    moved = nuclei_of(project).take([0])

    def correct():
        shapes = moved.shapes
        bigger = type(shapes)(
            shapes.roi, shapes.coords + 1.5, shapes.rings, shapes.parts, shapes.objects
        )
        entry = open_project(project).images[0]
        entry.apply(Edit(remove=moved.ids, add=moved.replace(shapes=bigger)))

    meanwhile(correct)
    report = qpbridge.json("segment", project, "--selected", "left")["images"][0]
    assert report["kept_changed"] == 1
    assert (nuclei_of(project).ids == moved.ids).all(axis=1).sum() == 1


def test_a_region_deleted_meanwhile_is_named(qpbridge, project, meanwhile):
    left = objects_of(project).ids[:1]
    meanwhile(lambda: open_project(project).images[0].apply(Edit(remove=left)))
    qpbridge("segment", project, "--selected", "left", code=3)
    assert "region 'left' was deleted by another program" in " ".join(qpbridge.stderr.split())
    table = objects_of(project)
    assert (table.kind == ObjectKind.ANNOTATION).all()
    assert not np.isin(table.ids.view("V16"), left.view("V16")).any()


def test_removing_too(qpbridge, project, monkeypatch):
    qpbridge("segment", project, "--selected", "left")
    real = remove.plan_removal
    calls = []

    def plan(objects, target):
        edit = real(objects, target)
        if target == "nuclei" and not calls:
            calls.append(1)
            annotate(project, (shapely.box(10, 300, 300, 600), "Stroma", "mine"))
        return edit

    monkeypatch.setattr(remove, "plan_removal", plan)
    qpbridge("remove", project)
    assert len(nuclei_of(project)) == 0
    assert "mine" in objects_of(project).names.values()
