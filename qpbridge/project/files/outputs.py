"""Where a file may be written that a user names: in the place of no project's file or image."""

from __future__ import annotations

import os
from pathlib import Path

from qpbridge.errors import ProjectError
from qpbridge.project.files.no_links import below, real

_OWN_ENDINGS = (".qpproj", ".qpproj.backup", ".qpdata", ".qpdata.bkp", "qpbridge.lock")
_IMAGES = (
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG", b"\xff\xd8\xff", b"GIF8"),
    *(b"\0\0\0\x0cjP  ", b"ZISRAWFILE"),
)
"""How files of images begin: TIFF and the slides in it, PNG, JPEG, GIF, JPEG 2000, CZI."""


def output_place(path: Path) -> Path:
    """Return where a file really is that a user names to be written.

    A link that a user names is followed. Below a project's folder, which may be from elsewhere and
    hold links of others, none leads out of there.

    Raises
    ------
    ProjectError
        If one does; or if it is the place of a file of a project, or of an image that is there.
    """
    named = Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)
    end = real(path)
    for place in {named, end}:
        if _is_of_a_project(place):
            raise ProjectError(
                f"{path}: the place of a file of a QuPath project, which no output ever takes; "
                "name another file"
            )
    if _is_image(end):
        raise ProjectError(f"{path}: an image, which no output ever replaces; name another file")
    if end != named:
        for folder in named.parents:
            if any(folder.glob("*.qpproj")):
                return below(folder, named)
    return end


def _is_of_a_project(path: Path) -> bool:
    """Whether QuPath or qpbridge keep their own file there, or would."""
    name = path.name.lower()
    if name.endswith(_OWN_ENDINGS):
        return True
    for folder in path.parents:
        if folder.name in ("data", "classifiers") and any(folder.parent.glob("*.qpproj")):
            inner = path.relative_to(folder).parts
            return folder.name == "classifiers" or len(inner) == 1 or inner[0].isdecimal()
    return False


def _is_image(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:  # what can't be read is told where it is to be written
        return False
    return head.startswith(_IMAGES) or head[128:] == b"DICM" or head[8:12] == b"WEBP"
