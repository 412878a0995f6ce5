"""What is kept beside the data of an image, run by run: a note, and the data as it was before.

QuPath reads and writes other files of the image's folder only, and moves the folder as a whole. The
names are `qpbridge-NUMBER-KIND-RUN.note` and `.before`; the numbers ascend.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from qpbridge.errors import ProjectError
from qpbridge.project.files.explain import explain_reading
from qpbridge.project.files.no_links import is_there, look, open_plain
from qpbridge.project.files.siblings import remove
from qpbridge.project.files.states import FileState
from qpbridge.project.interface import Note

DEPTH = 5
"""Runs of an image that can be taken back."""

LEAST = 16 * 2**20
"""Bytes that may be kept for that whatever the size of the data; else no more than these are."""

MAX_NOTE = 512 * 2**20
"""Bytes of the largest note that is read."""

MOST_TIMES = 64
"""How often larger than on disk the data before may be; more is no data of an image."""

LAST = 10**12 - 1
"""The number of a run after which none is larger: what has more digits is not found again."""

_NAME = re.compile(r"qpbridge-(?P<number>[0-9]{1,12})-(?P<kind>[a-z]+)-(?P<run>[0-9a-f]{16})\.note")
_FORMAT = "qpbridge note 1"

_log = logging.getLogger("qpbridge")


class KeptRun(NamedTuple):
    """The files of one run."""

    number: int
    kind: str
    run: str
    path: Path

    @property
    def before(self) -> Path:
        """Where the data is kept as it was before."""
        return self.path.with_suffix(".before")


def find_runs(folder: Path) -> list[KeptRun]:
    """Find what is kept in the folder of an image, oldest first."""
    if not is_there(folder):
        return []
    with explain_reading(folder):
        names = os.listdir(folder)  # noqa: PTH208 (names are enough)
    found = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(KeptRun(int(m["number"]), m["kind"], m["run"], folder / m[0]) for m in found)


def find_run(folder: Path, run: str) -> KeptRun | None:
    """Find what is kept of a run, the last time that it was written; None: nothing."""
    return next((kept for kept in reversed(find_runs(folder)) if kept.run == run), None)


def files_to_keep(folder: Path, note: Note, old: bytes | None, new: bytes) -> dict[Path, bytes]:
    """Return what to write beside the data.

    Parameters
    ----------
    folder
        Of the image.
    note
        Of the run.
    old, new
        The data before and after; None: there was none.
    """
    last = max((kept.number for kept in find_runs(folder)), default=0)
    number = min(last + 1, LAST)
    path = folder / f"qpbridge-{number:04d}-{note.kind}-{note.run}.note"
    old = old or b""
    head = {"format": _FORMAT, "before": _digest(old), "after": _digest(new), "length": len(old)}
    text = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    kept = KeptRun(number, note.kind, note.run, path)
    return {kept.before: zlib.compress(old, 1), path: text + note.content}


def remove_old(folder: Path, size: int) -> None:
    """Remove what nobody can ask for any more.

    The notes of each kind are kept as deep as runs can be taken back, and one more. The data before
    the last run is kept, and before those that are at most `DEPTH` back as long as all together is
    no larger than the data itself.

    Parameters
    ----------
    folder
        Of the image.
    size
        Bytes of the data.
    """
    runs, left = find_runs(folder), max(size, LEAST)
    seen: dict[str, int] = {}
    for depth, kept in enumerate(reversed(runs)):
        seen[kept.kind] = seen.get(kept.kind, 0) + 1
        if seen[kept.kind] > DEPTH + 1:
            remove(kept.path, kept.before)
            continue
        found = look(kept.before)
        left -= 0 if found is None else found.st_size
        if depth >= DEPTH or (depth and left < 0):
            remove(kept.before)


def forget(folder: Path, runs: Sequence[str]) -> None:
    """Remove what is kept of some runs."""
    for kept in find_runs(folder):
        if kept.run in runs:
            remove(kept.path, kept.before)


def read_note(kept: KeptRun) -> bytes | None:
    """Read what was noted of a run; None, with a warning, if that is broken."""
    found = _read_file(kept)
    return None if found is None else found[1]


def is_as_left(kept: KeptRun, state: FileState) -> bool:
    """Whether the data is to the byte as a run left it."""
    found = _read_file(kept)
    return found is not None and found[0].get("after") == state.digest.hex()


def read_before(kept: KeptRun) -> bytes | None:
    """Read the data as it was before a run; empty: there was none. None: it is not kept.

    Raises
    ------
    ProjectError
        If it is broken.
    """
    found = _read_file(kept)
    if found is None or look(kept.before) is None:
        return None
    packed = _read_plain(kept.before)
    length = found[0].get("length")
    most = MOST_TIMES * len(packed) + LEAST
    data = None
    if isinstance(length, int) and 0 <= length <= most:
        unpack = zlib.decompressobj()
        try:
            data = unpack.decompress(packed, length + 1)
        except zlib.error:
            data = None
    if data is None or _digest(data) != found[0].get("before"):
        raise ProjectError(
            f"{kept.before}: damaged, so the run can't be taken back; data.qpdata.bkp beside it "
            "may hold the version before"
        )
    return data


def _read_file(kept: KeptRun) -> tuple[dict[str, object], bytes] | None:
    """Read a note's file: its head and what was noted; None, with a warning, if it is broken."""
    try:
        data = _read_plain(kept.path, MAX_NOTE)
        line, _, content = data.partition(b"\n")
        head = json.loads(line)
        if isinstance(head, dict) and head.get("format") == _FORMAT:
            return head, content
        reason = "damaged, or of a newer version of qpbridge"
    except (ProjectError, OSError) as error:
        reason = str(error).removeprefix(f"{kept.path}: ")
    except (ValueError, RecursionError):
        reason = "damaged"
    _log.warning("%s: %s; what this run found and replaced is not known", kept.path, reason)
    return None


def _read_plain(path: Path, most: int | None = None) -> bytes:
    with explain_reading(path), io.FileIO(open_plain(path, os.O_RDONLY)) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise ProjectError(f"{path}: too large for what it should be")
        return file.readall()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data).hexdigest()
