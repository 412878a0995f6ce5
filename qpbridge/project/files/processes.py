"""Who made a file: the process that runs here, runs no longer, or belongs to another machine."""

from __future__ import annotations

import functools
import os
import platform
import uuid
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

MAX_PID = 2**31 - 1


def this_process() -> dict[str, Any]:
    """Describe this process, so that every other one can ask `has_ended` about it."""
    pid = os.getpid()
    return {**_place(), "pid": pid, "started": _started(pid)}


def has_ended(process: Mapping[str, Any]) -> bool | None:
    """Whether a process has ended; None where it can't be known, as of another machine.

    Raises
    ------
    ValueError
        If `process` describes none.
    """
    pid, started = process.get("pid"), process.get("started")
    if type(pid) is not int or not isinstance(process.get("host"), str):
        raise ValueError("no process")
    if any(process.get(key, value) != value for key, value in _place().items()):
        return None
    if not 0 < pid <= MAX_PID:
        return True  # nothing has this number
    if os.name == "nt":
        return None  # the question below would end the process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # runs as somebody else
    return bool(started != _started(pid))


def mark() -> str:
    """Make a part of a file's name that no other file has, and `is_abandoned` understands."""
    pid = os.getpid()
    return f"{_here()}-{pid}-{_started(pid) or ''}-{uuid.uuid4().hex[:8]}"


def maker_has_ended(mark: str) -> bool | None:
    """Whether the process that made a file of this mark has ended; None: not to be known."""
    here, _, rest = mark.partition("-")
    pid, _, rest = rest.partition("-")
    if here != _here() or not pid.isdecimal():
        return None
    return has_ended({**_place(), "pid": int(pid), "started": rest.partition("-")[0] or None})


@functools.cache
def _place() -> dict[str, str | None]:
    """Tell machines apart, containers that share a name but number processes anew, and boots."""
    return {
        "host": platform.node(),
        "numbering": _read_link("/proc/self/ns/pid"),
        "boot": _read_line("/proc/sys/kernel/random/boot_id"),
    }


@functools.cache
def _here() -> str:
    return blake2b(repr(sorted(_place().items())).encode(), digest_size=4).hexdigest()


def _read_link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


def _read_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Return when a process began, in clock ticks: tells two processes of one number apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
