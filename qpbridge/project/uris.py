"""The URIs in a project, in every form that occurs, as paths of whichever machine."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import PurePath, PurePosixPath, PureWindowsPath

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


def _flavoured(text: str) -> PurePath:
    if _DRIVE.match(text) or text.startswith(("//", "\\\\")):
        return PureWindowsPath(text)
    # A backslash is a legal, if odd, character of a name below a POSIX root.
    if "\\" in text and not text.startswith("/"):
        return PureWindowsPath(text)
    return PurePosixPath(text)
