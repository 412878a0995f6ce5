"""Zeiss CZI: scenes, levels, gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from slide_factory import halve, nuclei_at_random, paint

from qpbridge import errors
from qpbridge.cli import main
from qpbridge.errors import MissingExtraError, SlideError
from qpbridge.project import open_project
from qpbridge.slides import open_server, open_slide

czi = pytest.importorskip("pylibCZIrw.czi")

MPP = 0.25


@pytest.fixture(scope="module")
def pixels():
    return paint(1200, 900, nuclei_at_random(1200, 900, radius=14, spacing=60, seed=2), seed=2)


def write(path: Path, scenes: list[tuple[int, int, np.ndarray]], tile: int = 300) -> Path:
    """Write scenes, given with the corners where they lie on the glass."""
    with czi.create_czi(str(path), compression_options="zstd1:ExplicitLevel=1") as file:
        for number, (left, top, pixels) in enumerate(scenes):
            for y in range(0, pixels.shape[0], tile):
                for x in range(0, pixels.shape[1], tile):
                    file.write(
                        np.ascontiguousarray(pixels[y : y + tile, x : x + tile, ::-1]),
                        location=(left + x, top + y),
                        scene=number,
                    )
        file.write_metadata("slide", scale_x=MPP * 1e-6, scale_y=MPP * 1e-6)
    return path


@pytest.fixture(scope="module")
def two_scenes(pixels, tmp_path_factory):
    other = pixels[:500, :400]
    return write(tmp_path_factory.mktemp("czi") / "two.czi", [(50, 80, pixels), (3000, 0, other)])


def test_a_scene_is_an_image(two_scenes, pixels):
    with open_slide(two_scenes) as slide:
        assert (slide.format, slide.mpp) == ("czi", pytest.approx((MPP, MPP)))
        assert [(v.downsample, v.width, v.height) for v in slide.levels][:2] == [
            (1, 1200, 900),
            (2, 600, 450),
        ]
        np.testing.assert_array_equal(slide.read(250, 100, 400, 300, 1), pixels[100:400, 250:650])
        coarse = slide.read(100, 50, 200, 150, 2).astype(int)
        assert np.abs(coarse - halve(pixels)[50:200, 100:300]).mean() < 8
    with open_slide(two_scenes, series=1) as slide:
        np.testing.assert_array_equal(slide.read(0, 0, 400, 500, 1), pixels[:500, :400])
    with pytest.raises(SlideError, match="no image 2"):
        open_slide(two_scenes, series=2)


def test_what_was_not_scanned_is_white(tmp_path, pixels):
    part = pixels[:300, :300]
    path = write(tmp_path / "gap.czi", [(0, 0, part)])
    with czi.create_czi(str(tmp_path / "g.czi")) as file:
        for x in (0, 600):
            file.write(np.ascontiguousarray(part[..., ::-1]), location=(x, 0), scene=0)
    with open_slide(tmp_path / "g.czi") as slide:
        assert (slide.width, slide.height) == (900, 300)
        assert (slide.read(310, 0, 280, 300, 1) == 255).all()
        assert slide.mpp is None
    assert path.exists()


def test_gray_is_refused(tmp_path):
    path = tmp_path / "gray.czi"
    with czi.create_czi(str(path)) as file:
        file.write(np.zeros((100, 100, 1), np.uint8), location=(0, 0))
    with pytest.raises(SlideError, match=r"gray\.czi: not an RGB image of 8 bits \(Gray8\)"):
        open_slide(path)


def test_a_broken_file_is_refused_by_name(tmp_path, two_scenes):
    path = tmp_path / "cut.czi"
    path.write_bytes(two_scenes.read_bytes()[:2000])
    with pytest.raises(SlideError, match=r"cut\.czi"):
        open_slide(path)


def test_the_extra_is_named_where_it_is_missing(two_scenes, monkeypatch):
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(errors.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"qpbridge\[czi\]"):
        open_slide(two_scenes)


def test_a_project_can_be_made_and_segmented(two_scenes, tmp_path):
    project = tmp_path / "p" / "project.qpproj"
    for command in (["create", project, two_scenes, "--annotate-full"], ["segment", project]):
        done = CliRunner().invoke(main, [str(word) for word in command])
        assert done.exit_code == 0, done.output
    entry = open_project(project).images[0]
    assert entry.server.args == ("--series", "0")
    assert len(entry.read().objects) > 50
    with open_server(entry.image_path(), entry.server) as slide:
        assert (slide.width, slide.height) == (1200, 900)
