"""Only plain files, and only below the project's real folder: a link leads nowhere.

A project from elsewhere may hold links, FIFOs or devices in the place of any file that qpbridge
writes. What qpbridge makes for itself is opened here, and named by `below`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from qpbridge.errors import ProjectError
from qpbridge.project.files.explain import explain_reading

# Windows lacks some of these; there, links can be made by administrators only.
_FLAGS = 0
for _name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NOINHERIT", "O_NONBLOCK"):
    _FLAGS |= getattr(os, _name, 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def real(path: Path) -> Path:
    """Return where a path leads, all links followed; those in a circle stay."""
    return Path(os.path.realpath(path))


def look(path: Path) -> os.stat_result | None:
    """Look at what is in a place, without following a link; None: nothing.

    Raises
    ------
    ProjectError
        If it may not be looked at.
    """
    with explain_reading(path):
        try:
            return path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None


def is_there(path: Path) -> bool:
    """Whether there is a file or folder, all links followed.

    Raises
    ------
    ProjectError
        If it may not be looked at, or links lead in a circle.
    """
    with explain_reading(path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def below(root: Path, path: Path) -> Path:
    """Return where a file below a folder really is: no link on the way leads out of there.

    The folder itself may be reached by links. A link in the place of the file is followed to a
    file of the same name that is also below the folder.

    Raises
    ------
    ProjectError
        If there is a link on the way, or something in the way that is no folder, or no file.
    """
    target = folder_below(root, path.parent) / path.name
    found = look(target)
    if found is None:
        return target
    if is_link(found):
        end = real(target)
        if end.name != path.name or not end.is_relative_to(real(root)):
            raise refusal(path)
        target, found = end, look(end)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise refusal(path)
    return target


def folder_below(root: Path, folder: Path, *, make: bool = False) -> Path:
    """Return where a folder below another one really is; see `below`.

    Parameters
    ----------
    root, folder
        The outer one, and the one below it.
    make
        Make it, and those on the way.
    """
    place, shown = real(root), root
    for part in folder.relative_to(root).parts:
        place, shown = place / part, shown / part
        found = look(place)
        if found is None and make:
            with contextlib.suppress(FileExistsError):  # somebody else was faster
                place.mkdir()
            found = look(place)
        if found is not None and (is_link(found) or not stat.S_ISDIR(found.st_mode)):
            raise refusal(shown)
    return place


def is_link(found: os.stat_result) -> bool:
    """Whether it is a link, or what Windows calls a junction."""
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)
    return stat.S_ISLNK(found.st_mode) or (
        junction is not None and getattr(found, "st_reparse_tag", 0) == junction
    )


def open_plain(path: Path, flags: int) -> int:
    """Open a file if it is a plain one, without waiting for anybody.

    Parameters
    ----------
    path
        The file.
    flags
        As for `os.open`.

    Raises
    ------
    ProjectError
        If it is a link, a folder, a pipe, a device.
    OSError
        If the system refuses.
    """
    try:
        handle = os.open(path, flags | _FLAGS, 0o666)
    except OSError as error:
        found = look(path)
        if error.errno == errno.EEXIST or found is None or stat.S_ISREG(found.st_mode):
            raise
        raise refusal(path) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refusal(path)
    return handle


def refusal(path: Path) -> ProjectError:
    """Say what is in the place of a plain file or folder of ours, and what to do."""
    found = look(path)
    if found is not None and is_link(found):
        return ProjectError(
            f"{path}: a link to {_end(path)}; what qpbridge writes stays in the project's own "
            "folder, so the link is left alone: put the file or folder itself in its place"
        )
    kind = None if found is None else _KINDS.get(stat.S_IFMT(found.st_mode))
    return ProjectError(
        f"{path}: can't be read or written, because {kind or 'something else'} is in its place and "
        "is left alone; move that away"
    )


def _end(link: Path) -> str:
    try:
        return f"{os.readlink(link)!s:.400}"  # noqa: PTH115 (as it is written)
    except OSError:
        return "another place"
