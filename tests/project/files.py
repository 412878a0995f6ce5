"""What the tests of projects share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from PIL import Image

from qpbridge.project import NewImage


def png(path: Path, width: int = 100, height: int = 80) -> NewImage:
    Image.new("RGB", (width, height), (230, 200, 220)).save(path)
    return NewImage(path=path, name=path.name, width=width, height=height)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }
