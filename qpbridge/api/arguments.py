"""What the verbs take in several forms: projects, and names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qpbridge.errors import RequestError
from qpbridge.project import Project, open_project

Names = str | Sequence[str]
"""One name, or several."""

ProjectLike = Project | str | os.PathLike[str]
"""An open project, or a path: of the .qpproj file, or of the folder that holds just one."""


def as_project(project: Any) -> Project:
    """Return an open project as it is, and open the one at a path.

    Raises
    ------
    RequestError
        If it is neither.
    ProjectError
        If there is none at the path, or it is broken.
    """
    if isinstance(project, Project):
        return project
    if isinstance(project, str | os.PathLike) and os.fspath(project):
        return open_project(Path(project))
    raise RequestError("project", project, "a project, or the path of one, was expected")


def as_call(verb: str, **arguments: Any) -> str:
    """Write a call for an image's history, with those of its arguments that were given."""
    nothing = (None, (), False)
    given = (f"{name}={value!r}" for name, value in arguments.items() if value not in nothing)
    return f"qpbridge.{verb}({', '.join(given)})"
