"""Nuclei grown into cells, classed by a stain, and measured further, in a project."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, annotations, objects_of
from slide_factory import make_slide

from qpbridge import Edit, ObjectKind, ObjectTable, Shapes, open_project
from qpbridge.engine.segmenting import job
from qpbridge.hierarchy.provenance import Origin, origins
from qpbridge.objects import ImageType, RoiKind

SHIFT = np.array([0.5, 0.25])
GROWN = ("--cell-expansion", "5")


@pytest.fixture(scope="session")
def crowd(tmp_path_factory):
    """Nuclei so close that 5 µm don't fit between them."""
    path = tmp_path_factory.mktemp("slides") / "crowd.svs"
    return make_slide(path, width=640, height=480, spacing=26.0)


@pytest.fixture
def crowded(tmp_path, crowd, qpbridge):
    path = tmp_path / "p" / "project.qpproj"
    qpbridge("create", path, crowd.path)
    outline = shapely.Point(440, 240).buffer(180).difference(shapely.Point(440, 240).buffer(45))
    annotate(
        path,
        (Shapes.corners(RoiKind.RECTANGLE, 30, 40, 250, 440), "Tumor", "left"),
        (outline, "Stroma", "ring"),
        (shapely.box(0, 0, 100, 130), "Ignore*", "pen"),
    )
    return path


def of_kind(project, kind) -> ObjectTable:
    table = objects_of(project)
    return table.take(table.kind == kind)


def cells_of(project) -> ObjectTable:
    return of_kind(project, ObjectKind.CELL)


def in_order(table: ObjectTable) -> ObjectTable:
    return table.take(np.argsort(table.ids.view("V16").ravel()))


def test_nuclei_become_cells_that_contain_them_and_do_not_overlap(qpbridge, crowded):
    qpbridge("segment", crowded)
    nuclei = of_kind(crowded, ObjectKind.DETECTION)
    report = qpbridge.json("segment", crowded, *GROWN)["images"][0]
    assert report["replaced"] == report["found"] == len(nuclei) > 150
    assert not len(of_kind(crowded, ObjectKind.DETECTION))
    table = objects_of(crowded)
    chosen = np.flatnonzero(table.kind == ObjectKind.CELL)
    cells = table.take(chosen)
    assert cells.nuclei is not None
    inner, outer = cells.nuclei.geometries, cells.geometries
    assert {g.wkb for g in inner} == {g.wkb for g in nuclei.geometries}
    assert shapely.is_valid(outer).all()
    assert shapely.covers(outer, inner).all()
    assert (cells.shapes.roi == RoiKind.POLYGON).all()
    # 5 µm are 10 pixels; kept to within 3 %, and rounding
    assert shapely.covers(shapely.buffer(inner, 10.35, quad_segs=16), outer).all()

    first, second = shapely.STRtree(outer).query(outer, predicate="intersects")
    pair = first < second
    shared = shapely.area(shapely.intersection(outer[first[pair]], outer[second[pair]]))
    own = shapely.area(shapely.intersection(inner[first[pair]], inner[second[pair]]))
    assert pair.sum() > 200
    assert (shared - own).max() < 0.5
    assert np.median(shapely.area(outer) / shapely.area(inner)) > 2

    regions = {n: table.geometries[row] for row, n in table.names.items()}
    for row, n in table.names.items():
        mine = table.parent[chosen] == row
        allowed = regions[n].difference(regions["pen"]).buffer(0.05)
        allowed = shapely.union(allowed, shapely.buffer(inner[mine], 0.05))
        assert shapely.covers(allowed, outer[mine]).all(), n
    assert (origins(cells, "nuclei") == Origin.OURS).all()
    assert {str(c) for c in cells.classes} >= {"Nucleus"}


def test_every_cell_is_measured_and_the_annotation_tells_of_nuclei(qpbridge, crowded):
    qpbridge("segment", crowded)
    plain = objects_of(crowded)
    qpbridge("segment", crowded, *GROWN)
    table = objects_of(crowded)
    cells = cells_of(crowded)
    for name in (
        "Detection probability",
        "Nucleus: Area µm^2",
        "Cell: Area µm^2",
        "Nucleus/Cell area ratio",
        "Nucleus: Hematoxylin: Mean",
        "Cytoplasm: Eosin: Median",
        "Membrane: Hematoxylin: Std.Dev.",
        "Cell: Eosin: Variance",
    ):
        assert np.isfinite(cells.measurement(name)).mean() > 0.98, name
    assert "Area µm^2" not in cells.measurement_names
    area = shapely.area(cells.geometries) / 4
    np.testing.assert_allclose(cells.measurement("Cell: Area µm^2"), area, rtol=1e-5)
    inner, outer = (cells.measurement(f"{p}: Area µm^2") for p in ("Nucleus", "Cell"))
    np.testing.assert_allclose(
        cells.measurement("Nucleus/Cell area ratio"), inner / outer, rtol=1e-5
    )
    stained = [cells.measurement(f"{p}: Hematoxylin: Mean") for p in ("Nucleus", "Cytoplasm")]
    assert np.nanmedian(stained[0]) > 3 * np.nanmedian(stained[1])
    for name in ("Count", "Area mean µm^2", "Area CV", "Max diameter p90 µm"):
        before, after = (
            t.measurement(f"Nuclei: {name}")[[r for r, n in t.names.items() if n == "ring"]]
            for t in (plain, table)
        )
        np.testing.assert_allclose(before, after, rtol=1e-5)


def test_cells_do_not_depend_on_tiles(qpbridge, crowded):
    """The outlines are those of one tile for all wherever the nuclei themselves are."""
    qpbridge("segment", crowded, *GROWN)
    whole = in_order(cells_of(crowded))
    report = qpbridge.json("segment", crowded, *GROWN, "--tile", 256)["images"][0]
    assert report["tiles"] > 4
    tiled = in_order(cells_of(crowded))
    assert len(whole) == len(tiled)
    assert whole.nuclei is not None
    assert tiled.nuclei is not None
    mine, other = shapely.STRtree(whole.nuclei.geometries).query(
        tiled.nuclei.geometries, "intersects"
    )
    apart = shapely.hausdorff_distance(tiled.geometries[mine], whole.geometries[other])
    nearest = np.full(len(tiled), np.inf)
    np.minimum.at(nearest, mine, apart)
    assert (nearest < 0.1).mean() > 0.99
    name = "Cytoplasm: Eosin: Mean"
    values = dict(zip(map(bytes, whole.ids), whole.measurement(name), strict=True))
    same = [
        (values[key], value)
        for key, value in zip(map(bytes, tiled.ids), tiled.measurement(name), strict=True)
        if key in values
    ]
    assert len(same) > 0.5 * len(whole)
    np.testing.assert_allclose(*np.transpose(same), rtol=0.02)


def test_cells_and_nuclei_replace_each_other(qpbridge, crowded):
    qpbridge("segment", crowded, *GROWN)
    first = cells_of(crowded)
    qpbridge("segment", crowded, *GROWN)
    again = cells_of(crowded)
    assert {bytes(i) for i in first.ids} == {bytes(i) for i in again.ids}
    report = qpbridge.json("segment", crowded, "--cell-expansion", 0)["images"][0]
    assert report["replaced"] == report["found"] == len(first)
    assert not len(cells_of(crowded))
    qpbridge("segment", crowded, *GROWN)
    removed = qpbridge.json("remove", crowded)["images"][0]["removed"]
    assert removed == len(first)
    assert not len(cells_of(crowded))


@pytest.mark.parametrize("part", ["cell", "nucleus"])
def test_what_a_person_changed_of_a_cell_stays(qpbridge, crowded, part):
    qpbridge("segment", crowded, *GROWN)
    entry = open_project(crowded).images[0]
    before = entry.read().objects
    some = np.flatnonzero(before.kind == ObjectKind.CELL)
    found = len(some)
    corrected = before.take(some[40:41])
    assert corrected.nuclei is not None
    if part == "cell":
        shapes = replace(corrected.shapes, coords=corrected.shapes.coords + SHIFT)
        corrected = corrected.replace(shapes=shapes)
    else:
        nuclei = replace(corrected.nuclei, coords=corrected.nuclei.coords + SHIFT)
        corrected = corrected.replace(nuclei=nuclei)
    below = before.ids[before.parent[some[40:41]]]
    entry.apply(Edit(remove=corrected.ids, add=corrected, add_below=below))
    assert (origins(cells_of(crowded), "nuclei") == Origin.CHANGED).sum() == 1
    report = qpbridge.json("segment", crowded, *GROWN)["images"][0]
    assert report["kept_changed"] == 1
    after = cells_of(crowded)
    assert len(after) == found
    assert bytes(corrected.ids[0]) in {bytes(i) for i in after.ids}


def test_cells_are_evaluated_by_their_nuclei(qpbridge, crowded):
    qpbridge("segment", crowded)
    nuclei = of_kind(crowded, ObjectKind.DETECTION)
    qpbridge("segment", crowded, *GROWN)
    drawn = annotations(*((g, "by hand", None) for g in nuclei.geometries))
    open_project(crowded).images[0].apply(Edit(add=drawn.replace(kind=nuclei.kind)))
    scores = qpbridge.json("evaluate", crowded, "--target", "nuclei", "--truth", "by hand")
    assert scores["mean"]["aji"] > 0.99


def test_tables_count_cells_as_nuclei(qpbridge, crowded, tmp_path):
    rows = {}
    for options in ((), GROWN):
        qpbridge("segment", crowded, *options)
        out = tmp_path / "t.csv"
        qpbridge("export", crowded, "--format", "csv", "--rows", "images", "-o", out)
        head, line = (text.split(",") for text in out.read_text().splitlines()[:2])
        rows[options] = dict(zip(head, line, strict=True))
        out.unlink()
    names = [name for name in rows[()] if name.startswith("Nuclei: ")]
    assert len(names) == 6
    for name in names:
        assert float(rows[()][name]) == pytest.approx(float(rows[GROWN][name]), rel=1e-5), name


def test_cells_go_through_geojson(qpbridge, crowded, tmp_path):
    qpbridge("segment", crowded, *GROWN)
    cells = in_order(cells_of(crowded))
    file = tmp_path / "cells.geojson"
    qpbridge("export", crowded, "--format", "geojson", "-o", file)
    qpbridge("remove", crowded)
    qpbridge("import", crowded, "--image", "crowd.svs", file)
    again = in_order(cells_of(crowded))
    np.testing.assert_array_equal(cells.ids, again.ids)
    assert (origins(again, "nuclei") == Origin.OURS).all()


def test_a_stopped_run_with_other_options_is_not_gone_on_with(qpbridge, crowded, monkeypatch):
    keys = []
    real = job.run_key
    monkeypatch.setattr(job, "run_key", lambda facts: keys.append(real(facts)) or keys[-1])
    for options in (
        (),
        GROWN,
        ("--cell-expansion", "4"),
        ("--features", "all", "--cell-expansion", "0"),
        (*GROWN, "--features", "basic"),
    ):
        qpbridge("segment", crowded, "--selected", "left", *options)
    assert len(set(keys)) == 4
    assert keys[1] == keys[4]


@pytest.fixture
def stained(tmp_path, truth, qpbridge):
    """A project whose image is one of H-DAB; brown is as good as eosin to the separation."""
    path = tmp_path / "dab" / "project.qpproj"
    qpbridge("create", path, truth.path, "--annotate-full")
    entry = open_project(path).images[0]
    entry.apply(Edit(image_type=ImageType.BRIGHTFIELD_H_DAB))
    return path


@pytest.mark.parametrize("options", [(), GROWN])
def test_positive_and_negative_nuclei(qpbridge, stained, options):
    name = ("Nucleus: " if options else "") + "DAB: Mean"
    kind = ObjectKind.CELL if options else ObjectKind.DETECTION
    qpbridge("segment", stained, *options)
    dab = of_kind(stained, kind).measurement(name)
    low, middle, high = np.round(np.percentile(dab, (25, 50, 75)), 4)
    qpbridge("segment", stained, *options, "--positivity", middle)
    table = of_kind(stained, kind)
    classes = np.array([str(table.path_class(i)) for i in range(len(table))])
    positive = table.measurement(name) >= middle
    assert set(classes[positive]) == {"Nucleus: Positive"}
    assert set(classes[~positive]) == {"Nucleus: Negative"}
    assert abs(positive.mean() - 0.5) < 0.1
    assert (origins(table, "nuclei") == Origin.OURS).all()

    grades = ",".join(map(str, (low, middle, high)))
    report = qpbridge.json("segment", stained, *options, "--positivity", grades)["images"][0]
    assert report["replaced"] == len(table)
    table = of_kind(stained, kind)
    counts = {str(c): int((table.class_index == i).sum()) for i, c in enumerate(table.classes)}
    used = {name: n for name, n in counts.items() if n}
    assert set(used) == {f"Nucleus: {g}" for g in ("Negative", "1+", "2+", "3+")}
    known = {str(c) for c in open_project(stained).classes}
    assert "Nucleus: 2+" in known


def test_an_image_without_the_stain_is_named_with_the_cure(qpbridge, project):
    for options in (("--positivity", "0.2"), ("--positivity", "0.2", "--dry-run")):
        qpbridge("segment", project, *options, code=3)
        assert re.search(r"DAB.*Hematoxylin and Eosin.*H-DAB", qpbridge.stderr.replace("\n", " "))


def test_further_measurements_on_demand(qpbridge, project):
    qpbridge("segment", project, "--features", "all")
    nuclei = of_kind(project, ObjectKind.DETECTION)
    for name in (
        "Eccentricity",
        "Equivalent diameter µm",
        "Compactness",
        "ROI: 0.50 µm per pixel: Hematoxylin: Haralick Contrast (F1)",
        "Chromatin: Entropy",
        "Chromatin: CV",
    ):
        assert np.isfinite(nuclei.measurement(name)).all(), name
    report = qpbridge.json("segment", project)["images"][0]
    assert report["as_before"] == ["features all"]
    assert "Eccentricity" in of_kind(project, ObjectKind.DETECTION).measurement_names
    qpbridge("segment", project, "--features", "basic")
    left = of_kind(project, ObjectKind.DETECTION)
    assert "Eccentricity" not in left.measurement_names


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--target", "glands", *GROWN], 2, "--target nuclei"),
        (["--target", "glands", "--features", "all"], 2, "for nuclei"),
        (["--cell-expansion", "-1"], 2, "--cell-expansion"),
        (["--cell-expansion", "200"], 2, "--cell-expansion"),
        (["--positivity", "0.4,0.2,0.6"], 2, "ascend"),
        (["--positivity", "0.2,0.4"], 2, "three that ascend"),
        (["--positivity", "high"], 2, "'high'"),
        (["--positivity", "nan"], 2, "'nan'"),
    ],
)
def test_what_makes_no_sense_is_refused(qpbridge, project, arguments, code, message):
    qpbridge("segment", project, *arguments, code=code)
    assert message in qpbridge.stderr
