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
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qpbridge.engine.tiles.merge import TileObjects, numbered
from qpbridge.objects import Shapes
from qpbridge.project.files.explain import explain_failure
from qpbridge.project.files.locks import lock

FOLDER = "qpbridge-unfinished"
"""Beside the project file."""

_MAGIC = b"qpbridge tiles 1\n"
_RECORD = struct.Struct("<QQI")  # tile, length, CRC-32 of both and of the contents
_SYNC_SECONDS = 5.0


class Spool:
    """The finished tiles of one run on one image. Use `open_spool`.

    Attributes
    ----------
    done
        Numbers of the tiles that are on disk, in the order in which they were finished.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        self._path = path
        self._places: dict[int, tuple[int, int]] = {}
        with explain_failure(path):
            self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
            head = _MAGIC + key
            if self._file.read(len(head)) == head:
                self._find_records()
            else:
                self._file.seek(0)
                self._file.write(head)
                self._file.truncate()
        self._synced = time.monotonic()

    @property
    def done(self) -> tuple[int, ...]:
        """Numbers of the tiles that are on disk, in the order in which they were finished."""
        return tuple(self._places)

    def add(self, number: int, found: TileObjects) -> None:
        """Append a tile; another process that looks after a crash finds all of it or nothing."""
        contents = _to_bytes(found)
        header = _RECORD.pack(number, len(contents), _checksum(number, contents))
        with explain_failure(self._path):
            start = self._file.tell() + len(header)
            self._file.write(header + contents)
            self._file.flush()
            if time.monotonic() - self._synced > _SYNC_SECONDS:  # against a loss of power
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        self._places[number] = start, len(contents)

    def load(self) -> Iterator[TileObjects]:
        """Read all tiles, in the order of their numbers."""
        return map(self._load, sorted(self._places))

    def close(self) -> None:
        """Close the file, and leave it."""
        self._file.close()

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
    folder = project.parent / FOLDER / f"{image}-{target}"
    with explain_failure(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, wait=0):
        path = folder / "tiles"
        if restart:
            path.unlink(missing_ok=True)
        spool = Spool(path, key)
        try:
            yield spool
        finally:
            spool.close()
        path.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # of another image something is left
        folder.parent.rmdir()


def run_key(facts: Mapping[str, Any]) -> bytes:
    """Make a key of all that the tiles of a run depend on (JSON, arrays, bytes): 32 bytes."""
    digest = hashlib.blake2b(digest_size=32)
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
