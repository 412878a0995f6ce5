"""What can go wrong for a user. Every message says what, where, and what to do next."""

from __future__ import annotations

import importlib
import re
import reprlib
from pathlib import Path
from typing import Any

from qpbridge.texts import printable


class QpbridgeError(Exception):
    """Base of all errors that a user can cause or cure; only the message is shown to them.

    A message names arguments of the library in backquotes, as in "give `mpp`": the command line
    shows its options in their place.
    """


class RequestError(QpbridgeError, ValueError):
    """A value that the library can't work with, wherever it was given.

    Parameters
    ----------
    field
        Name of the argument.
    value
        What was given.
    problem
        What is wrong with it, or what was expected.
    """

    def __init__(self, field: str, value: Any, problem: str) -> None:
        self.field, self.value, self.problem = field, value, problem
        super().__init__(field, value, problem)

    def __str__(self) -> str:
        return f"`{self.field}` {_short.repr(self.value)}: {self.problem}"


class CombinationError(RequestError):
    """Arguments that make no sense together, or one without another.

    Parameters
    ----------
    text
        What is wrong.
    field
        One of the arguments.
    """

    def __init__(self, text: str, field: str) -> None:
        super().__init__(field, None, text)
        self.args = (text, field)

    def __str__(self) -> str:
        return self.problem


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


class ProjectError(QpbridgeError):
    """A QuPath project that is missing, broken, foreign, locked or can't be written."""


class LockedError(ProjectError):
    """A project, or a part of it, in which another process is at work."""


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
        self.message = printable(message, most=400)
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


class ChangedMeanwhileError(ProjectError):
    """Data that another program saved since it was read; nothing was written over it."""


class SlideError(QpbridgeError):
    """An image that is missing, unreadable, of an unsupported kind, or without a pixel size."""


class PixelSizeError(SlideError):
    """A pixel size that nobody knows, or that no slide can have.

    Parameters
    ----------
    image
        Name of the image.
    known
        µm per pixel (x, y), None: unknown.
    where
        What says so.
    limits
        What a slide can have.
    cure
        What can be done beside setting it in QuPath.
    estimate
        What it is by the pixels, and between which bounds; None: nobody estimated it.
    """

    def __init__(
        self,
        image: str,
        known: tuple[float, float] | None = None,
        where: str = "",
        limits: tuple[float, float] = (0.0, 0.0),
        cure: str = "or give `mpp` (0.25 at 40x, 0.5 at 20x)",
        estimate: tuple[float, ...] | None = None,
    ) -> None:
        self.image, self.known, self.where, self.limits = image, known, where, limits
        self.cure, self.estimate = cure, estimate
        super().__init__(image, known, where, limits, cure, estimate)

    def __str__(self) -> str:
        cure = "set it in QuPath's Image tab" + (self.cure and f", {self.cure}")
        if self.known is None:
            told = f"; {_by_nuclei(self.estimate)}" if self.estimate else ""
            return f"{self.image}: the pixel size is unknown{told}; {cure}"
        return (
            f"{self.image}: {self.where} says {self.known[0]:g} x {self.known[1]:g} µm per pixel, "
            f"which no slide has (expected {self.limits[0]:g} to {self.limits[1]:g}); {cure}"
        )


class ScaleError(SlideError):
    """A pixel size that can't be right by what an image shows, or is too coarse for a model.

    Parameters
    ----------
    image
        Name of the image.
    mpp
        µm per pixel, as taken.
    why
        What is against it.
    estimate
        What it is by the pixels, and between which bounds; None: they don't tell.
    """

    def __init__(
        self, image: str, mpp: float, why: str, estimate: tuple[float, ...] | None = None
    ) -> None:
        self.image, self.mpp, self.why, self.estimate = image, mpp, why, estimate
        super().__init__(image, mpp, why, estimate)

    def __str__(self) -> str:
        told = f"; {_by_nuclei(self.estimate)}" if self.estimate else ""
        return (
            f"{self.image}: taken at {self.mpp:.3g} µm/px, {self.why}{told}; nothing was changed: "
            "give the right `mpp`, or set it in QuPath's Image tab, or go on all the same with "
            "`force`"
        )


def _by_nuclei(estimate: tuple[float, ...]) -> str:
    return f"by the size of its nuclei a pixel has {estimate}"


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
        "say where they are now by `moved` or `search`; `relocate` with these notes it in the "
        "project"
    )

    def __init__(
        self, uri: str, *, tried: tuple[Path, ...] = (), candidates: tuple[Path, ...] = ()
    ) -> None:
        self.uri = uri
        self.tried = tried
        self.candidates = candidates
        if candidates:
            self.reason = f"{uri}: several files have this name: {', '.join(map(str, candidates))}"
        else:
            self.reason = uri
        super().__init__(uri)

    def __str__(self) -> str:
        if self.candidates:
            return f"the image {self.reason}; {self.CURE}"
        places = "".join(f"\n  {place}" for place in self.tried)
        return f"the image {self.uri} is in none of the places looked at:{places}\n{self.CURE}"


class OutlineError(QpbridgeError):
    """An outline that crosses itself so often that it can't be repaired in any reasonable time.

    Parameters
    ----------
    left, top, right, bottom
        Where it lies, in pixels.
    image
        Name of the image, where it is known.
    """

    def __init__(
        self, left: float, top: float, right: float, bottom: float, image: str = ""
    ) -> None:
        self.bounds, self.image = (left, top, right, bottom), image
        super().__init__(
            f"{image and f'{image}: '}an outline from x {left:.0f}, y {top:.0f} to x {right:.0f}, "
            f"y {bottom:.0f} crosses itself too often to be repaired; draw it anew in QuPath, or "
            "delete it there"
        )


class ModelError(QpbridgeError):
    """A model bundle that is unknown, broken or unfit for the task.

    The message is one line, whatever files and libraries say.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(re.sub(r"\s*[\r\n]\s*", " ", message), most=800))


class InferenceError(ModelError, RuntimeError):
    """A network that failed on pixels, or made of them what are no maps."""


class SelectionError(QpbridgeError):
    """A name given by the user (image, class, region, target) that matches nothing."""


class UnknownImageError(SelectionError, KeyError):
    """The name of an image that no image of a project has, or several.

    Parameters
    ----------
    project
        The project.
    name
        What was asked for.
    known
        Names of the images that there are.
    ids
        Entry ids of the images of that name, if there are several.
    """

    def __init__(
        self, project: Path, name: str, known: tuple[str, ...] = (), ids: tuple[str, ...] = ()
    ) -> None:
        self.project, self.name, self.known, self.ids = project, name, known, ids
        super().__init__(project, name, known, ids)

    def __str__(self) -> str:
        if self.ids:
            return (
                f"{self.project}: {len(self.ids)} images are called {self.name!r}; give the id "
                f"({', '.join(self.ids)}) instead"
            )
        known = ", ".join(map(repr, self.known[:20])) or "none"
        return f"{self.project}: no image {self.name!r}; there are: {known}"


class UnknownMeasurementError(SelectionError, KeyError):
    """The name of a measurement that no object has.

    Parameters
    ----------
    name
        What was asked for.
    known
        Names that there are.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        super().__init__(name, known)

    def __str__(self) -> str:
        return f"no measurement {self.name!r} among: {', '.join(self.known) or 'none'}"


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
