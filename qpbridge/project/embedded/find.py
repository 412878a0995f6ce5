"""Which project file a person means by a path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qpbridge.errors import ProjectError
from qpbridge.project.files.no_links import is_there, real


def find_project_file(path: Path) -> Path:
    """Return the project file that a user means by a path: itself, or the one in that folder.

    Raises
    ------
    ProjectError
        If there is none, with those that may have been meant.
    """
    if is_there(path) and not path.is_dir():
        return _in_real_folder(path)
    found = sorted(path.glob("*.qpproj")) if path.is_dir() else []
    if len(found) == 1:
        return find_project_file(found[0])
    if found:
        raise ProjectError(f"{path}: holds several projects, choose one: {_listed(found)}")
    if path.is_dir():
        raise ProjectError(f"{path}: no QuPath project (.qpproj file) in this folder")
    beside = sorted(path.parent.glob("*.qpproj")) if path.parent.is_dir() else []
    hint = f"did you mean {_listed(beside)}?" if beside else "check the path"
    raise ProjectError(f"{path}: no such project; {hint}")


def _in_real_folder(path: Path) -> Path:
    """Return a project file in the folder where its other files are, that reached by no link.

    A link to a project elsewhere stands for that one. Where only the project file is elsewhere, or
    has another name, the link is where QuPath takes it to be.
    """
    file, folder = real(path), real(path.parent)
    is_elsewhere = file.parent != folder and (
        is_there(file.parent / "data") or not is_there(folder / "data")
    )
    found = file if is_elsewhere else folder / path.name
    return path if found == Path(os.path.abspath(path)) else found  # noqa: PTH100


def _listed(paths: Sequence[Path]) -> str:
    more = f" or {len(paths) - 5} more" if len(paths) > 5 else ""
    return ", ".join(map(str, paths[:5])) + more
