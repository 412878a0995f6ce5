"""The reference of measurements has what the commands write, and nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import shapely
from cli_helpers import annotate, objects_of
from models.test_foreign import Level, write
from slide_factory import make_slide

from qpbridge import Edit, Shapes, open_project
from qpbridge.measurements.definitions import DEFINITIONS, FORMS, forms_of
from qpbridge.measurements.grading import SYSTEMS
from qpbridge.measurements.positivity import DEFINITIONS as SCORES
from qpbridge.objects import ImageType, ObjectKind, ObjectTable, PathClass


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models for whatever is dark: as glands, as vessels, and as vessels with a centre line."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str, **own):
        own = {"mpp": 0.5, "decode": {"min_area_um2": 12.0}, **own}
        return write(folder / name, script=Level(), metadata={"qpbridge": own})

    return {
        "glands": make("glands", target="glands"),
        "vessels": make("vessels", target="vessels"),
        "lines": make("lines", target="vessels", decoder="lines"),
    }


@pytest.fixture
def project(tmp_path, qpbridge) -> Path:
    """A slide of a few nuclei, with all kinds of annotations that measuring looks for."""
    slide = make_slide(tmp_path / "slide.svs", width=400, height=320)
    path = tmp_path / "project" / "project.qpproj"
    qpbridge("create", path, slide.path)
    annotate(
        path,
        (shapely.box(10, 10, 250, 310), "Tumor", None),
        (shapely.box(255, 10, 390, 310), "Normal", None),
        *((shapely.box(20, y, 120, y + 40), f"Gleason {p}", None) for p, y in ((4, 20), (5, 70))),
    )
    return path


def names_on(project: Path) -> set[str]:
    """Names of what any object has."""
    table = objects_of(project)
    there = ~np.isnan(table.measurements).all(axis=0)
    return {name for name, has in zip(table.measured, there, strict=True) if has}


def draw(project: Path) -> None:
    """Add rings as glands and vessels, as a person draws them; one has two lumina."""

    def ring(x: float, y: float, hole: float = 8) -> shapely.Geometry:
        return shapely.Point(x, y).buffer(20).difference(shapely.Point(x, y).buffer(hole))

    shapes = [ring(60, 160), ring(102, 160), ring(180, 220), ring(60, 260), ring(103, 260)]
    names = ["Gland"] * 3 + ["Vessel"] * 2
    for shape, name in zip(shapes, names, strict=True):
        drawn = ObjectTable.new(
            ObjectKind.DETECTION, Shapes.from_geometries([shape]), path_class=PathClass((name,))
        )
        open_project(project).images[0].apply(Edit(add=drawn))


def test_what_is_written_is_documented_and_what_is_documented_is_written(
    qpbridge, project, models, tmp_path
):
    written: set[str] = set()

    def run(*arguments) -> None:
        qpbridge(*arguments)
        written.update(names_on(project))

    # a hot spot is larger than the slide: so the slide is said to be coarser
    everything = ["--mpp", 4, "--morphometry", "--distances", "--smooth", 200, "--density", 100]
    everything += ["--delaunay", 400, "--clusters", "--orientation", 300, "--reference", "Normal"]
    everything += ["--epithelium", "Tumor", *(v for s in SYSTEMS for v in ("--grading", s))]

    run("segment", project, "--target", "vessels", "--model", models["lines"], "--trust")
    run("measure", project)
    qpbridge("remove", project, "--target", "vessels")
    for target in ("glands", "vessels"):
        run("segment", project, "--target", target, "--model", models[target], "--trust")
        qpbridge("remove", project, "--target", target)
    draw(project)
    run("segment", project, "--features", "all")
    run("measure", project, *everything)
    run("segment", project, "--features", "all", "--cell-expansion", 3)
    run("measure", project, "--intensities", *everything)

    stained, table = tmp_path / "stained" / "project.qpproj", tmp_path / "table.csv"
    qpbridge("create", stained, tmp_path / "slide.svs", "--annotate-full")
    open_project(stained).images[0].apply(Edit(image_type=ImageType.BRIGHTFIELD_H_DAB))
    qpbridge("segment", stained, "--positivity", "0.1,0.2,0.3")
    written |= names_on(stained)
    qpbridge("export", stained, "--format", "csv", "--rows", "images", "-o", table)
    with table.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file))
    assert {"Nucleus: Positive %", "Nucleus: H-score"} <= set(columns)
    written.update(name for name in columns if set(forms_of(name)) & set(SCORES))

    assert sorted(name for name in written if not forms_of(name)) == []
    used = {form for name in written for form in forms_of(name)}
    assert sorted(set(FORMS) - used) == []
    assert used == set(FORMS)
    assert len(FORMS) == sum(map(len, DEFINITIONS.values()))
