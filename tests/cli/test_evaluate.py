"""``qpbridge evaluate``: on folders, and on a project with what a person drew."""

import json
import shutil

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, annotations, nuclei_of, objects_of
from PIL import Image
from slide_factory import make_slide

from qpbridge import (
    Edit,
    ObjectKind,
    ObjectTable,
    PathClass,
    Shapes,
    edit,
    evaluate,
    open_project,
)
from qpbridge.errors import SelectionError
from qpbridge.evaluation import reviewed
from qpbridge.measurements.raster import rasterize

KEYS = {
    "aji", "aji_plus", "pq", "dq", "sq", "f1", "dice", "jaccard", "object_f1", "object_dice",
    "object_hausdorff", "abd", "ari", "sensitivity", "specificity", "accuracy", "auc", "missed",
    "false", "merged", "split",
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory, truth):
    """Two parts of the generated slide, with its nuclei as labels."""
    root = tmp_path_factory.mktemp("labelled")
    labels = rasterize(Shapes.from_geometries(truth.nuclei), truth.pixels.shape[:2])
    for part in ("images", "labels"):
        (root / part).mkdir()
    for name, window in (("a", np.s_[:300, :300]), ("b", np.s_[300:600, 200:500])):
        Image.fromarray(truth.pixels[window]).save(root / "images" / f"{name}.png")
        drawn = Image.fromarray(labels[window].astype(np.uint16))
        drawn.save(root / "labels" / f"{name}.{'png' if name == 'a' else 'tif'}")
    return "--images", root / "images", "--labels", root / "labels"


def test_a_model_is_scored_on_folders(qpbridge, folders):
    printed = qpbridge.json("evaluate", "--target", "nuclei", *folders, "--mpp", "0.5")
    assert set(printed) == {"images", "mean"}
    assert [image["name"] for image in printed["images"]] == ["a", "b"]
    assert set(printed["mean"]) >= KEYS and set(printed["images"][0]) >= KEYS | {"name"}
    assert printed["mean"]["aji"] > 0.7 and printed["mean"]["auc"] > 0.98
    mean = np.mean([image["dice"] for image in printed["images"]])
    assert printed["mean"]["dice"] == pytest.approx(mean)
    text = qpbridge("evaluate", "--target", "nuclei", *folders)
    assert "mean" in text and "aggregated Jaccard index" in text


def test_images_are_taken_at_the_models_own_resolution(qpbridge, folders):
    own = qpbridge.json("evaluate", "--target", "nuclei", *folders)
    said = qpbridge.json("evaluate", "--target", "nuclei", *folders, "--mpp", "0.5")
    other = qpbridge.json("evaluate", "--target", "nuclei", *folders, "--mpp", "0.25")
    assert own == said and own["mean"]["aji"] != other["mean"]["aji"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Give either --images and --labels, or a project"),
        (("--images", "{images}"), 2, "--images needs --labels"),
        (("p.qpproj",), 2, "needs --truth"),
        (("p.qpproj", "--images", "{images}", "--labels", "{labels}"), 2, "either"),
        (("--images", "{images}", "--labels", "{images}"), 1, "3 channels"),
        (("--images", "{images}", "--labels", "{empty}"), 1, "labels of a.png are missing"),
        (("--images", "{empty}", "--labels", "{labels}"), 1, "no image"),
        (("--images", "{images}", "--labels", "{labels}", "--model", "nobody"), 1, "no model"),
    ],
)
def test_wrong_usage_is_named(qpbridge, folders, tmp_path, arguments, code, message):
    places = {"images": folders[1], "labels": folders[3], "empty": tmp_path}
    filled = [a.format(**places) for a in arguments]
    qpbridge("evaluate", "--target", "nuclei", *filled, code=code)
    assert message in qpbridge.result.output


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (Image.new("L", (300, 299)), "do not fit"),
        (Image.new("LA", (300, 300)), "2 channels"),
        (Image.new("F", (300, 300), 0.5), "not whole"),
        (Image.new("I", (300, 300), -1), "not whole"),
        (b"II*\0nothing", "can't be read"),
    ],
)
def test_labels_that_are_none_are_refused(qpbridge, folders, tmp_path, labels, message):
    for name in ("a", "b"):
        if isinstance(labels, bytes):
            (tmp_path / f"{name}.tif").write_bytes(labels)
        else:
            labels.save(tmp_path / f"{name}.tif")
    given = ("--images", folders[1], "--labels", tmp_path)
    qpbridge("evaluate", "--target", "nuclei", *given, code=1)
    assert message in qpbridge.stderr and "a.tif" in qpbridge.stderr


def test_a_model_of_another_target_is_refused(qpbridge, folders):
    qpbridge("evaluate", "--target", "glands", *folders, "--model", "nuclei_he", code=1)
    assert "finds nuclei, not glands" in qpbridge.result.output


PEN = shapely.box(0, 0, 120, 160)  # the Ignore* annotation of the project
TARGET = ("--target", "nuclei", "--truth", "True nucleus")


def draw_truth(project, truth):
    """Let a person draw all nuclei that lie in the region "left"."""
    table = objects_of(project)
    left = next(row for row, name in table.names.items() if name == "left")
    region = table.geometries[left]
    inside = [n for n in truth.nuclei if region.difference(PEN).contains(n)]
    drawn = ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries(inside),
        path_class=PathClass(("True nucleus",)),
    )
    below = np.repeat(table.ids[[left]], len(inside), axis=0)
    open_project(project).images[0].apply(Edit(add=drawn, add_below=below))
    return len(inside)


def test_what_is_in_a_project_is_scored_where_a_person_drew(qpbridge, project, truth):
    count = draw_truth(project, truth)
    before = qpbridge.json("evaluate", project, *TARGET)["images"]
    assert len(before) == 1 and before[0]["missed"] == before[0]["truth_count"] == count
    qpbridge("segment", project)
    after = qpbridge.json("evaluate", project, *TARGET)
    assert [image["name"] for image in after["images"]] == ["généré 1.svs: left"]
    mean = after["mean"]
    assert mean["f1"] > 0.9 and mean["aji"] > 0.7 and "auc" not in mean
    assert mean["predicted_count"] < len(nuclei_of(project))
    fresh = qpbridge.json("evaluate", project, *TARGET, "--model", "nuclei_he")["mean"]
    assert fresh["aji"] == pytest.approx(mean["aji"], abs=0.05) and fresh["auc"] > 0.95
    qpbridge("evaluate", project, "--target", "nuclei", "--truth", "nobody", code=1)
    assert "no object of class 'nobody'" in qpbridge.result.output


def draw_below_root(project, geometries):
    drawn = annotations(*((geometry, "True nucleus", None) for geometry in geometries))
    open_project(project).images[0].apply(Edit(add=drawn))


def test_what_is_drawn_below_no_annotation_belongs_to_the_one_around_it(qpbridge, project, truth):
    left = shapely.box(40, 50, 360, 650).difference(PEN)
    inside = [n for n in truth.nuclei if left.contains(n)]
    draw_below_root(project, inside)
    (image,) = qpbridge.json("evaluate", project, *TARGET)["images"]
    assert image["name"].endswith(": left") and image["truth_count"] == len(inside)


def test_where_there_is_no_annotation_the_whole_image_counts_but_what_is_ignored(
    qpbridge, truth, tmp_path
):
    project = tmp_path / "project.qpproj"
    qpbridge("create", project, truth.path)
    annotate(project, (PEN, "Ignore*", "pen"))
    inside = [n for n in truth.nuclei if PEN.contains(n)]
    outside = [n for n in truth.nuclei if not PEN.intersects(n)]
    draw_below_root(project, inside[:2] + outside[:5])
    (image,) = qpbridge.json("evaluate", project, *TARGET)["images"]
    assert image["name"].endswith(": whole image") and image["truth_count"] == 5
    pixels = 900 * 700 - PEN.area
    missed = sum(rasterize(Shapes.from_geometries(outside[:5]), (700, 900)).ravel() > 0)
    assert image["accuracy"] == pytest.approx(1 - missed / pixels)


def test_areas_of_the_same_name_are_told_apart(qpbridge, truth, tmp_path):
    project = tmp_path / "project.qpproj"
    qpbridge("create", project, truth.path)
    halves = shapely.box(0, 0, 450, 700), shapely.box(450, 0, 900, 700)
    annotate(project, *((half, "Tumor", None) for half in halves))
    draw_below_root(project, [next(n for n in truth.nuclei if h.contains(n)) for h in halves])
    printed = qpbridge.json("evaluate", project, *TARGET)["images"]
    assert [image["name"].split(": ")[1] for image in printed] == ["Tumor", "Tumor 2"]
    assert [image["truth_count"] for image in printed] == [1, 1]


def test_an_area_that_is_too_large_names_the_cure(qpbridge, project, truth, monkeypatch):
    draw_truth(project, truth)
    monkeypatch.setattr(reviewed, "MAX_PIXELS", 100_000)
    qpbridge("evaluate", project, *TARGET, code=1)
    assert (
        "320 x 600 pixels" in qpbridge.stderr and "larger --mpp (from 0.69 on)" in qpbridge.stderr
    )
    qpbridge("evaluate", project, *TARGET, "--mpp", "0.7")


def test_a_pixel_size_that_is_not_known_is_asked_for(qpbridge, tmp_path):
    slide = make_slide(tmp_path / "plain.tif", width=300, height=200, mpp=None)
    project = tmp_path / "project.qpproj"
    qpbridge("create", project, slide.path)
    draw_below_root(project, [shapely.box(10, 10, 30, 30)])
    qpbridge("evaluate", project, *TARGET, code=1)
    assert "pixel size is unknown; set it in QuPath" in qpbridge.stderr


def test_an_image_that_fails_is_listed_and_the_others_are_scored(qpbridge, truth, tmp_path):
    project = tmp_path / "project.qpproj"
    copies = [tmp_path / name for name in ("a.svs", "b.svs", "c.svs")]
    for copy in copies:
        copy.write_bytes(truth.path.read_bytes())
    qpbridge("create", project, *copies)
    for entry in open_project(project).images:
        inside = [n for n in truth.nuclei if shapely.box(0, 0, 200, 200).contains(n)]
        area = annotations((shapely.box(0, 0, 200, 200), "Tumor", None))
        drawn = annotations(*((nucleus, "True nucleus", None) for nucleus in inside))
        entry.apply(Edit(add=area))
        entry.apply(Edit(add=drawn))
    copies[1].write_bytes(b"no picture")
    printed = qpbridge.json("evaluate", project, *TARGET, code=3)
    assert [i["name"] for i in printed["images"]] == ["a.svs: Tumor", "c.svs: Tumor"]
    assert list(printed["failed"]) == ["b.svs"]
    assert "1 of 3 images failed:" in qpbridge.stderr and "b.svs: " in qpbridge.stderr
    found = evaluate(project, target="nuclei", truth="True nucleus")
    assert [report.image for report in found.failed] == ["b.svs"]
    assert found.failed[0].message == printed["failed"]["b.svs"]
    assert "1 failed" in repr(found) and "b.svs" in found._repr_html_()
    copies[0].write_bytes(b"no picture"), copies[2].write_bytes(b"no picture")
    assert qpbridge.json("evaluate", project, *TARGET, code=3)["images"] == []
    assert "3 of 3 images failed:" in qpbridge.stderr


def test_objects_that_were_corrected_count_as_found(qpbridge, project, truth):
    draw_truth(project, truth)
    qpbridge("segment", project)
    table = objects_of(project)
    ours = np.flatnonzero(table.kind == ObjectKind.DETECTION)
    entry = open_project(project).images[0]
    before = qpbridge.json("evaluate", project, *TARGET)["mean"]
    mine = table.take(ours)
    first = next(r for r in range(len(mine)) if str(mine.path_class(r)) == "Nucleus")
    moved = mine.take([first])
    shifted = shapely.affinity.translate(moved.geometries[0], 0.5, 0)
    corrected = moved.replace(shapes=Shapes.from_geometries([shifted]), parent=np.array([-1]))
    parent = table.ids[table.parent[ours[first]]][None]
    entry.apply(Edit(remove=moved.ids))
    entry.apply(Edit(add=corrected, add_below=parent))
    after = qpbridge.json("evaluate", project, *TARGET)["mean"]
    assert after["predicted_count"] == before["predicted_count"]


def test_a_model_learns_from_what_was_corrected_in_a_project(qpbridge, project, truth, tmp_path):
    qpbridge("segment", project)
    correct_one_in_each(project)
    draw = ("--data", project, "--init", "nuclei_he", "--steps", 2, "--batch-size", 1)
    output = tmp_path / "mine"
    printed = qpbridge.json("train", "--target", "nuclei", *draw, "-o", output)
    assert printed["bundle"] == str(output)
    shown = qpbridge.json("models", "show", output)["qpbridge"]
    assert shown["data"]["train"][0]["truth"] == "Nucleus"
    assert shown["training"]["images"] == 2  # the regions that hold nuclei
    qpbridge("train", "--target", "glands", "--data", project, "--steps", 2, "-o", output, code=1)
    assert "no object of class 'Gland'" in qpbridge.result.output


def correct_one_in_each(project):
    """Move a nucleus a little in each region, as a person would."""
    table = objects_of(project)
    ours = np.flatnonzero(table.kind == ObjectKind.DETECTION)
    _, first = np.unique(table.parent[ours], return_index=True)
    assert edit.move(open_project(project).images[0], table.ids[ours[first]], 0.5, 0.0) == 2


def mark(project, *names, how="lock"):
    """Say of regions that they are reviewed."""
    table, entry = objects_of(project), open_project(project).images[0]
    rows = [row for row, name in table.names.items() if name in names]
    if how == "lock":
        edit.lock(entry, table.ids[rows])
        return
    noted = table.take(np.array(rows)).replace(
        metadata={i: {"qpbridge reviewed": how} for i in range(len(rows))}
    )
    entry.apply(Edit(remove=noted.ids))
    entry.apply(Edit(add=noted.replace(parent=np.full(len(rows), -1))))


def reviewed_of(project, truth_class="Nucleus"):
    regions = reviewed.load_reviewed(open_project(project), truth_class, "nuclei", mpp=0.5)
    return {region.sample.name.split(": ")[1]: region for region in regions}


@pytest.mark.parametrize("how", ["lock", "yes", "2026-11-28"])
def test_a_region_counts_as_reviewed_when_a_person_says_so(qpbridge, project, how):
    qpbridge("segment", project)
    with pytest.raises(SelectionError, match="lock in QuPath"):
        reviewed_of(project)
    mark(project, "ring", how=how)
    regions = reviewed_of(project)
    assert set(regions) == {"ring"}
    labels, found = regions["ring"].sample.labels, regions["ring"].found
    assert labels.max() > 10 and ((labels > 0) == (found > 0)).all()  # all that was accepted
    printed = qpbridge.json("evaluate", project, "--target", "nuclei", "--truth", "Nucleus")
    assert [image["name"] for image in printed["images"]] == ["généré 1.svs: ring"]


def test_not_reviewed_can_be_said_too(qpbridge, project):
    qpbridge("segment", project)
    correct_one_in_each(project)
    mark(project, "ring", how="no")
    assert set(reviewed_of(project)) == {"left", "ring"}


def test_a_region_from_which_everything_was_deleted_teaches_that_nothing_is_there(
    qpbridge, project, tmp_path
):
    qpbridge("segment", project)
    table, entry = objects_of(project), open_project(project).images[0]
    left = next(row for row, name in table.names.items() if name == "left")
    edit.delete(entry, table.ids[table.parent == left])
    mark(project, "left")
    region = reviewed_of(project)["left"]
    assert not region.sample.labels.any() and region.sample.known.any()
    (image,) = qpbridge.json("evaluate", project, *TARGET[:2], "--truth", "Nucleus")["images"]
    assert image["truth_count"] == image["predicted_count"] == 0
    given = ("--model", "nuclei_he")  # what it finds there is all false
    (image,) = qpbridge.json("evaluate", project, *TARGET[:2], "--truth", "Nucleus", *given)[
        "images"
    ]
    assert image["false"] == image["predicted_count"] > 10
    draw = ("--data", project, "--init", "nuclei_he", "--steps", 2, "--batch-size", 1)
    qpbridge("train", *draw, "-o", tmp_path / "mine")
    assert qpbridge.json("models", "show", tmp_path / "mine")["qpbridge"]["training"]["images"] == 1
    with pytest.raises(SelectionError, match="no object of class 'Nukleus'"):
        reviewed_of(project, "Nukleus")


def test_what_training_gained_is_told(qpbridge, folders, tmp_path):
    """Of one image, four tiles can't tell; of two, eight can."""
    data = tmp_path / "data"
    for part, given in (("images", folders[1]), ("labels", folders[3])):
        shutil.copytree(given, data / part)
    arguments = ("--data", data, "--mpp", 0.5, "--init", "nuclei_he", "--steps", 1, "-o")
    qpbridge("train", *arguments, tmp_path / "mine", "--batch-size", 1)
    printed = qpbridge.result.output
    assert "step 0  0.0 min  score 0." in printed
    assert " before, 0." in printed and "4 tiles can't tell whether that is chance" in printed
    first = qpbridge.json("models", "show", tmp_path / "mine")
    (gain,) = first["qpbridge"]["training"]["init"]["gain"].values()
    assert (gain["of"], gain["count"], gain["interval"]) == ("tiles", 4, None)
    assert "before, 0." in (tmp_path / "mine" / "docs" / "README.md").read_text(encoding="utf-8")
    held = ("--validation", data, "--restart")
    qpbridge("train", *arguments, tmp_path / "mine", "--batch-size", 1, *held)
    assert " over 8 tiles: " in qpbridge.result.output
    versions = (first["version"], qpbridge.json("models", "show", tmp_path / "mine")["version"])
    assert versions == ("0.1.0", "0.2.0")


def test_json_has_null_where_nothing_can_be_measured(qpbridge, tmp_path):
    for part, mode in (("images", "RGB"), ("labels", "L")):
        (tmp_path / part).mkdir()
        Image.new(mode, (64, 64), "white" if mode == "RGB" else 0).save(
            tmp_path / part / "empty.png"
        )
    text = qpbridge(
        "evaluate", "--target", "nuclei", "--images", tmp_path / "images",
        "--labels", tmp_path / "labels", "--json",
    )  # fmt: skip
    assert json.loads(text)["mean"]["aji"] is None
