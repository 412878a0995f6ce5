"""Objects from a GeoJSON file into an image of a project."""

from __future__ import annotations

import os
from pathlib import Path

from qpbridge import checks
from qpbridge.api.arguments import ProjectLike, as_call, as_project
from qpbridge.engine.importing import ImportReport, import_file
from qpbridge.errors import CombinationError, SelectionError
from qpbridge.project.each_image import naming
from qpbridge.project.interface import ImageEntry, Project


def import_objects(
    project: ProjectLike | ImageEntry,
    file: str | os.PathLike[str],
    *,
    image: str | None = None,
    encoding: str | None = None,
    command: str | None = None,
) -> ImportReport:
    """Add the objects of a GeoJSON file to an image of a project.

    Files of all QuPath versions are read, and of others who write for QuPath. Objects go below
    their parents: those they are nested in, or else the smallest annotation or TMA core that holds
    a detection's centroid, or the whole of an annotation. What is in the image is not changed; an
    object whose id is there already is left alone.

    Parameters
    ----------
    project
        An open project or the path of one, or an image of a project.
    file
        ``.geojson``, ``.json``, ``.gz`` or ``.zip``.
    image
        Name or entry id of the image; None: there is just one.
    encoding
        Of the text, by Python's name; None: UTF-8 or UTF-16, or Windows-1252 where it can't be
        these, which the report says then.
    command
        What QuPath's history says that was run; None: this call.

    Returns
    -------
    ImportReport
        What was added, repaired and left out.

    Raises
    ------
    SelectionError
        If the image is unknown, or there are several to choose from.
    RequestError
        If there is no such encoding, or another argument makes no sense.
    FormatError
        If the file is no GeoJSON, or damaged.
    ProjectError
        If the file can't be read, or the image can't be written; nothing is changed then.

    Examples
    --------
    >>> report = qpbridge.import_objects(project, geojson, image="1")
    >>> report.counts.added
    {'annotation': 1}
    """
    path = Path(checks.path("file", file))
    if isinstance(project, ImageEntry) and image is not None:
        raise CombinationError("`image` chooses an image of a project; this is one.", "image")
    entry = project if isinstance(project, ImageEntry) else _choose(as_project(project), image)
    if command is None:
        command = as_call("import_objects", file=str(path))
    checks.text("command", command)
    with naming(entry):
        return import_file(entry, path, command, encoding=encoding)


def _choose(project: Project, image: str | None) -> ImageEntry:
    if image is not None:
        return project.image(image)
    if len(project) == 1:
        return project.images[0]
    known = ", ".join(repr(e.name) for e in project.images[:20])
    raise SelectionError(
        f"{project.path}: "
        + (f"choose one of its images with `image`: {known}" if known else "it has no images")
    )
