"""One file that takes the place of another, unless that was saved meanwhile, and can give it back.

QuPath knows no lock. What it saves is never written over: our file and the one in its place change
places at once, and what came out is looked at only then. If it isn't what was read, both change
back. Where the system can't do that, the file is looked at right before.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import BinaryIO

from qpbridge.errors import ChangedMeanwhileError, ProjectError
from qpbridge.project.files.leftovers import remove_orphans, traced
from qpbridge.project.files.renaming import exchange, rename
from qpbridge.project.files.siblings import sibling
from qpbridge.project.files.states import ABSENT, FileState

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY
for _name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NOINHERIT"):
    _FLAGS |= getattr(os, _name, 0)


class Replacement:
    """One file that takes the place of another.

    Parameters
    ----------
    target
        The other one, which may be missing.
    expected
        What it must still be; None: whatever it is.
    backup
        Where to keep the version before, if there is one.
    """

    def __init__(
        self, target: Path, expected: FileState | None = None, backup: Path | None = None
    ) -> None:
        self.target = target
        self.new, self.old = sibling(target, "new"), sibling(target, "old")
        self._expected = expected
        self._backup = backup
        self._kept = False
        self._begun = False
        self._undone = False
        self._came_out: os.stat_result | None = None

    @property
    def is_backed_up(self) -> bool:
        """Whether the version before is in the place of the backup, so that nothing is left."""
        return self._kept and not self._undone and not self.old.exists()

    def write(self, data: bytes) -> None:
        """Write it beside the target, and give the present version a second name."""
        remove_orphans(self.target)
        with create(self.new, self.target) as file:
            file.write(data)
            to_disk(file)
        self._ours = self.new.stat()
        if self._expected is not None:
            self.old = traced(self.target, self.new, self._expected)
        self._kept = _keep(self.target, self.old)

    def put(self) -> None:
        """Take the place of the target.

        Raises
        ------
        ChangedMeanwhileError
            If the target isn't as expected; `undo` has to be called then, as after any error.
        """
        self._begun = True
        if self._expected is None:
            rename(self.new, self.target)
        elif not self._put_unless_changed(self._expected):
            raise ChangedMeanwhileError(
                f"{self.target}: was saved by another program meanwhile; nothing was changed, run "
                "again"
            )

    def back_up(self) -> None:
        """Put the version before where it is kept, unless another program has saved since."""
        if self._backup is not None and self._kept and self._is_ours(self.target):
            rename(self.old, self._backup)

    def undo(self) -> None:
        """Give the place back, unless another program has saved since; may be repeated."""
        if not self._begun:
            return
        self._undone = True
        try:
            self._undo()
        except OSError as error:
            raise ProjectError(
                f"{self.target}: writing failed halfway, and so did undoing it "
                f"({error.strerror or error}); every file is whole, but some are new: check the "
                "disk, then run again"
            ) from error

    def _put_unless_changed(self, expected: FileState) -> bool:
        if expected == ABSENT:
            try:
                self.target.hardlink_to(self.new)
            except FileExistsError:
                return False
            except OSError:  # no second names on this disk
                pass
            else:
                return True
        else:
            try:
                if exchange(self.new, self.target):
                    return expected.is_on_disk(self.new)
            except FileNotFoundError:
                return False
        if not expected.is_on_disk(self.target):
            return False
        rename(self.new, self.target)
        return True

    def _undo(self) -> None:
        if self._expected is not None and self._expected != ABSENT and self.new.exists():
            if not self._is_ours(self.new):
                self._change_back()
        elif self._expected is not None and not self._is_ours(self.target):
            pass  # another program's
        elif self._kept:
            with contextlib.suppress(FileNotFoundError):  # was done before
                rename(self.old, self.target)
        else:
            with contextlib.suppress(FileNotFoundError):
                rename(self.target, self.old)
                if not self._is_ours(self.old):  # was saved in this moment
                    self._return(self.old)

    def _change_back(self) -> None:
        """Put what came out back; what was saved in that moment goes before it."""
        self._came_out = self._came_out or self.new.lstat()
        with contextlib.suppress(FileNotFoundError):  # in the middle of being saved
            if self._is_ours(self.target):
                exchange(self.new, self.target)
            if not (self._is_ours(self.new) or os.path.samestat(self.new.lstat(), self._came_out)):
                exchange(self.new, self.target)
        if not self._is_ours(self.new):
            self._return(self.new)

    def _return(self, theirs: Path) -> None:
        with contextlib.suppress(FileExistsError):
            self.target.hardlink_to(theirs)

    def _is_ours(self, path: Path) -> bool:
        """Whether it is what was written here. Some networks make up numbers, some times."""
        try:
            found = path.lstat()
        except FileNotFoundError:
            return False
        return found.st_size == self._ours.st_size and (
            os.path.samestat(found, self._ours) or found.st_mtime_ns == self._ours.st_mtime_ns
        )


def create(temp: Path, target: Path) -> BinaryIO:
    """Open a new file that has the permissions of the one that it will replace."""
    with contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if not os.access(target, os.W_OK) and target.exists():
            raise PermissionError(errno.EACCES, "read-only file", str(target))
        file = os.fdopen(os.open(temp, _FLAGS, 0o600), "wb")
        with contextlib.suppress(OSError):
            temp.chmod(mode & 0o7777)
        return file
    return os.fdopen(os.open(temp, _FLAGS, 0o666), "wb")


def to_disk(file: BinaryIO) -> None:
    """Wait until what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _keep(target: Path, aside: Path) -> bool:
    """Keep the present version, if any, under a second name: a link where possible, else a copy."""
    try:
        try:
            aside.hardlink_to(target)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            shutil.copy2(target, aside)
    except FileNotFoundError:
        return False
    return True
