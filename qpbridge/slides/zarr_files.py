"""The files of a Zarr, of which none is believed: plain files, no larger than they may be."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore

from qpbridge.errors import SlideError
from qpbridge.slides.claims import PIXELS_PER_BYTE, SLACK

METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")

MAX_METADATA = 2**24
"""Bytes of such a file."""

MAX_CHUNK = 2**30
"""Bytes of a chunk, unpacked."""

MAX_CHUNKS = 2**24
"""Chunks of an array; the largest slides have some million."""


class PlainStore(LocalStore):
    """A folder of which only plain files are read, and only as large as what they hold can be.

    A pipe would wait for ever, a link to a device be endless.

    Parameters
    ----------
    root
        The folder.
    """

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._most = 0  # bytes of a chunk, packed

    def bound(self, array: zarr.Array[Any]) -> None:
        """Refuse an array whose numbers can't be true, and allow for its chunks from now on.

        Raises
        ------
        SlideError
            If they can't.
        """
        stored = array.shards or array.chunks
        size = math.prod(stored) * array.dtype.itemsize
        count = math.prod(
            -(-n // max(1, c)) for n, c in zip(array.shape, array.chunks, strict=True)
        )
        if min((*array.shape, *array.chunks)) < 1:
            raise self._damaged(array, "nothing is in it")
        if math.prod(array.chunks) * array.dtype.itemsize > MAX_CHUNK or count > MAX_CHUNKS:
            raise self._damaged(array, f"{count:,} chunks of {array.chunks}")
        pixels = math.prod(array.shape) // 3
        if not self._holds(self.root / array.path, (pixels - SLACK) // PIXELS_PER_BYTE):
            raise self._damaged(array, f"{pixels:,} pixels in hardly any bytes")
        self._most = max(self._most, size + size // 8 + 2**16)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a file, or a part of it; None if there is none."""
        try:
            found = (self.root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise SlideError(f"{self.root / key}: a pipe or a device, not a file of an image")
        most = MAX_METADATA if Path(key).name in METADATA else self._most
        if byte_range is None and found.st_size > most:
            raise SlideError(
                f"{self.root / key}: {found.st_size:,} bytes are more than there can be in it: the "
                "image is damaged; copy it again, or export it anew"
            )
        return await super().get(key, prototype, byte_range)

    def _holds(self, folder: Path, needed: int) -> bool:
        """Whether there are so many bytes in a folder; looks no further than that."""
        for inner, _, names in os.walk(folder):
            for name in names:
                if needed <= 0:
                    return True
                needed -= (Path(inner) / name).lstat().st_size
        return needed <= 0

    def _damaged(self, array: zarr.Array[Any], what: str) -> SlideError:
        return SlideError(
            f"{self.root / array.path}: {what}: the image is damaged; copy it again, or export it "
            "anew"
        )
