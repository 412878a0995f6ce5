"""QuPath projects: open one, or make a new one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from qpbridge.errors import ProjectError
from qpbridge.project.embedded.create import create_embedded
from qpbridge.project.embedded.qpproj import EmbeddedProject, find_project_file
from qpbridge.project.embedded.servers import NewImage
from qpbridge.project.model import Project

__all__ = ["Backend", "NewImage", "Project", "create_project", "open_project"]

Backend = Literal["auto", "embedded", "paquo"]


def open_project(path: Path | str, backend: Backend = "auto") -> Project:
    """Open a QuPath project; no file is changed by that.

    Parameters
    ----------
    path
        The ``.qpproj`` file, or the folder that holds just one.
    backend
        What reads and writes its files.

    Raises
    ------
    ProjectError
        If there is no project, or it is broken.
    """
    if backend == "paquo":
        raise ProjectError("the backend paquo is not available in this version; use embedded")
    return EmbeddedProject(find_project_file(Path(path)))


def create_project(path: Path | str, images: Sequence[NewImage]) -> EmbeddedProject:
    """Make a new QuPath project (in the form of 0.6) around images.

    Images may share a name, but not a file. Nothing is left behind if it fails.

    Parameters
    ----------
    path
        The ``.qpproj`` file to make; its folder is made where missing.
    images
        In the order in which QuPath shows them.

    Raises
    ------
    ProjectError
        If the project exists, or its folder holds another one's data, a slide is given twice, or
        nothing can be written there.
    """
    return create_embedded(Path(path), images)
