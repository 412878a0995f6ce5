"""The bytes of GeoJSON files, plain or packed, piece by piece and never more than expected."""

from __future__ import annotations

import errno
import gzip
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from qpbridge.errors import FormatError

MAX_RATIO = 200
"""How many times its compressed size a file may have; GeoJSON shrinks to a tenth or so."""

MAX_SMALL = 64 << 20
"""Bytes that any file may have uncompressed, whatever the ratio."""

ENDINGS = (".geojson", ".json")
"""Of the entries of an archive that are read."""


class LimitedFile:
    """A file that may turn out bigger than it says, read up to a limit.

    Parameters
    ----------
    file
        Open for reading.
    limit
        Bytes that may come out of it.
    """

    def __init__(self, file: IO[bytes], limit: int = sys.maxsize) -> None:
        self._file = file
        self.left = limit

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none: the end.

        Raises
        ------
        FormatError
            If more come than is allowed, or what they are unpacked from is damaged.
        """
        with _explained():
            data = self._file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise FormatError("unpacks to a suspicious size; unpack it by hand if you trust it")
        return data


def open_texts(path: Path) -> Iterator[LimitedFile]:
    """Open the file, or the JSON files in an archive one after the other.

    Nothing is unpacked to the disk: the names in an archive can't lead anywhere.

    Raises
    ------
    FormatError
        If it is a damaged archive, or one without GeoJSON.
    """
    limit = max(MAX_SMALL, MAX_RATIO * path.stat().st_size)
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=file) as packed:
                yield LimitedFile(cast(IO[bytes], packed), limit)
        elif magic == b"PK\x03\x04":
            with _opened(file) as archive:
                for entry in _wanted(archive):
                    with _opened_entry(archive, entry) as unpacked:
                        text = LimitedFile(unpacked, limit)
                        yield text
                        limit = text.left
        else:
            yield LimitedFile(file)


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    with _explained():
        return zipfile.ZipFile(file)


def _opened_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> IO[bytes]:
    # Others take as much memory as the archive asks for; QuPath doesn't read them either.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(
            f"{entry.filename!r} is packed by an unusual method; pack it with deflate"
        )
    with _explained():
        return archive.open(entry)


def _wanted(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    def is_wanted(entry: zipfile.ZipInfo) -> bool:
        name = PurePosixPath(entry.filename)
        # macOS adds files of its own beside each file, under the same name.
        of_macos = name.name.startswith("._") or "__MACOSX" in name.parts
        # An entry without a name has no last character to ask whether it is a folder.
        return name.suffix.lower() in ENDINGS and not of_macos and not entry.is_dir()

    entries = [entry for entry in archive.infolist() if is_wanted(entry)]
    if not entries:
        raise FormatError("an archive without a .geojson or .json file in it")
    return entries


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        raise FormatError(f"a damaged or cut off archive ({error})") from error
    except (RuntimeError, ValueError, OverflowError, struct.error) as error:
        raise FormatError(f"an archive that can't be opened ({error})") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # It says that its contents are where no file has any.
        raise FormatError(f"a damaged archive ({error})") from error
