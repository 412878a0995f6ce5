"""A run keeps the settings of the run before in the same regions, and every run says its own."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, objects_of
from slide_factory import make_slide

from qpbridge import Edit, ImageType, ObjectKind, open_project
from qpbridge.engine.runs import USER
from qpbridge.project.interface import AnnotationUpdate


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "small.svs", width=360, height=200)


@pytest.fixture
def small(tmp_path, slide, qpbridge):
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, slide.path)
    annotate(
        path,
        (shapely.box(10, 10, 170, 190), "Tumor", "left"),
        (shapely.box(190, 10, 350, 190), "Tumor", "right"),
    )
    entry = open_project(path).images[0]
    entry.apply(Edit(image_type=ImageType.BRIGHTFIELD_H_DAB))
    return path


def kinds(path, name="left"):
    table = objects_of(path)
    row = next(row for row, n in table.names.items() if n == name)
    return {ObjectKind(k).name for k in table.kind[table.parent == row].tolist()}


def classes(path):
    table = objects_of(path)
    rows = np.flatnonzero(table.parent >= 0)
    return {str(table.path_class(row)) for row in rows.tolist()}


def test_cells_stay_cells_until_somebody_says_otherwise(qpbridge, small):
    wanted = ("--cell-expansion", 4, "--positivity", "0.1,0.2,0.3", "--features", "all")
    qpbridge("segment", small, *wanted)
    first = objects_of(small)
    report = qpbridge.json("segment", small)["images"][0]
    assert report["as_before"] == [
        "cell expansion 4 µm",
        "positivity 0.1 0.2 0.3",
        "features all",
    ]
    again = objects_of(small)
    assert {bytes(i) for i in first.ids} == {bytes(i) for i in again.ids}
    assert first.measurement_names == again.measurement_names
    assert (
        "as in the run before: cell expansion 4 µm"
        in (qpbridge("segment", small), qpbridge.stderr)[1]
    )
    off = ("--cell-expansion", 0, "--positivity", "none", "--features", "basic")
    assert not qpbridge.json("segment", small, *off)["images"][0]["as_before"]
    assert kinds(small) == {"DETECTION"}
    assert classes(small) == {"Nucleus"}
    qpbridge("segment", small)  # nor come cells back that were turned off
    assert kinds(small) == {"DETECTION"}


def test_each_region_has_its_own_run_before(qpbridge, small):
    qpbridge("segment", small, "--selected", "left", "--cell-expansion", 4)
    qpbridge("segment", small, "--selected", "right")
    assert (kinds(small), kinds(small, "right")) == ({"CELL"}, {"DETECTION"})
    qpbridge("segment", small, "--selected", "left")
    assert (kinds(small), kinds(small, "right")) == ({"CELL"}, {"DETECTION"})


def test_what_is_lost_is_said_where_the_run_before_noted_nothing(qpbridge, small):
    qpbridge("segment", small, "--cell-expansion", 4, "--positivity", 0.1)
    entry = open_project(small).images[0]
    objects = entry.read().objects
    drawn = list(objects.names)
    older = {"qpbridge nuclei": "nuclei_he 0.2.0 at 0.5 µm/px, qpbridge 0.1.0, 2026-01-02"}
    entry.apply(Edit(update={objects.ids[r].tobytes(): AnnotationUpdate(older) for r in drawn}))
    cells = (objects.kind == ObjectKind.CELL).sum()
    for options in (("--dry-run",), ()):
        warnings = qpbridge.json("segment", small, *options)["images"][0]["warnings"]
        assert warnings[0].startswith(f"{cells} cells are replaced by nuclei")
        assert "--cell-expansion" in warnings[0]
        assert "no longer positive or negative" in warnings[1]
    assert kinds(small) == {"DETECTION"}
    (fits,) = qpbridge.json("segment", small, "--cell-expansion", 0)["images"][0]["warnings"]
    assert fits.startswith("nuclei_he was made for")


def test_the_region_the_history_and_the_report_say_the_same(qpbridge, small, monkeypatch):
    monkeypatch.setenv(USER, "Dr. Grün")
    report = qpbridge.json("segment", small, "--cell-expansion", 4)["images"][0]
    data = open_project(small).images[0].read()
    step = next(s for s in data.workflow if s.name == "qpbridge: nuclei")
    (summary,) = {m["qpbridge nuclei"] for m in data.objects.metadata.values()}
    assert report["settings"].items() <= dict(step.parameters).items()
    assert report["settings"].keys() == {
        "model", "weights", "pixel size", "image pixel size", "cell expansion", "positivity",
        "features",
    }  # fmt: skip
    for name, value in report["settings"].items():
        assert value.removesuffix(" µm") in summary, name
    assert step.parameters["who"] == "Dr. Grün"
    assert "Dr. Grün" in summary
    assert step.parameters["when"] in summary
    monkeypatch.setenv(USER, "")
    qpbridge("segment", small)
    last = open_project(small).images[0].read().workflow[-1]
    assert "who" not in last.parameters
