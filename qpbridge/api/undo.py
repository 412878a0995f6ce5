"""Taking back what the last command did to the images of a project."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_call, as_project
from qpbridge.engine.runs import JOB, RunMark
from qpbridge.engine.undo import Undone, last_runs, undo_run
from qpbridge.errors import QpbridgeError, SelectionError
from qpbridge.project.each_image import Report, Reports, each_image, refuse_nothing
from qpbridge.project.interface import ImageEntry, Project


@dataclass(frozen=True)
class UndoReport(Report):
    """What was taken back in one image.

    Attributes
    ----------
    runs
        The runs, the last one first. An image without any is ``skipped``.
    """

    runs: tuple[Undone, ...] = ()

    def __str__(self) -> str:
        if not self.runs:
            return super().__str__()
        texts = []
        for run in self.runs:
            text = f"{run.what} taken back: {run.removed:,} objects out, {run.restored:,} back in"
            if not run.exact:
                text += "; what was changed since stays" + (
                    f" ({run.kept:,} of these objects)" if run.kept else ""
                )
            if run.left_out:
                text += f"; {run.left_out:,} not put back, where a person decided otherwise since"
            texts.append(text)
        failed = f"; then: {self.message}" if self.message else ""
        return f"{self.image}: {'; '.join(texts)}{failed}"


def undo(
    project: ProjectLike, *, images: Names = (), command: str | None = None
) -> Reports[UndoReport]:
    """Take back what the last `segment` or `remove` did.

    Where nothing was changed since, the image's data is to the byte as it was before. Else only
    what the run did is taken back: its objects go, those that it replaced are there again, and what
    a person drew, changed or deleted since stays. Doing it again takes back the command before, up
    to the last five runs of an image.

    Parameters
    ----------
    project
        An open project, or the path of one.
    images
        Names or entry ids of images, whose own last command is taken back; none: the last command
        of the whole project, in all images that it worked on.
    command
        What QuPath's history says that was run; None: this call.

    Returns
    -------
    Reports of UndoReport
        One for each of these images, in the project's order. One that fails is among them.

    Raises
    ------
    SelectionError
        If an image is unknown, or there is nothing to take back.
    ProjectError
        If the project can't be read or written.

    Examples
    --------
    >>> reports = qpbridge.segment(project, images="1", restart=True, device="cpu")
    >>> qpbridge.undo(project)[0].runs[0].exact
    True
    """
    opened = as_project(project)
    named = checks.names("images", images)
    call = as_call("undo", images=named) if command is None else checks.text("command", command)
    entries = opened.select(named) if named else _of_last_command(opened)

    def work(entry: ImageEntry) -> UndoReport:
        done: list[Undone] = []
        try:
            done.extend(undo_run(entry, s, call) for s in last_runs(entry.read().workflow))
        except QpbridgeError as error:
            return replace(UndoReport.of_failure(entry.name, error), runs=tuple(done))
        if not done:
            raise SelectionError("there is no run that could be taken back")
        return UndoReport(entry.name, "written", runs=tuple(done))

    reports = each_image(entries, work, UndoReport.of_failure, writes=True)
    return refuse_nothing(opened, reports)


def _of_last_command(project: Project) -> Sequence[ImageEntry]:
    """Find the images that the last command of a project worked on, and those that can't tell."""
    latest: tuple[datetime.datetime, str] | None = None
    jobs: list[tuple[ImageEntry, str | None]] = []
    for entry in project.images:
        try:
            # Without data there is nothing to read, but whether that was lost is found out.
            wanted = entry.kept_runs() or not entry.has_data()
            runs = last_runs(entry.read().workflow) if wanted else ()
        except (QpbridgeError, OSError):  # it is told when its turn comes
            jobs.append((entry, None))
            continue
        mark = RunMark.of(runs[0]) if runs else None
        if mark is None:
            continue
        job = runs[0].parameters.get(JOB) or mark.run
        jobs.append((entry, job))
        if latest is None or mark.when > latest[0]:
            latest = mark.when, job
    if not jobs:
        raise SelectionError(f"{project.path}: there is no run that could be taken back")
    return [entry for entry, job in jobs if job is None or (latest and job == latest[1])]
