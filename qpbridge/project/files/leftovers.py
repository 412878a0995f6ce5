"""What killed writers have left: cleared away, and a save of QuPath in it put back.

QuPath may save in the microseconds before our file and its own change places. Who is killed right
then, before it has looked at what came out, leaves that save under a name of ours. So the second
name of the version before tells what was expected to come out, and what took its place.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from qpbridge.project.files.processes import maker_has_ended
from qpbridge.project.files.renaming import exchange
from qpbridge.project.files.siblings import disk_time, parse_sibling, remove, sibling
from qpbridge.project.files.states import FileState

_ABANDONED = 3600.0
"""Seconds after which a file is nobody's any more if its maker can't be asked after."""


def remove_orphans(target: Path) -> None:
    """Remove all files of ours beside one that only the holder of the lock writes."""
    _remove(target.parent, lambda path: path.name.startswith(f".{target.name}."))


def remove_abandoned(folder: Path) -> None:
    """Remove files of ours that processes left that were killed; none that a living one uses."""
    _remove(folder, _is_abandoned)


def traced(target: Path, new: Path, expected: FileState) -> Path:
    """Name the second name of a file's version before so that a save can be put back.

    Parameters
    ----------
    target, new
        The file, and ours that will change places with it, from `sibling`.
    expected
        What is to come out.
    """
    _, _, mark = parse_sibling(new) or (target, "new", "")
    return sibling(target, "old", f"{mark}-{_trace(new)}-{expected.mtime_ns:x}")


def _remove(folder: Path, chosen: Callable[[Path], bool]) -> None:
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        found += folder.iterdir()
    left = [path for path in found if parse_sibling(path) and chosen(path)]
    for path in left:
        with contextlib.suppress(FileNotFoundError):
            _rescue(path)
    remove(*left)


def _rescue(kept: Path) -> None:
    """Put a save back that came out and was not looked at, unless there has been another since."""
    target, _, marks = parse_sibling(kept) or (kept, "", "")
    parts = marks.split("-")
    mark, ours = "-".join(parts[:-3]), "-".join(parts[-3:-1])
    new = sibling(target, "new", mark)
    if not mark or _trace(target) != ours:
        return
    if _trace(new) != ours and f"{new.lstat().st_mtime_ns:x}" != parts[-1]:
        exchange(new, target)
        if _trace(new) != ours:  # saved in this moment
            exchange(new, target)


def _trace(path: Path) -> str:
    """Tell files apart: by what the disk numbers them, and when they were written."""
    found = path.lstat()
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}"


def _is_abandoned(path: Path) -> bool:
    found = parse_sibling(path)
    if found is None:
        return False
    if "-" not in found[2]:  # as qpbridge 0.1.0 named them
        return True
    ended = maker_has_ended(found[2])
    if ended is not None:
        return ended
    try:
        return disk_time(path.parent) - path.lstat().st_mtime > _ABANDONED
    except OSError:
        return False
