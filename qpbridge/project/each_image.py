"""The one loop over the images of a project: which, what becomes of each, and who is told.

An image that fails is reported, and the others go on: one without anything to work on is
``skipped``, whatever else goes wrong is ``failed``.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Self, TypeVar

from qpbridge.errors import QpbridgeError, SelectionError
from qpbridge.project.interface import ImageEntry, Project

Status = Literal["written", "planned", "read", "skipped", "failed"]


@dataclass(frozen=True)
class Report:
    """What became of one image.

    Attributes
    ----------
    image
        Its name.
    status
        ``written``, ``planned`` (a dry run), ``read`` (nothing was to be written), ``skipped``
        (nothing to work on) or ``failed``.
    message
        Why it was skipped, or failed.
    """

    image: str
    status: Status
    message: str = ""

    @classmethod
    def of_failure(cls, image: str, error: Exception) -> Self:
        """Report what kept an image from being worked on."""
        skipped = isinstance(error, SelectionError)
        return cls(image, "skipped" if skipped else "failed", str(error))

    def __str__(self) -> str:
        return f"{self.image}: {self.message or self.status}"


R = TypeVar("R", bound=Report)


class Reports(list[R], Generic[R]):
    """Reports of images, in the project's order: a list that says in short what is in it."""

    @property
    def failed(self) -> list[R]:
        """Those of images that failed."""
        return [report for report in self if report.status == "failed"]

    def __repr__(self) -> str:
        counts = Counter(report.status for report in self)
        text = ", ".join(f"{n} {status}" for status, n in counts.items()) or "no images"
        return f"<Reports: {text}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(r.image)}</td><td>{r.status}</td>"
            f"<td>{html.escape(str(r).removeprefix(f'{r.image}: '))}</td></tr>"
            for r in self
        )
        return f"<table><tr><th>Image</th><th>Status</th><th></th></tr>{rows}</table>"


def each_image(
    entries: Iterable[ImageEntry],
    work: Callable[[ImageEntry], R],
    failure: Callable[[str, Exception], R],
    *,
    writes: bool = False,
    ended: Callable[[R], None] = lambda report: None,
) -> Reports[R]:
    """Work on images, one after the other.

    Parameters
    ----------
    entries
        The images.
    work
        What is done with one.
    failure
        Makes the report of one that fails, from its name and the error.
    writes
        Find out before the work whether an image can be written.
    ended
        Called after each image.
    """
    reports = Reports[R]()
    for entry in entries:
        try:
            if writes:
                entry.check_writable()
            done = work(entry)
        except (QpbridgeError, OSError) as error:
            done = failure(entry.name, error)
        ended(done)
        reports.append(done)
    return reports


def select_some(project: Project, images: str | Iterable[str]) -> tuple[ImageEntry, ...]:
    """Find images by name or entry id, as `Project.select`, in a project that has some.

    Raises
    ------
    SelectionError
        If an image is unknown, or there is none at all.
    """
    entries = project.select(images)
    if not entries:
        raise SelectionError(f"{project.path}: the project has no images; add one in QuPath")
    return entries


def refuse_nothing(project: Project, reports: Reports[R]) -> Reports[R]:
    """Return reports, unless nothing was done in any image for want of anything to work on.

    Raises
    ------
    SelectionError
        If all were skipped.
    """
    if reports and all(report.status == "skipped" for report in reports):
        raise SelectionError(f"{project.path}: {reports[0].message}")
    return reports
