"""`history` lists the runs with all settings, `undo` takes them back."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of
from slide_factory import make_slide

import qpbridge as library
from qpbridge import Edit, ObjectKind, open_project
from qpbridge.project.interface import WorkflowStep


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "small.svs", width=360, height=200)


@pytest.fixture(scope="session")
def segmented(tmp_path_factory, slide):
    """Run once, plainly, in one of two images."""
    folder = tmp_path_factory.mktemp("undo")
    other = shutil.copy(slide.path, folder / "other.svs")
    path = folder / "p" / "project.qpproj"
    library.create_project(path, [slide.path, other])
    for image in range(2):
        annotate(path, (shapely.box(10, 10, 350, 190), "Tumor", "a"), image=image)
    library.segment(path, images="1", device="cpu")
    return path


@pytest.fixture
def small(tmp_path, segmented):
    return shutil.copytree(segmented.parent, tmp_path / "p") / segmented.name


def data_of(path, image=1) -> bytes:
    return (path.parent / f"data/{image}/data.qpdata").read_bytes()


def ids_of(path) -> set[bytes]:
    table = objects_of(path)
    return {bytes(i) for i in table.ids[table.kind != ObjectKind.ANNOTATION]}


def grow(path, expansion=4.0, images="1"):
    library.segment(path, images=images, cell_expansion=expansion, device="cpu")


def undo(qpbridge, path, *options):
    return qpbridge.json("undo", path, *options)["images"]


def test_the_history_tells_all_settings(qpbridge, small):
    grow(small)
    one, other = qpbridge.json("history", small)["images"]
    assert (one["image"], one["id"], other["runs"]) == ("small.svs", "1", [])
    assert [run["what"] for run in one["runs"]] == ["nuclei", "nuclei"]
    run = one["runs"][1]
    assert run["number"] == 2
    assert run["settings"]["cell expansion"] == "4 µm"
    assert run["settings"]["weights"] == library.load_bundle("nuclei_he").digest()
    names = {"model", "pixel size", "image pixel size", "positivity", "features"}
    assert names < run["settings"].keys()
    assert run["can_undo"]
    assert not run["undone"]
    assert run["when"].startswith("20")
    assert "segment" in run["command"]
    library.measure(small, images="1")
    library.edit.delete(open_project(small)[0], nuclei_id(small))
    one = qpbridge.json("history", small, "--deleted", "--image", "1")["images"][0]
    assert [run["what"] for run in one["runs"]][2:] == ["measure", "delete"]
    assert one["deleted"] == {"nuclei": 1}
    assert one["deleted_places"]["nuclei"][0]["radius_px"] > 2
    text = qpbridge("history", small, "--deleted")
    assert "1 nuclei deleted" in text
    assert "cell expansion 4 µm" in " ".join(text.split())  # the table wraps it


def nuclei_id(path):
    table = objects_of(path)
    return table.ids[np.flatnonzero(table.kind != ObjectKind.ANNOTATION)[0]]


def test_undo_is_exact_and_goes_on_to_the_run_before(qpbridge, small):
    states = [data_of(small)]
    for expansion in (3.0, 5.0):
        grow(small, expansion)
        states.append(data_of(small))
    library.remove(small, images="1")
    for state in reversed(states):
        (report,) = undo(qpbridge, small)
        assert (report["image"], report["runs"][0]["exact"]) == ("small.svs", True)
        assert data_of(small) == state
    assert [run.what for run in library.history(small)[0].runs] == ["nuclei"]
    (report,) = undo(qpbridge, small)
    assert report["runs"][0]["restored"] == 0
    assert not ids_of(small)
    qpbridge("undo", small, code=1)
    assert "no run that could be taken back" in qpbridge.stderr


def test_what_a_person_did_since_stays(qpbridge, small):
    before = objects_of(small)
    grow(small)
    entry = open_project(small)[0]
    cells = objects_of(small)
    cells = cells.take(cells.kind == ObjectKind.CELL)
    deleted, moved, red = cells.ids[2], cells.ids[5], cells.ids[8]
    place = cells.inner_shapes.take([2]).geometries[0].centroid
    library.edit.delete(entry, deleted)
    library.edit.move(entry, moved, 3, 0)
    library.edit.reclassify(entry, red, "Red")
    annotate(small, (shapely.box(300, 20, 340, 60), "Stroma", "mine"))
    (report,) = undo(qpbridge, small)
    (run,) = report["runs"]
    assert not run["exact"]
    assert (run["removed"], run["restored"], run["kept"]) == (len(cells) - 3, len(cells) - 3, 2)
    assert run["left_out"] == 3
    after = objects_of(small)
    assert "mine" in after.names.values()
    kinds = after.kind[after.kind != ObjectKind.ANNOTATION]
    assert (kinds == ObjectKind.CELL).sum() == 2
    assert bytes(moved) in {bytes(i) for i in after.ids}
    assert not shapely.contains(after.geometries[after.kind == ObjectKind.DETECTION], place).any()
    region = next(row for row, name in after.names.items() if name == "a")
    old = next(row for row, name in before.names.items() if name == "a")
    assert after.metadata[region] == before.metadata[old]
    assert after.measurement("Nuclei: Count")[region] == before.measurement("Nuclei: Count")[old]
    assert (after.parent[after.kind == ObjectKind.DETECTION] == region).all()
    # what was deleted stays so at the next run too, and what is undone is not what runs go on from
    report = qpbridge.json("segment", small, "--image", "1")["images"][0]
    assert report["as_before"] == []
    assert report["deleted"] >= 1
    again = objects_of(small)
    assert not shapely.contains(again.geometries[again.kind == ObjectKind.DETECTION], place).any()
    runs = qpbridge.json("history", small)["images"][0]["runs"]
    assert [run["undone"] for run in runs if run["what"] == "nuclei"] == [False, True, False]
    assert [run["what"] for run in runs][-2:] == ["undo", "nuclei"]


def test_twice_after_a_change_goes_to_the_run_before(qpbridge, small):
    first = ids_of(small)
    grow(small)
    annotate(small, (shapely.box(300, 20, 340, 60), "Stroma", "mine"))
    undo(qpbridge, small)
    assert ids_of(small) == first
    (report,) = undo(qpbridge, small)
    assert (report["runs"][0]["removed"], report["runs"][0]["restored"]) == (len(first), 0)
    assert not ids_of(small)
    assert set(objects_of(small).names.values()) == {"a", "mine"}


def test_a_region_deleted_since_gets_nothing_back(qpbridge, small):
    grow(small)
    entry = open_project(small)[0]
    table = entry.read().objects
    entry.apply(Edit(remove=table.ids))
    (report,) = undo(qpbridge, small)
    assert report["runs"][0]["restored"] == 0
    assert not len(objects_of(small))


def test_remove_is_taken_back_too(qpbridge, small):
    first = ids_of(small)
    metadata = list(objects_of(small).metadata.values())
    library.remove(small, images="1")
    annotate(small, (shapely.box(300, 20, 340, 60), "Stroma", "mine"))
    (report,) = undo(qpbridge, small)
    assert report["runs"][0]["what"] == "remove nuclei"
    assert ids_of(small) == first
    assert list(objects_of(small).metadata.values()) == metadata
    assert np.isfinite(nuclei_of(small).measurement("Area µm^2")).all()


def test_the_last_command_is_taken_back_in_all_its_images_and_no_other(qpbridge, small):
    one = data_of(small)
    grow(small, images=())
    assert [r["image"] for r in undo(qpbridge, small)] == ["small.svs", "other.svs"]
    assert data_of(small) == one
    grow(small, images="2")
    assert [r["image"] for r in undo(qpbridge, small)] == ["other.svs"]
    grow(small, images="2")
    assert [r["image"] for r in undo(qpbridge, small, "--image", "1")] == ["small.svs"]
    qpbridge("undo", small, "--image", "1", code=1)


def test_several_targets_are_one_command(qpbridge, small):
    before = data_of(small)
    library.segment(small, targets=("nuclei", "glands"), images="1", device="cpu")
    (report,) = undo(qpbridge, small)
    assert [run["what"] for run in report["runs"]] == ["nuclei", "glands"]
    assert data_of(small) == before


def test_what_is_not_kept_can_not_be_taken_back(qpbridge, small):
    before = data_of(small)
    for file in (small.parent / "data/1").glob("qpbridge-*"):
        file.unlink()
    qpbridge("undo", small, "--image", "1", code=3)
    told = qpbridge.stderr.replace("\n", " ")
    assert "no longer kept" in told
    assert told.count("small.svs") == 1
    qpbridge("undo", small, code=1)
    assert data_of(small) == before


def test_an_image_that_fails_is_listed_and_the_others_are_taken_back(qpbridge, small):
    library.segment(small, images=["1", "2"], restart=True, device="cpu")
    (small.parent / "data/2/data.qpdata").write_bytes(b"no data")
    before = ids_of(small)
    report = qpbridge.json("undo", small, code=3)
    assert [image["status"] for image in report["images"]] == ["written", "failed"]
    assert list(report["failed"]) == ["other.svs"]
    assert ids_of(small) == before  # what the run before had found is back


def test_runs_that_name_no_zone_are_compared_too(qpbridge, small):
    shutil.copytree(small.parent / "data/1", small.parent / "data/2", dirs_exist_ok=True)
    entry = open_project(small)[1]
    parameters = {"run": "settings run 0001-01-01T00:00:00"}
    entry.apply(Edit(steps=[WorkflowStep("qpbridge: nuclei", "//", parameters)]))
    (report,) = undo(qpbridge, small)
    assert (report["image"], report["status"]) == ("small.svs", "written")


def test_images_whose_data_is_lost_are_named_and_not_taken_for_untouched(qpbridge, small):
    shutil.rmtree(small.parent / "data")
    qpbridge("undo", small, code=3)
    for name in ("small.svs", "other.svs"):
        assert f"the image '{name}' can't be known" in qpbridge.stderr
