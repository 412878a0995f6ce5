"""One path: what `evaluate` scores and `predict` gives is what `segment` writes, to the pixel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely
import shapely.affinity
from PIL import Image
from slide_factory import make_slide, nuclei_at_random, paint

import qpbridge
from qpbridge.measurements.raster import rasterize
from qpbridge.objects import Shapes
from qpbridge.outlines import without_holes
from qpbridge.training.synthetic.backgrounds import Background
from qpbridge.training.synthetic.pictures import draw_picture

Bytes = npt.NDArray[np.uint8]

MPP = 0.5
"""Of the pictures as they are painted."""


def some_nuclei() -> Bytes:
    """Paint nuclei that are cut by two edges of the picture, with a black corner and a pen."""
    pixels = paint(151, 133, nuclei_at_random(200, 180, radius=7, spacing=22, seed=1))
    pixels[:60, :60] = 0
    pixels[90:, 100:] = (20, 120, 40)
    return pixels


def some_glands() -> Bytes:
    """Paint rings of nuclei around lumina, one of which is cut by the edge."""
    nuclei, lumina = [], []
    for x, y, radius in ((80, 90, 56), (230, 80, 60), (150, 236, 68), (10, 200, 50)):
        cell = shapely.affinity.scale(shapely.Point(0, 0).buffer(1, quad_segs=8), 9, 5)
        for angle in np.linspace(0, 2 * np.pi, int(0.45 * radius), endpoint=False):
            turned = shapely.affinity.rotate(cell, angle, use_radians=True)
            shift = x + radius * np.cos(angle), y + radius * np.sin(angle)
            nuclei.append(shapely.affinity.translate(turned, *shift))
        lumina.append(shapely.Point(x, y).buffer((radius - 16) / 2))
    tissue = shapely.box(0, 0, 301, 300).difference(shapely.union_all(lumina))
    return paint(301, 300, nuclei, tissue=tissue)


def some_vessels() -> Bytes:
    """Paint vessels with brown endothelium, some cut by the edge."""
    tissue = Background("tissue", paint(280, 280, []), MPP)
    return draw_picture(np.random.default_rng(1), [tissue], "ihc", mpp=MPP, size=241).image


PICTURES: dict[str, tuple[Callable[[], Bytes], str]] = {
    "nuclei": (some_nuclei, "nuclei_he"),
    "glands": (some_glands, "glands_he"),
    "vessels": (some_vessels, "vessels_ihc"),
}


@functools.cache
def painted(target: str) -> Bytes:
    return PICTURES[target][0]()


@pytest.mark.parametrize("mpp", [0.25, 0.37, 0.5])
@pytest.mark.parametrize("target", PICTURES)
def test_one_against_the_other_is_exactly_one(tmp_path: Path, target: str, mpp: float) -> None:
    picture, model = painted(target), PICTURES[target][1]
    width, height = (round(length * MPP / mpp) for length in picture.shape[1::-1])
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "images" / "a.png"
    Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC).save(path)

    project = qpbridge.create_project(tmp_path / "p" / "project.qpproj", path)
    (report,) = qpbridge.segment(project, model=model, mpp=mpp, whole_image=True, device="cpu")
    written = project[0].read().objects
    assert report.found == len(written) > 1
    filled = Shapes.from_geometries(without_holes(written.geometries))
    labels = rasterize(filled, (height, width))
    Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "labels" / "a.png")
    scored = qpbridge.evaluate(
        target=target,
        image_folder=tmp_path / "images",
        label_folder=tmp_path / "labels",
        model=model,
        mpp=mpp,
    )
    assert (scored.mean["pq"], scored.mean["aji"], scored.mean["dice"]) == (1, 1, 1)
    assert scored.mean["predicted_count"] == len(written)

    for given in (path, np.asarray(Image.open(path))):
        found = qpbridge.predict(given, mpp, model=model, device="cpu")
        assert found.labels.shape == (height, width)
        for name in ("ids", "parent"):  # are made anew
            assert len(getattr(found.objects, name)) == len(written)
        np.testing.assert_array_equal(found.objects.shapes.coords, written.shapes.coords)
        np.testing.assert_allclose(found.probability, written.measurement("Detection probability"))


def test_regions_of_a_slide_are_scored_with_what_is_around_them(tmp_path: Path) -> None:
    """And at the resolution of the level that the model is given, not of the one that is read."""
    made = make_slide(tmp_path / "a.svs", width=900, height=700, mpp=0.25, radius=14, spacing=60)
    project = qpbridge.create_project(tmp_path / "p" / "project.qpproj", made.path)
    region = shapely.box(101, 97, 613, 555)
    drawn = qpbridge.ObjectTable.new(
        qpbridge.ObjectKind.ANNOTATION, Shapes.from_geometries([region])
    )
    project[0].apply(qpbridge.Edit(add=drawn))
    qpbridge.segment(project, device="cpu")
    objects = project[0].read().objects
    found = objects.take(np.flatnonzero(objects.kind == qpbridge.ObjectKind.DETECTION))
    assert len(found) > 20
    truth = found.replace(classes=(qpbridge.PathClass(("True",)),), parent=np.full(len(found), -1))
    truth = qpbridge.ObjectTable.new(
        qpbridge.ObjectKind.DETECTION, truth.shapes, path_class=qpbridge.PathClass(("True",))
    )
    project[0].apply(qpbridge.Edit(add=truth))
    for model in (None, "nuclei_he"):
        scored = qpbridge.evaluate(project, target="nuclei", truth="True", model=model, mpp=0.25)
        assert scored.mean["pq"] == 1


def test_outlines_end_with_the_image(tmp_path: Path) -> None:
    """Nuclei that the edge cuts are found, and nothing of them is outside."""
    nuclei = [shapely.Point(x, y).buffer(9) for x in (0, 40, 80, 101) for y in (0, 35, 77)]
    found = qpbridge.predict(paint(101, 77, nuclei), 0.37, device="cpu").objects
    low, high = found.shapes.bounds()
    assert len(found) == 12
    assert low.min() == 0 and high.max(axis=0).tolist() == [101, 77]
