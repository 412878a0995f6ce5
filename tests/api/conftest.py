"""A project in which nuclei were found, and a copy of it for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from cli.conftest import Command, truth  # noqa: F401 (a fixture)
from cli_helpers import annotate
from PIL import Image

import qpbridge
from qpbridge import RoiKind, Shapes
from qpbridge.measurements.raster import rasterize


@pytest.fixture
def command() -> Command:
    return Command()


@pytest.fixture(scope="session")
def segmented(tmp_path_factory, truth) -> Path:  # noqa: F811
    """Two images; in the first a rectangle, with nuclei below it."""
    folder = tmp_path_factory.mktemp("segmented")
    other = folder / "other [b].svs"
    shutil.copy(truth.path, other)
    project = qpbridge.create_project(folder / "p" / "project.qpproj", [truth.path, other])
    annotate(project.path, (Shapes.corners(RoiKind.RECTANGLE, 40, 50, 360, 650), "Tumor", "left"))
    annotate(
        project.path, (Shapes.corners(RoiKind.RECTANGLE, 40, 50, 200, 200), None, "b"), image=1
    )
    qpbridge.segment(project, images="1", device="cpu")
    return project.path


@pytest.fixture
def path(segmented, tmp_path) -> Path:
    """The project file of a copy of `segmented`."""
    shutil.copytree(segmented.parent, tmp_path / "p")
    return tmp_path / "p" / segmented.name


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, truth) -> Path:  # noqa: F811
    """A folder with images/ and labels/, of three images."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    labels = rasterize(Shapes.from_geometries(truth.nuclei), truth.pixels.shape[:2])
    for i in range(3):
        window = np.s_[60 * i : 60 * i + 256, 120 * i : 120 * i + 256]
        Image.fromarray(truth.pixels[window]).save(folder / "images" / f"{i}.png")
        Image.fromarray(labels[window].astype(np.uint16)).save(folder / "labels" / f"{i}.png")
    return folder
