"""Two versions of a project: what was added, lost, moved and reclassified between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.engine.history import runs_of
from qpbridge.errors import QpbridgeError, RequestError, SelectionError
from qpbridge.evaluation.scores import object_scores
from qpbridge.evaluation.versions import class_changes, compare_versions
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.hierarchy.subjects import find_subjects
from qpbridge.ids import IdArray
from qpbridge.objects import ObjectTable
from qpbridge.project.each_image import Report, Reports, each_image, refuse_nothing
from qpbridge.project.interface import ImageEntry, Project
from qpbridge.texts import printable, same_name


@dataclass(frozen=True, eq=False)
class TargetChanges:
    """What became of the objects of one target, from the first version to the second.

    Attributes
    ----------
    first, second
        How many there are in each.
    added, lost, moved, reclassified
        uint8 (n, 16), ids: of objects that only the second has, that only the first has, that have
        another outline under the same id, and that have another class.
    classes
        How many were reclassified, by ``OLD -> NEW``.
    scores
        Of the first version with the second as the truth, by outlines: see
        `qpbridge.evaluation.scores.MEANINGS`.
    """

    first: int
    second: int
    added: IdArray
    lost: IdArray
    moved: IdArray
    reclassified: IdArray
    classes: Mapping[str, int]
    scores: Mapping[str, float]

    def counts(self) -> dict[str, int]:
        """Return all numbers by name."""
        changed = ("added", "lost", "moved", "reclassified")
        return {
            "first": self.first,
            "second": self.second,
            **{name: len(getattr(self, name)) for name in changed},
        }


@dataclass(frozen=True)
class CompareReport(Report):
    """One image in two versions: the changes of each target that either of them has."""

    changes: Mapping[str, TargetChanges] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.changes:
            return super().__str__()
        texts = []
        for target, changes in self.changes.items():
            counts = changes.counts()
            told = ", ".join(f"{n:,} {name}" for name, n in list(counts.items())[2:] if n)
            texts.append(f"{changes.first:,} -> {changes.second:,} {target}: {told or 'the same'}")
        return f"{self.image}: {'; '.join(texts)}"


def compare(
    project: ProjectLike,
    other: ProjectLike | None = None,
    *,
    before: int | Sequence[int] = (),
    images: Names = (),
    targets: Names = (),
) -> Reports[CompareReport]:
    """Tell what was added, lost, moved and reclassified between two versions, and score the first.

    Objects are one and the same by their id, or else by outlines with an IoU above 0.5. Nuclei,
    glands and vessels are compared, whoever made them, as `measure` counts them; of cells the
    nuclei.

    Parameters
    ----------
    project
        An open project, or the path of one: the first version.
    other
        Another project with the same images: the second version, such as what a person made of the
        first one. None: the first version is what was there before a run, the second what is there
        now.
    before
        Without `other`: before which run, a number of `history`, or two of them: before the first
        one against before the second one. Empty: before the last one.
    images
        Names or entry ids of images; none: all.
    targets
        ``nuclei``, ``glands`` or ``vessels``, or several; none: all.

    Returns
    -------
    Reports of CompareReport
        One for each image, in the project's order. One that fails, or that `other` lacks, is among
        them.

    Raises
    ------
    RequestError
        If the arguments make no sense together.
    SelectionError
        If an image is unknown, or there is nothing to compare with.
    ProjectError
        If a project can't be read.

    Examples
    --------
    >>> qpbridge.edit.delete(project[0], project[0].read().objects.ids[-1])
    1
    >>> changes = qpbridge.compare(project, images="1")[0].changes["nuclei"]
    >>> changes.first, len(changes.added) == changes.second > 10
    (0, True)
    """
    numbers = _numbers(before)
    if other is not None and numbers:
        raise RequestError(
            "before", before, "runs are of one project; leave it out, or the second project"
        )
    chosen = checks.choices("targets", targets, TARGETS) or TARGETS
    one = as_project(project)
    two = None if other is None else as_project(other)

    def work(entry: ImageEntry) -> CompareReport:
        first, second = _of_runs(entry, numbers) if two is None else _of_projects(entry, two)
        subjects = find_subjects(first), find_subjects(second)
        changes = {}
        for target in chosen:
            rows, rows_2 = (found[target] for found in subjects)
            if len(rows) or len(rows_2):
                changes[target] = _changes(first.take(rows), second.take(rows_2))
        message = "" if changes else "nothing to compare in either version"
        return CompareReport(entry.name, "read", message, changes)

    entries = one.select(checks.names("images", images))
    return refuse_nothing(one, each_image(entries, work, CompareReport.of_failure))


def _numbers(before: int | Sequence[int]) -> tuple[int, ...]:
    several = isinstance(before, Iterable) and not isinstance(before, str | bytes)
    given: Iterable[object] = before if several else (before,)  # type: ignore[assignment]
    numbers = tuple(checks.whole("before", number, 1) for number in given)
    if len(numbers) > 2:
        raise RequestError("before", before, "the numbers of one run, or two, were expected")
    return numbers


def _of_projects(entry: ImageEntry, other: Project) -> tuple[ObjectTable, ObjectTable]:
    named = [e for e in other.images if same_name(e.name) == same_name(entry.name)]
    twins = [e for e in named if e.id == entry.id] or named
    if len(twins) != 1:
        problem = "no image of this name" if not twins else "several images of this name"
        raise QpbridgeError(f"{other.path}: {problem}: {printable(entry.name)}")
    return entry.read().objects, twins[0].read().objects


def _of_runs(entry: ImageEntry, numbers: tuple[int, ...]) -> tuple[ObjectTable, ObjectTable]:
    data = entry.read()
    runs = runs_of(entry, data)
    kept = {run.number: run.run for run in runs if run.can_undo}
    if not kept:
        raise SelectionError("no run of which is kept what was there before")
    for number in numbers:
        if number not in kept:
            raise SelectionError(
                f"what was there before run {number} is not kept; it is for "
                f"{', '.join(map(str, kept))}"
            )
    versions = [entry.before(kept[number]).objects for number in numbers or (max(kept),)]
    return versions[0], versions[1] if len(versions) == 2 else data.objects


def _changes(first: ObjectTable, second: ObjectTable) -> TargetChanges:
    changes = compare_versions(first, second)
    ids = second.ids[changes.pairs[:, 1]]
    return TargetChanges(
        first=len(first),
        second=len(second),
        added=second.ids[changes.added],
        lost=first.ids[changes.lost],
        moved=ids[changes.moved],
        reclassified=ids[changes.reclassified],
        classes=class_changes(first, second, changes),
        scores=object_scores(changes.overlaps),
    )
