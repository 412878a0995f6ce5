"""Every command, run by a user who may not read or write part of a project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helpers import annotate
from project.files import digests
from slide_factory import make_slide

from qpbridge.objects import RoiKind, Shapes
from qpbridge.project import NewImage, create_project

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

NOTHING, READ = 0o000, 0o555
PLACES = (
    (".", READ),
    ("data", READ),
    ("data", NOTHING),
    ("data/1", READ),
    ("data/1", NOTHING),
    ("data/1/data.qpdata", READ),
    ("data/1/data.qpdata", NOTHING),
    ("project.qpproj", NOTHING),
    ("classifiers/classes.json", NOTHING),
)
COMMANDS = ("info", "segment", "measure", "import", "remove", "relocate", "export", "create")
REFUSED = {
    *((c, p, NOTHING) for c in COMMANDS[:-1] for p in ("data", "project.qpproj")),
    *((c, "data/1/data.qpdata", NOTHING) for c in ("segment", "measure", "import", "export")),
    *((c, p, READ) for c in ("segment", "measure") for p in (".", "data/1", "data/1/data.qpdata")),
    ("create", ".", READ),
}


@pytest.fixture
def lab() -> Iterator[Path]:
    """A project that anybody may reach, unlike those in the folder of tests, and may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    slide = make_slide(folder / "1.svs", width=120, height=100).path
    path = folder / "lab" / "project.qpproj"
    create_project(
        path, [NewImage(path=slide, name="1.svs", width=120, height=100, mpp=(0.5, 0.5))]
    )
    annotate(path, (Shapes.corners(RoiKind.RECTANGLE, 10, 10, 110, 90), "Tumor", "a"))
    (folder / "out").mkdir()
    (folder / "in.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    yield path
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o755)
    shutil.rmtree(folder)


def arguments(command: str, path: Path) -> list[str]:
    outer = path.parent.parent
    return [command, str(path)] + {
        "info": [],
        "segment": ["--target", "nuclei", "--device", "cpu"],
        "measure": [],
        "import": [str(outer / "in.geojson"), "--image", "1.svs"],
        "remove": [],
        "relocate": [],
        "export": ["--format", "geojson", "-o", str(outer / "out" / "o.geojson")],
        "create": [str(outer / "1.svs")],
    }[command]


@pytest.fixture(scope="module")
def limited() -> Iterator[subprocess.Popen[str]]:
    """A process that runs commands without rights, see `without_rights`."""
    program = [sys.executable, str(Path(__file__).with_name("without_rights.py"))]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def run_in(limited: subprocess.Popen[str], command: list[str], report: Path) -> tuple[int, str]:
    """Run a command in a process without rights; what it ended with, and what it said."""
    assert limited.stdin is not None and limited.stdout is not None
    request = {"command": command, "report": str(report)}
    limited.stdin.write(json.dumps(request) + "\n")
    limited.stdin.flush()
    return int(limited.stdout.readline()), report.read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_one_sentence_and_nothing_changed(
    lab: Path, tmp_path: Path, command: str, limited: subprocess.Popen[str]
) -> None:
    path = lab.with_name("other.qpproj") if command == "create" else lab
    for place, mode in PLACES:
        if (command == "create" and place != ".") or (
            command == "segment" and (command, place, mode) not in REFUSED
        ):
            continue
        before, target = digests(lab.parent), lab.parent / place
        kept = target.stat().st_mode
        target.chmod(mode & 0o444 if target.is_file() else mode)
        code, said = run_in(limited, arguments(command, path), tmp_path / "said")
        target.chmod(kept)
        assert "Traceback" not in said
        assert code in (0, 1, 3)
        if code:
            assert digests(lab.parent) == before
            assert "no permission to" in " ".join(said.split())
            assert str(lab.parent) in said.replace("\n", "")
        assert code or (command, place, mode) not in REFUSED
