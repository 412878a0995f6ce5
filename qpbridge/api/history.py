"""What was done to the images of a project, and what a person decided since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.engine.history import Run, changed_counts, deleted_places, runs_of
from qpbridge.objects import FloatArray
from qpbridge.project.each_image import Report, Reports, each_image
from qpbridge.project.interface import ImageEntry


@dataclass(frozen=True)
class HistoryReport(Report):
    """What was done to one image, and what a person decided since.

    Attributes
    ----------
    runs
        All that qpbridge did, oldest first.
    deleted
        Where a person deleted what qpbridge had found, by target: float64 (n, 3) of x, y and the
        radius of a disc of the same area, full-resolution pixels.
    changed
        How many objects of each target a person changed and kept.
    """

    runs: tuple[Run, ...] = ()
    deleted: Mapping[str, FloatArray] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.status == "failed":
            return super().__str__()
        deleted = [f"{len(places):,} {target} deleted" for target, places in self.deleted.items()]
        changed = [f"{count:,} {target} changed" for target, count in self.changed.items()]
        by_hand = f"; by hand: {', '.join([*deleted, *changed])}" if deleted or changed else ""
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs):,} runs"
        return f"{self.image}: {runs}{by_hand}"


def history(project: ProjectLike, *, images: Names = ()) -> Reports[HistoryReport]:
    """List what qpbridge did to the images of a project, with all settings; nothing is changed.

    Parameters
    ----------
    project
        An open project, or the path of one.
    images
        Names or entry ids of images; none: all.

    Returns
    -------
    Reports of HistoryReport
        One for each image, in the project's order. An image that fails is among them.

    Raises
    ------
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read.

    Examples
    --------
    >>> run = qpbridge.history(project)[0].runs[-1]
    >>> run.what, run.settings["model"].split()[0], run.can_undo
    ('nuclei', 'nuclei_he', True)
    """
    entries = as_project(project).select(checks.names("images", images))

    def read(entry: ImageEntry) -> HistoryReport:
        data = entry.read()
        return HistoryReport(
            entry.name,
            "read",
            runs=runs_of(entry, data),
            deleted=deleted_places(entry, data),
            changed=changed_counts(data),
        )

    return each_image(entries, read, HistoryReport.of_failure)
