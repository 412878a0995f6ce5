"""What a command does, its verb does too: the same objects, files and facts."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotations, objects_of

import qpbridge
from qpbridge import ObjectTable, QpbridgeError, RequestError

VARYING = {"seconds", "stages", "bottleneck", "path", "project", "bundle"}
"""What says how long it took, or where it was."""


def same(value):
    """Take away what differs from run to run."""
    if isinstance(value, dict):
        return {k: same(v) for k, v in value.items() if k not in VARYING}
    if isinstance(value, list | tuple):
        return [same(v) for v in value]
    return value


def plain(document):
    """Bring facts into the form in which JSON has them."""
    return same(json.loads(json.dumps(document, default=str).replace("NaN", "null")))


def content(table: ObjectTable) -> dict[str, object]:
    """All that objects are, but for when they were found."""
    order = np.lexsort(table.ids.T)
    some = table.take(order)
    columns = sorted(table.measurement_names)
    return {
        "ids": some.ids.tolist(),
        "kinds": some.kind.tolist(),
        "classes": [str(some.path_class(row)) for row in range(len(some))],
        "outlines": shapely.to_wkt(some.geometries).tolist(),
        "parents": [None if p < 0 else str(some.uuid(p)) for p in some.parent.tolist()],
        "names": dict(sorted(some.names.items())),
        "notes": {row: sorted(m) for row, m in some.metadata.items()},
        "measured": {n: np.nan_to_num(some.measurement(n), nan=-1).tolist() for n in columns},
    }


def assert_same_objects(one: Path, other: Path) -> None:
    for image in range(2):
        assert content(objects_of(one, image)) == content(objects_of(other, image))


@pytest.fixture
def twin(path, tmp_path) -> Path:
    shutil.copytree(path.parent, tmp_path / "twin" / "p")
    return tmp_path / "twin" / "p" / path.name


SEGMENT = [
    ((), {}),
    (("--within", "Tumor"), {"within": "Tumor"}),
    (
        ("--selected", "left", "--image", "1", "--tile", "256"),
        {"selected": "left", "images": "1", "tile": 256},
    ),
    (("--whole-image", "--image", "2"), {"whole_image": True, "images": ("2",)}),
    (
        ("--cell-expansion", "3", "--positivity", "0.2", "--mpp", "0.5"),
        {"cell_expansion": 3, "positivity": 0.2, "mpp": 0.5},
    ),
    (("--features", "all"), {"features": "all", "model": "nuclei_he"}),
    (
        ("--target", "nuclei", "--target", "glands", "--write", "detections"),
        {"targets": ("nuclei", "glands"), "area_kind": "detections"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "arguments"), SEGMENT)
def test_segment(command, path, twin, options, arguments):
    positive = "positivity" in arguments
    document = command.json("segment", path, *options, "--device", "cpu", code=3 if positive else 0)
    reports = qpbridge.segment(twin, device="cpu", **arguments)
    runs = document.get("runs", [document])
    printed = [{**i, "target": run["target"]} for run in runs for i in run["images"]]
    given = [asdict(report) for report in reports]
    for report in given:
        for name in ("model", "model_version", "model_mpp"):
            del report[name]
        report["message"] = report["message"].replace("`positivity`", "--positivity")
        report["message"] = report["message"].replace("`images`", "--image")
        report["message"] = report["message"].replace("`image_type`", "--image-type")
    assert plain(printed) == plain(given)
    assert_same_objects(path, twin)


def test_a_dry_run_changes_nothing(path):
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    reports = qpbridge.segment(path, dry_run=True, device="cpu")
    assert [report.status for report in reports] == ["planned"] * 2
    assert "would replace" in str(reports[0])
    assert {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()} == before


MEASURE = [
    ((), {}),
    (
        ("--within", "Tumor", "--density", "50", "--smooth", "25", "--distances"),
        {"within": "Tumor", "density": 50, "smooth": [25], "distances": True},
    ),
    (
        ("--delaunay", "30", "--intensities", "--morphometry", "--grading", "nottingham"),
        {"delaunay": 30, "intensities": True, "morphometry": True, "grading": "nottingham"},
    ),
    (
        ("--delaunay", "30", "--clusters", "--orientation", "20", "--orientation", "40"),
        {"delaunay": 30, "clusters": True, "orientation": (20, 40)},
    ),
]


@pytest.mark.parametrize(("options", "arguments"), MEASURE)
def test_measure(command, path, twin, options, arguments):
    document = command.json("measure", path, *options)
    reports = qpbridge.measure(twin, **arguments)
    assert plain(document["images"]) == plain([asdict(report) for report in reports])
    assert_same_objects(path, twin)


def test_measure_says_what_becomes_of_each_image(path, capsys):
    ended = []
    reports = qpbridge.measure(path, progress=True, ended=ended.append)
    said = capsys.readouterr().err
    assert ended == reports and all(f"{report.image}: " in said for report in reports)
    qpbridge.measure(path)
    assert capsys.readouterr().err == ""
    with pytest.raises(RequestError) as caught:
        qpbridge.measure(path, progress="yes")
    assert caught.value.field == "progress"


@pytest.mark.parametrize(
    ("options", "arguments"),
    [((), {}), (("--target", "nuclei", "--image", "1"), {"targets": "nuclei", "images": "1"})],
)
def test_remove(command, path, twin, options, arguments):
    document = command.json("remove", path, *options)
    reports = qpbridge.remove(twin, **arguments)
    removed = [
        {"image": r.image, "target": t, "removed": n} for r in reports for t, n in r.removed.items()
    ]
    assert document["images"] == removed and removed[0]["removed"] > 10
    assert_same_objects(path, twin)


def test_history_undo_and_compare(command, path, twin):
    (one, other), reports = command.json("history", path)["images"], qpbridge.history(path)
    assert [len(report.runs) for report in reports] == [1, 0]
    assert plain(one["runs"]) == plain([asdict(run) for run in reports[0].runs])
    assert other["runs"] == []
    document = command.json("compare", path, "--image", "1")["images"][0]["nuclei"]
    changes = qpbridge.compare(path, images="1")[0].changes["nuclei"]
    assert document == plain({**changes.counts(), "classes": {}, "scores": changes.scores})
    (document,) = command.json("undo", path)["images"]
    assert plain(document["runs"]) == plain([asdict(run) for run in qpbridge.undo(twin)[0].runs])
    assert_same_objects(path, twin)


def test_info(command, path):
    document = command.json("info", path)
    found = qpbridge.info(path)
    assert plain(document["images"]) == plain([report.info for report in found.images])
    assert document["classes"] == found.classes
    assert document["version"] == found.version


@pytest.mark.parametrize("annotate", ["tissue", "full", ("full", "tissue"), None])
def test_create(command, truth, tmp_path, annotate):
    options = [
        f"--annotate-{word}"
        for word in ([annotate] if isinstance(annotate, str) else annotate or ())
    ]
    document = command.json("create", tmp_path / "a" / "project.qpproj", truth.path, *options)
    project = qpbridge.create_project(
        tmp_path / "b" / "project.qpproj", truth.path, annotate=annotate
    )
    one, other = objects_of(tmp_path / "a" / "project.qpproj"), project[0].read().objects
    assert shapely.to_wkt(one.geometries).tolist() == shapely.to_wkt(other.geometries).tolist()
    assert one.names == other.names
    assert document["images"] == [
        {"id": e.id, "name": e.name, "annotations": len(other)} for e in project
    ]
    for name in ("a", "b"):
        thumbnails = sorted((tmp_path / name).rglob("thumbnail.jpg"))
        assert len(thumbnails) == 1


def test_import(command, path, twin, tmp_path):
    file = tmp_path / "one.geojson"
    qpbridge.write_geojson(annotations((shapely.box(400, 400, 500, 500), "Other", "new")), file)
    document = command.json("import", path, file, "--image", "1")
    report = qpbridge.import_objects(twin, file, image="1")
    assert document["kinds"] == report.counts.added == {"annotation": 1}
    assert document["image"] == report.image
    assert_same_objects(path, twin)
    with pytest.raises(qpbridge.SelectionError, match="`image`"):
        qpbridge.import_objects(twin, file)
    again = qpbridge.import_objects(qpbridge.open_project(twin)["1"], file)
    assert again.counts.already_there == 1


@pytest.mark.parametrize("rows", ["objects", "regions", "images"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.csv.gz", "t.parquet"])
def test_export_table(command, path, tmp_path, rows, name):
    kind = "parquet" if name.endswith("parquet") else "csv"
    one, other = tmp_path / f"cli {name}", tmp_path / f"api {name}"
    document = command.json("export", path, "--format", kind, "--rows", rows, "-o", one)
    report = qpbridge.export_table(path, other, rows=rows)
    assert document["files"] == [{"path": str(one), rows: report.rows}]
    if name.endswith("gz"):
        import gzip

        assert gzip.decompress(one.read_bytes()) == gzip.decompress(other.read_bytes())
    else:
        assert one.read_bytes() == other.read_bytes()


def test_write_geojson(command, path, tmp_path):
    document = command.json("export", path, "--format", "geojson", "-o", tmp_path / "cli")
    reports = qpbridge.write_geojson(path, tmp_path / "api")
    assert plain(document["files"]) == plain(
        [{k: v for k, v in asdict(r).items() if k not in ("status", "message")} for r in reports]
    )
    names = sorted(file.name for file in (tmp_path / "cli").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "api").iterdir()) and len(names) == 2
    for name in names:
        assert (tmp_path / "cli" / name).read_bytes() == (tmp_path / "api" / name).read_bytes()
    project = qpbridge.open_project(path)
    qpbridge.write_geojson(project[0], tmp_path / "image.geojson")
    qpbridge.write_geojson(project[0].read().objects, tmp_path / "table.geojson")
    assert (tmp_path / "image.geojson").read_bytes() == (tmp_path / "table.geojson").read_bytes()


def test_relocate(command, segmented, tmp_path, truth):
    projects = []
    for name in ("cli", "api"):
        folder = tmp_path / name
        shutil.copytree(segmented.parent, folder / "p")
        (folder / "moved").mkdir()
        document = json.loads((folder / "p" / segmented.name).read_text("utf-8"))
        for image in document["images"]:
            builder = image["serverBuilder"]
            text = json.dumps(builder).replace(builder["uri"].rpartition("/")[0], "file:/D:/gone")
            image["serverBuilder"] = json.loads(text)
        (folder / "p" / segmented.name).write_text(json.dumps(document), "utf-8")
        shutil.copy(truth.path, folder / "moved")
        projects.append(folder / "p" / segmented.name)
    one, other = projects
    moved = tmp_path / "cli" / "moved"
    printed = command.json("relocate", one, "--relocate", f"D:/gone={moved}", code=3)
    found = qpbridge.relocate(other, {"D:/gone": tmp_path / "api" / "moved"})
    assert [i["id"] for i in printed["moved"]] == [i.id for i in found.moved] == ["1"]
    assert (
        [i["id"] for i in printed["missing"]] == [number for number, *_ in found.missing] == ["2"]
    )
    texts = [p.read_text("utf-8").replace(p.parent.parent.as_posix(), "") for p in projects]
    assert texts[0] == texts[1]


def test_evaluate_folders(command, pictures):
    folders = ("--images", pictures / "images", "--labels", pictures / "labels")
    document = command.json("evaluate", "--target", "nuclei", *folders)
    found = qpbridge.evaluate(
        target="nuclei", image_folder=pictures / "images", label_folder=pictures / "labels"
    )
    assert document["mean"] == pytest.approx(found.mean)
    assert [i["name"] for i in document["images"]] == [name for name, _ in found.images]
    assert (
        f"aji {found.mean['aji']:.3f}"[:8] in repr(found) and found._repr_html_().count("<tr>") == 5
    )


def test_compare_models(command, pictures):
    folders = {"image_folder": pictures / "images", "label_folder": pictures / "labels"}
    given = ("--images", pictures / "images", "--labels", pictures / "labels", "--mpp", 0.5)
    asked = ("models", "compare", "nuclei_he", "nuclei_he_nc", *given)
    document = command.json(*asked)
    found = qpbridge.compare_models("nuclei_he", "nuclei_he_nc", **folders, mpp=0.5)
    assert document["first"] == plain(dict(found.first.images))
    assert document["second"] != document["first"]
    gained = found.differences["aji"]
    assert gained.before == pytest.approx(found.first.mean["aji"])
    assert gained.after == pytest.approx(found.second.mean["aji"])
    assert document["differences"]["aji"]["after"] == pytest.approx(gained.after)
    assert "More than chance" in command(*asked)
    with pytest.raises(qpbridge.ModelError, match="nothing to compare"):
        qpbridge.compare_models("nuclei_he", "glands_he", **folders)


@pytest.mark.parametrize("model", [None, "nuclei_he"])
def test_evaluate_a_project(command, path, model):
    project = qpbridge.open_project(path)
    drawn = annotations((shapely.Point(100, 100).buffer(9), "Nucleus", None))
    project[0].apply(qpbridge.Edit(add=drawn))
    options = () if model is None else ("--model", model)
    asked = ("--target", "nuclei", "--truth", "Nucleus", "--image", "1")
    document = command.json("evaluate", path, *asked, *options)
    found = qpbridge.evaluate(project, target="nuclei", truth="Nucleus", images="1", model=model)
    assert document["mean"] == pytest.approx(found.mean, nan_ok=True)
    assert len(found.images) == 1


def test_train(command, pictures, tmp_path):
    settings = ("--init", "nuclei_he", "--steps", 2, "--batch-size", 1, "--mpp", 0.5)
    document = command.json(
        "train", "--data", pictures, *settings, "--device", "cpu", "-o", tmp_path / "cli" / "mine"
    )
    rows = []
    bundle = qpbridge.train(
        pictures,
        tmp_path / "api" / "mine",
        init="nuclei_he",
        steps=2,
        batch_size=1,
        mpp=0.5,
        device="cpu",
        progress=rows.append,
    )
    assert document["scores"] == bundle.scores
    one, other = (tmp_path / n / "mine" / "models" / "model.pt" for n in ("cli", "api"))
    assert one.read_bytes() == other.read_bytes()


def test_models(command):
    document = command.json("models", "list")["models"]
    bundles = qpbridge.list_models()
    assert [(m["name"], m["mpp"]) for m in document] == [(b.name, b.mpp) for b in bundles]
    shown = command.json("models", "show", "glands_he")
    assert shown["version"] == qpbridge.load_bundle("glands_he").version


def test_doctor(command):
    assert command.json("doctor") == json.loads(json.dumps(qpbridge.doctor()))


WRONG = [
    (("segment", "--within", "Tumour"), lambda p: qpbridge.segment(p, within="Tumour"), 1),
    (("segment", "--image", "x.svs"), lambda p: qpbridge.segment(p, images="x.svs"), 1),
    (("segment", "--model", "xx"), lambda p: qpbridge.segment(p, model="xx"), 1),
    (("segment", "--mpp", "nan"), lambda p: qpbridge.segment(p, mpp=float("nan")), 2),
    (("segment", "--target", "cells"), lambda p: qpbridge.segment(p, targets="cells"), 2),
    (("segment", "--tile", "0"), lambda p: qpbridge.segment(p, tile=0), 2),
    (("segment", "--device", "my gpu"), lambda p: qpbridge.segment(p, device="my gpu"), 2),
    (
        ("segment", "--target", "glands", "--features", "all"),
        lambda p: qpbridge.segment(p, targets="glands", features="all"),
        2,
    ),
    (
        ("segment", "--target", "glands", "--model", "nuclei_he"),
        lambda p: qpbridge.segment(p, targets="glands", model="nuclei_he"),
        1,
    ),
    (("measure", "--grading", "x"), lambda p: qpbridge.measure(p, grading="x"), 2),
    (("measure", "--density", "nan"), lambda p: qpbridge.measure(p, density=float("nan")), 2),
    (("measure", "--within", "Other"), lambda p: qpbridge.measure(p, within="Other"), 1),
    (
        ("measure", "--whole-image", "--within", "Tumor"),
        lambda p: qpbridge.measure(p, whole_image=True, within="Tumor"),
        2,
    ),
    (("remove", "--target", "cells"), lambda p: qpbridge.remove(p, "cells"), 2),
    (("info", "--image", "x"), lambda p: qpbridge.info(p, images="x"), 1),
    (
        ("export", "--format", "csv", "--rows", "x", "-o", "t.csv"),
        lambda p: qpbridge.export_table(p, "t.csv", rows="x"),
        2,
    ),
    (
        ("evaluate", "--target", "nuclei"),
        lambda p: qpbridge.evaluate(p, target="nuclei"),
        2,
    ),
    (
        ("evaluate", "--target", "nuclei", "--truth", "nobody"),
        lambda p: qpbridge.evaluate(p, target="nuclei", truth="nobody"),
        1,
    ),
    (("relocate", "--search", "/no/where"), lambda p: qpbridge.relocate(p, search="/no/where"), 2),
]


@pytest.mark.parametrize(("arguments", "call", "code"), WRONG)
def test_what_is_wrong_is_wrong_in_both(command, path, arguments, call, code):
    before = {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()}
    name, *options = arguments
    command(name, path, *options, code=code)
    with pytest.raises(RequestError if code == 2 else QpbridgeError) as caught:
        call(path)
    assert "--" not in str(caught.value)
    assert "`" not in command.stderr
    assert {p: p.read_bytes() for p in path.parent.rglob("*") if p.is_file()} == before


VERBS = [
    qpbridge.segment,
    qpbridge.measure,
    qpbridge.remove,
    qpbridge.info,
    lambda project: qpbridge.export_table(project, "t.csv"),
    lambda project: qpbridge.write_geojson(project, "t.geojson"),
    lambda project: qpbridge.import_objects(project, "t.geojson"),
    lambda project: qpbridge.evaluate(project, target="nuclei", truth="Nucleus"),
    qpbridge.relocate,
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("project", [5, None, "", ["a.qpproj"], b"p.qpproj"])
def test_what_is_no_project_is_named(verb, project):
    with pytest.raises(RequestError) as caught:
        verb(project)
    assert caught.value.field == "project"


def test_what_a_notebook_shows(path):
    project = qpbridge.open_project(path)
    assert repr(project).count("\n") == 0 and "2 images" in repr(project)
    assert "other [b].svs" in project._repr_html_() and project._repr_html_().count("<tr>") == 3
    assert "900 x 700 px, 0.5 µm/px" in repr(project[0])
    html = project[0]._repr_html_()
    assert "<td>900 x 700</td>" in html and "<td>0.5 x 0.5</td>" in html
    assert "<td>other [b].svs</td>" in project[1]._repr_html_()
    table = project[0].read().objects
    assert repr(table).startswith("<ObjectTable: 1 annotation, ") and len(repr(table)) < 120
    assert "Nucleus" in table._repr_html_() and "Circularity" in table._repr_html_()
    assert (
        repr(table.take([]))
        == f"<ObjectTable: nothing; {len(table.measurement_names)} measurements>"
    )
    reports = qpbridge.info(project).images
    assert repr(reports) == "<Reports: 2 read>" and reports._repr_html_().count("<tr>") == 3
    reports = qpbridge.remove(project)
    assert repr(reports) == "<Reports: 1 written, 1 skipped>"
    assert "nothing of qpbridge" in reports._repr_html_()


def test_a_project_is_a_sequence_of_images(path):
    project = qpbridge.open_project(path)
    assert len(project) == 2 and project and [e.id for e in project] == ["1", "2"]
    assert project["other [b].svs"] is project["2"] is project[1] is project[-1]
    assert "1" in project and "other [b].svs" in project and project[0] in project
    assert "x" not in project and 3 not in project
    for error in (KeyError, qpbridge.SelectionError, qpbridge.UnknownImageError):
        with pytest.raises(error, match="no image 'x'; there are"):
            project["x"]
