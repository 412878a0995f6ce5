"""Whether a QuPath can be there at all is known without paquo."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qpbridge.project import open_project, qupath_places
from qpbridge.project.qupath_places import may_be_found


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A home without QuPath, searched alone, in an environment that says nothing of it."""
    for name in list(os.environ):
        if name.startswith(("PAQUO_", "CONDA_PREFIX")) or "DYNACONF" in name:
            monkeypatch.delenv(name)
    package = tmp_path / "paquo"
    package.mkdir()
    (package / ".paquo.defaults.toml").write_text(
        f"qupath_search_dirs = [{str(tmp_path / 'opt')!r}]\n"
        "qupath_search_dir_regex = '(?i)qupath.*'\n",
        "utf-8",
    )

    class Spec:
        submodule_search_locations = (str(package),)

    monkeypatch.setattr(qupath_places, "find_spec", lambda _name: Spec)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "qpbridge")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_there(bare):
    assert not may_be_found()
    (bare / "opt" / "other").mkdir(parents=True)
    assert not may_be_found()


@pytest.mark.parametrize("name", ["QuPath", "qupath-0.6.0", "QuPath-v0.6.0-Linux"])
def test_a_folder_of_that_name(bare, name):
    (bare / "opt" / name).mkdir(parents=True)
    assert may_be_found()


@pytest.mark.parametrize("name", ["PAQUO_QUPATH_DIR", "CONDA_PREFIX", "ROOT_PATH_FOR_DYNACONF"])
def test_the_environment_says_something(bare, monkeypatch, name):
    monkeypatch.setenv(name, str(bare))
    assert may_be_found()


@pytest.mark.parametrize("file", [".paquo.toml", "config/.paquo.toml", ".paquo.local.toml"])
def test_a_file_says_something(bare, monkeypatch, file):
    (bare / file).parent.mkdir(exist_ok=True)
    (bare / file).write_text("")
    below = bare / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert may_be_found()


def test_paquo_finds_none_where_none_can_be_found():
    if may_be_found():
        pytest.skip("there may be a QuPath on this machine")
    script = "from paquo.jpype_backend import find_qupath; from paquo import settings\n"
    script += "from paquo._config import to_kwargs; find_qupath(**to_kwargs(settings))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "no valid qupath installation found" in done.stderr


def test_the_embedded_backend_does_not_look(tmp_path, monkeypatch):
    from slide_factory import make_slide

    from qpbridge import create_project

    slide = make_slide(tmp_path / "a.svs", width=64, height=64)
    project = create_project(tmp_path / "p.qpproj", [slide.path])

    def look() -> None:
        raise AssertionError("it looks for a QuPath")

    monkeypatch.setattr("qpbridge.project.find_qupath", look)
    assert len(open_project(project.path, backend="embedded")) == 1
