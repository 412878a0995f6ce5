"""Writing without harm, with errors injected between every two steps."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qpbridge.errors import ProjectError
from qpbridge.project.files import locks, processes, renaming, replacement
from qpbridge.project.files.atomic import atomic_file, replace_files
from qpbridge.project.files.locks import LOCK_NAME, lock
from qpbridge.project.files.states import ABSENT, look_at, read_file

CALLS = ("open", "link", "replace", "fsync", "chmod", "mkdir", "listdir")


class Trap:
    """Counts the calls that change or sync files, and raises at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.at = -1
        self.error: BaseException = OSError(errno.EIO, "broken")
        self.after = False
        for name in CALLS:
            monkeypatch.setattr(os, name, self._trapped(getattr(os, name)))
        monkeypatch.setattr(replacement, "exchange", self._trapped(replacement.exchange))

    def _trapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            hit = self.count == self.at
            if hit and not self.after:
                raise self.error
            result = real(*args, **kwargs)
            if hit:
                if type(result) is int:
                    os.close(result)
                raise self.error
            return result

        return call


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    with monkeypatch.context() as context:
        yield Trap(context)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


OLD = {"data": b"old data", "list": b"old list", "data.bkp": b"older data"}
NEW = {"data": b"new data", "list": b"new list", "new": b"brand new", "data.bkp": b"old data"}


def write(folder: Path, *, looks: bool = False) -> None:
    names = ("data", "list", "new")
    replace_files(
        {folder / name: NEW[name] for name in names},
        expected={folder / name: look_at(folder / name) for name in names} if looks else {},
        backups={folder / "data": folder / "data.bkp"},
    )


def make_old(folder: Path) -> Path:
    folder.mkdir()
    for name, text in OLD.items():
        (folder / name).write_bytes(text)
    return folder


def test_replaces_and_keeps_a_backup(tmp_path: Path) -> None:
    folder = make_old(tmp_path / "f")
    write(folder)
    assert contents(folder) == NEW


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), OSError(errno.EACCES, "denied")],
    ids=["interrupt", "full", "denied"],
)
@pytest.mark.parametrize("looks", [False, True], ids=["", "unless changed"])
def test_any_failure_leaves_all_or_nothing(
    tmp_path: Path, trap: Trap, error: BaseException, after: bool, looks: bool
) -> None:
    write(make_old(tmp_path / "counted"), looks=looks)
    steps = trap.count
    assert steps > 10
    outcomes = set()
    for step in range(1, steps + 1):
        folder = make_old(tmp_path / f"{step}")
        trap.count, trap.at, trap.error, trap.after = 0, step, error, after
        try:
            write(folder, looks=looks)
            outcome = "done"
        except ProjectError:
            outcome = "refused"
        except KeyboardInterrupt:
            outcome = "interrupted"
        trap.at = -1
        found = contents(folder)
        left = {n for n in found if n.endswith(".qpbridge")}
        assert not left
        if outcome == "done":
            assert found == NEW
        elif outcome == "refused":
            # The one exception: told to fail after it had done its work, the last step is done.
            assert found == OLD or (after and found == NEW)
        else:
            assert found in (OLD, NEW)
        outcomes.add(outcome)
    assert len(outcomes) > 1 or isinstance(error, KeyboardInterrupt)


@pytest.mark.parametrize("looks", [False, True], ids=["", "unless changed"])
def test_an_interrupt_while_undoing_undoes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    calls = 0

    def refused(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 3:
                raise OSError(errno.EIO, "broken")
            done = real(*args)
            if calls == at:
                raise KeyboardInterrupt
            return done

        return call

    for name in ("exchange", "rename"):
        monkeypatch.setattr(replacement, name, refused(getattr(replacement, name)))
    for at in range(4, 8):
        folder = make_old(tmp_path / f"{at}")
        calls = 0
        with contextlib.suppress(ProjectError, KeyboardInterrupt):
            write(folder, looks=looks)
        assert calls > 3
        assert contents(folder) == OLD


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "make the project writable"),
        (errno.EROFS, "make the project writable"),
        (errno.EIO, "broken"),
    ],
)
def test_errors_name_file_and_cure(tmp_path: Path, trap: Trap, number: int, cure: str) -> None:
    trap.at, trap.error = 2, OSError(number, "broken")
    with pytest.raises(ProjectError, match=cure) as caught:
        replace_files({tmp_path / "data": b"x"})
    assert str(tmp_path / "data") in str(caught.value)


def test_read_only_file_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(b"precious")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    with pytest.raises(ProjectError, match="no permission"):
        replace_files({tmp_path / "data": b"x"})
    assert contents(tmp_path) == {"data": b"precious"}


def test_copies_where_links_are_impossible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "no links on this disk")

    folder = make_old(tmp_path / "f")
    monkeypatch.setattr(os, "link", refuse)
    write(folder)
    assert contents(folder) == NEW


def test_last_look_can_call_it_off(tmp_path: Path) -> None:
    folder = make_old(tmp_path / "f")

    def refuse() -> None:
        raise ProjectError("no")

    with pytest.raises(ProjectError, match="no"):
        replace_files({folder / "data": b"x"}, last_look=refuse)
    assert contents(folder) == OLD


def test_keeps_permissions_and_links(tmp_path: Path) -> None:
    real = tmp_path / "bigger disk" / "link"
    real.parent.mkdir()
    real.write_bytes(b"old")
    real.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(real)
    replace_files({link: b"new"})
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert real.stat().st_mode & 0o777 == 0o640


def test_links_to_just_any_file_are_not_followed(tmp_path: Path) -> None:
    """A project from somebody else must not overwrite what is outside of it."""
    precious = tmp_path / ".profile"
    precious.write_bytes(b"precious")
    project = tmp_path / "project"
    project.mkdir()
    (project / "summary.json").symlink_to(precious)
    with pytest.raises(ProjectError, match=r"summary\.json: a link to .*\.profile"):
        replace_files({project / "data": b"x", project / "summary.json": b"x"})
    assert precious.read_bytes() == b"precious"
    assert list(contents(project)) == ["summary.json"]


def test_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    orphan = tmp_path / ".data.0123.new.qpbridge"
    orphan.write_bytes(b"half")
    other = tmp_path / ".data.txt"
    other.write_bytes(b"a person's")
    replace_files({tmp_path / "data": b"x"})
    assert not orphan.exists()
    assert other.exists()


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """A process that is killed at any moment leaves whole files, old or new."""
    data = tmp_path / "data"
    data.write_bytes(b"0" * 100_000)
    code = (
        "import sys, pathlib\nfrom qpbridge.project.files.atomic import replace_files\n"
        "from qpbridge.project.files.locks import lock\n"
        "folder = pathlib.Path(sys.argv[1])\nprint('ready', flush=True)\n"
        "i = 0\n"
        "while True:\n"
        "    i += 1\n"
        "    with lock(folder):\n"
        "        replace_files({folder / 'data': b'%d' % (i % 10) * 100_000},"
        " backups={folder / 'data': folder / 'data.bkp'})\n"
    )
    for delay in (0.01, 0.037, 0.081):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(delay)
        process.kill()
        process.wait()
        process.stdout.close()
        for name in ("data", "data.bkp"):
            if (tmp_path / name).exists():
                text = (tmp_path / name).read_bytes()
                assert len(text) == 100_000
                assert len(set(text)) == 1
    with lock(tmp_path, wait=0):  # the dead process's lock is taken over
        replace_files({data: b"x"})
    assert {p.name for p in tmp_path.iterdir()} <= {"data", "data.bkp"}


class TestAtomicFile:
    def test_complete(self, tmp_path: Path) -> None:
        with atomic_file(tmp_path / "out") as file:
            file.write(b"text")
            assert not (tmp_path / "out").exists()
        assert contents(tmp_path) == {"out": b"text"}

    @pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
    def test_a_name_as_long_as_may_be(self, tmp_path: Path, name: str) -> None:
        for text in (b"one", b"two"):
            with atomic_file(tmp_path / name) as file:
                file.write(text)
            assert contents(tmp_path) == {name: text}
            replace_files({tmp_path / name: text * 2}, backups={tmp_path / name: tmp_path / "bkp"})
            assert contents(tmp_path) == {name: text * 2, "bkp": text}
            (tmp_path / "bkp").unlink()

    def test_or_not_at_all(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"before")
        with pytest.raises(KeyboardInterrupt), atomic_file(tmp_path / "out") as file:
            file.write(b"half")
            raise KeyboardInterrupt
        assert contents(tmp_path) == {"out": b"before"}

    def test_missing_folder(self, tmp_path: Path) -> None:
        with (
            pytest.raises(ProjectError, match=r"can't be written"),
            atomic_file(tmp_path / "no" / "out"),
        ):
            pass


class TestState:
    def test_equal_bytes_are_the_same_state(self, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"one")
        _, first = read_file(path)
        os.utime(path, ns=(1, 1))
        _, touched = read_file(path)
        path.write_bytes(b"two")
        _, second = read_file(path)
        assert first == touched != second

    def test_on_disk(self, tmp_path: Path) -> None:
        path = tmp_path / "data"
        assert ABSENT.is_on_disk(path)
        path.write_bytes(b"one")
        _, state = read_file(path)
        assert state.is_on_disk(path)
        assert not ABSENT.is_on_disk(path)
        os.utime(path, ns=(1, 1))
        assert not state.is_on_disk(path)

    def test_unreadable(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectError, match="can't be read"):
            read_file(tmp_path)


class TestLock:
    def test_is_gone_afterwards(self, tmp_path: Path) -> None:
        with lock(tmp_path):
            assert (tmp_path / LOCK_NAME).exists()
        assert contents(tmp_path) == {}

    def test_held_by_another(self, tmp_path: Path) -> None:
        with (
            lock(tmp_path),
            pytest.raises(ProjectError, match=rf"process {os.getpid()} on .*delete this file"),
            lock(tmp_path, wait=0),
        ):
            pass
        assert contents(tmp_path) == {}

    def test_waits(self, tmp_path: Path) -> None:
        order = []
        entered = threading.Event()

        def hold() -> None:
            with lock(tmp_path):
                entered.set()
                time.sleep(0.2)
                order.append("first")

        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait()
        with lock(tmp_path):
            order.append("second")
        thread.join()
        assert order == ["first", "second"]

    def test_only_one_at_a_time(self, tmp_path: Path) -> None:
        counter = tmp_path / "counter"
        counter.write_text("0")
        code = (
            "import sys, pathlib\nfrom qpbridge.project.files.locks import lock\n"
            "folder = pathlib.Path(sys.argv[1])\n"
            "for _ in range(20):\n"
            "    with lock(folder, wait=60):\n"
            "        n = int((folder / 'counter').read_text())\n"
            "        (folder / 'counter').write_text(str(n + 1))\n"
        )
        args = [sys.executable, "-c", code, str(tmp_path)]
        processes = [subprocess.Popen(args) for _ in range(3)]
        assert [p.wait(60) for p in processes] == [0, 0, 0]
        assert counter.read_text() == "60"

    def test_of_a_dead_process_is_taken_over(self, tmp_path: Path) -> None:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        self.leave(tmp_path, pid=dead.pid)
        with lock(tmp_path, wait=0):
            pass
        assert contents(tmp_path) == {}

    @pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
    def test_of_a_dead_process_whose_number_was_given_again(self, tmp_path: Path) -> None:
        self.leave(tmp_path, pid=os.getpid(), started="1")
        with lock(tmp_path, wait=0):
            pass

    @pytest.mark.parametrize("place", [{"host": "elsewhere"}, {"numbering": "of a container"}])
    def test_of_another_computer_is_respected(
        self, tmp_path: Path, place: dict[str, object]
    ) -> None:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        self.leave(tmp_path, pid=dead.pid, **place)
        with pytest.raises(ProjectError, match=f"process {dead.pid}"), lock(tmp_path, wait=0):
            pass
        assert list(contents(tmp_path)) == [LOCK_NAME]

    def test_unreadable_is_taken_over_once_old(self, tmp_path: Path) -> None:
        path = tmp_path / LOCK_NAME
        path.write_text("{")
        with pytest.raises(ProjectError, match="unknown process"), lock(tmp_path, wait=0):
            pass
        os.utime(path, (time.time() - 100, time.time() - 100))
        with lock(tmp_path, wait=0):
            pass

    def test_without_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Some disks (exFAT, some shares) know no second names."""

        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EPERM, "no links on this disk")

        monkeypatch.setattr(os, "link", refuse)
        with lock(tmp_path):
            with pytest.raises(ProjectError, match="another qpbridge"), lock(tmp_path, wait=0):
                pass
            assert list(contents(tmp_path)) == [LOCK_NAME]
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        self.leave(tmp_path, pid=dead.pid)
        with lock(tmp_path, wait=0):
            pass
        assert contents(tmp_path) == {}

    def test_breaking_spares_a_new_holder(self, tmp_path: Path) -> None:
        path = tmp_path / LOCK_NAME
        path.write_text("new holder")
        locks._break(path, "old holder")
        assert contents(tmp_path) == {LOCK_NAME: b"new holder"}

    @pytest.mark.parametrize("step", [1, 2])
    def test_interrupt_frees_it(self, tmp_path: Path, trap: Trap, step: int) -> None:
        trap.at, trap.error, trap.after = step, KeyboardInterrupt(), step == 1
        with pytest.raises(KeyboardInterrupt), lock(tmp_path):
            raise KeyboardInterrupt
        trap.at = -1
        assert LOCK_NAME not in {n for n, text in contents(tmp_path).items() if text}

    def test_read_only_folder(self, tmp_path: Path, trap: Trap) -> None:
        trap.at, trap.error = 1, OSError(errno.EROFS, "read-only")
        with pytest.raises(ProjectError, match="make the project writable"), lock(tmp_path):
            pass

    def leave(self, folder: Path, **changes: object) -> None:
        known = {
            "host": platform.node(),
            "numbering": processes._place()["numbering"],
            "started": None,
            "time": "then",
            "token": "t",
        }
        (folder / LOCK_NAME).write_text(json.dumps({**known, **changes}))


def test_waits_for_scanners_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "data").write_bytes(b"old")
    real, refusals = os.replace, [2]
    waited: list[float] = []

    def busy(source: object, target: object) -> None:
        if refusals[0]:
            refusals[0] -= 1
            raise PermissionError(errno.EACCES, "used by another process")
        real(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(renaming.os, "name", "nt")
    monkeypatch.setattr(renaming.time, "sleep", waited.append)
    source, target = tmp_path / "new", tmp_path / "data"
    renaming.rename(source, target)
    monkeypatch.undo()
    assert contents(tmp_path) == {"data": b"new"}
    assert len(waited) == 2
