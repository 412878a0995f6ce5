"""Taking qpbridge's own objects away again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.engine.remove import remove_objects
from qpbridge.engine.runs import new_job
from qpbridge.errors import QpbridgeError
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project.each_image import Report, Reports, each_image
from qpbridge.project.interface import ImageEntry


@dataclass(frozen=True)
class RemoveReport(Report):
    """What was removed from one image: `removed` has the number of objects for each target.

    A target of which there was nothing is not in it. An image without any is ``skipped``.
    `lost_measurements` has the number of those that had measurements which somebody added.
    """

    removed: Mapping[str, int] = field(default_factory=dict)
    lost_measurements: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = [f"{n} {target}" for target, n in self.removed.items()]
        return f"{self.image}: {', '.join(counts)} removed" if counts else super().__str__()


def remove(
    project: ProjectLike, targets: Names = (), *, images: Names = ()
) -> Reports[RemoveReport]:
    """Remove the objects that qpbridge made in a project, and nothing else.

    Objects that a person has changed since stay.

    Parameters
    ----------
    project
        An open project, or the path of one.
    targets
        ``nuclei``, ``glands`` or ``vessels``, or several; none: all.
    images
        Names or entry ids of images; none: all.

    Returns
    -------
    Reports of RemoveReport
        One for each image, in the project's order. An image that fails is among them.

    Raises
    ------
    RequestError
        If a target is unknown.
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read.

    Examples
    --------
    >>> reports = qpbridge.remove(project, "nuclei")
    >>> reports[0].removed["nuclei"] > 10
    True
    """
    chosen = checks.choices("targets", targets, TARGETS) or TARGETS
    job = new_job()

    def work(entry: ImageEntry) -> RemoveReport:
        removed, lost = {}, {}
        try:
            for target in chosen:
                counts = remove_objects(entry, target, job)
                if counts is not None:
                    removed[target], lost[target] = counts
        except QpbridgeError as error:
            return RemoveReport(entry.name, "failed", str(error), removed, lost)
        if not removed:
            return RemoveReport(entry.name, "skipped", "there was nothing of qpbridge's to remove")
        return RemoveReport(entry.name, "written", removed=removed, lost_measurements=lost)

    return each_image(as_project(project).select(images), work, RemoveReport.of_failure)
