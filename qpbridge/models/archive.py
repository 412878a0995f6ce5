"""Bundles in zip files: unpacked to a folder that is gone when the program ends."""

from __future__ import annotations

import atexit
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from qpbridge.errors import ModelError

MAX_BYTES = 8_000_000_000
"""More than that, unpacked, is no model."""

METADATA = PurePosixPath("configs/metadata.json")


def unpack_bundle(path: Path) -> Path:
    """Unpack a bundle from a zip file, where it may lie in a folder of its own.

    Returns
    -------
    folder
        With configs/metadata.json in it; named like the zip file.

    Raises
    ------
    ModelError
        If it is no zip file, holds no bundle, or would write outside of its folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist())
            root = tempfile.mkdtemp(prefix="qpbridge-")
            atexit.register(shutil.rmtree, root, ignore_errors=True)
            folder = Path(root) / path.stem
            archive.extractall(folder)
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise ModelError(f"{path}: can't be unpacked ({error}).") from error
    if (folder / METADATA).is_file():
        return folder
    inner = [entry for entry in folder.iterdir() if (entry / METADATA).is_file()]
    if len(inner) != 1:
        raise ModelError(f"{path}: no MONAI bundle in it, {METADATA} is missing.")
    return inner[0]


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise ModelError(f"{path}: would be more than {MAX_BYTES / 1e9:.0f} GB unpacked.")
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        link = stat.S_ISLNK(member.external_attr >> 16)
        outside = name.is_absolute() or not name.parts or ".." in name.parts or ":" in name.parts[0]
        if outside or link:
            raise ModelError(f"{path}: {member.filename!r} would lead out of the bundle's folder.")
