"""What makes no sense is refused by the name of the argument, before anything is done."""

from __future__ import annotations

import numpy as np
import pytest

import qpbridge

PIXELS = np.full((64, 64, 3), 240, np.uint8)
FOLDERS = {"image_folder": "none", "label_folder": "none"}

MISUSES = [
    ("path", lambda p, d: qpbridge.open_project(None)),
    ("path", lambda p, d: qpbridge.open_project(3)),
    ("backend", lambda p, d: qpbridge.open_project(p.path, backend="x")),
    ("places", lambda p, d: qpbridge.open_project(p.path, places="/data")),
    ("path", lambda p, d: qpbridge.create_project(None, [])),
    ("images", lambda p, d: qpbridge.create_project(d / "n.qpproj", None)),
    ("images", lambda p, d: qpbridge.create_project(d / "n.qpproj", 3)),
    ("images", lambda p, d: qpbridge.create_project(d / "n.qpproj", [3])),
    ("annotate", lambda p, d: qpbridge.create_project(d / "n.qpproj", [], annotate="tisue")),
    ("note", lambda p, d: qpbridge.create_project(d / "n.qpproj", [], note=3)),
    ("broken", lambda p, d: qpbridge.create_project(d / "n.qpproj", [], broken=3)),
    ("model", lambda p, d: qpbridge.segment(p, model=3)),
    ("model", lambda p, d: qpbridge.segment(p, model=[None])),
    ("trust", lambda p, d: qpbridge.segment(p, trust="no")),
    ("trust", lambda p, d: qpbridge.load_bundle("nuclei_he", trust=1)),
    ("name", lambda p, d: qpbridge.load_bundle(None)),
    ("target", lambda p, d: qpbridge.load_bundle("nuclei_he", target="x")),
    ("mpp", lambda p, d: qpbridge.load_bundle("nuclei_he", mpp=-1)),
    ("progress", lambda p, d: qpbridge.segment(p, progress="yes")),
    ("ended", lambda p, d: qpbridge.measure(p, ended=3)),
    ("bundle", lambda p, d: qpbridge.segment_project(p, "nuclei_he")),
    ("project", lambda p, d: qpbridge.segment_project("x", qpbridge.load_bundle("nuclei_he"))),
    ("request", lambda p, d: qpbridge.segment_project(p, qpbridge.load_bundle("nuclei_he"), 0)),
    ("project", lambda p, d: qpbridge.measure_project(3)),
    ("request", lambda p, d: qpbridge.measure_project(p, 0)),
    ("data", lambda p, d: qpbridge.train(3, d / "m", steps=1)),
    ("validation", lambda p, d: qpbridge.train(d, d / "m", steps=1, validation=3)),
    ("work", lambda p, d: qpbridge.train(d, d / "m", steps=1, work=3)),
    ("progress", lambda p, d: qpbridge.train(d, d / "m", steps=1, progress=3)),
    ("mpp", lambda p, d: qpbridge.predict(PIXELS, mpp=0, model="nuclei_he")),
    ("search", lambda p, d: qpbridge.relocate(p, search=3)),
    ("output", lambda p, d: qpbridge.export_table(p, d / "t.xlsx")),
    ("output", lambda p, d: qpbridge.export_table(p, d / "t.parquet.gz")),
    ("images", lambda p, d: qpbridge.write_geojson(p[0], d / "g.geojson", images="x")),
    ("image", lambda p, d: qpbridge.import_objects(p[0], d / "g.geojson", image="x")),
    ("image", lambda p, d: qpbridge.import_objects(p, d / "g.geojson", image=3)),
    ("command", lambda p, d: qpbridge.import_objects(p, d / "g.geojson", image="1", command=3)),
    ("command", lambda p, d: qpbridge.calibrate(p, mpp=0.5, command=3)),
    ("command", lambda p, d: qpbridge.annotate(p, command=3)),
    ("command", lambda p, d: qpbridge.quality(p, annotate=True, command=3)),
    ("before", lambda p, d: qpbridge.compare(p, before=2.5)),
    ("before", lambda p, d: qpbridge.compare(p, before=b"1")),
    ("mpp", lambda p, d: qpbridge.compare_models(*2 * ["nuclei_he"], **FOLDERS, mpp=0)),
    ("path", lambda p, d: qpbridge.open_project("a\0b")),
    ("path", lambda p, d: qpbridge.history("a\0b")),
    ("image", lambda p, d: p[None]),
    ("edit", lambda p, d: p[0].apply(None)),
    ("add", lambda p, d: qpbridge.Edit(add=3)),
    ("remove", lambda p, d: qpbridge.Edit(remove="x")),
    ("ids", lambda p, d: qpbridge.edit.delete(p[0], p[0].read().objects)),
]


@pytest.mark.parametrize(("field", "misuse"), MISUSES)
def test_the_argument_is_named(path, tmp_path, field, misuse):
    project = qpbridge.open_project(path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(qpbridge.RequestError) as caught:
        misuse(project, tmp_path)
    assert caught.value.field == field
    assert f"`{field}`" in str(caught.value)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_an_unknown_measurement_is_named(path):
    objects = qpbridge.open_project(path)[0].read().objects
    with pytest.raises(qpbridge.UnknownMeasurementError, match="no measurement 'Area'") as caught:
        objects.measurement("Area")
    assert isinstance(caught.value, KeyError | qpbridge.SelectionError)
    assert caught.value.name == "Area"


def test_no_model_is_the_one_of_the_target(path):
    reports = qpbridge.segment(path, model=None, dry_run=True, device="cpu")
    assert {report.model for report in reports} == {"nuclei_he"}
