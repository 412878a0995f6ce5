"""Files with several images: the slide among them is taken, as QuPath does, and it is said."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

import qpbridge
from qpbridge.errors import SlideError
from qpbridge.slides import open_slide
from qpbridge.slides.several import FileImage, choose_image, tell_choice


def write_ome(path, *images):
    with tifffile.TiffWriter(path, ome=True) as file:
        for name, (height, width), mpp in images:
            sizes = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
            file.write(
                np.full((height, width, 3), len(name), np.uint8),
                photometric="rgb",
                metadata={"axes": "YXS", "Name": name, **sizes},
            )
    return path


@pytest.mark.parametrize(
    ("images", "chosen"),
    [
        ([("", 100, 100, 1)], 0),
        ([("macro", 100, 100, 1), ("slide", 90, 90, 1)], 1),
        ([("Label Image\0", 900, 900, 1), ("", 90, 90, 1)], 1),
        ([("macro", 900, 900, 3), ("slide", 800, 800, 1)], 0),  # a pyramid is none beside it
        ([("a", 100, 100, 1), ("b", 150, 150, 1)], 0),
        ([("a", 100, 100, 1), ("b", 200, 200, 1), ("c", 300, 300, 1)], 2),
        ([("macro", 100, 100, 1), ("label", 200, 200, 1)], 1),
    ],
)
def test_the_choice_is_qupaths(images, chosen):
    assert choose_image([FileImage(*image) for image in images]) == chosen


def test_of_an_ome_tiff_that_begins_with_a_macro_the_slide_is_taken(tmp_path):
    path = write_ome(
        tmp_path / "a.ome.tif",
        ("macro", (60, 80), None),
        ("slide", (300, 400), 0.5),
        ("label", (50, 50), None),
    )
    with open_slide(path) as slide:
        assert (slide.width, slide.height, slide.series) == (400, 300, 1)
        assert slide.mpp == (0.5, 0.5)
        assert slide.read(0, 0, 1, 1, 1)[0, 0, 0] == len("slide")
    said: list[str] = []
    project = qpbridge.create_project(tmp_path / "p" / "p.qpproj", path, note=said.append)
    assert project[0].server.args == ("--series", "1")
    assert (project[0].server.width, project[0].server.mpp) == (400, (0.5, 0.5))
    assert "image 1 'slide' (400 x 300 px) is taken, not image 0 'macro' (80 x 60 px)" in said[0]
    found = qpbridge.image_info(path)
    assert found["series"] == 1
    assert [image["name"] for image in found["images"]] == ["macro", "slide", "label"]
    with open_slide(path, series=0) as slide:
        assert slide.width == 80


def test_pictures_that_follow_the_slide_are_not_worth_a_word(tmp_path):
    assert tell_choice([FileImage("a", 10, 10)], 0) == ""
    assert tell_choice([FileImage("a", 10, 10), FileImage("Macro", 5, 5)], 0) == ""
    assert tell_choice([FileImage("a", 10, 10), FileImage("b", 9, 9)], 0) != ""


def test_a_large_image_that_qupath_would_not_show_is_refused(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for side in (50, 300):
            file.write(np.zeros((side, side, 3), np.uint8), photometric="rgb", metadata=None)
    with pytest.raises(SlideError, match=r"a\.tif: .* 50 x 50 px, another 300 x 300; .*save"):
        open_slide(path)
    with open_slide(path, series=0) as slide:  # as a project names it
        assert slide.width == 50
