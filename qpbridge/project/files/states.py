"""What a file held when it was read, to tell later whether it still does."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from qpbridge.project.files.explain import explain_reading
from qpbridge.project.files.no_links import refusal


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


def look_at(path: Path) -> FileState:
    """Return what size and time tell of a file, to ask `is_on_disk` later; nothing was read."""
    with explain_reading(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return ABSENT
    return FileState(found.st_size, b"", found.st_mtime_ns)


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
