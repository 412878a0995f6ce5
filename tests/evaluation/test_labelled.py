"""Labels of images, whatever a file holds that should have some."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tifffile
from PIL import Image

import qpbridge
from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import load_pairs


@pytest.fixture
def folders(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64), "white").save(tmp_path / "images" / "a.png")
    return tmp_path / "images", tmp_path / "labels"


def read(folders):
    (sample,) = load_pairs(*folders, 0.5)
    return sample.labels


def test_numbers_of_objects_may_be_of_any_size(folders):
    labels = np.zeros((64, 64), np.int32)
    labels[:9, :9], labels[20:30, 20:30] = 2**31 - 2, 7
    tifffile.imwrite(folders[1] / "a.tif", labels)
    found = read(folders)
    assert found.max() < found.size  # tables of them are no larger than the image
    assert len(np.unique(found)) == 3
    assert (found[labels == 7] == found[20, 20]).all()
    assert ((found == 0) == (labels == 0)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1, 0.5])
def test_what_is_no_number_of_an_object_is_refused(folders, value):
    tifffile.imwrite(folders[1] / "a.tif", np.full((64, 64), value, np.float32))
    with pytest.raises(QpbridgeError, match=r"a\.tif: its values are not whole numbers"):
        read(folders)


@pytest.mark.parametrize("name", ["rows_per_strip_0", "tile_width_0", "sides_2e31"])
def test_broken_labels_are_named(folders, shared, name):
    # its header says 64 x 64 pixels, or 2^31
    broken = shared / "cases" / "tiff_broken" / f"{name}.tif"
    (folders[1] / "a.tif").write_bytes(broken.read_bytes())
    with pytest.raises(QpbridgeError, match=r"a\.tif: can't be read .*write the labels again"):
        read(folders)


@pytest.mark.filterwarnings("error")
def test_labels_with_wrong_bytes_are_read_or_named(folders):
    path, dice = folders[1] / "a.tif", random.Random(5)
    tifffile.imwrite(path, np.ones((64, 64), np.uint16))
    whole = path.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(4):
            data[dice.randrange(8, 250)] = dice.choice([0, 1, 128, 255])
        path.write_bytes(data)
        try:
            assert read(folders).shape == (64, 64)
        except QpbridgeError as error:
            assert "a.tif: " in str(error)


def test_far_larger_labels_are_not_decoded(folders):
    path = folders[1] / "a.png"
    Image.new("L", (5000, 5000)).save(path)
    path.write_bytes(path.read_bytes()[:100])  # whoever decodes it says so
    with pytest.raises(QpbridgeError, match=r"\(5000, 5000\) labels do not fit .*\(64, 64\)"):
        read(folders)


def test_folders_that_are_missing_are_named(folders, tmp_path):
    for images, labels in ((tmp_path / "none", folders[1]), (folders[0], tmp_path / "none")):
        with pytest.raises(QpbridgeError, match="none: no such folder"):
            qpbridge.compare_models(
                "nuclei_he", "nuclei_he", image_folder=images, label_folder=labels
            )
