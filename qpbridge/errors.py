"""What can go wrong for a user. Every message says what, where, and what to do next."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


class QpbridgeError(Exception):
    """Base of all errors that a user can cause or cure; only the message is shown to them."""


class ProjectError(QpbridgeError):
    """A QuPath project that is missing, broken, foreign, locked or can't be written."""


class FormatError(ProjectError):
    """A file whose bytes are not what they claim to be.

    Parameters
    ----------
    message
        What is wrong.
    path
        The file, once known (readers of plain bytes don't know it).
    offset
        Where in the file, in bytes, once known.
    """

    def __init__(
        self, message: str, *, path: Path | str | None = None, offset: int | None = None
    ) -> None:
        self.message = _printable(message)
        self.path = path
        self.offset = offset
        super().__init__(self.message)

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{where}{self.message}{at}"

    def in_file(self, path: Path | str) -> FormatError:
        """Return the same error that names the file it was found in."""
        return FormatError(self.message, path=path, offset=self.offset)


def _printable(text: str, most: int = 400) -> str:
    """Make what a file says fit for a terminal, whatever it says."""
    text = text if len(text) <= most else f"{text[:most]} ..."
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class ChangedMeanwhileError(ProjectError):
    """Data that another program saved since it was read; nothing was written over it."""


class SlideError(QpbridgeError):
    """An image that is missing, unreadable, of an unsupported kind, or without a pixel size."""


class MissingImageError(SlideError):
    """An image file that is in none of the places looked at, or of whose name there are several.

    Parameters
    ----------
    uri
        As stored in the project.
    tried
        The places looked at.
    candidates
        The files that may be meant, if there are several.

    Attributes
    ----------
    reason
        What is wrong in short, where the cure is given once for several images.
    """

    CURE = (
        "say where they are now by --relocate OLD=NEW or --search DIR; 'qpbridge relocate' with "
        "these options notes it in the project"
    )

    def __init__(
        self, uri: str, *, tried: tuple[Path, ...] = (), candidates: tuple[Path, ...] = ()
    ) -> None:
        self.uri = uri
        self.tried = tried
        self.candidates = candidates
        if candidates:
            self.reason = f"{uri}: several files have this name: {', '.join(map(str, candidates))}"
            text = f"the image {self.reason}; "
        else:
            self.reason = uri
            places = "".join(f"\n  {place}" for place in tried)
            text = f"the image {uri} is in none of the places looked at:{places}\n"
        super().__init__(text + self.CURE)


class ModelError(QpbridgeError):
    """A model bundle that is unknown, broken or unfit for the task."""


class SelectionError(QpbridgeError):
    """A name given by the user (image, class, region, target) that matches nothing."""


class MissingExtraError(QpbridgeError):
    """A package that qpbridge needs for this alone, and that isn't installed.

    Parameters
    ----------
    package
        Its name.
    extra
        The extra of qpbridge that brings it.
    what
        What it is needed for.
    """

    def __init__(self, package: str, extra: str, what: str) -> None:
        name = package.partition(".")[0]
        super().__init__(
            f"{what} need the package {name}, which is not installed; "
            f"pip install 'qpbridge[{extra}]' brings it"
        )


def require_extra(module: str, extra: str, what: str) -> Any:
    """Import a module that only an extra of qpbridge brings.

    Raises
    ------
    MissingExtraError
        If it isn't there: says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(module, extra, what) from error
