"""A project around generated slides, and a way to run commands on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely
from cli_helpers import annotate
from click.testing import CliRunner
from slide_factory import SlideTruth, make_slide

from qpbridge import Shapes
from qpbridge.cli import main
from qpbridge.objects import RoiKind


class Command:
    """Runs ``qpbridge`` commands and remembers the last result."""

    def __call__(self, *arguments, code: int = 0) -> str:
        self.result = CliRunner().invoke(main, [str(a) for a in arguments])
        if self.result.exit_code != code:
            raise AssertionError(f"exit code {self.result.exit_code}: {self.result.output}") from (
                self.result.exception
            )
        return self.result.stdout

    def json(self, *arguments, code: int = 0):
        """Run with --json: stdout must be one JSON document."""
        return json.loads(self(*arguments, "--json", code=code))

    @property
    def stderr(self) -> str:
        return self.result.stderr


@pytest.fixture
def qpbridge() -> Command:
    return Command()


@pytest.fixture(scope="session")
def truth(tmp_path_factory) -> SlideTruth:
    return make_slide(tmp_path_factory.mktemp("slides") / "généré 1.svs", width=900, height=700)


@pytest.fixture
def project(tmp_path, truth, qpbridge) -> Path:
    """Regions as a pathologist draws them: a rectangle, an outline with a hole, an Ignore*."""
    path = tmp_path / "projet é" / "project.qpproj"
    qpbridge("create", path, truth.path)
    outline = shapely.Point(620, 350).buffer(240).difference(shapely.Point(620, 350).buffer(60))
    annotate(
        path,
        (Shapes.corners(RoiKind.RECTANGLE, 40, 50, 360, 650), "Tumor", "left"),
        (outline, "Stroma", "ring"),
        (shapely.box(0, 0, 120, 160), "Ignore*", "pen"),
    )
    return path
