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

from qpbridge import Shapes
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
        "Image,Object ID,Object type,Name,Classification,Parent,ROI,Centroid X µm,Centroid Y µm\n"
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
