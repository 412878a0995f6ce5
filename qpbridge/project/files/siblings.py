"""Files of ours beside other files, for a moment: named, found again, and cleared away.

Their names tell who made them: `.NAME.MARK.new.qpbridge`, hidden, where MARK is that of a process.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from qpbridge.project.files.processes import maker_has_ended, mark

_NAME = re.compile(r"\..+\.(?P<mark>[^.]+)\.(new|old)\.qpbridge", re.DOTALL)
_ABANDONED = 3600.0
"""Seconds after which a file is nobody's any more if its maker can't be asked after."""


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
    return target.with_name(f".{target.name}.{by or mark()}.{what}.qpbridge")


def remove_orphans(target: Path) -> None:
    """Remove all files of ours beside one that only the holder of the lock writes."""
    _remove(target.parent, lambda path: path.name.startswith(f".{target.name}."))


def remove_abandoned(folder: Path) -> None:
    """Remove files of ours that processes left that were killed; none that a living one uses."""
    _remove(folder, _is_abandoned)


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


def surely(clear_up: Callable[[], object]) -> None:
    """Clear up, from the start again if Ctrl-C comes in between."""
    try:
        clear_up()
    except KeyboardInterrupt:
        clear_up()
        raise


def _remove(folder: Path, chosen: Callable[[Path], bool]) -> None:
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found += folder.iterdir()
    remove(*(path for path in found if _NAME.fullmatch(path.name) and chosen(path)))


def _is_abandoned(path: Path) -> bool:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return False
    if "-" not in found["mark"]:  # as qpbridge 0.1.0 named them
        return True
    ended = maker_has_ended(found["mark"])
    if ended is not None:
        return ended
    try:
        return disk_time(path.parent) - path.lstat().st_mtime > _ABANDONED
    except OSError:
        return False
