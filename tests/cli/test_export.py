"""``qpbridge export`` of tables, from a project that was segmented."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of
from slide_factory import make_slide

from qpbridge import Edit, ObjectKind, ObjectTable, Shapes, open_project
from qpbridge.objects import RoiKind

MPP = 0.5


def rows_of(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@pytest.fixture
def cohort(qpbridge, tmp_path, truth) -> Path:
    """A slide with nuclei in two of three regions, and one without anything."""
    path = tmp_path / "cohort" / "project.qpproj"
    other = make_slide(tmp_path / "other.svs", width=300, height=300)
    qpbridge("create", path, truth.path, other.path)
    left = Shapes.corners(RoiKind.RECTANGLE, 40, 50, 360, 650)
    ring = shapely.Point(620, 350).buffer(240).difference(shapely.Point(620, 350).buffer(60))
    pen = shapely.box(0, 0, 120, 160)
    annotate(path, (left, "Tumor", "left"), (ring, None, "ring"), (pen, "Ignore*", "pen"))
    qpbridge("segment", path, "--image", truth.path.name)
    return path


def test_objects_regions_and_images(qpbridge, cohort, tmp_path):
    table, nuclei = objects_of(cohort), nuclei_of(cohort)
    report = qpbridge.json("export", cohort, "--format", "csv", "-o", tmp_path / "objects.csv")
    assert report["files"] == [{"path": str(tmp_path / "objects.csv"), "objects": len(table)}]
    objects = rows_of(tmp_path / "objects.csv")
    assert [r["Object ID"] for r in objects] == [str(table.uuid(i)) for i in range(len(table))]
    cells = [r for r in objects if r["Object type"] == "Detection"]
    for name in nuclei.measurement_names:
        expected = nuclei.measurement(name).tolist()
        if not np.isnan(expected).all():  # measurements of regions
            assert [float(r[name]) for r in cells] == expected
    assert {r["Parent"] for r in cells} == {"left", "ring"}
    assert cells[0]["Nuclei: Count"] == ""

    text = qpbridge(
        "export", cohort, "--format", "csv", "--rows", "regions", "-o", tmp_path / "r.tsv"
    )
    assert "r.tsv: 3 regions" in text
    regions = {r["Name"]: r for r in rows_of(tmp_path / "r.tsv", "\t")}
    assert list(regions) == ["left", "ring", "pen"]
    counts = [sum(c["Parent"] == name for c in cells) for name in ("left", "ring")]
    assert [int(regions[n]["Num Nucleus"]) for n in ("left", "ring")] == counts
    assert [float(regions[n]["Nuclei: Count"]) for n in ("left", "ring")] == counts
    assert float(regions["left"]["Area µm^2"]) == pytest.approx(320 * 600 * MPP**2)

    qpbridge("export", cohort, "--format", "csv", "--rows", "images", "-o", tmp_path / "images.csv")
    first, second = rows_of(tmp_path / "images.csv")
    assert int(first["Num Detections"]) == float(first["Nuclei: Count"]) == sum(counts)
    areas = [float(regions[n]["Evaluated area µm^2"]) for n in ("left", "ring")]
    assert float(first["Evaluated area µm^2"]) == pytest.approx(sum(areas))
    assert (second["Image"], second["Nuclei: Count"], second["Num regions"]) == (
        "other.svs",
        "",
        "0",
    )


def test_one_image(qpbridge, cohort, tmp_path):
    qpbridge(
        "export", cohort, "--image", "other.svs", "--format", "csv", "-o", tmp_path / "one.csv"
    )
    header = (tmp_path / "one.csv").read_text("utf-8")
    assert header == (
        "Image,Object ID,Object type,Name,Classification,Parent,Entry ID,Image path,"
        "ROI,Centroid X µm,Centroid Y µm\n"
    )


def test_an_image_that_fails_is_listed(qpbridge, cohort, tmp_path):
    (cohort.parent / "data" / "1" / "data.qpdata").write_bytes(b"no data")
    out = tmp_path / "o.csv"
    report = qpbridge.json("export", cohort, "--format", "csv", "-o", out, code=3)
    assert report["files"] == [{"path": str(out), "objects": 0}]
    assert list(report["failed"]) == ["généré 1.svs"]
    qpbridge("export", cohort, "--image", "1", "--format", "csv", "-o", tmp_path / "x.csv", code=3)
    assert not (tmp_path / "x.csv").exists()


def test_errors_name_the_cure(qpbridge, project, tmp_path, monkeypatch):
    wrong = ("--format", "geojson", "--rows", "images", "-o", tmp_path / "x")
    qpbridge("export", project, *wrong, code=2)
    assert "--format csv or parquet" in qpbridge.stderr
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    qpbridge("export", project, "--format", "parquet", "-o", tmp_path / "x.parquet", code=1)
    assert "pip install 'qpbridge[tables]'" in qpbridge.stderr.replace("\n", " ")
    qpbridge("export", project, "--format", "csv", "-o", tmp_path / "no folder" / "x.csv", code=1)
    assert "no folder" in qpbridge.stderr.replace("\n", "")


def test_what_nobody_computed_is_empty(qpbridge, cohort, tmp_path, shared):
    """A region that was drawn after the run, and one that is ignored."""
    drawn = shared / "cases" / "region_not_segmented" / "region.geojson"
    qpbridge("import", cohort, "--image", "1", drawn)
    annotate(cohort, (shapely.box(1, 660, 6, 665), None, "empty"))
    qpbridge("segment", cohort, "--image", "1", "--selected", "empty")
    for rows in ("regions", "objects"):
        qpbridge("export", cohort, "--format", "csv", "--rows", rows, "-o", tmp_path / "t.csv")
        found = {r["Name"]: r for r in rows_of(tmp_path / "t.csv")}
        told = [name for name in found["left"] if name.startswith(("Nuclei: ", "Evaluated"))]
        assert len(told) > 6
        for name in ("later", "pen"):
            assert {found[name][column] for column in told} == {""}
        assert found["empty"]["Nuclei: Count"] == "0.0"
        assert found["empty"]["Nuclei: Density per mm^2"] == "0.0"
        assert found["later"]["Num Detections"] != ""


def test_images_of_one_name_are_told_apart_and_an_empty_one_has_no_detections(
    qpbridge, tmp_path, truth
):
    path = tmp_path / "p" / "project.qpproj"
    for i in "ab":
        (tmp_path / i).mkdir()
    slides = [make_slide(tmp_path / i / "same.svs", width=300, height=300) for i in "ab"]
    qpbridge("create", path, *(slide.path for slide in slides), truth.path)
    shapes = Shapes.from_geometries([shapely.box(1, 1, 9, 9)])
    edit = Edit(add=ObjectTable.new(ObjectKind.DETECTION, shapes))
    open_project(path).images[2].apply(edit)
    qpbridge("export", path, "--format", "csv", "--rows", "images", "-o", tmp_path / "t.csv")
    rows = rows_of(tmp_path / "t.csv")
    assert [row["Image"] for row in rows] == ["same.svs", "same.svs", truth.path.name]
    assert [row["Entry ID"] for row in rows] == ["1", "2", "3"]
    assert [row["Image path"] for row in rows] == [str(s.path) for s in (*slides, truth)]
    assert [row["Num Detections"] for row in rows] == ["0", "0", "1"]
    (path.parent / "data" / "2").mkdir(exist_ok=True)
    (path.parent / "data" / "2" / "data.qpdata").write_bytes(b"no data")
    report = qpbridge.json("export", path, "--format", "csv", "-o", tmp_path / "o.csv", code=3)
    assert list(report["failed"]) == ["same.svs (2)"]
    image = open_project(path).images[2]
    frame = image.read().objects.to_pandas(image=image)
    assert frame["Entry ID"].tolist() == ["3"]
    assert frame["Image path"].tolist() == [str(truth.path)]
    assert frame["Centroid X µm"].tolist() == [2.5]


def test_columns_and_classes_can_be_chosen(qpbridge, cohort, tmp_path):
    out = tmp_path / "t.csv"
    options = ("--format", "csv", "-o", out)
    two = ("--columns", "Parent", "--columns", "Area µm^2")
    qpbridge("export", cohort, *options, "--class", "Nucleus", *two)
    rows = rows_of(out)
    assert list(rows[0]) == ["Parent", "Area µm^2"]
    areas = nuclei_of(cohort).measurement("Area µm^2").tolist()
    assert [float(r["Area µm^2"]) for r in rows] == areas
    qpbridge("export", cohort, *options, "--rows", "regions", "--class", "Tumor")
    assert [row["Name"] for row in rows_of(out)] == ["left"]
    before = out.read_bytes()
    qpbridge("export", cohort, *options, "--columns", "Aera", code=1)
    assert "no image has a column 'Aera'; there are: 'Image', 'Object ID'" in qpbridge.stderr
    qpbridge("export", cohort, *options, "--rows", "images", "--class", "Tumor", code=2)
    assert "--class is for objects and regions" in qpbridge.stderr
    qpbridge("export", cohort, "--format", "geojson", "-o", out, "--excel", code=2)
    assert "--excel is for tables" in qpbridge.stderr
    qpbridge("export", cohort, "--format", "parquet", "-o", out, "--separator", "tab", code=2)
    assert "--separator is for text" in qpbridge.stderr
    assert out.read_bytes() == before


def test_spreadsheets_run_nothing(qpbridge, project, tmp_path):
    names = ["=1+1", "+cmd", "-2", "@SUM(A1)", "\ttab", "a = b", 'say "a, b"', "ü"]
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(len(names))]
    annotate(project, *((box, None, name) for box, name in zip(boxes, names, strict=True)))
    out = tmp_path / "t.csv"
    qpbridge("export", project, "--format", "csv", "--excel", "-o", out)
    assert out.read_bytes().startswith(b"\xef\xbb\xbfImage,")
    rows = list(csv.DictReader(out.read_text("utf-8-sig").splitlines()))
    shown = [row["Name"] for row in rows][-len(names) :]
    assert shown == ["'=1+1", "'+cmd", "'-2", "'@SUM(A1)", "'\ttab", "a = b", 'say "a, b"', "ü"]
    assert float(rows[-1]["Centroid X µm"]) == MPP * (len(names) - 0.5)
    qpbridge("export", project, "--format", "csv", "--separator", "semicolon", "-o", out)
    last = rows_of(out, ";")[-1]
    assert (last["Name"], last["Centroid X µm"]) == ("ü", "3,75")
