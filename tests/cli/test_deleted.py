"""What a person deleted stays deleted, as long as the region is the same, and is counted."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, nuclei_of, objects_of
from slide_factory import make_slide

import qpbridge as library
from qpbridge import AnnotationUpdate, Edit, ObjectTable, Shapes, open_project
from qpbridge.hierarchy.provenance import made_by_us

WHOLE = (10, 10, 350, 190)


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    return make_slide(tmp_path_factory.mktemp("slides") / "small.svs", width=360, height=200)


@pytest.fixture(scope="session")
def segmented(tmp_path_factory, slide):
    path = tmp_path_factory.mktemp("deleted") / "p" / "project.qpproj"
    library.create_project(path, [slide.path])
    annotate(path, (shapely.box(*WHOLE), "Tumor", "a"))
    library.segment(path, device="cpu")
    return path


@pytest.fixture
def small(tmp_path, segmented):
    return shutil.copytree(segmented.parent, tmp_path / "p") / segmented.name


def entry_of(path):
    return open_project(path).images[0]


def ids_of(path) -> set[bytes]:
    return {bytes(i) for i in nuclei_of(path).ids}


def delete(path, rows) -> ObjectTable:
    some = nuclei_of(path).take(rows)
    entry_of(path).apply(Edit(remove=some.ids))
    return some


def run(qpbridge, path, *options):
    return qpbridge.json("segment", path, *options)["images"][0]


def reshape(path, geometry):
    """Give the region another outline, as a person would with the brush: it keeps its id."""
    entry = entry_of(path)
    objects = entry.read().objects
    row = next(iter(objects.names))
    region = objects.take([row]).replace(
        shapes=Shapes.from_geometries([geometry]), parent=np.array([-1])
    )
    below = np.flatnonzero(objects.parent == row)
    there = objects.take(below).replace(parent=np.full(len(below), -1))
    entry.apply(Edit(remove=np.concatenate([region.ids, there.ids])))
    entry.apply(Edit(add=region))
    entry.apply(Edit(add=there, add_below=np.repeat(region.ids, len(there), axis=0)))


def test_what_was_deleted_stays_deleted_and_is_counted(qpbridge, small):
    before = ids_of(small)
    gone = delete(small, [3, 7, 11])
    planned = run(qpbridge, small, "--dry-run")
    assert planned["deleted"] == 3
    for _ in range(2):  # also at the run after the next one
        report = run(qpbridge, small)
        assert report["deleted"] == 3
        assert report["found"] == len(before) - 3
        assert ids_of(small) == before - {bytes(i) for i in gone.ids}
    delete(small, [0])
    assert "4 deleted by hand" in qpbridge("segment", small)
    assert len(ids_of(small)) == len(before) - 4


def test_another_model_finds_the_same_nucleus_a_little_otherwise(qpbridge, small):
    gone = delete(small, [3, 7, 11])
    tree = shapely.STRtree(shapely.buffer(shapely.centroid(gone.geometries), 2))
    report = run(qpbridge, small, "--mpp", 0.45)
    found = nuclei_of(small)
    assert report["found"] == len(found) > 10
    assert not len(tree.query(shapely.centroid(found.geometries), "intersects")[0])
    assert not {bytes(i) for i in gone.ids} & {bytes(i) for i in found.ids}


def test_they_come_back_when_asked_for(qpbridge, small):
    before = ids_of(small)
    delete(small, [3, 7, 11])
    run(qpbridge, small)
    report = run(qpbridge, small, "--restore-deleted")
    assert (report["deleted"], ids_of(small)) == (0, before)
    delete(small, [1])
    assert run(qpbridge, small)["deleted"] == 1


def test_that_all_was_deleted_is_said_with_the_cure(qpbridge, small):
    before = ids_of(small)
    delete(small, range(len(before)))
    report = run(qpbridge, small)
    assert (report["found"], report["deleted"]) == (0, len(before))
    assert "--restore-deleted" in " ".join(report["warnings"])
    assert run(qpbridge, small, "--restore-deleted")["found"] == len(before)


def test_remove_is_no_deletion_by_hand(qpbridge, small):
    before = ids_of(small)
    delete(small, [3, 7])
    qpbridge("remove", small)
    report = run(qpbridge, small)
    assert (report["deleted"], ids_of(small)) == (0, before)


def test_what_was_moved_is_not_found_again_at_its_old_place(qpbridge, small):
    before = nuclei_of(small)
    library.edit.move(entry_of(small), before.ids[5], 0, 400)  # out of the region
    library.edit.move(entry_of(small), before.ids[9], 25, 0)
    for _ in range(2):
        report = run(qpbridge, small)
        assert report["deleted"] == 0
        assert ids_of(small) == {bytes(i) for i in before.ids}


def test_what_was_deleted_outside_of_a_change_stays_deleted(qpbridge, small):
    nuclei = nuclei_of(small)
    x = nuclei.shapes.centroids()[:, 0]
    left, right = int(np.argmin(x)), int(np.argmax(x))
    gone = delete(small, [left, right])
    reshape(small, shapely.box(WHOLE[0], WHOLE[1], x[right] - 12, WHOLE[3]))
    assert run(qpbridge, small)["deleted"] == 1
    reshape(small, shapely.box(*WHOLE))
    assert run(qpbridge, small)["deleted"] == 1  # the bit that is new was never reviewed
    there = ids_of(small)
    assert bytes(gone.ids[0]) not in there
    assert bytes(gone.ids[1]) in there


def test_a_region_drawn_anew_is_a_new_region(qpbridge, small):
    before = len(ids_of(small))
    entry = entry_of(small)
    entry.apply(Edit(remove=entry.read().objects.ids))  # with all that is in it, as QuPath offers
    annotate(small, (shapely.box(*WHOLE), "Tumor", "again"))
    report = run(qpbridge, small)
    assert (report["deleted"], report["found"]) == (0, before)


def test_a_region_that_never_got_what_was_found_has_nothing_deleted(qpbridge, small):
    """QuPath's script leaves out what was found in a region that was enlarged meanwhile."""
    before = len(ids_of(small))
    entry = entry_of(small)
    objects = entry.read().objects
    region = objects.ids[next(iter(objects.names))].tobytes()
    unknown = AnnotationUpdate({"qpbridge nuclei": None})
    entry.apply(Edit(remove=nuclei_of(small).ids, update={region: unknown}))
    report = run(qpbridge, small)
    assert (report["deleted"], report["found"]) == (0, before)


def test_an_inner_region_deleted_later_does_not_bring_them_back(qpbridge, small):
    annotate(small, (shapely.box(20, 20, 180, 180), "Stroma", "inner"))
    run(qpbridge, small)
    inner = objects_of(small)
    row = next(r for r, n in inner.names.items() if n == "inner")
    gone = inner.ids[inner.parent == row][:2]
    assert len(gone) == 2
    entry_of(small).apply(Edit(remove=np.concatenate([gone, inner.ids[[row]]])))
    assert run(qpbridge, small)["deleted"] == 2
    assert not {bytes(i) for i in gone} & ids_of(small)


def test_without_annotations_the_whole_image_is_the_region(qpbridge, small):
    run(qpbridge, small, "--whole-image")
    gone = delete(small, [2, 4])
    report = run(qpbridge, small, "--whole-image")
    assert report["deleted"] == 2
    assert not {bytes(i) for i in gone.ids} & ids_of(small)
    assert run(qpbridge, small, "--selected", "a")["deleted"] == 2


def test_a_run_in_another_region_forgets_nothing(qpbridge, small):
    gone = delete(small, [3, 7])
    annotate(small, (shapely.box(100, 60, 200, 120), None, "b"))
    first = run(qpbridge, small, "--selected", "b")
    assert first["deleted"] <= 2
    assert run(qpbridge, small, "--selected", "a")["deleted"] == 2
    assert not {bytes(i) for i in gone.ids} & ids_of(small)


@pytest.mark.parametrize("damage", ["gone", "cut", "garbage", "link", "folder", "bits"])
def test_a_broken_memory_is_a_warning_and_no_failure(qpbridge, small, tmp_path, damage, caplog):
    before = ids_of(small)
    gone = delete(small, [3])
    (note,) = (small.parent / "data/1").glob("*.note")
    data = note.read_bytes()
    outside = tmp_path / "outside.txt"
    outside.write_bytes(data)
    note.unlink()
    if damage == "cut":
        note.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        note.write_bytes(b"\x00" * 100)
    elif damage == "bits":
        note.write_bytes(data[:-20] + bytes(20))
    elif damage == "link":
        note.symlink_to(outside)
    elif damage == "folder":
        note.mkdir()
    report = run(qpbridge, small)
    assert (report["status"], report["deleted"], ids_of(small)) == ("written", 0, before)
    assert len(gone)
    assert outside.read_bytes() == data
    if damage != "gone":
        assert "not known" in caplog.text or "damaged" in caplog.text


def test_the_memory_is_small_and_lies_beside_the_data(qpbridge, small):
    folder = small.parent / "data/1"
    for _ in range(8):
        run(qpbridge, small)
    notes = sorted(folder.glob("*.note"))
    assert len(notes) == 6
    assert len(list(folder.glob("*.before"))) == 5
    assert notes[-1].stat().st_size < 0.2 * (folder / "data.qpdata").stat().st_size + 1000
    assert made_by_us(objects_of(small).ids).sum() == len(ids_of(small))


def test_what_is_deleted_goes_with_a_copy_of_the_project(qpbridge, small, tmp_path):
    delete(small, [3, 4])
    copy = shutil.copytree(small.parent, tmp_path / "copy") / small.name
    assert run(qpbridge, copy)["deleted"] == 2
