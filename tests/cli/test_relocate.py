"""Projects that moved, several projects in a folder, and images that can't be found."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import shapely
from cli_helpers import annotate, nuclei_of
from slide_factory import make_slide

from qpbridge import open_project
from qpbridge.engine.segmenting import job

NAMES = ("a.svs", "b.svs", "c.svs")
SMALL = ("--tile", "256")


@pytest.fixture
def lab(qpbridge, tmp_path) -> Path:
    """A project of three slides with a region each, as it came from D:/old/p; slides in nas/x."""
    folder = tmp_path / "nas/x"
    folder.mkdir(parents=True)
    slides = [make_slide(folder / n, width=160, height=120, seed=i) for i, n in enumerate(NAMES)]
    path = tmp_path / "p/project.qpproj"
    qpbridge("create", path, *(slide.path for slide in slides))
    for image in range(3):
        annotate(path, (shapely.box(10, 10, 150, 110), "Tumor", "box"), image=image)
    come_from(path, "file:/D:/old")
    return path


def come_from(path: Path, root: str) -> None:
    text = path.read_text("utf-8").replace((path.parent.parent / "nas").as_uri()[7:], root[5:])
    document = json.loads(text) | {"uri": f"{root}/p/project.qpproj"}
    path.write_text(json.dumps(document, indent=2), "utf-8")


def test_missing_images_are_listed_once(qpbridge, lab, tmp_path):
    """All of them together, before any work, with one cure; the others are segmented."""
    shutil.copy(tmp_path / "nas/x/b.svs", lab.parent)
    report = qpbridge.json("segment", lab, *SMALL, code=3)
    assert [(i["status"], i["missing"]) for i in report["images"]] == [
        ("failed", True),
        ("written", False),
        ("failed", True),
    ]
    assert "none of the places" in report["images"][0]["message"]
    assert len(nuclei_of(lab, image=1)) == report["images"][1]["found"] > 0
    lines = qpbridge.stderr.splitlines()
    assert lines[:4] == [
        "2 of 3 images were not found:",
        "  a.svs: file:/D:/old/x/a.svs",
        "  c.svs: file:/D:/old/x/c.svs",
        "Looked in:",
    ]
    for text in ("a.svs", "--relocate", "--search", "qpbridge relocate", str(lab.parent)):
        assert sum(text in line for line in lines) == 1
    assert lines[-1] == "2 of 3 images were not found, see above"


def test_no_model_is_loaded_for_nothing(qpbridge, lab, monkeypatch):
    monkeypatch.setattr(job, "TargetNetwork", None)
    report = qpbridge.json("segment", lab, code=3)
    assert all(image["missing"] for image in report["images"])


@pytest.mark.parametrize(
    "places", [("--relocate", r"d:\old={}/nas"), ("--search", "{}"), ("--search", "{}/nas")]
)
def test_segment_where_images_are_now(qpbridge, lab, tmp_path, places):
    before = lab.read_bytes()
    places = [text.format(tmp_path) for text in places]
    report = qpbridge.json("segment", lab, "--dry-run", *places)
    assert {image["status"] for image in report["images"]} == {"planned"}
    found = qpbridge.json("info", lab, *places)
    assert [i["path"] for i in found["images"]] == [str(tmp_path / "nas/x" / n) for n in NAMES]
    assert found["missing"] == []
    assert lab.read_bytes() == before


def test_info_of_missing_images(qpbridge, lab):
    found = qpbridge.json("info", lab)
    assert [i["path"] for i in found["images"]] == [None] * 3
    assert [i["objects"]["annotation"] for i in found["images"]] == [1] * 3
    assert [m["name"] for m in found["missing"]] == list(NAMES)
    assert found["missing"][0] == {
        "id": "1",
        "name": "a.svs",
        "uri": "file:/D:/old/x/a.svs",
        "tried": [str(lab.parent.parent / "x/a.svs"), str(lab.parent / "a.svs")],
        "candidates": [],
    }
    text = qpbridge("info", lab)
    assert text.count("FILE NOT FOUND") == 3
    assert "FILE NOT FOUND: file:/D:/old/x/c.svs" in text


def test_objects_need_no_image(qpbridge, lab, tmp_path):
    out = tmp_path / "out.csv"
    qpbridge("export", lab, "--format", "csv", "-o", out)
    assert out.read_text("utf-8").count("box") == 3
    shutil.copy(tmp_path / "nas/x/b.svs", lab.parent)
    qpbridge("segment", lab, *SMALL, "--image", "b.svs")
    (lab.parent / "b.svs").unlink()
    removed = qpbridge.json("remove", lab)
    assert removed["images"][0]["removed"] > 0
    assert len(nuclei_of(lab, image=1)) == 0


def test_relocate(qpbridge, lab, tmp_path):
    old = lab.read_bytes()
    places = ("--relocate", f"D:/old={tmp_path}/nas")
    plan = qpbridge.json("relocate", lab, *places, "--dry-run")
    assert not plan["written"]
    assert lab.read_bytes() == old
    done = qpbridge.json("relocate", lab, *places)
    assert done == plan | {"written": True}
    assert done["missing"] == []
    assert done["moved"][1] == {
        "id": "2",
        "name": "b.svs",
        "old": "file:/D:/old/x/b.svs",
        "new": (tmp_path / "nas/x/b.svs").as_uri().replace("///", "/"),
    }
    assert (lab.parent / "project.qpproj.backup").read_bytes() == old
    assert "nothing to change" in qpbridge("relocate", lab)
    moved = lab.parent.rename(tmp_path / "q") / lab.name
    assert "its new place written" in qpbridge("relocate", moved)
    lab = moved
    assert all(entry.image_path().exists() for entry in open_project(lab).images)


def test_relocate_what_is_there(qpbridge, lab, tmp_path):
    """Some images are still missing: exit code 3, and they are listed with the places tried."""
    (tmp_path / "nas/x/a.svs").unlink()
    text = qpbridge("relocate", lab, "--search", tmp_path / "nas", "--dry-run", code=3)
    assert "2 new places of images would be written" in text
    text = qpbridge("relocate", lab, "--search", tmp_path / "nas", code=3)
    assert "b.svs: file:/" in text
    assert "2 new places of images written" in text
    assert "1 of 3 images were not found:\n  a.svs: file:/D:/old/x/a.svs\n" in qpbridge.stderr
    assert str(tmp_path / "nas") in qpbridge.stderr
    found = qpbridge.json("relocate", lab, code=3)
    assert [m["name"] for m in found["missing"]] == ["a.svs"]
    assert (found["written"], found["moved"]) == (False, [])
    assert "nothing to change" not in qpbridge("relocate", lab, code=3)
    assert "nothing to change" in qpbridge("relocate", lab, "--image", "b.svs")


def test_files_of_one_name(qpbridge, lab, tmp_path):
    for folder in ("nas/y", "nas/z"):
        (tmp_path / folder).mkdir()
        shutil.move(tmp_path / "nas/x/a.svs", tmp_path / folder / "a.svs")
        shutil.copy(tmp_path / folder / "a.svs", tmp_path / "nas/x/a.svs")
    (tmp_path / "nas/x/a.svs").unlink()
    qpbridge("relocate", lab, "--search", tmp_path / "nas", code=3)
    line = next(t for t in qpbridge.stderr.splitlines() if "a.svs" in t)
    assert line.startswith("  a.svs: file:/D:/old/x/a.svs: several files have this name: ")
    assert str(tmp_path / "nas/y/a.svs") in line
    assert str(tmp_path / "nas/z/a.svs") in line


@pytest.mark.parametrize("command", ["segment", "info", "relocate"])
@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--relocate", "D:/old", "give the old place, '=' and the new place"),
        ("--relocate", "D:/old=/no/such/place", "/no/such/place does not exist"),
        ("--search", "/no/such/place", "no such folder"),
    ],
)
def test_places_that_are_none(qpbridge, lab, command, option, value, error):
    before = lab.read_bytes()
    qpbridge(command, lab, option, value, code=2)
    assert f"{option} {value}: " in qpbridge.stderr
    assert error in qpbridge.stderr
    assert lab.read_bytes() == before


class TestSeveralProjects:
    @pytest.fixture
    def other(self, lab) -> Path:
        """A second project in the folder, of two of the images: they share data and classes."""
        other = lab.with_name("project-1.qpproj")
        document = json.loads(lab.read_text("utf-8"))
        del document["images"][0]
        other.write_text(json.dumps(document), "utf-8")
        for name in NAMES:
            shutil.copy(lab.parent.parent / "nas/x" / name, lab.parent)
        return other

    @pytest.mark.parametrize("command", ["segment", "info", "relocate", "remove"])
    def test_the_folder_alone_says_too_little(self, qpbridge, lab, other, command):
        qpbridge(command, lab.parent, code=1)
        assert "several projects, choose one" in qpbridge.stderr
        assert str(other) in qpbridge.stderr

    def test_both(self, qpbridge, lab, other):
        assert [i["name"] for i in qpbridge.json("info", other)["images"]] == ["b.svs", "c.svs"]
        files = lab.read_bytes(), other.read_bytes()
        reports = qpbridge.json("segment", other, *SMALL)["images"]
        assert [r["image"] for r in reports] == ["b.svs", "c.svs"]
        through_lab = [i["objects"]["detection"] for i in qpbridge.json("info", lab)["images"]]
        assert through_lab == [0, *(r["found"] for r in reports)]
        again = qpbridge.json("segment", lab, *SMALL, "--image", "b.svs")["images"][0]
        assert again["replaced"] == again["found"] == reports[0]["found"]
        classes = [qpbridge.json("info", p)["classes"] for p in (lab, other)]
        assert classes[0] == classes[1]
        assert "Nucleus" in classes[0]
        assert (lab.read_bytes(), other.read_bytes()) == files


def with_builder(lab: Path, **changes: Any) -> None:
    document = json.loads(lab.read_text("utf-8"))
    entry = document["images"][0]
    entry["serverBuilder"] = {**changes, "builder": entry["serverBuilder"]}
    lab.write_text(json.dumps(document), "utf-8")


def test_a_server_that_is_not_followed(qpbridge, lab, tmp_path):
    """The project still opens, and what is drawn in that image can be read."""
    with_builder(lab, builderType="affine", transform={"m00": 1.0})
    places = ("--search", tmp_path / "nas")
    report = qpbridge.json("segment", lab, "--dry-run", *places, code=3)["images"]
    assert [r["status"] for r in report] == ["failed", "planned", "planned"]
    assert "'affine', which is not supported; export it" in report[0]["message"]
    assert not report[0]["missing"]
    found = qpbridge.json("info", lab, *places)["images"][0]
    assert "'affine', which is not supported" in found["problem"]
    assert found["objects"]["annotation"] == 1
    assert "'affine', which is not supported" in qpbridge("info", lab, *places)
    qpbridge("export", lab, "--image", "a.svs", "--format", "geojson", "-o", tmp_path / "a.geojson")
    assert "box" in (tmp_path / "a.geojson").read_text("utf-8")
    assert qpbridge.json("relocate", lab, *places)["missing"] == []


def test_a_server_that_is_followed(qpbridge, lab, tmp_path):
    with_builder(lab, builderType="rotated", rotation="ROTATE_90")
    found = qpbridge.json("info", lab, "--search", tmp_path)["images"][0]
    assert (found["width"], found["height"], found["problem"]) == (120, 160, None)


def test_two_images_of_one_entry_id(qpbridge, lab, tmp_path):
    """They share one file of objects, so that nothing may be written for either."""
    document = json.loads(lab.read_text("utf-8"))
    document["images"][1]["entryID"] = 1
    lab.write_text(json.dumps(document), "utf-8")
    before = (lab.parent / "data/1/data.qpdata").read_bytes()
    names = ("--image", "a.svs", "--image", "b.svs")
    report = qpbridge.json("segment", lab, *names, "--search", tmp_path / "nas", code=3)["images"]
    assert [r["status"] for r in report] == ["failed", "failed"]
    assert "2 images have the entry id 1" in report[0]["message"]
    assert "'a.svs', 'b.svs'" in report[0]["message"]
    assert (lab.parent / "data/1/data.qpdata").read_bytes() == before
    assert [i["objects"]["annotation"] for i in qpbridge.json("info", lab)["images"]] == [1] * 3


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names must be text")
def test_names_that_are_no_text(qpbridge, lab, tmp_path):
    odd = os.fsdecode(b"M\xfcller.svs")
    os.rename(tmp_path / "nas/x/a.svs", tmp_path / "nas/x" / odd)  # noqa: PTH104
    text = lab.read_text("utf-8").replace("x/a.svs", "x/M%FCller.svs")
    text = text.replace('"imageName": "a.svs"', '"imageName": "\\udcfc"')
    lab.write_text(text, "utf-8")
    place = ("--relocate", f"D:/old={tmp_path}/nas")
    found = qpbridge.json("info", lab, *place)["images"][0]
    assert found["name"] == "\udcfc"
    assert found["path"].endswith(odd)
    assert r"\udcfcller.svs" in qpbridge("info", lab, *place)
    assert qpbridge.json("relocate", lab, *place)["moved"][0]["new"].endswith("M%FCller.svs")
