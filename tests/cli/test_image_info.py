"""``qpbridge info`` of an image file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from slide_factory import make_slide

import qpbridge as package


def test_a_slide_tells_all_that_is_known_of_it(qpbridge, tmp_path):
    path = make_slide(tmp_path / "a.svs", width=600, height=400, mpp=0.5).path
    found = qpbridge.json("info", path)
    assert found == {**package.image_info(path), "mpp": [0.5, 0.5], "bounds": [0, 0, 600, 400],
                     "tile": found["tile"]}  # fmt: skip
    assert (found["format"], found["width"], found["height"]) == ("aperio", 600, 400)
    assert found["mpp_from"] == "aperio metadata"
    assert found["levels"][0] == {"downsample": 1.0, "width": 600, "height": 400}
    text = qpbridge("info", path)
    assert "600 x 400 px" in text and "0.5 x 0.5 µm (aperio metadata)" in text


def test_an_image_without_a_pixel_size_says_so(qpbridge, tmp_path):
    path = make_slide(tmp_path / "a.png", width=60, height=40).path
    assert qpbridge.json("info", path)["mpp"] is None
    assert "pixel size: unknown" in qpbridge("info", path)


def test_a_thumbnail_is_written_and_overwrites_nothing(qpbridge, tmp_path):
    path = make_slide(tmp_path / "a.svs", width=1500, height=900).path
    small = tmp_path / "small.png"
    qpbridge("info", path, "--thumbnail", small)
    assert np.asarray(Image.open(small)).shape == (600, 1000, 3)
    before = small.read_bytes()
    qpbridge("info", path, "--thumbnail", small, code=1)
    assert small.read_bytes() == before
    qpbridge("info", path, "--thumbnail", tmp_path / "no" / "folder.png", code=1)
    assert "folder.png" in qpbridge.stderr


def test_a_thumbnail_is_not_for_projects(qpbridge, project, tmp_path):
    qpbridge("info", project, "--thumbnail", tmp_path / "a.png", code=2)


@pytest.mark.parametrize("name", ["nothing.svs", "text.svs"])
def test_what_is_no_image_is_refused_by_name(qpbridge, tmp_path, name):
    (tmp_path / "text.svs").write_text("no image")
    qpbridge("info", tmp_path / name, code=1)
    assert name in qpbridge.stderr
