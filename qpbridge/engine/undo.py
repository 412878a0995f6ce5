"""Taking back what a run did to an image: to the byte, or without what a person did since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qpbridge.engine.apply import apply_planned
from qpbridge.engine.edit import without_twins
from qpbridge.engine.memory import Memory, memory_of
from qpbridge.engine.runs import (
    JOB,
    PREFIX,
    UNDONE,
    RunMark,
    provenance_key,
    run_of,
    standing,
    step_of,
)
from qpbridge.errors import ProjectError
from qpbridge.hierarchy.provenance import Origin, origins
from qpbridge.ids import are_among
from qpbridge.measurements import quality
from qpbridge.measurements.outdated import outdated
from qpbridge.measurements.region_names import EVALUATED_AREA
from qpbridge.objects import IntArray, ObjectKind, ObjectTable
from qpbridge.project.interface import AnnotationUpdate, Edit, ImageData, ImageEntry, WorkflowStep


@dataclass(frozen=True)
class Undone:
    """What became of a run that was taken back.

    Attributes
    ----------
    run
        Its `RunMark.run`.
    what
        What it was: nuclei, remove nuclei ...
    exact
        Whether the data is to the byte as it was before. Else something was changed since, which
        stays.
    removed
        Objects of the run that were taken away.
    restored
        Objects that the run had taken away, and are there again.
    kept
        Objects of the run that a person changed since: they stay.
    left_out
        Objects that the run had taken away and that are not put in again, since a person deleted or
        changed what was in their place since, or the region.
    """

    run: str
    what: str
    exact: bool
    removed: int
    restored: int
    kept: int = 0
    left_out: int = 0


def last_runs(steps: Sequence[WorkflowStep]) -> tuple[WorkflowStep, ...]:
    """Return the runs of the last command in a history, the last one first."""
    runs = [step for step in reversed(standing(steps)) if RunMark.of(step) is not None]
    job = runs[0].parameters.get(JOB) if runs else None
    count = next((i for i, step in enumerate(runs) if step.parameters.get(JOB) != job), len(runs))
    return tuple(runs[: count if job else 1])


def undo_run(entry: ImageEntry, step: WorkflowStep, command: str) -> Undone:
    """Take back the last run of an image.

    Parameters
    ----------
    entry
        The image.
    step
        The run's, the first one of `last_runs`.
    command
        What the history says, where it has to say anything.

    Raises
    ------
    ProjectError
        If what was there before is no longer kept, or the image can't be written.
    """
    mark, what = RunMark.of(step), step.name.removeprefix(PREFIX)
    assert mark is not None
    memory = memory_of(entry, mark.run)
    if memory is None or mark.run not in entry.kept_runs():
        raise ProjectError(
            f"{entry.name}: the run of {mark.when:%Y-%m-%d %H:%M} ({what}) can't be taken back: "
            "what was there before is no longer kept"
        )
    if entry.take_back(mark.run):
        return Undone(mark.run, what, True, memory.added, len(memory.removed))
    before = entry.before(mark.run)
    target = what.rpartition(" ")[2]
    note = step_of("undo", command, {UNDONE: mark.run, "of": what})

    def plan(now: ImageData) -> tuple[Edit, Undone]:
        return _plan(now.objects, before.objects, memory, target, mark.run, note)

    return apply_planned(entry, entry.read(), plan)


def _plan(
    now: ObjectTable,
    before: ObjectTable,
    memory: Memory,
    target: str,
    run: str,
    note: WorkflowStep,
) -> tuple[Edit, Undone]:
    """Plan to take away what a run added, and to put back what it took away."""
    what, added = note.parameters["of"], memory.places.ids[: memory.added]
    there = np.flatnonzero(are_among(now.ids, added))
    ours = origins(now.take(there), target) == Origin.OURS
    remove, kept = now.ids[there[ours]], there[~ours]
    back = np.flatnonzero(are_among(before.ids, memory.removed))
    staying = np.delete(now.ids, there[ours], axis=0)
    back = back[~are_among(before.ids[back], staying)]
    below, placed = _below(now, before, back)
    # what a person did to the objects of the run holds for those in the same places too
    settled = memory.places.take(np.flatnonzero(~are_among(added, remove)))
    shapes = before.take(back).inner_shapes
    free = placed & ~settled.taken(shapes)
    free &= without_twins(shapes, now.take(kept).inner_shapes.geometries)
    table = before.take(back[free])
    edit = Edit(
        remove=remove,
        add=table.replace(parent=np.full(len(table), -1, np.int64)),
        add_below=below[free],
        update=_updates(now, before, target, run, removal=what != target),
        steps=(note,),
        forget=(run,),
    )
    left_out = int((~free).sum())
    return edit, Undone(run, what, False, len(remove), len(table), len(kept), left_out)


def _below(
    now: ObjectTable, before: ObjectTable, rows: IntArray
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Find what objects go below that were there before, uint8 (n, 16), and for which there is any.

    That is what is left of what they lay below. Where nothing is, a person deleted it.
    """
    exists = np.append(are_among(before.ids, now.ids), False)
    above = before.parent[rows]
    at_root = above < 0
    while (lost := (above >= 0) & ~exists[above]).any():
        above[lost] = before.parent[above[lost]]
    ids = np.concatenate([before.ids, np.zeros((1, 16), np.uint8)])[above]
    return ids, at_root | (above >= 0)


def _updates(
    now: ObjectTable, before: ObjectTable, target: str, run: str, *, removal: bool
) -> Mapping[bytes, AnnotationUpdate]:
    """Let regions tell again what they told before a run, or a removal."""
    key = provenance_key(target)
    holding = (ObjectKind.ANNOTATION, ObjectKind.TMA_CORE)
    rows = np.flatnonzero(np.isin(before.kind, holding)).tolist()
    row_before = {before.ids[row].tobytes(): row for row in rows}
    shared = {EVALUATED_AREA, *quality.DEFINITIONS}
    updates = {}
    for row in np.flatnonzero(np.isin(now.kind, holding)).tolist():
        old = row_before.get(now.ids[row].tobytes())
        noted = now.metadata.get(row, {}).get(key, "")
        noted_before = None if old is None else before.metadata.get(old, {}).get(key)
        if run_of(noted) != run and not (removal and noted_before and not noted):
            continue
        values = {} if old is None else _values(before, old)
        names = {*values, *_values(now, row)}
        of_run = {*outdated(names, target, {}), *(names & shared)}
        updates[now.ids[row].tobytes()] = AnnotationUpdate(
            metadata={key: noted_before},
            measurements={name: value for name, value in values.items() if name in of_run},
            forget=sorted(of_run - values.keys()),
        )
    return updates


def _values(objects: ObjectTable, row: int) -> dict[str, float]:
    values = zip(objects.measurement_names, objects.measurements[row].tolist(), strict=True)
    return {name: value for name, value in values if value == value}
