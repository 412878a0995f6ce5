"""Two versions of a project: two projects, two runs, now against before."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of
from slide_factory import make_slide

import qpbridge as library
from qpbridge import Edit, ObjectKind, ObjectTable, PathClass, Shapes, open_project
from qpbridge.evaluation.overlaps import outline_overlaps, overlaps
from qpbridge.evaluation.scores import object_scores
from qpbridge.evaluation.versions import class_changes, compare_versions
from qpbridge.measurements.raster import rasterize


@pytest.fixture(scope="session")
def segmented(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    slide = make_slide(folder / "small.svs", width=360, height=200)
    path = folder / "p" / "project.qpproj"
    library.create_project(path, [slide.path])
    annotate(path, (shapely.box(10, 10, 350, 190), "Tumor", "a"))
    library.segment(path, device="cpu")
    return path


@pytest.fixture
def small(tmp_path, segmented):
    return shutil.copytree(segmented.parent, tmp_path / "p") / segmented.name


@pytest.fixture
def reviewed(tmp_path, segmented):
    """A copy in which a person deleted 3, moved 2, reclassified 4 and drew 1."""
    path = shutil.copytree(segmented.parent, tmp_path / "reviewed") / segmented.name
    entry = open_project(path)[0]
    ids = nuclei_of(path).ids
    library.edit.delete(entry, ids[:3])
    library.edit.move(entry, ids[3:5], 30, 0)
    library.edit.reclassify(entry, ids[5:9], "Tumor")
    drawn = ObjectTable.new(ObjectKind.DETECTION, Shapes.from_geometries([shapely.box(2, 2, 8, 8)]))
    entry.apply(Edit(add=drawn))
    return path


def counts(document):
    return tuple(document[name] for name in ("added", "lost", "moved", "reclassified"))


def test_a_project_against_what_a_person_made_of_it(qpbridge, small, reviewed):
    (image,) = qpbridge.json("compare", small, reviewed, "--objects")["images"]
    nuclei = image["nuclei"]
    n = len(nuclei_of(small))
    assert (nuclei["first"], nuclei["second"]) == (n, n - 2)
    assert counts(nuclei) == (1, 3, 2, 4)
    assert nuclei["classes"] == {"Nucleus -> Tumor": 4}
    assert len(nuclei["objects"]["lost"]) == 3
    scores = nuclei["scores"]
    good = n - 5  # as they were, or only of another class
    assert scores["f1"] == pytest.approx(2 * good / (n + n - 2), abs=0.03)
    assert 0.5 < scores["aji"] < 1
    assert scores["pq"] == pytest.approx(scores["dq"] * scores["sq"])
    same = qpbridge.json("compare", small, small)["images"][0]["nuclei"]
    assert counts(same) == (0, 0, 0, 0)
    assert same["scores"]["aji"] == same["scores"]["pq"] == 1
    text = qpbridge("compare", small, reviewed)
    assert "4 nuclei Nucleus -> Tumor" in text
    assert "AJI" in text


def test_now_against_before_a_run_and_two_runs(qpbridge, small):
    n = len(nuclei_of(small))
    assert counts(qpbridge.json("compare", small)["images"][0]["nuclei"]) == (n, 0, 0, 0)
    library.edit.delete(open_project(small)[0], nuclei_of(small).ids[:2])
    library.segment(small, cell_expansion=3, device="cpu")  # run 3 of the history
    now = qpbridge.json("compare", small)["images"][0]["nuclei"]
    assert (now["first"], now["second"], *counts(now)) == (n - 2, n - 2, 0, 0, 0, 0)
    assert now["scores"]["pq"] == 1
    two = qpbridge.json("compare", small, "--before", 1, "--before", 3)["images"][0]["nuclei"]
    assert counts(two) == (n - 2, 0, 0, 0)
    qpbridge("compare", small, "--before", 2, code=1)
    assert "1, 3" in qpbridge.stderr
    qpbridge("compare", small, small, "--before", 1, code=2)
    assert "--before" in qpbridge.stderr


def test_another_image_or_nothing_to_compare_is_said(qpbridge, small, tmp_path):
    slide = make_slide(tmp_path / "else.svs", width=200, height=160)
    other = tmp_path / "o" / "project.qpproj"
    library.create_project(other, [slide.path])
    qpbridge("compare", small, other, code=3)
    assert "no image of this name: small.svs" in qpbridge.stderr.replace("\n", " ")
    qpbridge("compare", other, code=1)
    assert "no run of which is kept" in qpbridge.stderr.replace("\n", " ")
    assert "nothing to compare" in qpbridge("compare", other, other)


def table_of(*boxes, classes="Nucleus") -> ObjectTable:
    shapes = Shapes.from_geometries([shapely.box(*box) for box in boxes])
    return ObjectTable.new(ObjectKind.DETECTION, shapes, path_class=PathClass((classes,)))


def test_without_a_common_id_outlines_tell():
    one = table_of((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    other = table_of((1, 0, 11, 10), (26, 0, 36, 10), (40, 0, 50, 10), classes="Tumor")
    changes = compare_versions(one, other)
    assert sorted(changes.pairs.tolist()) == [[0, 0], [2, 2]]
    assert not changes.moved.any()
    assert changes.reclassified.all()
    assert (changes.lost.tolist(), changes.added.tolist()) == ([1], [1])
    assert class_changes(one, other, changes) == {"Nucleus -> Tumor": 2}


def test_of_doubled_objects_each_is_paired_once():
    one = table_of((0, 0, 10, 10), (0, 0, 10, 9))
    other = table_of((0, 0, 10, 10))
    changes = compare_versions(one, other)
    assert changes.pairs.tolist() == [[0, 0]]
    assert changes.lost.tolist() == [1]
    back = compare_versions(other, one)
    assert (back.pairs.tolist(), back.added.tolist()) == ([[0, 0]], [1])
    nobody = compare_versions(one.take([]), other)
    assert (len(nobody.pairs), nobody.added.tolist()) == (0, [0])


def test_a_ring_that_begins_elsewhere_has_not_moved():
    one = table_of((0, 0, 10, 10))
    ring = np.roll(shapely.get_coordinates(one.geometries[0])[:-1], 2, axis=0)
    turned = one.replace(shapes=Shapes.from_geometries([shapely.Polygon(ring)]))
    assert not compare_versions(one, turned).moved.any()
    shifted = one.replace(shapes=Shapes.from_geometries([shapely.box(1, 0, 11, 10)]))
    assert compare_versions(one, shifted).moved.tolist() == [True]


def test_outlines_on_the_grid_score_as_their_pixels_do():
    rng = np.random.default_rng(0)
    corners = [(x, y) for x in range(0, 200, 20) for y in range(0, 200, 20)]
    drawn = [shapely.box(x, y, x + 12, y + 12) for x, y in corners]
    found = [shapely.affinity.translate(g, *rng.integers(-4, 5, 2).tolist()) for g in drawn[:-9]]
    maps = [
        rasterize(Shapes.from_geometries(g), (240, 240), (-20.0, -20.0)) for g in (drawn, found)
    ]
    by_pixels = object_scores(overlaps(*maps))
    by_outlines = object_scores(outline_overlaps(np.array(drawn, object), np.array(found, object)))
    assert by_pixels == pytest.approx(by_outlines)
