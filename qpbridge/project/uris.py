"""Where the images of a project are: URIs of every form, and projects that moved."""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
import urllib.parse
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from qpbridge.errors import SlideError

_DRIVE = re.compile(r"[A-Za-z]:(?=[/\\]|$)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")  # two letters or more: one is a drive


def path_from_uri(uri: str) -> PurePath:
    """Return the path that a URI of a project means, without touching any disk.

    Parameters
    ----------
    uri
        ``file:/p``, ``file:///p``, ``file:/C:/p``, ``file:///C:/p``, ``file://host/share/p``,
        ``file:////host/share/p`` (percent-encoded or raw), or a plain path (taken as it is).

    Returns
    -------
    PurePath
        A `PureWindowsPath` where there is a drive, a share or a backslash, otherwise a
        `PurePosixPath`.

    Raises
    ------
    SlideError
        If it is no file's (``https:`` ...).
    """
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return _flavoured(uri)
    if scheme[1].lower() != "file":
        raise SlideError(
            f"{uri}: only images in files can be read; download it and add the copy to the project"
        )
    # Split by hand: a raw '#' or '?' in a name is part of the name.
    text = urllib.parse.unquote(uri[scheme.end() :], errors="surrogateescape")
    if text.lower().startswith("//localhost/"):
        text = text[len("//localhost") :]
    if text.startswith("//") and not (text.startswith("///") or _DRIVE.match(text[2:])):
        return PureWindowsPath(text)  # file://host/share
    text = text.removeprefix("//")  # an empty host: file:///p, file:////host/share
    if _DRIVE.match(text[1:]):
        text = text[1:]
    return _flavoured(text)


def uri_from_path(path: PurePath) -> str:
    """Return the URI of an absolute path in the form that QuPath writes.

    Raises
    ------
    ValueError
        If the path is relative.
    """
    if not path.is_absolute():
        raise ValueError(f"not an absolute path: {path}")
    text = path.as_posix()
    if isinstance(path, PureWindowsPath):
        # Java puts an empty host before a share.
        text = f"//{text}" if text.startswith("//") else f"/{text}"
    return "file:" + urllib.parse.quote(os.fsencode(text), safe="/:@&=+$,;~!'()*")


def locate(uri: str, project: Path, project_uri_then: str | None) -> Path:
    """Find an image, also where the project moved together with it.

    Looked at are: the stored path; the same way as from the project's old place to the image,
    gone from its new place; the image's name beside the project.

    Parameters
    ----------
    uri
        Of the image, as stored.
    project
        The project file, where it is now.
    project_uri_then
        The key ``uri`` of the project: where it was when QuPath saved it.

    Raises
    ------
    SlideError
        If it is in none of these places; they are named.
    """
    stored = path_from_uri(uri)
    here = Path(os.path.abspath(project)).parent  # noqa: PTH100 (resolve would follow links)
    places: list[Path] = []
    if isinstance(stored, type(PurePath())):
        places.append(here / stored)
    if project_uri_then is not None:
        way = _way(path_from_uri(project_uri_then).parent, stored)
        if way is not None:
            places.append(Path(os.path.normpath(here.joinpath(*way.parts))))
    places.append(here / stored.name)
    for place in places:
        if os.path.exists(place):  # noqa: PTH110 (does not raise where permission lacks)
            return place
    tried = "\n  ".join(dict.fromkeys(str(place) for place in places))
    raise SlideError(
        f"the image {uri} is in none of the places looked at; put it into one of them, or correct "
        f"its place in QuPath (open the project there):\n  {tried}"
    )


def _flavoured(text: str) -> PurePath:
    if _DRIVE.match(text) or text.startswith(("//", "\\\\")):
        return PureWindowsPath(text)
    # A backslash is a legal, if odd, character of a name below a POSIX root.
    if "\\" in text and not text.startswith("/"):
        return PureWindowsPath(text)
    return PurePosixPath(text)


def _way(start: PurePath, goal: PurePath) -> PurePath | None:
    """Return the relative path between two places of one machine, by their names alone."""
    if type(start) is not type(goal) or not (start.is_absolute() and goal.is_absolute()):
        return None
    module = ntpath if isinstance(goal, PureWindowsPath) else posixpath
    try:
        return type(goal)(module.relpath(str(goal), str(start)))
    except ValueError:  # two drives
        return None
