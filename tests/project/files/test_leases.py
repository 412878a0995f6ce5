"""Locks of other machines are leases: taken over when nobody renews them, and never before."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest

from qpbridge.errors import LockedError, ProjectError
from qpbridge.project.files import atomic, locks, processes
from qpbridge.project.files.atomic import replace_files
from qpbridge.project.files.locks import LOCK_NAME, Lease, lock

ELSEWHERE = {"pid": 3, "host": "node-a", "numbering": "pid:[1]", "started": "5", "time": "then"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "RENEW", 0.05)
    monkeypatch.setattr(locks, "WATCH", 0.3)
    monkeypatch.setattr(locks, "_SETTLE", 0.05)


def leave(folder: Path, age: float = 0.0, **changes: object) -> Path:
    path = folder / LOCK_NAME
    path.write_text(json.dumps(ELSEWHERE | {"token": "t"} | changes))
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_of_another_machine_is_respected_and_says_for_how_long(tmp_path: Path) -> None:
    leave(tmp_path, age=100)
    with pytest.raises(LockedError, match=r"process 3 on node-a.*taken over in (79|80) s"):
        lock(tmp_path, wait=0).__enter__()


def test_that_nobody_renews_is_taken_over(tmp_path: Path) -> None:
    path = leave(tmp_path, age=181)
    began = time.monotonic()
    with lock(tmp_path, wait=0):
        assert "node-a" not in path.read_text()
        assert time.monotonic() - began >= 0.3, "it was watched before"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("skew", [1000, -1000])
def test_that_is_renewed_stays_whatever_its_machine_takes_the_time_to_be(
    tmp_path: Path, skew: float
) -> None:
    path = leave(tmp_path, age=skew)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.05):
            os.utime(path, (time.time() - skew, time.time() - skew))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        taken = []

        def take() -> None:
            with lock(tmp_path, wait=0):
                taken.append(1)

        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        taker.join(1.5)
        assert not taken
        assert json.loads(path.read_text())["host"] == "node-a"
    finally:
        ended.set()
        thread.join()
        taker.join(5)
    assert taken, "once it is renewed no more"


def test_a_holder_renews(tmp_path: Path) -> None:
    with lock(tmp_path):
        path = tmp_path / LOCK_NAME
        os.utime(path, (1, 1))
        time.sleep(0.3)
        assert time.time() - path.stat().st_mtime < 5


@pytest.mark.parametrize("by", ["nobody", "another"])
def test_who_lost_it_writes_nothing(tmp_path: Path, by: str) -> None:
    (tmp_path / "data").write_bytes(b"old")
    with lock(tmp_path) as lease:
        lease.confirm()
        (tmp_path / LOCK_NAME).unlink()
        if by == "another":
            leave(tmp_path)
        with pytest.raises(ProjectError, match=r"lost its lock.*nothing was written"):
            replace_files({tmp_path / "data": b"new"}, last_look=lease.confirm)
    assert (tmp_path / "data").read_bytes() == b"old"
    assert (tmp_path / LOCK_NAME).exists() == (by == "another"), "another's lock stays"


@pytest.mark.parametrize("pid", [-1, 0, 2**70, -(2**70), 2**31])
def test_no_process_has_an_absurd_number(tmp_path: Path, pid: int) -> None:
    here = {k: v for k, v in processes.this_process().items() if k != "boot"}
    leave(tmp_path, **{**here, "pid": pid})
    with lock(tmp_path, wait=0):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "3", '{"pid": "text", "host": 1}', '{"pid": [1], "host": "a"}',
        "[" * 5000, "\x1b[31m" + "x" * 100_000, '{"pid": NaN, "host": "h"}',
        '{"pid": true, "host": "h"}',
    ],
)  # fmt: skip
def test_half_a_lock(tmp_path: Path, text: str) -> None:
    path = tmp_path / LOCK_NAME
    path.write_text(text)
    with pytest.raises(LockedError, match="unknown process") as caught:
        lock(tmp_path, wait=0).__enter__()
    assert len(str(caught.value)) < 500
    os.utime(path, (time.time() - 61, time.time() - 61))
    with lock(tmp_path, wait=0):
        pass


def test_of_several_who_take_over_one_has_it(tmp_path: Path) -> None:
    for _ in range(5):
        leave(tmp_path, age=1000)
        inside, most = [], []

        def work() -> None:
            with lock(tmp_path, wait=30):
                inside.append(1)  # noqa: B023
                most.append(len(inside))  # noqa: B023
                time.sleep(0.02)
                inside.pop()  # noqa: B023

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 4
        assert not list(tmp_path.iterdir())


def test_boots_of_a_machine_are_told_apart(tmp_path: Path) -> None:
    leave(tmp_path, **{**processes.this_process(), "boot": "an earlier one", "pid": os.getpid()})
    with pytest.raises(LockedError, match="taken over in"):
        lock(tmp_path, wait=0).__enter__()


class TestLeftovers:
    def test_of_the_dead_go_and_those_of_the_living_stay(self, tmp_path: Path) -> None:
        dead = processes.mark().replace(f"-{os.getpid()}-", f"-{processes.MAX_PID}-")
        elsewhere = "00000000-7-8-abcdef01"
        for mark in (dead, processes.mark(), elsewhere, "0123"):
            for what in ("new", "old"):
                (tmp_path / f".o.csv.{mark}.{what}.qpbridge").write_bytes(b"half")
        old = tmp_path / f".o.csv.{elsewhere}.old.qpbridge"
        os.utime(old, (1, 1))
        (tmp_path / ".hidden").write_bytes(b"a person's")
        with lock(tmp_path):
            pass
        left = sorted(path.name for path in tmp_path.iterdir())
        assert len(left) == 4
        assert not any(dead in name or "0123" in name for name in left)
        assert not old.exists()


def test_lease_of_a_file_that_cant_be_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with lock(tmp_path) as lease:
        monkeypatch.setattr(Lease, "renew", refuse)
        with pytest.raises(ProjectError, match="can't be renewed"):
            lease.confirm()


@pytest.mark.parametrize("what", ["lock", "temporary file"])
def test_an_interrupt_right_before_clearing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Python raises it where a function begins: the clearing up itself never ran."""
    interrupts = [KeyboardInterrupt()]
    real_release, real_remove = Lease.release, atomic.remove

    def release(lease: Lease) -> None:
        if interrupts:
            raise interrupts.pop()
        real_release(lease)

    def remove(*paths: Path) -> None:
        if interrupts:
            raise interrupts.pop()
        real_remove(*paths)

    if what == "lock":
        monkeypatch.setattr(Lease, "release", release)
        with pytest.raises(KeyboardInterrupt), lock(tmp_path):
            pass
    else:
        monkeypatch.setattr(atomic, "remove", remove)
        (tmp_path / "data").write_bytes(b"old")
        with pytest.raises(KeyboardInterrupt):
            replace_files({tmp_path / "data": b"new"})
    assert {path.name for path in tmp_path.iterdir()} <= {"data"}
