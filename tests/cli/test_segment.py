from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of
from slide_factory import make_slide

from qpbridge import AnnotationUpdate, Edit, ObjectKind, ObjectTable, Shapes, open_project
from qpbridge.engine.segmenting.spool import FOLDER
from qpbridge.hierarchy.provenance import Origin, origins
from qpbridge.objects import RoiKind
from qpbridge.project.files import replacement


def rows_by_name(table: ObjectTable) -> dict[str, int]:
    return {name: row for row, name in table.names.items()}


def test_nuclei_land_below_the_regions_that_hold_them(qpbridge, project, truth):
    report = qpbridge.json("segment", project)["images"][0]
    table = objects_of(project)
    names = rows_by_name(table)
    nuclei = np.flatnonzero(table.kind == ObjectKind.DETECTION)
    assert report["status"] == "written"
    assert report["found"] == len(nuclei) > 30

    geometries = table.geometries
    ignored = geometries[names["pen"]]
    centroids = shapely.centroid(geometries[nuclei])
    for name in ("left", "ring"):
        region = shapely.difference(geometries[names[name]], ignored)
        below = table.parent[nuclei] == names[name]
        assert (shapely.contains(region, centroids) == below).all()
        expected = [n for n in truth.nuclei if region.contains(n.centroid)]
        assert abs(below.sum() - len(expected)) <= 0.1 * len(expected)
    assert (table.parent != names["pen"]).all()

    assert {str(table.path_class(r)) for r in nuclei} == {"Nucleus"}
    assert (origins(table.take(nuclei), "nuclei") == Origin.OURS).all()
    assert shapely.is_valid(geometries[nuclei]).all()
    assert not any(shapely.get_num_interior_rings(geometries[nuclei]))


def test_outlines_lie_on_the_nuclei(qpbridge, project, truth):
    qpbridge("segment", project, "--selected", "left")
    found = nuclei_of(project).geometries
    tree = shapely.STRtree(truth.nuclei)
    mine, true = tree.query(found, predicate="intersects")
    drawn = np.array(truth.nuclei, object)
    shared = shapely.area(shapely.intersection(found[mine], drawn[true]))
    iou = shared / (shapely.area(found[mine]) + shapely.area(drawn[true]) - shared)
    assert len(mine) >= 0.95 * len(found)
    assert np.median(iou) > 0.8


def test_every_nucleus_is_measured(qpbridge, project):
    qpbridge("segment", project)
    nuclei = nuclei_of(project)
    expected = ["Detection probability", "Area µm^2", "Length µm", "Circularity", "Solidity"]
    expected += ["Max diameter µm", "Min diameter µm", "Hematoxylin: Mean", "Eosin: Std.Dev."]
    for name in expected:
        values = nuclei.measurement(name)
        assert np.isfinite(values).all(), name
    area = shapely.area(nuclei.geometries) * 0.5**2
    assert nuclei.measurement("Area µm^2") == pytest.approx(area, rel=1e-4)
    assert (nuclei.measurement("Hematoxylin: Mean") > nuclei.measurement("Eosin: Mean")).all()
    probability = nuclei.measurement("Detection probability")
    assert probability.min() > 0
    assert probability.max() <= 1


def test_annotations_and_history_say_what_was_run(qpbridge, project):
    qpbridge("segment", project)
    data = open_project(project).images[0].read()
    left = rows_by_name(data.objects)["left"]
    assert "nuclei_he" in data.objects.metadata[left]["qpbridge nuclei"]
    assert "0.5 µm/px" in data.objects.metadata[left]["qpbridge nuclei"]
    count = (data.objects.parent == left).sum()
    assert data.objects.measurement("Nuclei: Count")[left] == count
    area = shapely.box(40, 50, 360, 650).difference(shapely.box(0, 0, 120, 160)).area * 0.25
    assert data.objects.measurement("Evaluated area µm^2")[left] == pytest.approx(area, rel=1e-6)
    density = data.objects.measurement("Nuclei: Density per mm^2")[left]
    assert density == pytest.approx(count / area * 1e6, rel=1e-6)
    assert data.image_type.value == "BRIGHTFIELD_H_E"
    assert [s.name for s in data.workflow if s.name.startswith("qpbridge")] == ["qpbridge: nuclei"]
    assert "Nucleus" in {str(c) for c in open_project(project).classes}
    assert rows_by_name(data.objects)["pen"] not in data.objects.metadata


def test_running_again_gives_the_same_objects_once(qpbridge, project):
    qpbridge("segment", project)
    first = objects_of(project)
    report = qpbridge.json("segment", project)["images"][0]
    second = objects_of(project)
    assert report["replaced"] == report["found"] == (first.kind == ObjectKind.DETECTION).sum()
    assert {bytes(i) for i in first.ids} == {bytes(i) for i in second.ids}


@pytest.mark.parametrize(
    "options",
    [
        ("--tile", 256),
        ("--tile", 512, "--batch-size", 3, "--workers", 1),
        ("--tile", 1024, "--workers", 2),
    ],
)
def test_the_result_does_not_depend_on_tiles_batches_or_workers(qpbridge, project, options):
    qpbridge("segment", project)
    whole = nuclei_of(project)
    qpbridge("segment", project, *options)
    tiled = nuclei_of(project)
    assert len(whole) == len(tiled)
    mine, other = shapely.STRtree(whole.geometries).query(tiled.geometries, "intersects")
    shared = shapely.area(shapely.intersection(tiled.geometries[mine], whole.geometries[other]))
    both = shapely.area(tiled.geometries[mine]) + shapely.area(whole.geometries[other]) - shared
    assert (shared / both > 0.95).sum() >= 0.999 * len(tiled)


def test_nuclei_between_neighbouring_regions_are_found_once_and_whole(qpbridge, tmp_path, truth):
    found = []
    for name, edges in (("one", [0, 900]), ("many", [0, 250, 437, 700, 900])):
        path = tmp_path / name / "project.qpproj"
        qpbridge("create", path, truth.path)
        strips = [shapely.box(a, 0, b, 700) for a, b in pairwise(edges)]
        annotate(path, *((strip, None, None) for strip in strips))
        qpbridge("segment", path, "--tile", 384)
        found.append(nuclei_of(path))
    one, many = found
    # an id is a checksum of the outline
    assert {bytes(i) for i in one.ids} == {bytes(i) for i in many.ids}
    parents = objects_of(path).parent
    assert len(np.unique(parents[parents >= 0])) == 4


KILLED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from qpbridge.engine.segmenting import spool
real = spool.Spool.add
def add(spool, number, found):
    real(spool, number, found)
    if len(spool.done) == 5:
        os.kill(os.getpid(), signal.SIG{signal})
spool.Spool.add = add
from qpbridge.cli import main
main(["segment", sys.argv[1], "--tile", "320"])
"""


@pytest.mark.parametrize(
    "signal",
    [
        pytest.param("KILL", marks=pytest.mark.skipif(os.name == "nt", reason="has no SIGKILL")),
        "INT",
    ],
)
def test_a_run_that_was_stopped_goes_on_and_gives_the_same(qpbridge, project, signal):
    before = contents(project.parent)
    qpbridge("segment", project, "--tile", 320)
    whole = nuclei_of(project)
    qpbridge("remove", project)
    program = KILLED.replace("{signal}", signal)
    subprocess.run([sys.executable, "-c", program, str(project)], capture_output=True)
    (left,) = (project.parent / FOLDER).glob("*/tiles")
    assert not len(nuclei_of(project))
    with left.open("r+b") as file:  # and the power went
        file.truncate(left.stat().st_size - 100)
    report = qpbridge.json("segment", project, "--tile", 320)["images"][0]
    assert report["resumed"] == 4 < report["tiles"]
    resumed = nuclei_of(project)
    assert {bytes(i) for i in resumed.ids} == {bytes(i) for i in whole.ids}
    np.testing.assert_array_equal(resumed.measurements, whole.measurements)
    assert set(contents(project.parent)) >= set(before)
    assert not (project.parent / FOLDER).exists()


def test_restart_begins_anew(qpbridge, project):
    program = KILLED.replace("{signal}", "INT")
    subprocess.run([sys.executable, "-c", program, str(project)], capture_output=True)
    report = qpbridge.json("segment", project, "--tile", 320, "--restart")["images"][0]
    assert report["resumed"] == 0


def test_stages_and_their_bottleneck_are_told(qpbridge, project):
    report = qpbridge.json("segment", project)["images"][0]
    assert set(report["stages"]) == {
        "read",
        "network",
        "decode",
        "measure",
        "spool",
        "merge",
        "write",
    }
    assert all(seconds > 0 for seconds in report["stages"].values())
    assert report["stages"][report["bottleneck"]] == max(report["stages"].values())
    qpbridge("segment", project)
    assert "network" in qpbridge.stderr


def test_a_plan_tells_time_and_memory_and_leaves_nothing(qpbridge, project):
    before = contents(project.parent)
    report = qpbridge.json("segment", project, "--dry-run")["images"][0]
    assert report["status"] == "planned"
    assert report["tiles"] >= 1
    assert report["seconds"] > 0
    assert 0.5 < report["memory_gb"] < 8
    assert contents(project.parent) == before
    assert not (project.parent / FOLDER).exists()


def test_only_what_is_asked_for(qpbridge, project):
    qpbridge("segment", project, "--within", "Stroma")
    table = objects_of(project)
    assert set(table.parent[table.kind == ObjectKind.DETECTION]) == {rows_by_name(table)["ring"]}
    qpbridge("segment", project, "--selected", "left")
    table = objects_of(project)
    parents = set(table.parent[table.kind == ObjectKind.DETECTION])
    assert parents == {rows_by_name(table)["ring"], rows_by_name(table)["left"]}


def test_whole_image(qpbridge, tmp_path, truth):
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, truth.path)
    qpbridge("segment", path, code=1)
    assert "--whole-image" in qpbridge.stderr
    qpbridge("segment", path, "--whole-image")
    table = objects_of(path)
    assert abs(len(table) - len(truth.nuclei)) <= 0.1 * len(truth.nuclei)
    assert (table.parent == -1).all()


def test_a_persons_objects_stay_and_corrections_are_not_doubled(qpbridge, project):
    qpbridge("segment", project)
    entry = open_project(project).images[0]
    before = entry.read()
    nuclei = np.flatnonzero(before.objects.kind == ObjectKind.DETECTION)
    corrected = before.objects.take(nuclei[:1])
    shapes = replace(corrected.shapes, coords=corrected.shapes.coords + np.array([0.5, 0.25]))
    own = ObjectTable.new(
        ObjectKind.DETECTION, Shapes.from_geometries([shapely.box(300, 300, 310, 310)])
    )
    below = before.objects.ids[before.objects.parent[nuclei[:1]]]
    entry.apply(Edit(remove=corrected.ids, add=corrected.replace(shapes=shapes), add_below=below))
    entry.apply(Edit(add=own))
    found = (objects_of(project).kind == ObjectKind.DETECTION).sum()

    report = qpbridge.json("segment", project)["images"][0]
    after = objects_of(project)
    assert report["kept_changed"] == 1
    assert (after.kind == ObjectKind.DETECTION).sum() == found
    ids = [bytes(i) for i in after.ids]
    kept = ids.index(bytes(corrected.ids[0]))
    assert after.geometries[kept].equals_exact(shapes.geometries[0], 1e-2)
    assert after.geometries[ids.index(bytes(own.ids[0]))].equals(shapely.box(300, 300, 310, 310))


def test_remove_takes_away_what_qpbridge_made_and_nothing_else(qpbridge, project):
    before = objects_of(project)
    qpbridge("segment", project)
    removed = qpbridge.json("remove", project)
    assert removed["images"][0]["removed"] > 30
    after = objects_of(project)
    assert {bytes(i) for i in after.ids} == {bytes(i) for i in before.ids}
    assert after.metadata == before.metadata
    assert np.isnan(after.measurements).all()
    assert "nothing" in qpbridge("remove", project)


def test_dry_run_writes_nothing(qpbridge, project):
    before = contents(project.parent)
    report = qpbridge.json("segment", project, "--dry-run")["images"][0]
    assert report["status"] == "planned"
    assert report["tiles"] > 0
    assert [r["name"] for r in report["regions"]] == ["left", "ring"]
    assert "tiles" in qpbridge("segment", project, "--dry-run")
    assert contents(project.parent) == before


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files but those that an unfinished run goes on from."""
    files = [p for p in folder.rglob("*") if p.is_file() and FOLDER not in p.parts]
    return {str(p): p.read_bytes() for p in files}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--within", "Tumour"], 1, "Tumour.*left"),
        (["--selected", "nobody"], 1, "nobody"),
        (["--image", "other.svs"], 1, "no image 'other.svs'"),
        (["--model", "nuclei_xx"], 1, "nuclei_xx"),
        (["--target", "cells"], 2, "cells"),
        (["--target", "glands", "--model", "nuclei_he"], 1, "segments nuclei, not glands"),
        (["--device", "cuda:7"], 1, "--device cuda:7"),
        (["--mpp", "100"], 2, "--mpp"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_changes(
    qpbridge, project, arguments, code, message
):
    before = contents(project.parent)
    qpbridge("segment", project, *arguments, code=code)
    assert re.search(message, qpbridge.stderr.replace("\n", " "))
    assert contents(project.parent) == before


@pytest.mark.parametrize("name", ["missing.qpproj", "text.qpproj", "folder"])
def test_what_is_no_project_is_named(qpbridge, tmp_path, name):
    (tmp_path / "text.qpproj").write_text("hello")
    (tmp_path / "folder").mkdir()
    for command in (["segment"], ["info"], ["remove"], ["export", "--format", "csv", "-o", "x"]):
        qpbridge(command[0], tmp_path / name, *command[1:], code=1)
        assert name in qpbridge.stderr.replace("\n", "")


def test_an_image_that_fails_is_listed_and_the_others_are_done(qpbridge, tmp_path, truth):
    slides = [truth.path]
    for name in ("gone.svs", "broken.svs", "unknown size.png"):
        slides.append(tmp_path / name)
        make_slide(slides[-1], width=300, height=300)
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, *slides, "--annotate-full")
    assert "unknown size.png" in qpbridge.stderr
    slides[1].unlink()
    slides[2].write_bytes(slides[2].read_bytes()[:3000])
    out = qpbridge.json("segment", path, code=3)
    assert [i["status"] for i in out["images"]] == ["written", "failed", "failed", "failed"]
    for name in ("gone.svs", "broken.svs", "--mpp"):
        assert name in qpbridge.stderr
    assert len(nuclei_of(path)) > 0
    qpbridge("segment", path, "--image", "unknown size.png", "--mpp", "0.5")
    assert len(nuclei_of(path, 3)) > 0


def test_broken_data_is_refused_and_stays(qpbridge, project):
    data = next(project.parent.rglob("data.qpdata"))
    for content in (data.read_bytes()[:-200], b"PK\x03\x04 something else", b""):
        for backup in data.parent.glob("*.bkp"):
            backup.unlink()
        data.write_bytes(content)
        for command in (["segment"], ["info"], ["remove"]):
            qpbridge(*command, project, code=3)
            assert "data.qpdata" in qpbridge.stderr.replace("\n", "")
        assert data.read_bytes() == content


def test_annotation_classes_that_are_ignored_can_be_asked_for(qpbridge, project):
    qpbridge("segment", project, "--within", "Ignore*")
    table = objects_of(project)
    assert (table.parent[table.kind == ObjectKind.DETECTION] == rows_by_name(table)["pen"]).all()


def test_a_nucleus_belongs_to_the_innermost_region(qpbridge, project):
    annotate(project, (Shapes.corners(RoiKind.ELLIPSE, 150, 200, 330, 400), "Tumor", "nest"))
    qpbridge("segment", project)
    table = objects_of(project)
    nest = rows_by_name(table)["nest"]
    nuclei = np.flatnonzero(table.kind == ObjectKind.DETECTION)
    inside = shapely.contains(table.geometries[nest], shapely.centroid(table.geometries[nuclei]))
    assert ((table.parent[nuclei] == nest) == inside).all()
    assert inside.sum() > 5


def test_measurements_of_a_person_on_the_annotation_stay(qpbridge, project):
    entry = open_project(project).images[0]
    table = entry.read().objects
    left = rows_by_name(table)["left"]
    update = AnnotationUpdate(metadata={"checked by": "AB"}, measurements={"my score": 3.0})
    entry.apply(Edit(update={table.ids[left].tobytes(): update}))
    for command in ("segment", "remove"):
        qpbridge(command, project)
        after = objects_of(project)
        left = rows_by_name(after)["left"]
        assert after.metadata[left]["checked by"] == "AB"
        assert after.measurement("my score")[left] == 3.0


def test_an_interrupted_run_leaves_the_project_as_it_was(project):
    before = contents(project.parent)
    program = (
        "import signal, threading, os, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from qpbridge.prediction import nuclei\n"
        "def stop(*a, **k): os.kill(os.getpid(), signal.SIGINT); threading.Event().wait(5)\n"
        "nuclei.merge_tiles = stop\n"
        "from qpbridge.cli import main\n"
        f"main(['segment', {str(project)!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 130, done.stderr
    assert "Interrupted" in done.stderr
    assert contents(project.parent) == before


@pytest.mark.parametrize(
    ("call", "number", "code", "message"),
    [
        ("fsync", errno.ENOSPC, 3, "full"),
        ("fsync", errno.EIO, 3, "data.qpdata"),
        ("replace", errno.EACCES, 3, "permission"),
        ("open", errno.EROFS, 1, "permission"),
    ],
)
def test_a_disk_that_refuses_is_named_and_nothing_changes(
    qpbridge, project, monkeypatch, call, number, code, message
):
    before = contents(project.parent)
    real = getattr(os, call)

    def refuse(*arguments, **options):
        if call == "open" and not int(arguments[1]) & os.O_CREAT:
            return real(*arguments, **options)
        raise OSError(number, os.strerror(number), str(project.parent / "data"))

    monkeypatch.setattr(os, call, refuse)
    if call == "replace":  # where the system can, files change places instead
        monkeypatch.setattr(replacement, "exchange", refuse)
    qpbridge("segment", project, "--selected", "left", code=code)
    monkeypatch.undo()
    assert message in qpbridge.stderr.lower()
    assert contents(project.parent) == before


def test_hundreds_of_annotations_are_selected_by_a_file(project, qpbridge, tmp_path):
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("\ufeffleft\r\n\r\nring\r\n", "utf-8")
    done = qpbridge.json("segment", project, "--selected-from", chosen, "--dry-run")
    assert {region["name"] for region in done["images"][0]["regions"]} == {"left", "ring"}


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\xfa"])
def test_a_file_that_selects_nothing_is_refused(project, qpbridge, tmp_path, content):
    chosen = tmp_path / "chosen.txt"
    chosen.write_bytes(content)
    qpbridge("segment", project, "--selected-from", chosen, "--dry-run", code=2)
    assert str(chosen) in qpbridge.stderr.replace("\n", "")
