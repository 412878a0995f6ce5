"""The one loop over the images of a project: which, what becomes of each, and who is told.

An image that fails is reported, and the others go on: one without anything to work on is
``skipped``, whatever else goes wrong is ``failed``.
"""

from __future__ import annotations

import contextlib
import html
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, Self, TypeVar

from qpbridge.errors import LockedError, OutlineError, QpbridgeError, SelectionError
from qpbridge.project.interface import ImageEntry, Project

Status = Literal["written", "planned", "read", "skipped", "done by another run", "failed"]

_TRIES = 5


@dataclass(frozen=True)
class Report:
    """What became of one image.

    Attributes
    ----------
    image
        Its name.
    status
        ``written``, ``planned`` (a dry run), ``read`` (nothing was to be written), ``skipped``
        (nothing to work on), ``done by another run`` (at the same time, with the same settings) or
        ``failed``.
    message
        Why it was skipped, or failed.
    id
        Its entry id, which tells images of one name apart.
    """

    image: str
    status: Status
    message: str = ""
    id: str = field(default="", kw_only=True)

    @classmethod
    def of_failure(cls, image: str, error: Exception) -> Self:
        """Report what kept an image from being worked on."""
        skipped = isinstance(error, SelectionError)
        # Most errors name the image, which the report does already.
        return cls(image, "skipped" if skipped else "failed", str(error).removeprefix(f"{image}: "))

    def __str__(self) -> str:
        return f"{self.image}: {self.message or self.status}"


R = TypeVar("R", bound=Report)


class Reports(list[R], Generic[R]):
    """Reports of images, in the project's order: a list that says in short what is in it."""

    @property
    def failed(self) -> list[R]:
        """Those of images that failed."""
        return [report for report in self if report.status == "failed"]

    def reasons(self) -> dict[str, str]:
        """Return why images failed, by their names; of those of one name with their entry ids."""
        twins = Counter(name for name, _ in {(report.image, report.id) for report in self})
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for report in self.failed:
            name = report.image if twins[report.image] == 1 else f"{report.image} ({report.id})"
            found[name][report.message] = None
        return {name: "; ".join(messages) for name, messages in found.items()}

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


@contextlib.contextmanager
def naming(entry: ImageEntry) -> Iterator[None]:
    """Let an error about an outline say in which image it is."""
    try:
        yield
    except OutlineError as error:
        raise OutlineError(*error.bounds, image=entry.name) from error


def each_image(
    entries: Iterable[ImageEntry],
    work: Callable[[ImageEntry], R],
    failure: Callable[[str, Exception], R],
    *,
    writes: bool = False,
    ended: Callable[[R], None] = lambda report: None,
    wait: Callable[[ImageEntry], None] | None = None,
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
    wait
        Waits until another process that is at work in an image is done with it. Such images come
        last; without `wait` they fail.
    """
    done: dict[int, R] = {}
    busy: list[tuple[int, ImageEntry]] = []

    def attempt(number: int, entry: ImageEntry, work: Callable[[ImageEntry], R]) -> None:
        try:
            report = work(entry)
        except (QpbridgeError, OSError) as error:
            if isinstance(error, LockedError) and wait and (number, entry) not in busy:
                busy.append((number, entry))
                return
            report = failure(entry.name, error)
        report = replace(report, id=entry.id)
        done[number] = report
        ended(report)

    def checked(entry: ImageEntry) -> R:
        if writes:
            entry.check_writable()
        return work(entry)

    def patiently(entry: ImageEntry) -> R:
        for left in reversed(range(_TRIES)):
            assert wait is not None
            wait(entry)
            try:
                return checked(entry)
            except LockedError:  # somebody else was faster
                if not left:
                    raise
        raise AssertionError

    for number, entry in enumerate(entries):
        attempt(number, entry, checked)
    for number, entry in busy:
        attempt(number, entry, patiently)
    return Reports[R](done[number] for number in sorted(done))


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
