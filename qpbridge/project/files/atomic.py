"""Writing without harm: change detection, and replacing all of several files or none."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from qpbridge.errors import ProjectError
from qpbridge.project.files.explain import explain_failure, explain_reading
from qpbridge.project.files.plain import below, look, real, refusal
from qpbridge.project.files.siblings import (
    remove,
    remove_abandoned,
    remove_orphans,
    sibling,
    surely,
)


@dataclass(frozen=True)
class FileState:
    """Which bytes a file held when it was read; equal if the bytes are."""

    size: int
    digest: bytes
    mtime_ns: int = field(compare=False)

    def is_on_disk(self, path: Path) -> bool:
        """Whether the file looks untouched since, by size and time alone (cheap)."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return self == ABSENT
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


ABSENT = FileState(-1, b"", 0)
"""The state of a file that isn't there."""


def read_file(path: Path) -> tuple[bytes, FileState]:
    """Read a file together with its state.

    Raises
    ------
    ProjectError
        If it can't be read, or is a pipe or device, which may never end.
    """
    with explain_reading(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise refusal(path)
    with explain_reading(path), path.open("rb") as file:
        mtime_ns = os.fstat(file.fileno()).st_mtime_ns
        data = file.read()
    return data, FileState(len(data), hashlib.blake2b(data).digest(), mtime_ns)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its place only when complete.

    Raises
    ------
    ProjectError
        If it can't be written; what was there is untouched.
    """
    target = real(path)
    temp = sibling(target, "new")
    with explain_failure(path):
        remove_abandoned(target.parent)
        try:
            with _create(temp, target) as file:
                yield file
                _to_disk(file)
            _rename(temp, target)
            _sync_folder(target.parent)
        finally:
            surely(lambda: remove(temp))


def replace_files(
    contents: Mapping[Path, bytes],
    *,
    root: Path | None = None,
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
    backups
        Where to keep the previous version of a file, if it had one.
    last_look
        Called right before the first change; may raise to call everything off.

    Raises
    ------
    ProjectError
        If something can't be written, or a link leads elsewhere; all files are as before.
    """
    outer = root or Path(os.path.commonpath([path.parent for path in contents]))
    # A link in the place of a file stays: what it points to is replaced.
    targets = {
        path: below(outer, path) if path.is_relative_to(outer) else path for path in contents
    }
    old = {target: sibling(target, "old") for target in targets.values()}
    new = {target: sibling(target, "new") for target in targets.values()}
    backup_of = {targets[path]: backup for path, backup in (backups or {}).items()}
    for backup in backup_of.values():
        found = look(backup)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise refusal(backup)
    kept: set[Path] = set()
    begun: list[Path] = []
    first = next(iter(contents))
    try:
        with explain_failure(first):
            for path, target in targets.items():
                remove_orphans(target)
                with _create(new[target], target) as file:
                    file.write(contents[path])
                    _to_disk(file)
                if _keep(target, old[target]):
                    kept.add(target)
            last_look()
            for target in targets.values():
                begun.append(target)
                _rename(new[target], target)
            for target, backup in backup_of.items():
                if target in kept:
                    _rename(old[target], backup)
            for folder in {target.parent for target in targets.values()}:
                _sync_folder(folder)
    except BaseException:
        # Once a backup has taken its place, everything before it is done too: nothing to undo.
        complete = any(not old[target].exists() for target in kept)
        for target in [] if complete else reversed(begun):
            _undo(target, old[target] if target in kept else None)
        raise
    finally:
        surely(lambda: remove(*new.values(), *old.values()))


def _undo(target: Path, previous: Path | None) -> None:
    try:
        if previous is not None:
            _rename(previous, target)
        else:
            target.unlink(missing_ok=True)
    except OSError as error:
        raise ProjectError(
            f"{target}: writing failed halfway, and so did undoing it ({error.strerror or error}); "
            "every file is whole, but some are new: check the disk, then run again"
        ) from error


def _rename(source: Path, target: Path) -> None:
    """Put a file in the place of another at once.

    Windows refuses while a program has the target open. Scanners do for a moment: be patient.
    """
    for patience in (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ():
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(patience)
        else:
            return
    source.replace(target)


def _create(temp: Path, target: Path) -> BinaryIO:
    """Open a new file that has the permissions of the one that it will replace."""
    with contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "read-only file", str(target))
        file = os.fdopen(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o600), "wb")
        with contextlib.suppress(OSError):
            temp.chmod(mode & 0o7777)
        return file
    return os.fdopen(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o666), "wb")


_BINARY = getattr(os, "O_BINARY", 0)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _keep(target: Path, aside: Path) -> bool:
    """Keep the present version, if any, under a second name: a link where possible, else a copy."""
    if not target.exists():
        return False
    try:
        aside.hardlink_to(target)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        shutil.copy2(target, aside)
    return True


def _sync_folder(folder: Path) -> None:
    # Some file systems and Windows can't; the rename has happened all the same.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
