from __future__ import annotations

import csv
import gzip
import json
import zipfile

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of
from slide_factory import make_slide

import qpbridge as package
from qpbridge.cli import _COMMANDS
from qpbridge.project import open_project, paquo_backend
from qpbridge.project.geojson.write import read_geojson


def test_create_and_info(qpbridge, tmp_path, truth):
    path = tmp_path / "a" / "project.qpproj"
    plain = make_slide(tmp_path / "plain 100% ä#.png", width=300, height=200)
    made = qpbridge.json("create", path, truth.path, plain.path, "--annotate-full")
    assert [i["name"] for i in made["images"]] == [truth.path.name, plain.path.name]
    info = qpbridge.json("info", path)
    first, second = info["images"]
    assert (first["width"], first["height"]) == (900, 700)
    assert first["mpp"] == pytest.approx([0.5, 0.5])
    assert second["mpp"] is None
    assert second["path"] == str(plain.path)
    assert [a["name"] for a in first["annotations"]] == ["Whole image"]
    assert first["annotations"][0]["area_px"] == 900 * 700
    assert "Tumor" in info["classes"]
    text = qpbridge("info", path)
    assert "900 x 700 px, 0.5 µm/px" in text
    assert "pixel size unknown" in text
    thumbnails = list(path.parent.rglob("thumbnail.jpg"))
    assert len(thumbnails) == 2


def test_create_finds_tissue(qpbridge, tmp_path):
    tissue = shapely.Point(900, 700).buffer(450)
    slide = make_slide(tmp_path / "s.svs", width=1800, height=1400, tissue=tissue)
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, slide.path, "--annotate-tissue")
    (outline,) = objects_of(path).geometries
    assert outline.intersection(tissue).area > 0.95 * tissue.area
    assert outline.area < 1.1 * tissue.area


def test_create_refuses_what_would_harm(qpbridge, tmp_path, truth, project):
    before = project.read_bytes()
    qpbridge("create", project, truth.path, code=1)
    assert project.read_bytes() == before
    new = tmp_path / "new" / "project.qpproj"
    (tmp_path / "note.txt").write_text("no slide")
    qpbridge("create", new, tmp_path / "note.txt", code=1)
    assert "note.txt" in qpbridge.stderr.replace("\n", "") and not new.parent.exists()
    qpbridge("create", new, tmp_path / "missing.svs", code=1)
    assert "missing.svs" in qpbridge.stderr.replace("\n", "")
    qpbridge("create", new, code=2)
    assert not new.exists()


def test_export_geojson_and_csv(qpbridge, project, tmp_path):
    qpbridge("segment", project, "--selected", "left")
    qpbridge("export", project, "--format", "geojson", "-o", tmp_path / "o.geojson")
    document = json.loads((tmp_path / "o.geojson").read_text("utf-8"))
    kinds = [f["properties"]["objectType"] for f in document["features"]]
    assert kinds.count("annotation") == 3
    nuclei = nuclei_of(project)
    assert kinds.count("detection") == len(nuclei)
    back = read_geojson(tmp_path / "o.geojson")
    mine = {bytes(i): g for i, g in zip(nuclei.ids, nuclei.geometries, strict=True)}
    for key, geometry in zip(back.ids, back.geometries, strict=True):
        if bytes(key) in mine:
            assert geometry.equals_exact(mine[bytes(key)], 0.011, normalize=True)

    qpbridge("export", project, "--format", "csv", "-o", tmp_path / "o.zip")
    with zipfile.ZipFile(tmp_path / "o.zip") as archive:
        assert archive.namelist() == ["o.csv"]
        packed = archive.read("o.csv").decode("utf-8")
    qpbridge("export", project, "--format", "csv", "-o", tmp_path / "o.csv.gz")
    with gzip.open(tmp_path / "o.csv.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    assert packed.splitlines() == text.splitlines()
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == len(nuclei) + 3
    areas = [float(r["Area µm^2"]) for r in rows if r["Classification"] == "Nucleus"]
    assert sorted(areas) == pytest.approx(np.sort(nuclei.measurement("Area µm^2")).tolist())


def test_export_of_several_images_fills_a_folder(qpbridge, tmp_path, truth):
    path = tmp_path / "p" / "project.qpproj"
    other = make_slide(tmp_path / "other.svs", width=300, height=300)
    qpbridge("create", path, truth.path, other.path, "--annotate-full")
    out = qpbridge.json("export", path, "--format", "geojson", "-o", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [f"{truth.path.name}.geojson", "other.svs.geojson"]
    )
    assert [f["objects"] for f in out["files"]] == [1, 1]


def test_models(qpbridge):
    (model,) = (m for m in qpbridge.json("models", "list")["models"] if m["name"] == "nuclei_he")
    assert model["target"] == "nuclei"
    assert model["mpp"] == 0.5
    shown = qpbridge.json("models", "show", "nuclei_he")
    assert "CC BY 4.0" in json.dumps(shown)
    assert "nuclei_he" in qpbridge("models", "list")
    assert "Naylor" in qpbridge("models", "show", "nuclei_he")
    qpbridge("models", "show", "nuclei_xx", code=1)
    assert "nuclei_he" in qpbridge.stderr


def test_doctor(qpbridge):
    report = qpbridge.json("doctor")
    assert report["ok"]
    assert report["models"]["nuclei_he"] == "ok"
    assert report["packages"]["torch"]
    assert "nuclei_he: ok" in qpbridge("doctor")


def test_help_and_version(qpbridge):
    listed = qpbridge("--help")
    for command in _COMMANDS:
        assert command in listed
        assert "Usage" in qpbridge(command, "--help")
    assert package.__version__ in qpbridge("--version")
    qpbridge("nonsense", code=2)


def test_a_moved_project_finds_its_images(qpbridge, tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    make_slide(folder / "images.svs", width=300, height=300)
    qpbridge("create", folder / "qp" / "project.qpproj", folder / "images.svs")
    moved = tmp_path / "elsewhere" / "study"
    moved.parent.mkdir()
    folder.rename(moved)
    info = qpbridge.json("info", moved / "qp" / "project.qpproj")
    assert info["images"][0]["path"] == str(moved / "images.svs")
    qpbridge("segment", moved / "qp" / "project.qpproj", "--whole-image")
    assert len(nuclei_of(moved / "qp" / "project.qpproj")) > 10


def test_info_names_an_image_whose_data_is_broken(qpbridge, tmp_path, truth):
    path = tmp_path / "p" / "project.qpproj"
    other = make_slide(tmp_path / "other.svs", width=300, height=300)
    qpbridge("create", path, truth.path, other.path, "--annotate-full")
    (path.parent / "data" / "1" / "data.qpdata").write_bytes(b"nonsense")
    info = qpbridge.json("info", path, code=3)
    assert [i["name"] for i in info["images"]] == ["other.svs"]
    assert list(info["failed"]) == [truth.path.name]


def test_the_package_names_what_it_has():
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_own_classes_are_listed_in_the_project(project):
    annotate(project, (shapely.box(1, 1, 9, 9), "Duct: Dilated", None))
    assert "Duct: Dilated" in {str(c) for c in open_project(project).classes}


def test_paquo_without_a_qupath_is_refused(qpbridge, project, monkeypatch):
    monkeypatch.setattr(paquo_backend, "find_qupath", lambda: None)
    paquo_backend.start_qupath.cache_clear()
    before = {p: p.read_bytes() for p in project.parent.rglob("*") if p.is_file()}
    qpbridge("segment", project, "--backend", "paquo", code=1)
    assert "paquo" in qpbridge.stderr
    assert {p: p.read_bytes() for p in project.parent.rglob("*") if p.is_file()} == before


def test_names_that_are_no_text_are_printed_all_the_same(qpbridge, project, tmp_path):
    """Half a character, as a hostile or broken file may hold: no terminal and no CSV takes it."""
    annotate(project, (shapely.box(0, 0, 5, 5), "half \ud83d", "name \ud83d"))
    text = project.read_text("utf-8")
    name = json.loads(text)["images"][0]["imageName"]
    project.write_text(text.replace(json.dumps(name, ensure_ascii=False), '"x\\ud83d"'), "utf-8")
    assert r"x\ud83d" in qpbridge("info", project)
    assert qpbridge.json("info", project)["images"][0]["name"] == "x\ud83d"
    out = tmp_path / "out.csv"
    qpbridge("export", project, "--format", "csv", "-o", out)
    assert "half ?" in out.read_text("utf-8")
