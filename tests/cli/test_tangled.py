"""An outline in a project that no repair would end: each command says where it is, and goes on."""

from __future__ import annotations

import csv
import json
import time

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, annotations, objects_of
from slide_factory import make_slide

from qpbridge import Edit, ObjectKind, ObjectTable, PathClass, Shapes, open_project

SQUARE = [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]


@pytest.fixture
def tangled(tmp_path, qpbridge):
    """Two images; in the second one, an annotation and a detection run at random."""
    slides = [
        make_slide(tmp_path / name, width=256, height=256).path for name in ("a.svs", "b.svs")
    ]
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, *slides)
    outline = shapely.Polygon(np.random.default_rng(0).random((2000, 2)) * 250)
    nucleus = ObjectTable.new(
        ObjectKind.DETECTION, Shapes.from_geometries([outline]), path_class=PathClass(("Nucleus",))
    )
    for image in (0, 1):
        annotate(path, (shapely.box(5, 5, 100, 100), "Tumor", "box"), image=image)
    entry = open_project(path).images[1]
    entry.apply(Edit(add=annotations((outline, "Tumor", "walk"))))
    entry.apply(Edit(add=nucleus))
    return path


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("measure {path}", 3),
        ("segment {path} --dry-run", 3),
        ("quality {path}", 3),
        ("export {path} --format geojson -o {out}", 3),
        ("export {path} --format csv -o {out}.csv", 3),
        ("export {path} --format csv --image b.svs -o {out}.csv", 3),
        ("import {path} --image b.svs {file}", 1),
        ("evaluate {path} --target nuclei --truth Nucleus", 1),
        ("train --data {path} --truth Nucleus -o {out} --steps 1", 1),
    ],
)
def test_it_is_named_and_nothing_changes(qpbridge, tangled, tmp_path, command, code):
    file = tmp_path / "a.geojson"
    file.write_text(json.dumps({"type": "Polygon", "coordinates": SQUARE}))
    before = objects_of(tangled, 1).ids
    began = time.process_time()
    names = {"path": tangled, "out": tmp_path / "out", "file": file}
    qpbridge(*(word.format(**names) for word in command.split()), code=code)
    assert time.process_time() - began < 20
    (line, *_) = [text for text in qpbridge.stderr.splitlines() if "crosses itself too" in text]
    assert "b.svs: an outline from x 0, y 0 to x 250, y 250" in line
    assert line.count("b.svs") == 1
    assert np.array_equal(objects_of(tangled, 1).ids, before)
    if code == 3 and "csv" in command:
        table = tmp_path / "out.csv"
        assert table.exists() == ("--image" not in command)
        if table.exists():
            assert {row["Image"] for row in csv.DictReader(table.open())} == {"a.svs"}


def test_what_needs_no_outline_works(qpbridge, tangled):
    assert "walk" in qpbridge("info", tangled)
    qpbridge("annotate", tangled, "--tissue")
    qpbridge("measure", tangled, "--image", "a.svs")
    qpbridge("remove", tangled)
    assert len(objects_of(tangled, 1)) > 2
