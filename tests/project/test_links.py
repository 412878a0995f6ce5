"""A project from elsewhere with links, pipes and folders in the place of files: nothing outside
of it is touched, and the message names what is in the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from project.files import digests, png
from project.suite import discs

from qpbridge.engine.segmenting.spool import FOLDER, open_spool
from qpbridge.errors import ProjectError
from qpbridge.objects import PathClass
from qpbridge.project import open_project
from qpbridge.project.files import atomic
from qpbridge.project.files.atomic import atomic_file
from qpbridge.project.files.locks import LOCK_NAME
from qpbridge.project.interface import Edit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs links that anybody can make")

KEY = bytes(32)
FILES = (
    LOCK_NAME,
    "project.qpproj.backup",
    "classifiers/classes.json",
    "data/metadata.json",
    "data/1/data.qpdata",
    "data/1/data.qpdata.bkp",
    "data/1/summary.json",
    f"{FOLDER}/1-nuclei/tiles",
    f"{FOLDER}/1-nuclei/{LOCK_NAME}",
)
FOLDERS = ("classifiers", "data", "data/1", FOLDER, f"{FOLDER}/1-nuclei")


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A pipe that somebody waits for must not stop all tests."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def saved(fresh: Path) -> Path:
    entry = open_project(fresh, "embedded").images[0]
    for _ in "ab":
        entry.apply(Edit(add=discs(1)))
    return fresh


def outside(path: Path) -> Path:
    """Make somebody else's folder beside the project, with a file of each name of ours."""
    folder = path.parent.parent / "outside"
    for name in FILES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        inside = path.parent / name
        file.write_bytes(inside.read_bytes() if inside.is_file() else b"not the project's")
    return folder


def put(place: Path, make: Callable[[Path], object]) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    make(place)


def write_all(path: Path) -> list[str]:
    """Do all that writes in a project; return what was refused."""
    errors = []

    def spool() -> None:
        with open_spool(path, "1", "nuclei", KEY), contextlib.suppress(KeyError):
            raise KeyError

    def apply() -> None:
        entry = open_project(path, "embedded").images[0]
        entry.apply(Edit(add=discs(1, path_class=PathClass(("New",)))))

    for work in (spool, apply, lambda: open_project(path, "embedded").relocate()):
        try:
            work()
        except ProjectError as error:
            errors.append(str(error))
    return errors


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
@pytest.mark.parametrize("kind", ["link", "same name", "dangling", "loop", "hard link"])
def test_links_lead_nowhere(saved: Path, name: str, kind: str) -> None:
    other = outside(saved)
    if kind == "hard link" and name in FOLDERS:
        return
    before = digests(other)
    victim = other / name if kind in ("same name", "hard link") else other / FILES[3]
    if kind == "link" and name in FOLDERS:
        victim = other
    make: Callable[[Path], object] = lambda place: place.symlink_to(victim)  # noqa: E731
    if kind == "dangling":
        make = lambda place: place.symlink_to(other / "nothing")  # noqa: E731
    elif kind == "loop":
        make = lambda place: place.symlink_to(place)  # noqa: E731
    elif kind == "hard link":
        make = lambda place: place.hardlink_to(victim)  # noqa: E731
    put(saved.parent / name, make)
    errors = write_all(saved)
    assert digests(other) == before
    replaced = name.endswith((".bkp", ".backup")) or name == "data/metadata.json"
    if kind != "hard link" and not replaced:
        assert errors
        assert any(name.split("/")[-1] in error for error in errors)
        assert (saved.parent / name).is_symlink()


@pytest.mark.parametrize("name", [n for n in FILES if "metadata" not in n])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_other_things_in_the_way_are_named(saved: Path, name: str, kind: str) -> None:
    def make(place: Path) -> None:
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            (place / "inner").mkdir(parents=True)
        else:
            place.symlink_to("/dev/zero")

    put(saved.parent / name, make)
    errors = write_all(saved)
    replaced = name.endswith(".backup") or (name.endswith(".bkp") and kind != "folder")
    assert replaced or any(name.split("/")[-1] in error for error in errors)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_project_reached_by_a_link_works_in_the_real_folder(saved: Path, what: str) -> None:
    elsewhere = saved.parent.parent / "elsewhere"
    if what == "file":
        elsewhere.mkdir()
        (elsewhere / saved.name).symlink_to(saved)
    else:
        elsewhere.symlink_to(saved.parent)
    project = open_project(elsewhere / saved.name, "embedded")
    assert project.path == saved
    project.images[0].apply(Edit(add=discs(1)))
    assert len(open_project(saved, "embedded").images[0].read().objects) == 3
    with open_spool(project.path, "1", "nuclei", KEY):
        assert (saved.parent / FOLDER).is_dir()
    assert elsewhere.is_symlink() or [p.name for p in elsewhere.iterdir()] == [saved.name]


class TestLostFolders:
    @pytest.mark.parametrize("lost", ["data", "data/1"])
    def test_are_told(self, saved: Path, lost: str) -> None:
        shutil.rmtree(saved.parent / lost)
        entry = open_project(saved, "embedded").images[0]
        with pytest.raises(ProjectError, match=rf"{lost}: this folder is missing"):
            entry.read()
        with pytest.raises(ProjectError, match="is missing"):
            entry.apply(Edit(add=discs(1)))

    def test_an_image_without_data_is_none(self, fresh: Path) -> None:
        assert not len(open_project(fresh, "embedded").images[0].read().objects)

    def test_what_qupath_wrote_is_complete(self, shared: Path) -> None:
        found = sorted(shared.glob("qupath/golden/*/*/project/project.qpproj"))
        assert len(found) > 30
        for path in found:
            for entry in open_project(path, "embedded").images:
                entry.read()

    def test_lone_files_of_labs(self, shared: Path) -> None:
        for path in shared.glob("qupath/real/*/project.qpproj"):
            with pytest.raises(ProjectError, match="is missing"):
                open_project(path, "embedded").images[0].read()


class TestOutputs:
    """A file that a user names to be written."""

    def test_a_link_outside_of_projects_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "bigger disk").mkdir()
        end = tmp_path / "bigger disk" / "cells.csv"
        (tmp_path / "out.csv").symlink_to(end)
        with atomic_file(tmp_path / "out.csv") as file:
            file.write(b"cells")
        assert end.read_bytes() == b"cells"
        assert (tmp_path / "out.csv").is_symlink()

    @pytest.mark.parametrize("name", ["out.csv", "results/out.csv", "results/deep/out.csv"])
    @pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
    def test_a_link_in_a_project_is_not(self, saved: Path, name: str, kind: str) -> None:
        other = outside(saved)
        (other / "out.csv").write_bytes(b"precious")
        (other / "deep").mkdir()
        before = digests(other)
        place = saved.parent / name
        if kind == "folder":
            if name == "out.csv":
                return
            (saved.parent / "results").symlink_to(other)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(other / ("new.csv" if kind == "dangling" else "out.csv"))
        named = pytest.raises(ProjectError, match=r"(out\.csv|results): a link to")
        with named, atomic_file(place) as file:
            file.write(b"cells")
        assert digests(other) == before

    @pytest.mark.parametrize(
        "name",
        [
            *("project.qpproj", "Other.QPPROJ", "a/new.qpproj", "qpbridge.lock"),
            *("data/1/data.qpdata", "data/1/data.qpdata.bkp", "data/1/server.json", "data/1/a.csv"),
            *("data/metadata.json", "classifiers/classes.json", "slide.png", "slide.tif", "a.dcm"),
        ],
    )
    @pytest.mark.parametrize("linked", [False, True])
    def test_no_file_of_a_project_and_no_image_is_replaced(
        self, saved: Path, name: str, linked: bool
    ) -> None:
        folder, place = saved.parent, saved.parent / name
        png(folder / "slide.png")
        (folder / "slide.tif").write_bytes(b"II*\0")
        (folder / "a.dcm").write_bytes(bytes(128) + b"DICM")
        if linked:
            (folder.parent / "link").symlink_to(place)
            place = folder.parent / "link"
        before = digests(folder)
        refused = pytest.raises(ProjectError, match=f"{place.name}: .* which no output ever")
        with refused, atomic_file(place) as file:
            file.write(b"cells")
        assert digests(folder) == before

    @pytest.mark.parametrize("name", ["data/mine/cells.csv", "data.csv", "out.qpproj.csv"])
    def test_other_places_in_its_folder_are_free(self, saved: Path, name: str) -> None:
        place = saved.parent / name
        place.parent.mkdir(exist_ok=True)
        for text in (b"cells", b"again"):
            with atomic_file(place) as file:
                file.write(text)
        assert place.read_bytes() == b"again"

    def test_a_project_that_is_reached_by_a_link(self, saved: Path) -> None:
        link = saved.parent.parent / "elsewhere"
        link.symlink_to(saved.parent)
        with atomic_file(link / "out.csv") as file:
            file.write(b"cells")
        assert (saved.parent / "out.csv").read_bytes() == b"cells"

    def test_no_link_at_the_temporary_name_is_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        precious = tmp_path / "precious"
        precious.write_bytes(b"precious")
        planted = tmp_path / ".out.csv.planted.new.qpbridge"
        planted.symlink_to(precious)
        monkeypatch.setattr(atomic, "sibling", lambda *_: planted)
        monkeypatch.setattr(atomic, "remove_abandoned", lambda _: None)
        refused = pytest.raises(ProjectError, match=r"out\.csv: can't be written")
        with refused, atomic_file(tmp_path / "out.csv") as file:
            file.write(b"cells")
        assert precious.read_bytes() == b"precious"
