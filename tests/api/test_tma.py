"""Tissue microarrays: cores that are not missing are regions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from cli_helpers import annotations
from slide_factory import make_slide

import qpbridge
from qpbridge.errors import RequestError, SelectionError
from qpbridge.evaluation.reviewed import load_reviewed
from qpbridge.hierarchy.provenance import made_by_us
from qpbridge.hierarchy.regions import Selection, select_regions
from qpbridge.objects import ObjectKind, ObjectTable
from qpbridge.project import paquo_backend

MPP = 0.25
PRESENT = ["A-1", "A-2", "A-3", "B-1", "B-2"]


class StandIn:
    """A QuPath that writes what it reads."""

    minor, version, exceptions = (0, 6), "0.6.0", (ValueError,)

    def rewrite(self, data: bytes, classes: object) -> bytes:
        return data


def copy_of(shared: Path, version: str, folder: Path) -> Path:
    """Copy the project that QuPath wrote, with a picture that is full of nuclei."""
    shutil.copytree(shared / "qupath" / "golden" / version / "tma" / "project", folder / "p")
    (folder / "images").mkdir()
    make_slide(folder / "images" / "he_a.png", width=1024, height=768, radius=14, spacing=90)
    return folder / "p" / "project.qpproj"


def opened(path: Path, backend: str = "embedded") -> qpbridge.Project:
    places = qpbridge.Places(search=(path.parent.parent / "images",))
    return qpbridge.open_project(path, backend=backend, places=places)


@pytest.fixture(scope="module")
def segmented(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = copy_of(shared, "v0.6.0", tmp_path_factory.mktemp("tma"))
    qpbridge.segment(opened(path), tma=True, mpp=MPP, device="cpu")
    return path


@pytest.fixture
def project(segmented: Path, tmp_path: Path) -> qpbridge.Project:
    shutil.copytree(segmented.parent.parent, tmp_path / "tma")
    return opened(tmp_path / "tma" / "p" / "project.qpproj")


def drop_annotations(project: qpbridge.Project) -> None:
    objects = project[0].read().objects
    project[0].apply(qpbridge.Edit(remove=objects.ids[objects.kind == ObjectKind.ANNOTATION]))


def cores_above(objects: ObjectTable) -> list[str]:
    """Names of the cores that objects of qpbridge's lie below."""
    rows = np.flatnonzero(made_by_us(objects.ids))
    return [objects.names[row] for row in objects.parent[rows].tolist()]


def assert_in_present_cores(objects: ObjectTable) -> None:
    rows = np.flatnonzero(made_by_us(objects.ids))
    above = objects.parent[rows]
    assert set(objects.kind[above]) == {ObjectKind.TMA_CORE}
    assert {objects.names[row] for row in above.tolist()} == set(PRESENT)
    points = shapely.points(objects.shapes.take(rows).centroids())
    assert shapely.intersects(objects.geometries[above], points).all()


@pytest.mark.parametrize(
    ("version", "backend"), [("v0.3.2", "embedded"), ("v0.5.1", "embedded"), ("v0.6.0", "paquo")]
)
def test_objects_go_below_cores_and_all_else_stays(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, backend: str
) -> None:
    monkeypatch.setattr(paquo_backend, "start_qupath", StandIn)
    path = copy_of(shared, version, tmp_path)
    before = opened(path)[0].read()
    (report,) = qpbridge.segment(opened(path, backend), tma=True, mpp=MPP, device="cpu")
    assert [region.name for region in report.regions] == PRESENT
    after = opened(path)[0].read()
    assert_in_present_cores(after.objects)
    old = np.flatnonzero(~made_by_us(after.objects.ids))
    assert len(after.objects) == len(old) + report.found > 20
    theirs = after.objects.take(old)
    for name in ("kind", "parent", "plane", "locked", "class_index"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(before.objects, name), name)
    np.testing.assert_array_equal(theirs.shapes.coords, before.objects.shapes.coords)
    np.testing.assert_array_equal(theirs.measured["Score"], before.objects.measured["Score"])
    assert (theirs.names, theirs.missing) == (before.objects.names, before.objects.missing)
    if version != "v0.3.2":  # which stores no ids
        np.testing.assert_array_equal(theirs.ids, before.objects.ids)
    assert after.tma_grid is not None and before.tma_grid is not None
    np.testing.assert_array_equal(
        [after.objects.names[row] for row in after.tma_grid.cores.ravel().tolist()],
        [before.objects.names[row] for row in before.tma_grid.cores.ravel().tolist()],
    )
    (first,) = (row for row, name in after.objects.names.items() if name == "A-1")
    assert after.objects.metadata[first]["Case ID"] == "case 00"
    assert after.objects.metadata[first]["qpbridge nuclei"].startswith("nuclei_he")
    counts = after.objects.measured["Nuclei: Count"][first]
    assert counts == report.regions[0].measurements["Nuclei: Count"] > 2


def test_a_second_run_replaces_and_removal_is_whole(project: qpbridge.Project) -> None:
    before = project[0].read().objects
    (report,) = qpbridge.segment(project, tma=True, mpp=MPP, device="cpu")
    assert report.replaced == report.found == made_by_us(before.ids).sum()
    (removed,) = qpbridge.remove(project)
    assert removed.removed == {"nuclei": report.found}
    after = project[0].read().objects
    assert len(after) == len(before) - report.found
    assert not any("qpbridge nuclei" in m for m in after.metadata.values())
    assert np.isnan(after.measurements[:, 1:]).all()  # the first is not qpbridge's


def test_what_the_regions_are(project: qpbridge.Project) -> None:
    objects = project[0].read().objects

    def regions(**selection: Any) -> list[str]:
        return [r.label for r in select_regions(objects, Selection(**selection), 1024, 768)]

    assert regions() == [f"A-{i + 1} - in core {i}" for i in range(3)]
    assert regions(tma=True) == PRESENT
    assert regions(selected="A-2") == ["A-2"]
    assert regions(selected=["in core 0", "B-1"]) == ["A-1 - in core 0", "B-1"]
    assert regions(tma=True, selected=["A-3", "in core 0"]) == ["A-3"]
    with pytest.raises(SelectionError, match="'B-3' is marked as missing"):
        regions(selected="B-3")
    with pytest.raises(SelectionError, match=r"there are: .*'B-2'"):
        regions(selected="C-1")
    with pytest.raises(SelectionError, match="no TMA cores of class 'Tumor'"):
        regions(tma=True, within="Tumor")
    with pytest.raises(RequestError, match="`tma` works in TMA cores"):
        regions(tma=True, whole_image=True)
    objects = objects.take(objects.kind != ObjectKind.ANNOTATION)
    assert regions() == PRESENT
    objects = objects.replace(missing=frozenset(range(len(objects))))
    with pytest.raises(SelectionError, match="all TMA cores are marked as missing"):
        regions(tma=True)
    with pytest.raises(SelectionError, match="no annotations"):
        regions()


def test_by_default_cores_are_searched_where_nothing_is_drawn(project: qpbridge.Project) -> None:
    qpbridge.remove(project)
    drop_annotations(project)
    qpbridge.segment(project, mpp=MPP, device="cpu", selected=["A-1", "B-2"])
    assert set(cores_above(project[0].read().objects)) == {"A-1", "B-2"}
    qpbridge.segment(project, mpp=MPP, device="cpu")
    assert_in_present_cores(project[0].read().objects)


def test_who_draws_meanwhile_loses_nothing(
    project: qpbridge.Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_annotations(project)
    apply, drawn = type(project[0]).apply, annotations((shapely.box(90, 90, 200, 200), None, "new"))

    def draw_first(entry: object, edit: qpbridge.Edit, state: object = None) -> None:
        monkeypatch.undo()
        project[0].apply(qpbridge.Edit(add=drawn))
        apply(entry, edit, state)

    monkeypatch.setattr(type(project[0]), "apply", draw_first)
    (report,) = qpbridge.segment(project, mpp=MPP, device="cpu", restart=True)
    assert report.status == "written", report.message
    objects = project[0].read().objects
    assert "new" in objects.names.values()
    assert_in_present_cores(objects)


def test_missing_cores_are_cut_out_of_the_image(project: qpbridge.Project) -> None:
    objects = project[0].read().objects
    (region,) = select_regions(objects, Selection(whole_image=True), 1024, 768)
    assert region.geometry.area == pytest.approx(1024 * 768 - np.pi * 125**2, rel=1e-3)


def test_measure_sums_up_on_cores(project: qpbridge.Project) -> None:
    before = project[0].read().objects.measured["Nuclei: Count"]
    (report,) = qpbridge.measure(project, tma=True, mpp=MPP, morphometry=True)
    assert [region.name for region in report.regions] == PRESENT
    after = project[0].read().objects
    np.testing.assert_array_equal(after.measured["Nuclei: Count"], before)
    p90 = after.measured["Nuclei: Circularity p90"]
    assert (np.isfinite(p90) == np.isfinite(before)).all()


def test_glands_that_were_drawn_in_cores_are_no_regions(project: qpbridge.Project) -> None:
    drop_annotations(project)
    project[0].apply(qpbridge.Edit(add=annotations((shapely.box(90, 90, 200, 200), "Gland", None))))
    (report,) = qpbridge.measure(project, mpp=MPP)
    assert [region.name for region in report.regions] == PRESENT
    assert report.counts["glands"] == 1


def test_a_row_for_each_core(project: qpbridge.Project, tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    qpbridge.export_table(project, file, rows="regions")
    pandas = pytest.importorskip("pandas")
    rows = pandas.read_csv(file)
    cores = rows[rows["Object type"] == "TMA core"].set_index("Name")
    assert list(cores.index) == [*PRESENT, "B-3"]
    assert cores["Missing core"].tolist() == [False] * 5 + [True]
    assert (cores["Nuclei: Count"] == cores["Num Detections"])[PRESENT].all()
    assert cores["Num Detections"]["B-3"] == 0
    assert cores["Case ID"]["A-1"] == "case 00"
    qpbridge.export_table(project, tmp_path / "i.csv", rows="images")
    (image,) = pandas.read_csv(tmp_path / "i.csv").to_dict("records")
    assert image["Nuclei: Count"] == cores["Nuclei: Count"].sum()
    assert image["Num regions"] == 3 + 5


def test_info_tells_of_cores(project: qpbridge.Project) -> None:
    (report,) = qpbridge.info(project).images
    assert report.info is not None
    cores = report.info["cores"]
    assert [(c["name"], c["row"], c["column"]) for c in cores][3:5] == [
        ("B-1", 1, 0),
        ("B-2", 1, 1),
    ]
    assert [c["missing"] for c in cores] == [False] * 5 + [True]
    assert cores[0]["children"] == cores[0]["measurements"]["Nuclei: Count"] + 1  # and a drawn one
    assert "6 TMA cores" in str(report)


def test_tissue_of_cores_goes_below_them(project: qpbridge.Project) -> None:
    for status in ("written", "read"):
        (report,) = qpbridge.annotate(project)
        assert (report.status, report.annotations) == (status, 5)
    objects = project[0].read().objects
    tissue = [row for row, name in objects.names.items() if name == "Tissue"]
    assert [objects.names[row] for row in objects.parent[tissue].tolist()] == PRESENT
    assert shapely.covers(
        shapely.buffer(objects.geometries[objects.parent[tissue]], 0.1), objects.geometries[tissue]
    ).all()


def test_quality_tells_of_cores(project: qpbridge.Project) -> None:
    drop_annotations(project)
    (report,) = qpbridge.quality(project, mpp=MPP)
    assert [region.name for region in report.regions] == PRESENT
    qpbridge.quality(project, mpp=MPP, annotate=True)
    (report,) = qpbridge.segment(project, mpp=MPP, device="cpu", dry_run=True)
    assert [region.name for region in report.regions] == PRESENT


def test_cores_are_reviewed_regions(project: qpbridge.Project) -> None:
    """What a person drew in a core is compared with what was found in that core alone."""
    drop_annotations(project)
    objects = project[0].read().objects
    rows = np.flatnonzero(made_by_us(objects.ids)).tolist()
    inside = [row for row in rows if objects.names[int(objects.parent[row])] == "A-2"]
    drawn = annotations(*((objects.geometries[row], "Truth", None) for row in inside))
    project[0].apply(qpbridge.Edit(add=drawn))
    (region,) = load_reviewed(project, "Truth", "nuclei", mpp=0.5, nominal_mpp=MPP)
    assert region.sample.name == "he_a.png: A-2"
    assert region.found.max() == region.sample.labels.max() == len(inside)


def test_what_was_deleted_in_a_core_stays_deleted_and_a_run_is_taken_back(
    project: qpbridge.Project,
) -> None:
    file = project.path.parent / "data" / project[0].id / "data.qpdata"
    objects = project[0].read().objects
    ours = objects.ids[made_by_us(objects.ids)]
    qpbridge.edit.delete(project[0], ours[:3])
    before = file.read_bytes()
    (report,) = qpbridge.segment(project, images=project[0].id, tma=True, mpp=MPP, device="cpu")
    assert (report.deleted, report.found) == (3, len(ours) - 3)
    assert qpbridge.undo(project)[0].runs[0].exact
    assert file.read_bytes() == before


@pytest.mark.parametrize("drawn", [False, True])
def test_a_locked_core_is_reviewed(project: qpbridge.Project, drawn: bool) -> None:
    if not drawn:
        drop_annotations(project)
    objects = project[0].read().objects
    (core,) = (row for row, name in objects.names.items() if name == "B-1")
    qpbridge.edit.lock(project[0], objects.ids[core])
    (region,) = load_reviewed(project, "Nucleus", "nuclei", mpp=0.5, nominal_mpp=MPP)
    assert region.sample.name == "he_a.png: B-1"
