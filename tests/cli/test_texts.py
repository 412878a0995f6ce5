"""What comes from files is printed as it is: no markup, nothing that steers the terminal."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, objects_of
from PIL import Image
from slide_factory import make_slide

from qpbridge import Edit, ObjectKind, ObjectTable, PathClass, Shapes, open_project
from qpbridge.cli.output import print_table
from qpbridge.errors import printable
from qpbridge.objects import MeasurementTable

HOSTILE = "x [red]a[/] [/] :skull: \x1b[31m\x9b\u202e\x07 \ud800"
SHOWN = "x [red]a[/] [/] :skull: \\x1b[31m\\x9b\\u202e\\x07 \\ud800"
STEERING = ("\x1b", "\x9b", "\u202e", "\x07", "\ud800", "💀")


@pytest.fixture
def hostile(tmp_path, qpbridge) -> Path:
    """A project in which every name is hostile."""
    folder = tmp_path / "p [b]"
    slide = make_slide(tmp_path / "case 12 [tumor] [red].png", width=200, height=160)
    path = folder / "project.qpproj"
    qpbridge("create", path, slide.path)
    document = json.loads(path.read_text("utf-8"))
    document["images"][0]["imageName"] = HOSTILE
    path.write_text(json.dumps(document), "utf-8")
    region = annotate(path, (shapely.box(0, 0, 150, 150), None, None))
    box = Shapes.from_geometries([shapely.box(10, 10, 30, 30)])
    table = ObjectTable.new(ObjectKind.DETECTION, box, path_class=PathClass((HOSTILE,)))
    table = table.replace(
        names={0: HOSTILE}, measured=MeasurementTable((HOSTILE,), np.array([[1.0]]))
    )
    named = ObjectTable.new(ObjectKind.ANNOTATION, region.shapes, path_class=PathClass((HOSTILE,)))
    entry = open_project(path).images[0]
    entry.apply(Edit(add=table, add_below=region.ids))
    entry.apply(Edit(add=named.replace(names={0: HOSTILE})))
    return path


def check(command, *arguments, code: int = 0) -> str:
    command(*arguments, code=code)
    text = command.result.stdout + command.result.stderr
    for steering in STEERING:
        assert steering not in text
    return text


def test_every_command_prints_names_as_they_are(qpbridge, hostile, tmp_path):
    project = hostile
    assert SHOWN in check(qpbridge, "info", project)
    assert SHOWN in check(qpbridge, "measure", project, "--mpp", 0.5)
    assert SHOWN in check(qpbridge, "measure", project, "--image", HOSTILE, "--mpp", 0.5)
    assert "no image" in check(qpbridge, "info", project, "--image", "a [/] \x1b", code=1)
    assert "no annotations" in check(
        qpbridge, "measure", project, "--within", "y \x1b[/]", "--mpp", 0.5, code=1
    )
    planned = check(qpbridge, "segment", project, "--mpp", 0.5, "--dry-run")
    assert SHOWN in planned
    for kind in ("geojson", "csv"):
        out = tmp_path / f"o [red].{kind}"
        assert str(out) in check(qpbridge, "export", project, "--format", kind, "-o", out)
        assert out.is_file()
    check(qpbridge, "remove", project)
    check(qpbridge, "relocate", project, "--dry-run")
    new = tmp_path / "new" / "project.qpproj"
    (tmp_path / "b [red] \x1b[31m.png").write_text("x")
    text = check(qpbridge, "create", new, tmp_path / "b [red] \x1b[31m.png", code=1)
    assert "b [red] \\x1b[31m.png" in text
    next(tmp_path.glob("case*")).unlink()
    assert "[red].png" in check(qpbridge, "measure", project, "--intensities", "--mpp", 0.5, code=3)
    assert "FILE NOT FOUND" in check(qpbridge, "info", project)


def test_an_import_prints_names_as_they_are(qpbridge, hostile, tmp_path):
    square = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]}
    features = [
        {"type": "Feature", "geometry": square, "properties": {"name": HOSTILE}},
        {"type": "Feature", "geometry": square, "properties": {"objectType": "[/] \x1b"}},
        {"type": "Feature", "geometry": {"type": "[/]\x1b"}, "properties": {}, "id": HOSTILE},
    ]
    file = tmp_path / "f [red].geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    text = check(qpbridge, "import", hostile, file, code=3)
    assert "2 objects repaired" in text and "1 object left out" in text
    assert "[/] \\x1b" in text
    assert SHOWN.replace("\\ud800", "\N{REPLACEMENT CHARACTER}") in check(qpbridge, "info", hostile)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_json_is_utf_8_whatever_the_console_is(hostile, tmp_path, encoding):
    with (tmp_path / "out.json").open("wb") as file:
        subprocess.run(
            [sys.executable, "-m", "qpbridge", "info", str(hostile), "--json"],
            stdout=file,
            env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            check=True,
        )
    text = (tmp_path / "out.json").read_bytes().decode("utf-8")
    document = json.loads(text)
    assert not any(steering in text for steering in STEERING)
    assert document["images"][0]["name"] == HOSTILE
    annotation = next(a for a in document["images"][0]["annotations"] if a["name"])
    assert annotation["name"] == annotation["class"] == HOSTILE


def test_what_is_printable():
    fine = "Köln 病 🔬 نمونه\u200cها a\u00a0b\u3000c \\ [x]"
    assert printable(fine) == fine
    assert printable("a\nb\tc\r\x85\u2028\ufeff") == "a\\nb\\tc\\r\\x85\\u2028\\ufeff"
    assert printable("a\nb", lines=True) == "a\nb"
    assert printable("abc" * 10, most=5) == "abcab ..."


def test_names_are_compared_as_they_look(qpbridge, tmp_path, truth):
    apart = unicodedata.normalize("NFD", "Köln é")
    typed = unicodedata.normalize("NFC", apart)
    assert apart != typed
    slide = tmp_path / f"{apart}.svs"
    shutil.copy(truth.path, slide)
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, slide)
    annotate(path, (shapely.box(0, 0, 200, 200), apart, apart))
    assert qpbridge.json("info", path, "--image", f"{typed}.svs")["images"][0]["name"] == slide.name
    for option in ("--within", "--selected"):
        for name in (typed, apart):
            report = qpbridge.json("measure", path, option, name)
            assert report["images"][0]["regions"][0]["name"] == apart
    assert objects_of(path).names == {0: apart}  # as they were


def test_what_is_not_there_is_told_with_what_is(qpbridge, project):
    qpbridge("measure", project, "--within", "Tumour", code=1)
    assert "no annotations of class 'Tumour'; there are: 'Ignore*', 'Stroma', 'Tumor'" in (
        qpbridge.stderr
    )
    qpbridge("measure", project, "--selected", "lft", code=1)
    assert "called 'lft'; there are: 'left', 'pen', 'ring'" in qpbridge.stderr
    assert "Tumor" not in qpbridge.stderr


def test_slides_that_can_not_be_read_are_left_out_and_listed(qpbridge, tmp_path, truth):
    bad = [tmp_path / "bad1.svs", tmp_path / "bad2.svs"]
    for path in bad:
        path.write_text("x")
    os.mkfifo(tmp_path / "fifo.png")
    path = tmp_path / "q" / "project.qpproj"
    made = qpbridge.json(
        "create", path, bad[0], truth.path, bad[1], tmp_path / "fifo.png", "--annotate-full", code=3
    )
    assert [image["name"] for image in made["images"]] == [truth.path.name]
    assert list(made["failed"]) == [*map(str, bad), str(tmp_path / "fifo.png")]
    assert "3 of 4 images failed" in qpbridge.stderr
    assert all(str(path) in qpbridge.stderr for path in bad)
    assert len(objects_of(path)) == 1
    nothing = tmp_path / "r" / "project.qpproj"
    qpbridge("create", nothing, *bad, code=1)
    assert all(str(path) in qpbridge.stderr for path in bad)
    assert not nothing.parent.exists()


def test_help_says_one_thing(qpbridge):
    assert "\\b" not in qpbridge("--help")
    text = qpbridge("remove", "--help")
    assert "[default: all]" in " ".join(text.split()) and "nuclei]" not in text


def test_a_message_names_its_image_once(qpbridge, project, truth):
    qpbridge("segment", project, "--positivity", "0.2", code=3)
    (line,) = [text for text in qpbridge.stderr.splitlines() if text.startswith("  ")]
    assert line.count(truth.path.name) == 1 and "DAB" in line


def test_each_of_several_images_of_one_name_is_listed_that_fails(qpbridge, tmp_path):
    slides = [tmp_path / folder / "same.png" for folder in "abc"]
    for slide in slides:
        slide.parent.mkdir()
        Image.new("RGB", (64, 64), "white").save(slide)
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, *slides, "--annotate-full", "--mpp", 0.5)
    for number in "13":
        (path.parent / "data" / number / "data.qpdata").write_bytes(b"no data")
    commands = {
        "annotate": ["--set-mpp", 0.5, "--tissue"],
        "compare": [],
        "evaluate": ["--target", "nuclei", "--truth", "Nucleus"],
        "export": ["--format", "geojson", "-o", tmp_path / "out"],
        "history": [],
        "info": [],
        "measure": [],
        "quality": [],
        "remove": [],
        "segment": ["--target", "nuclei"],
    }
    for name, arguments in commands.items():
        qpbridge(name, path, *arguments, code=3)
        assert "2 of 3 images failed:" in qpbridge.stderr, name
        for number in "13":
            assert f"  same.png ({number}): " in qpbridge.stderr, name


def test_large_numbers_are_printed_as_people_write_them(capsys):
    print_table(["per mm²"], [[10226.7], [1234567.8], [1671.2], [0.30751], [float("nan")]])
    printed = capsys.readouterr().out
    for text in ("10,227", "1,234,568", "1,671", "0.3075", "-"):
        assert text in printed
    assert "e+" not in printed
