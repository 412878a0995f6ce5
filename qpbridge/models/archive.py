"""Archives: bundles in zip files, and the zip files that torch keeps tensors in.

A zip file says of itself what is in it. Nothing is unpacked that would be out of proportion to the
file, lie outside of its folder, or stand in another's place.
"""

from __future__ import annotations

import atexit
import shutil
import stat
import tempfile
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

from qpbridge.errors import ModelError

MAX_BYTES = 8_000_000_000
"""More than that, unpacked, is no model."""

MAX_GROWTH = 20
"""Times that a bundle's zip file may grow: weights hardly do, and texts some times."""

MAX_MEMBERS = 10_000

METADATA = PurePosixPath("configs/metadata.json")


def unpack_bundle(path: Path) -> Path:
    """Unpack a bundle from a zip file, where it may lie in a folder of its own.

    Returns
    -------
    folder
        With configs/metadata.json in it; named like the zip file; gone when the program ends.

    Raises
    ------
    ModelError
        If it is no zip file, holds no bundle, is damaged, would write outside of its folder, or
        grow beyond any measure.
    """
    root = Path(tempfile.mkdtemp(prefix="qpbridge-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder = root / (path.stem or "bundle")
    try:
        with zipfile.ZipFile(path) as archive:
            _check(path, archive.infolist(), shutil.disk_usage(root).free)
            folder.mkdir()
            archive.extractall(folder)
        bundles = [e for e in (folder, *folder.iterdir()) if (e / METADATA).is_file()]
    except ModelError:
        raise
    except Exception as error:  # what damaged archives raise has no common class
        raise ModelError(f"{path}: can't be unpacked ({error}).") from error
    if not bundles:
        raise ModelError(f"{path}: no MONAI bundle in it, {METADATA} is missing.")
    if len(bundles) > 1 and bundles[0] != folder:
        raise ModelError(f"{path}: {len(bundles)} bundles in it; unpack it, and name one of them.")
    return bundles[0]


def check_tensors_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Check a zip file that torch wrote, which is not compressed but for its code.

    Raises
    ------
    ValueError
        If it holds more than fits into its own size, or a name twice.
    """
    members = archive.infolist()
    names = Counter(member.filename for member in members)
    if len(members) > 10 * MAX_MEMBERS or max(names.values(), default=0) > 1:
        raise ValueError("a name is in it twice, or too many are")
    tensors = sum(m.file_size for m in members if "/code/" not in m.filename)
    code = sum(m.file_size for m in members) - tensors
    if tensors > size or code > 100 * size:
        raise ValueError("what is in it would be larger than the file")


def _check(path: Path, members: list[zipfile.ZipInfo], free: int) -> None:
    total = sum(member.file_size for member in members)
    most = min(MAX_BYTES, MAX_GROWTH * path.stat().st_size + 1_000_000, free)
    if total > most or len(members) > MAX_MEMBERS:
        raise ModelError(
            f"{path}: would be {total / 1e9:.3g} GB in {len(members)} files unpacked; "
            f"{most / 1e9:.2g} GB in {MAX_MEMBERS} are the most."
        )
    seen: set[str] = set()
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        kind = stat.S_IFMT(member.external_attr >> 16)
        outside = name.is_absolute() or not name.parts or ".." in name.parts or ":" in name.parts[0]
        if outside or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ModelError(f"{path}: {member.filename!r} would lead out of the bundle's folder.")
        same = str(name).casefold()
        if same in seen:
            raise ModelError(f"{path}: {member.filename!r} is in it twice.")
        seen.add(same)
