"""The examples run as they are, on a generated project."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import annotate, objects_of
from click.testing import CliRunner
from PIL import Image
from slide_factory import make_slide

from qpbridge import ObjectKind, Shapes
from qpbridge.cli import main
from qpbridge.objects import RoiKind

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    make_slide(folder / "slide.svs", width=500, height=400)
    path = folder / "p" / "project.qpproj"
    assert CliRunner().invoke(main, ["create", str(path), str(folder / "slide.svs")]).exit_code == 0
    annotate(path, (Shapes.corners(RoiKind.RECTANGLE, 20, 20, 480, 380), "Tumor", "region"))
    return path


def run(example: str, *arguments: str) -> None:
    runpy.run_path(str(EXAMPLES / example))["main"](*arguments)


def test_examples(project, tmp_path, capsys):
    run("segment_a_project.py", str(project), "Tumor")
    assert "region: " in capsys.readouterr().out
    nuclei = (objects_of(project).kind == ObjectKind.DETECTION).sum()
    assert nuclei > 30

    run("nuclei_to_data_frame.py", str(project), str(tmp_path / "areas.png"))
    assert f"{nuclei:.1f}" in capsys.readouterr().out
    plot = np.asarray(Image.open(tmp_path / "areas.png").convert("L"))
    assert plot.std() > 5

    run("add_own_objects.py", str(project), "region")
    table = objects_of(project)
    added = [r for r in range(len(table)) if str(table.path_class(r)) == "Hexagon"]
    assert len(added) > 5
    assert set(table.parent[added]) == {next(r for r, n in table.names.items() if n == "region")}
