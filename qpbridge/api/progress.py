"""What a run shows while it goes on: bars, in a terminal or a notebook."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from qpbridge import checks
from qpbridge.engine.segmenting.request import ImageReport, Missing, Progress
from qpbridge.errors import RequestError
from qpbridge.project.each_image import Report
from qpbridge.texts import printable

_log = logging.getLogger("qpbridge")


@contextmanager
def watched(progress: bool | Progress) -> Iterator[Progress]:
    """Give hooks for a run: bars, hooks that were given, or none but for what must be known.

    Raises
    ------
    RequestError
        If it is neither True, False nor hooks.
    """
    if isinstance(progress, Progress):
        yield progress
    elif progress is True:
        with bars() as shown:
            yield shown
    elif progress is False:
        yield Progress(start_target=lambda target, images, model, notice: _tell(model, notice))
    else:
        raise RequestError("progress", progress, "True, False or a Progress was expected")


def _tell(model: str, notice: str) -> None:
    if notice:
        _log.warning("%s: %s", model, notice)


@contextmanager
def bars(
    console: Console | None = None,
    missing: Callable[[Missing, int], None] | None = None,
    wording: Callable[[str], str] = str,
) -> Iterator[Progress]:
    """Show a bar for the image, and one for all of them if there are several.

    Parameters
    ----------
    console
        Where; None: stderr, or the cell of a notebook.
    missing
        Lists the images that were not found; None: they come one by one, like others that fail.
    wording
        How to say what went wrong.
    """
    console = console or _console()
    with _shown(console) as shown:
        watch = _Watch(shown, console, wording, quiet=missing is not None)
        yield Progress(
            start_target=watch.start_target,
            start_image=watch.start_image,
            advance=watch.advance,
            end_image=watch.end_image,
            missing=missing or (lambda missing, images: None),
        )


@contextmanager
def image_bar(progress: bool, what: str, images: int) -> Iterator[Callable[[Report], None]]:
    """Give what is called after each image of a run: a bar counts them, and tells which failed.

    Raises
    ------
    RequestError
        If `progress` is neither True nor False.
    """
    if not checks.flag("progress", progress):
        yield lambda report: None
        return
    console = _console()
    with _shown(console) as shown:
        task = shown.add_task(f"{what} {images} images", total=images)

        def end_image(report: Report) -> None:
            shown.advance(task)
            console.print(printable(str(report), lines=True), markup=False, emoji=False)

        yield end_image


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def _shown(console: Console) -> Bars:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    visible = console.is_terminal or console.is_jupyter
    return Bars(*columns, console=console, transient=True, disable=not visible)


class _Watch:
    """The bars of a run; `quiet` about images that were not found."""

    def __init__(
        self, shown: Bars, console: Console, wording: Callable[[str], str], *, quiet: bool
    ) -> None:
        self.shown, self.console, self.wording, self.quiet = shown, console, wording, quiet
        self.image = shown.add_task("", visible=False)
        self.all = shown.add_task("", visible=False)
        self.ended, self.total = 0, 1.0

    def say(self, text: str) -> None:
        self.console.print(printable(text, lines=True), markup=False, emoji=False)

    def start_target(self, target: str, images: int, model: str, notice: str) -> None:
        if notice:
            self.say(f"{model}: {self.wording(notice)}")
        self.ended = 0
        self.shown.reset(
            self.all,
            total=images,
            description=f"all {images} images: {target}",
            visible=images > 1,
        )

    def start_image(self, name: str, megapixels: float, done: float) -> None:
        self.total = megapixels
        self.shown.reset(
            self.image,
            total=megapixels,
            completed=int(done),
            description=printable(name),
            visible=True,
        )
        if done:
            self.say(f"{name}: goes on at {done / megapixels:.0%}")

    def advance(self, megapixels: float) -> None:
        self.shown.advance(self.image, megapixels)
        self.shown.advance(self.all, megapixels / self.total)

    def end_image(self, report: ImageReport) -> None:
        self.ended += 1
        self.shown.update(self.all, completed=self.ended)
        self.shown.update(self.image, visible=False)
        if (report.missing and self.quiet) or report.status == "planned":
            return  # is listed elsewhere
        done = report.status == "written"
        note = f"{report.found} {report.target}" if done else self.wording(report.message)
        self.say(f"{report.image}: {note}")
