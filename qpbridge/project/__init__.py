"""QuPath projects: open one, or make a new one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from qpbridge import checks
from qpbridge.project.embedded.create import create_embedded
from qpbridge.project.embedded.find import find_project_file
from qpbridge.project.embedded.qpproj import EmbeddedProject
from qpbridge.project.embedded.servers import NewImage
from qpbridge.project.interface import Project
from qpbridge.project.paquo_backend import PaquoProject, UnfitQuPathError, find_qupath
from qpbridge.project.places import NOWHERE, Places

__all__ = ["Backend", "NewImage", "Places", "Project", "create_project", "open_project"]

_log = logging.getLogger(__name__)

Backend = Literal["auto", "embedded", "paquo"]


def open_project(
    path: Path | str, backend: Backend = "auto", *, places: Places = NOWHERE
) -> Project:
    """Open a QuPath project; no file is changed by that.

    Parameters
    ----------
    path
        The ``.qpproj`` file, or the folder that holds just one.
    backend
        What reads and writes the images' data: ``paquo`` lets an installed QuPath do it,
        ``embedded`` needs none; ``auto`` is ``paquo`` where it finds a QuPath that fits.
    places
        Where images are that moved.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    ProjectError
        If there is no project, or it is broken, or the backend ``paquo`` is asked for and there
        is no QuPath that fits.

    Examples
    --------
    >>> project = qpbridge.open_project(path)
    >>> len(project)
    2
    >>> project["other [b].svs"] is project[1]
    True
    >>> [len(image.read().objects.names) for image in project]
    [1, 1]
    """
    checks.choice("backend", backend, get_args(Backend))
    checks.instance("places", places, Places, "Places")
    file = find_project_file(Path(checks.path("path", path)))
    if backend == "embedded" or (backend == "auto" and find_qupath() is None):
        return EmbeddedProject(file, places)
    try:
        return PaquoProject(file, places)
    except UnfitQuPathError as error:
        if backend == "paquo":
            raise
        _log.warning("%s; going on with the backend 'embedded'", error)
        return EmbeddedProject(file, places)


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
