"""Running what may hang, crash or eat memory in processes of its own."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import jpype
import pytest

T = TypeVar("T")

SECONDS = 10.0
"""For one item, of the process's own time: a machine that is busy is no error."""

MEMORY = 2 << 30
"""Bytes that a process may take in addition to what it begins with."""


@dataclass(frozen=True)
class Trouble:
    """An item that went wrong, and how."""

    item: object
    what: str

    def __str__(self) -> str:
        return f"{self.item}: {self.what}"


class TooLongError(BaseException):
    """Not an error that anybody handles."""


def needs_fork() -> None:
    """Skip where a Java machine runs in this process: what is forked from it may hang."""
    if jpype.isJVMStarted():
        pytest.skip("a Java machine runs in this process, which can't be forked then")


def run_guarded(
    check: Callable[[T], bool], items: Sequence[T], *, most: int = 20, seconds: float = SECONDS
) -> tuple[int, list[Trouble]]:
    """Check items one after another in a child process; a new one goes on where one dies.

    Returns how many checks were true, and the troubles, `most` at most.
    """
    needs_fork()
    troubles: list[Trouble] = []
    yes = at = 0
    while at < len(items) and len(troubles) < most:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _be_child(check, items[at:], writer, seconds)
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as results:
            while True:
                # In C code no alarm rings: what takes much longer than allowed is ended from here.
                ready, _, _ = select.select([results], [], [], 12 * seconds)
                if not ready or len(troubles) == most:
                    os.kill(child, signal.SIGKILL)
                    break
                try:
                    outcome = pickle.load(results)
                except EOFError:
                    break
                if isinstance(outcome, str):
                    troubles.append(Trouble(items[at], outcome))
                yes += outcome is True
                at += 1
        _, status = os.waitpid(child, 0)
        if at < len(items) and len(troubles) < most:
            how = f"ended by signal {os.WTERMSIG(status)}" if ready else "hangs"
            troubles.append(Trouble(items[at], how))
            at += 1
    return yes, troubles


def _be_child(
    check: Callable[[Any], bool], items: Sequence[Any], writer: int, seconds: float
) -> None:
    """Never returns."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as file:  # noqa: PTH123
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))

    def ring(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGVTALRM, ring)
    gc.freeze()
    with os.fdopen(writer, "wb", buffering=0) as results, contextlib.suppress(BrokenPipeError):
        for item in items:
            outcome: bool | str
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
                outcome = check(item)
            except BaseException as error:  # noqa: BLE001
                place = traceback.extract_tb(sys.exc_info()[2])[-6:]
                lines = " < ".join(
                    f"{p.filename.split('/')[-1]}:{p.lineno}" for p in reversed(place)
                )
                outcome = f"{type(error).__name__}: {str(error)[:300]} [{lines}]"
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            results.write(pickle.dumps(outcome))
    os._exit(0)


def fuzz_by_hand(fuzz: Callable[[Path, int, int], tuple[int, list[Trouble]]]) -> None:
    """Fuzz in a new folder with the numbers of the command line, FIRST and COUNT, and print it."""
    first, count = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        fine, troubles = fuzz(Path(folder), first, count)
    for trouble in troubles:
        print(trouble)
    print(f"{count} tried, {fine} readable, {len(troubles)} in trouble")
