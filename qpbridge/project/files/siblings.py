"""Files of ours beside other files, for a moment: named, found again, and cleared away.

Their names tell who made them: `.NAME.MARK.new.qpbridge`, hidden, where MARK is that of a process.

Whoever makes one clears it away twice, in a `try` and in its `finally`: a Ctrl-C that comes then,
be it at the very start, ends the first, and Python has no simple way to put it off.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from qpbridge.project.files.processes import mark

_NAME = re.compile(r"\.(?P<target>.+)\.(?P<mark>[^.]+)\.(?P<what>new|old)\.qpbridge", re.DOTALL)

_LONGEST = 255
"""Bytes that the name of a file may have: of one whose own name is near that, a part is taken."""


def sibling(target: Path, what: str, by: str | None = None) -> Path:
    """Name a file of ours beside another one.

    Parameters
    ----------
    target
        The other one.
    what
        ``new`` or ``old``.
    by
        The mark in its name; by default one that no other file has.
    """
    ending, name = f".{by or mark()}.{what}.qpbridge", target.name
    while name and len(os.fsencode(f".{name}{ending}")) > _LONGEST:
        name = name[:-1]
    return target.with_name(f".{name}{ending}")


def parse_sibling(path: Path) -> tuple[Path, str, str] | None:
    """Tell what `sibling` was called with to name a file: target, ``new`` or ``old``, mark."""
    found = _NAME.fullmatch(path.name)
    return found and (path.with_name(found["target"]), found["what"], found["mark"])


def disk_time(folder: Path) -> float:
    """Return what time it is for the file system of a folder that can be written to."""
    probe = sibling(folder / "time", "new")
    handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
        remove(probe)


def remove(*paths: Path) -> None:
    """Remove files of ours; where they can't be, the next writer will."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
