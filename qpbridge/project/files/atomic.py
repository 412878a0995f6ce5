"""Writing without harm: one file, or all of several or none."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from qpbridge.project.files.explain import explain_failure
from qpbridge.project.files.leftovers import remove_abandoned
from qpbridge.project.files.no_links import below, look, refusal
from qpbridge.project.files.outputs import output_place
from qpbridge.project.files.renaming import rename
from qpbridge.project.files.replacement import Replacement, create, to_disk
from qpbridge.project.files.siblings import remove, sibling
from qpbridge.project.files.states import FileState


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place only when complete.

    Raises
    ------
    ProjectError
        If it can't be written, or lies in a project's folder and a link leads out of there; what
        was there is untouched.
    """
    target = output_place(path)
    temp = sibling(target, "new")
    with explain_failure(path):
        remove_abandoned(target.parent)
        try:
            with create(temp, target) as file:
                yield file
                to_disk(file)
            rename(temp, target)
            _sync_folder(target.parent)
        finally:
            try:
                remove(temp)
            finally:
                remove(temp)


def replace_files(
    contents: Mapping[Path, bytes],
    *,
    root: Path | None = None,
    expected: Mapping[Path, FileState] | None = None,
    backups: Mapping[Path, Path] | None = None,
    last_look: Callable[[], None] = lambda: None,
) -> None:
    """Replace several files, all or none of them; only to be called under the lock.

    Everything is written and synced beside its target first, so that a full disk or a missing
    permission shows before anything changes; what follows is renaming, which is undone if it
    fails or is interrupted. A process that is killed leaves each file whole, old or new, and what
    else it leaves is removed by the next writer.

    Parameters
    ----------
    contents
        The new bytes; the files are replaced in this order.
    root
        A folder out of which no link may lead (see `plain.below`); files that are named outside
        of it are taken as they are. If left out, the files' common folder.
    expected
        What files must still be in the moment in which they are replaced: see `Replacement`. Errors
        name the first of them.
    backups
        Where to keep the previous version of a file, if it had one.
    last_look
        Called right before the first change; may raise to call everything off.

    Raises
    ------
    ChangedMeanwhileError
        If a file isn't as expected; all files are as the other program left them.
    ProjectError
        If something can't be written, or a link leads elsewhere; all files are as before.
    """
    outer = root or Path(os.path.commonpath([path.parent for path in contents]))
    expected, backups = expected or {}, backups or {}
    for backup in backups.values():
        found = look(backup)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise refusal(backup)
    # A link in the place of a file stays: what it points to is replaced.
    steps = {
        path: Replacement(
            below(outer, path) if path.is_relative_to(outer) else path,
            expected.get(path),
            backups.get(path),
        )
        for path in contents
    }
    try:
        with explain_failure(next(iter(expected or contents))):
            for path, step in steps.items():
                step.write(contents[path])
            last_look()
            for step in steps.values():
                step.put()
            for step in steps.values():
                step.back_up()
            for folder in {step.target.parent for step in steps.values()}:
                _sync_folder(folder)
    except BaseException:
        try:
            _undo(steps.values())
        finally:
            _undo(steps.values())
        raise
    finally:
        try:
            _clear(steps.values())
        finally:
            _clear(steps.values())


def _undo(steps: Collection[Replacement]) -> None:
    # Once a backup has taken its place, everything before it is done too: nothing to undo.
    if not any(step.is_backed_up for step in steps):
        for step in reversed([*steps]):
            step.undo()


def _clear(steps: Collection[Replacement]) -> None:
    for step in steps:
        remove(step.new, step.old)


def _sync_folder(folder: Path) -> None:
    # Some file systems and Windows can't; the rename has happened all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
