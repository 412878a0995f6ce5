"""Noting in a project where its images are now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike
from qpbridge.errors import RequestError
from qpbridge.project import Places, Project, open_project
from qpbridge.project.interface import Relocation


def relocate(
    project: ProjectLike,
    moved: Mapping[str, str | os.PathLike[str]] | Names = (),
    search: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    *,
    images: Names = (),
    dry_run: bool = False,
) -> Relocation:
    r"""Write into a project where its images are now, so that QuPath finds them too.

    Nothing else in the project file changes, and the file before is kept as
    ``project.qpproj.backup``. Close the project in QuPath first.

    Parameters
    ----------
    project
        The path of a project, or an open one (then with the places that it was opened with).
    moved
        Old folders, of any machine, and where they are now: ``{r"D:\slides": "/data/slides"}``, or
        texts ``OLD=NEW``.
    search
        Folders to look through, with all folders in them, for files of the images' names.
    images
        Names or entry ids of images; none: all.
    dry_run
        Only find out.

    Returns
    -------
    Relocation
        What was found elsewhere, and what was not found.

    Raises
    ------
    RequestError
        If a place makes no sense, or doesn't exist.
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> qpbridge.relocate(path, dry_run=True).missing
    ()
    """
    pairs = [f"{old}={new}" for old, new in moved.items()] if isinstance(moved, Mapping) else moved
    folders = checks.paths("search", search)
    places = Places.parse(checks.names("moved", pairs), folders)
    if isinstance(project, Project):
        if places != Places():
            raise RequestError(
                "project", project, "is open already: give its path, or open it with these places"
            )
        return project.relocate(images, dry_run=dry_run)
    opened = open_project(Path(checks.path("project", project)), backend="embedded", places=places)
    return opened.relocate(images, dry_run=dry_run)
