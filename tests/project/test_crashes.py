"""Writers that are killed, disks that are full, and several who write at once.

They are forked, which a running Java machine would not survive: all use the embedded backend.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from project.files import digests
from project.processes import needs_fork
from project.suite import discs, rectangle

from qpbridge.engine.apply import apply_planned
from qpbridge.errors import ProjectError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass
from qpbridge.project import open_project
from qpbridge.project.embedded.qpdata.data_file import read_image_data
from qpbridge.project.files.atomic import replace_files
from qpbridge.project.files.locks import LOCK_NAME, lock
from qpbridge.project.interface import AnnotationUpdate, Edit, ImageData

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FILES = {
    "project.qpproj",
    "classifiers/classes.json",
    "data/metadata.json",
    *(f"data/1/{n}" for n in ("data.qpdata", "data.qpdata.bkp", "server.json", "summary.json")),
}


@pytest.fixture
def saved(fresh: Path) -> Path:
    """A project with a region, and a version before."""
    entry = open_project(fresh, "embedded").images[0]
    region = rectangle(0, 0, 99, 79, metadata={0: {"state": "0"}})
    entry.apply(Edit(add=region))
    for _ in "ab":
        entry.apply(write_state(entry.read(), 0))
    return fresh


def size(state: int) -> int:
    """How many nuclei belong to a state."""
    return 1 + state * 7 % 90


def write_state(data: ImageData, state: int) -> Edit:
    """Replace all nuclei, and note the state on the region; now and then there is a new class."""
    table = data.objects
    old = table.kind == ObjectKind.DETECTION
    return Edit(
        remove=table.ids[old],
        add=discs(size(state), path_class=PathClass((f"Class {state // 10}",))),
        update={table.ids[~old][0].tobytes(): AnnotationUpdate({"state": str(state)})},
    )


def state_of(table: ObjectTable) -> int:
    """Which state this is, all of it."""
    (row,) = np.flatnonzero(table.kind == ObjectKind.ANNOTATION)
    state = int(table.metadata[int(row)]["state"])
    nuclei = table.take(table.kind == ObjectKind.DETECTION)
    assert len(nuclei) == size(state)
    assert [str(c) for c in nuclei.classes] == [f"Class {state // 10}"]
    return state


def fork(work: Callable[[], object]) -> int:
    """Do something in a process of its own; ends with 0 if it went well."""
    needs_fork()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except KeyboardInterrupt:
            code = 2
        except BaseException as error:  # noqa: BLE001
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    return child


def end(child: int, number: signal.Signals) -> int:
    """Send a signal until a process ends; returns its status.

    Python loses a Ctrl-C that comes while it clears up an object, and a person presses it again.
    """
    while True:
        os.kill(child, number)
        patience = time.monotonic() + 5
        while time.monotonic() < patience:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status
            time.sleep(0.001)


def write_for_ever(path: Path, first: int, report: int) -> NoReturn:
    """Write one state after another; reports each before it is written."""
    state = first
    while True:
        entry = open_project(path, "embedded").images[0]
        data = entry.read()
        os.write(report, b"%8d" % state)
        entry.apply(write_state(data, state), data.state)
        state += 1


def stop_at_random(path: Path, number: signal.Signals, choose: random.Random, state: int) -> int:
    """Send a signal to a writer at a random moment; returns the last state that it began.

    It has begun at least one, and the moment is anywhere in as long as one takes.
    """
    reader, writer = os.pipe()

    def work() -> None:
        for stop in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs ignore the latter
            signal.signal(stop, signal.default_int_handler)
        write_for_ever(path, state, writer)

    child = fork(work)
    os.close(writer)
    with os.fdopen(reader, "rb") as reports:
        times, begun = [], []
        for _ in range(choose.choice((1, 2, 3))):
            begun.append(reports.read(8))
            times.append(time.monotonic())
        time.sleep(choose.random() * ((times[-1] - times[0]) / (len(times) - 1 or 1) or 0.02))
        status = end(child, number)
        rest = reports.read()
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 2
    begun += [rest[at : at + 8] for at in range(0, len(rest), 8)]
    return int(begun[-1])


def kill_often(path: Path, times: int, seed: int) -> None:
    choose = random.Random(seed)
    project_file = path.read_bytes()
    before, caught = 0, set()
    for _ in range(times):
        last = stop_at_random(path, signal.SIGKILL, choose, before + 1)
        entry = open_project(path, "embedded").images[0]
        found = state_of(entry.read().objects)
        assert found in (last - 1, last)
        caught.add(found - last)
        folder = path.parent / "data" / "1"
        for name in ("data.qpdata", "data.qpdata.bkp"):
            if (folder / name).exists():
                assert state_of(read_image_data((folder / name).read_bytes()).objects) <= last
        assert path.read_bytes() == project_file
        json.loads((folder / "summary.json").read_bytes())
        json.loads((path.parent / "classifiers" / "classes.json").read_bytes())
        before = found
    assert before > 0
    assert caught == {0, -1}
    entry = open_project(path, "embedded").images[0]
    entry.apply(write_state(entry.read(), before + 1))
    assert set(digests(path.parent)) == FILES


def test_killed_at_any_moment(saved: Path) -> None:
    kill_often(saved, 40, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_many_moments(saved: Path, seed: int) -> None:
    kill_often(saved, 250, seed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_any_moment(saved: Path, number: signal.Signals) -> None:
    """Nothing is left over, not even for a moment."""
    choose = random.Random(2)
    before = 0
    for _ in range(15):
        last = stop_at_random(saved, number, choose, before + 1)
        before = state_of(open_project(saved, "embedded").images[0].read().objects)
        assert before in (last - 1, last)
        assert set(digests(saved.parent)) == FILES


def test_the_command_line_ends_tidily_when_told_to(saved: Path) -> None:
    """As by a cluster's scheduler."""
    code = (
        "import os, signal, sys, time\n"
        "from qpbridge.cli import info, main\n"
        "from qpbridge.project.files.locks import lock\n"
        "def busy(path, **options):\n"
        "    with lock(path.parent):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(60)\n"
        "info.open_project = busy\n"
        "main(['info', sys.argv[1]])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, saved], capture_output=True, check=False)
    assert done.returncode == 130
    assert b"the rest is as before" in done.stderr
    assert set(digests(saved.parent)) == FILES


def test_power_may_fail_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a place is on the disk before, and that it took the place right after."""
    events: list[tuple[str, str]] = []
    opened: dict[int, Path] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def open_(path: Path, *args: int, **options: int) -> int:
        handle = real_open(path, *args, **options)
        opened[handle] = Path(path)
        return handle

    def fsync(handle: int) -> None:
        size = os.fstat(handle).st_size
        if opened[handle].is_file():
            assert size == len(contents[Path(opened[handle]).name.split(".")[1]])
        events.append(("sync", str(opened[handle])))
        real_fsync(handle)

    def replace(source: Path, target: Path) -> None:
        events.append(("rename", str(source)))
        events.append(("renamed", str(Path(target).parent)))
        real_replace(source, target)

    contents = {"one": b"1" * 70_000, "two": b"2" * 5}
    for name in contents:
        (tmp_path / name).write_bytes(b"old")
    for name, call in (("open", open_), ("fsync", fsync), ("replace", replace)):
        monkeypatch.setattr(os, name, call)
    replace_files(
        {tmp_path / name: data for name, data in contents.items()},
        backups={tmp_path / "one": tmp_path / "one.bkp"},
    )
    renamed = [path for what, path in events if what == "rename"]
    assert len(renamed) == 3
    for path in renamed[:2]:
        assert events.index(("sync", path)) < events.index(("rename", path))
    assert events[-1] == ("sync", str(tmp_path))
    first = events.index(("rename", renamed[0]))
    assert all(what != "sync" for what, _ in events[first:-1])


# --- a disk that is full ----------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a file system but for some bytes."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        found = os.statvfs(folder)
        file.write(bytes(max(found.f_bavail * found.f_frsize - leave, 0)))
    return filler


def test_a_full_disk_changes_nothing(small_disk: Path, saved: Path) -> None:
    path = shutil.copytree(saved.parent, small_disk / "lab") / saved.name
    entry = open_project(path, "embedded").images[0]
    entry.apply(Edit(add=discs(400)))
    before = digests(path.parent)
    edit = Edit(add=discs(900, path_class=PathClass(("Brand new",))))
    outcomes = []
    for free in (0, 1, 2, 3, 5, 20, 60, 100, 150, 200, 250):
        filler = fill(small_disk, free * 4096)
        try:
            entry.apply(edit)
            outcomes.append("written")
        except ProjectError as error:
            outcomes.append("refused")
            assert "the disk is full, nothing was changed; free some space" in str(error)
            assert str(path.parent) in str(error)
            assert digests(path.parent) == before
            assert len(entry.read().objects) == 402
        else:
            assert len(entry.read().objects) == 1302
            assert set(digests(path.parent)) == set(before)
            break
        finally:
            filler.unlink()
    assert outcomes[-1] == "written"
    assert outcomes.count("refused") > 4


@pytest.mark.parametrize("limit", [0, 10, 5_000, 100_000])
def test_a_file_that_may_not_grow_changes_nothing(saved: Path, limit: int) -> None:
    """A quota for files, which needs no right to mount."""
    before = digests(saved.parent)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(ProjectError, match=r"File too large.*nothing was changed"):
            open_project(saved, "embedded").images[0].apply(Edit(add=discs(900)))

    _, status = os.waitpid(fork(work), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert digests(saved.parent) == before


def test_a_disk_that_fails_for_good(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From some call on nothing works, undoing included: each file is whole all the same."""
    kept = shutil.copytree(saved.parent, tmp_path / "kept")
    edit = Edit(add=discs(1, path_class=PathClass(("Brand new",))))
    state = {p: p.read_bytes() for p in saved.parent.rglob("*") if p.is_file()}
    halfway = 0
    for at in range(1, 60):
        count = 0
        with monkeypatch.context() as context:

            def failing(real: Callable[..., object], at: int = at) -> Callable[..., object]:
                def call(*args: object, **options: object) -> object:
                    nonlocal count
                    count += 1
                    if count >= at:
                        raise OSError(errno.EROFS, "read-only file system")
                    return real(*args, **options)

                return call

            for name in ("open", "replace", "link", "unlink", "fsync", "chmod", "mkdir"):
                context.setattr(os, name, failing(getattr(os, name)))
            with contextlib.suppress(ProjectError):
                try:
                    open_project(saved, "embedded").images[0].apply(edit)
                except ProjectError as error:
                    halfway += "halfway" in str(error)
                    raise
        for path, old in state.items():
            assert path.exists()
            if path.read_bytes() != old and path.name == "data.qpdata":
                assert len(read_image_data(path.read_bytes()).objects) == 3
        (saved.parent / LOCK_NAME).unlink(missing_ok=True)
        shutil.rmtree(saved.parent)
        shutil.copytree(kept, saved.parent)
        if count < at:
            break
    else:
        pytest.fail("never came to the end")
    assert halfway


# --- several at once --------------------------------------------------------------------------


def write_many(path: Path, name: str, times: int) -> None:
    for _ in range(times):
        open_project(path, "embedded").images[0].apply(
            Edit(add=discs(2, path_class=PathClass((name,))))
        )


@pytest.mark.parametrize("writers", [2, 4])
def test_writers_wait_for_one_another(saved: Path, writers: int) -> None:
    names = [f"writer {i}" for i in range(writers)]
    children = [fork(lambda name=name: write_many(saved, name, 24 // writers)) for name in names]  # type: ignore[misc]
    assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0] * writers
    project = open_project(saved, "embedded")
    table = project.images[0].read().objects
    assert len(table) == 1 + size(0) + 48
    of_class = [str(table.path_class(row)) for row in range(len(table))]
    assert [of_class.count(name) for name in names] == [48 // writers] * writers
    assert set(names) <= {str(c) for c in project.classes}
    assert set(digests(saved.parent)) == FILES


def test_a_stale_lock_is_broken_by_one_alone(saved: Path) -> None:
    """Many find the lock of a dead process at once."""
    dead = fork(lambda: os._exit(0))
    os.waitpid(dead, 0)
    counter = saved.parent / "counter"
    for _ in range(10):
        counter.write_text("0")
        with contextlib.suppress(KeyError), lock(saved.parent):
            holder = json.loads((saved.parent / LOCK_NAME).read_text())
            raise KeyError
        (saved.parent / LOCK_NAME).write_text(json.dumps(holder | {"pid": dead, "started": None}))

        def count() -> None:
            for _ in range(5):
                with lock(saved.parent):
                    counter.write_text(str(int(counter.read_text()) + 1))

        children = [fork(count) for _ in range(4)]
        assert [os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) for c in children] == [0] * 4
        assert counter.read_text() == "20"
    counter.unlink()
    assert set(digests(saved.parent)) == FILES


def save_like_qupath(folder: Path, table: ObjectTable) -> None:
    """Move the old file aside, write the new one, remove the old one: QuPath knows no lock."""
    from qpbridge.project.embedded.qpdata.data_file import apply_edit

    data, backup = folder / "data.qpdata", folder / "data.qpdata.bkp"
    new = apply_edit(data.read_bytes(), Edit(add=table))
    with contextlib.suppress(FileNotFoundError):
        data.replace(backup)
    data.write_bytes(new)


def draw_meanwhile(path: Path, times: int, seed: int) -> None:
    choose = random.Random(seed)
    entry = open_project(path, "embedded").images[0]
    drawn: list[bytes] = []
    for turn in range(times):
        state = turn + 1
        saves = choose.choice((0, 1, 1, 2, 4))

        def plan(data: ImageData, state: int = state) -> tuple[Edit, None]:
            nonlocal saves
            edit = write_state(data, state)
            if saves:
                saves -= 1
                table = rectangle(state, saves, 50, 50, names={0: f"{state} {saves}"})
                drawn.append(table.ids[0].tobytes())
                save_like_qupath(path.parent / "data" / "1", table)
            return edit, None

        apply_planned(entry, entry.read(), plan)
        found = entry.read().objects
        assert (found.kind == ObjectKind.DETECTION).sum() == size(state)
        ids = [one.tobytes() for one in found.ids]
        assert all(ids.count(one) == 1 for one in drawn)
        assert len(found) == 1 + len(drawn) + size(state)


def test_a_person_saves_all_the_time(saved: Path) -> None:
    draw_meanwhile(saved, 15, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_person_saves_for_hours(saved: Path, seed: int) -> None:
    draw_meanwhile(saved, 60, seed)


def test_a_person_who_never_stops_saving_is_left_alone(saved: Path) -> None:
    entry = open_project(saved, "embedded").images[0]

    def plan(data: ImageData) -> tuple[Edit, None]:
        save_like_qupath(saved.parent / "data" / "1", rectangle(0, 0, 5, 5))
        return write_state(data, 1), None

    with pytest.raises(ProjectError, match="saved by another program"):
        apply_planned(entry, entry.read(), plan)
    table = entry.read().objects
    assert (table.kind == ObjectKind.ANNOTATION).sum() == 6
    assert (table.kind == ObjectKind.DETECTION).sum() == size(0)
