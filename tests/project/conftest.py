"""A project to start from."""

from __future__ import annotations

from pathlib import Path

import pytest
from project.files import png

from qpbridge.project import create_project


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    path = tmp_path / "lab" / "project.qpproj"
    create_project(path, [png(tmp_path / "slide.png")])
    return path
