"""Finished tiles on disk, so that a run that was stopped goes on where it was.

One file for each image and target: a key, then a record for each tile (number, length, checksum,
contents), only ever appended to. What a crash left half-written at its end doesn't fit its checksum
and is cut off. A file with another key is of a run with other settings, and is begun anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import LockedError, ProjectError
from qpbridge.objects import Shapes
from qpbridge.prediction.tiles.merge import TileObjects, numbered
from qpbridge.project.files.explain import explain_failure
from qpbridge.project.files.locks import Lease, lock
from qpbridge.project.files.no_links import folder_below, is_there, look, open_plain
from qpbridge.project.files.siblings import remove

FOLDER = "qpbridge-unfinished"
"""Beside the project file."""

_MAGIC = b"qpbridge tiles 2\n"
_KEY_BYTES = 32
_RUN_BYTES = 8
_RECORD = struct.Struct("<QQI")  # tile, length, CRC-32 of both and of the contents
_SYNC_SECONDS = 5.0

STALLED = 600.0
"""Seconds that another run may take for a tile, or for writing the result."""


class Spool:
    """The finished tiles of one run on one image. Use `open_spool`.

    Attributes
    ----------
    done
        Numbers of the tiles that are on disk, in the order in which they were finished.
    run
        Stands for the run that began it, whoever goes on with that.
    """

    def __init__(
        self, path: Path, key: bytes, *, confirm: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._confirm = confirm
        self._places: dict[int, tuple[int, int]] = {}
        with explain_failure(path):
            # Nothing is kept back in memory that could fail to be written when it is closed.
            self._file = io.FileIO(_open_own(path), "r+")
            head = _MAGIC + key
            is_ours = self._file.read(len(head)) == head
            self.run = self._file.read(_RUN_BYTES)
            if is_ours and len(self.run) == _RUN_BYTES:
                self._find_records()
            else:
                self.run = os.urandom(_RUN_BYTES)
                self._file.truncate(0)
                self._file.seek(0)
                self._write(head + self.run)
        self._synced = time.monotonic()

    @property
    def done(self) -> tuple[int, ...]:
        """Numbers of the tiles that are on disk, in the order in which they were finished."""
        return tuple(self._places)

    def add(self, number: int, found: TileObjects) -> None:
        """Append a tile; another process that looks after a crash finds all of it or nothing."""
        contents = _to_bytes(found)
        header = _RECORD.pack(number, len(contents), _checksum(number, contents))
        self._confirm()
        with explain_failure(self._path):
            start = self._file.tell() + len(header)
            self._write(header + contents)
            if time.monotonic() - self._synced > _SYNC_SECONDS:  # against a loss of power
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        self._places[number] = start, len(contents)

    def load(self) -> Iterator[TileObjects]:
        """Read all tiles, in the order of their numbers."""
        return map(self._load, sorted(self._places))

    def close(self) -> None:
        """Close the file, and leave it: what the disk then says to have lost is found anew."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(self._file.fileno(), left) :]

    def _load(self, number: int) -> TileObjects:
        start, length = self._places[number]
        self._file.seek(start)
        found = _from_bytes(self._file.read(length), number)
        self._file.seek(0, os.SEEK_END)
        return found

    def _find_records(self) -> None:
        """Go through the records up to the first that is broken, and cut the file off there."""
        end, size = self._file.tell(), self._path.stat().st_size
        while len(header := self._file.read(_RECORD.size)) == _RECORD.size:
            number, length, checksum = _RECORD.unpack(header)
            if length > size - end - len(header):
                break
            contents = self._file.read(length)
            if _checksum(number, contents) != checksum:
                break
            end += len(header) + length
            self._places[number] = end - length, length
        self._file.seek(end)
        self._file.truncate()


@contextlib.contextmanager
def open_spool(
    project: Path, image: str, target: str, key: bytes, *, restart: bool = False
) -> Iterator[Spool]:
    """Open what is on disk of a run on an image, or begin it; it is removed when all went well.

    Parameters
    ----------
    project
        The project file.
    image, target
        Entry id, and what is segmented.
    key
        From `run_key`: tiles of a run with another key are thrown away.
    restart
        Throw them away in any case.

    Raises
    ------
    ProjectError
        If another process is at it, or the disk is full or can't be written to.
    """
    folder = _folder(project, image, target)
    with _locked(project.parent, folder) as lease:
        path = lease.path.with_name("tiles")
        if restart and look(path) is not None:
            with explain_failure(path):
                os.close(_open_own(path))  # refuses what is no file of ours
                path.unlink()
        spool = Spool(path, key, confirm=lease.confirm)
        try:
            yield spool
        finally:
            spool.close()
        remove(path)
    _remove_empty(lease.path.parent)


def wait_for_other_run(project: Path, image: str, target: str) -> None:
    """Wait until no other process is at an image any more, as long as that gets on with it.

    Raises
    ------
    LockedError
        If it doesn't.
    """
    folder = _folder(project, image, target)
    seen, since = None, time.monotonic()
    while is_there(folder):
        try:
            with _locked(project.parent, folder):
                pass
            _remove_empty(folder)
            return
        except LockedError:
            tiles = look(folder / "tiles")
            now = None if tiles is None else (tiles.st_size, tiles.st_mtime_ns)
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > STALLED:
                raise
            time.sleep(0.2)


def remove_done(project: Path, is_done: Callable[[str, str, bytes], bool]) -> None:
    """Remove the tiles of images that are done: of runs that were killed right before they did.

    Parameters
    ----------
    project
        The project file.
    is_done
        Tells of an entry id, a target and a `Spool.run` whether the image holds the result.
    """
    root = project.parent
    if look(root / FOLDER) is None:
        return
    outer = folder_below(root, root / FOLDER)
    with explain_failure(outer):
        found = sorted(outer.iterdir())
    for folder in found:
        image, _, target = folder.name.partition("-")
        if not (image.isdecimal() and target.isalpha()):
            continue
        with contextlib.suppress(ProjectError), _locked(root, root / FOLDER / folder.name):
            path = folder / "tiles"
            run = _read_run(path)
            if run is not None and is_done(image, target, run):
                remove(path)
        _remove_empty(folder)


def _folder(project: Path, image: str, target: str) -> Path:
    return project.parent / FOLDER / f"{image}-{target}"


@contextlib.contextmanager
def _locked(root: Path, folder: Path) -> Iterator[Lease]:
    """Hold the lock of a folder, which another process may remove until then."""
    with contextlib.ExitStack() as stack:
        for left in reversed(range(5)):
            try:
                with explain_failure(folder):
                    place = folder_below(root, folder, make=True)
                lease = stack.enter_context(lock(place, wait=0))
                break
            except ProjectError as error:
                if not left or not isinstance(error.__cause__, FileNotFoundError):
                    raise
        yield lease


def _open_own(path: Path) -> int:
    """Open or make a file that is nobody else's, by no other name either."""
    handle = open_plain(path, os.O_RDWR | os.O_CREAT)
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        path.unlink()
        handle = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    return handle


def _read_run(path: Path) -> bytes | None:
    if look(path) is None:
        return None
    with io.FileIO(open_plain(path, os.O_RDONLY)) as file:
        head = file.read(len(_MAGIC) + _KEY_BYTES + _RUN_BYTES)
    return head[-_RUN_BYTES:] if head.startswith(_MAGIC) else None


def _remove_empty(folder: Path) -> None:
    """Remove a folder of tiles, and the one around it, unless something is left in them."""
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):
            empty.rmdir()


def run_key(facts: Mapping[str, Any]) -> bytes:
    """Make a key of all that the tiles of a run depend on (JSON, arrays, bytes): 32 bytes."""
    digest = hashlib.blake2b(digest_size=_KEY_BYTES)
    for name, value in sorted(facts.items()):
        digest.update(name.encode())
        if isinstance(value, bytes | np.ndarray):
            digest.update(np.ascontiguousarray(value).tobytes())
        else:
            digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return digest.digest()


def _checksum(number: int, contents: bytes) -> int:
    return zlib.crc32(contents, zlib.crc32(struct.pack("<QQ", number, len(contents))))


def _to_bytes(found: TileObjects) -> bytes:
    arrays = {f"shapes.{f.name}": getattr(found.shapes, f.name) for f in fields(found.shapes)}
    arrays |= {"measurements": found.measurements, "depth": found.depth}
    if found.class_index is not None:
        arrays["class_index"] = found.class_index
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _from_bytes(contents: bytes, number: int) -> TileObjects:
    with np.load(io.BytesIO(contents), allow_pickle=False) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    shapes = {n.removeprefix("shapes."): v for n, v in held.items() if n.startswith("shapes.")}
    nowhere = np.zeros(len(held["depth"]), np.int64)
    found = TileObjects(
        Shapes(**shapes), held["measurements"], held["depth"], nowhere, held.get("class_index")
    )
    return numbered(found, number)
