"""What was done to an image, as its history tells, and what a person decided since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from qpbridge.engine.memory import recall
from qpbridge.engine.runs import JOB, PARAMETER, PREFIX, UNDONE, RunMark, standing
from qpbridge.hierarchy.provenance import TARGETS, Origin, origins
from qpbridge.objects import FloatArray
from qpbridge.project.interface import ImageData, ImageEntry, WorkflowStep

VERSION = "qpbridge version"


@dataclass(frozen=True)
class Run:
    """One thing that qpbridge did to an image.

    Attributes
    ----------
    number
        From 1, in the order in which they were done.
    what
        What was looked for (``nuclei`` ...), or what else was done (``measure``, ``remove nuclei``,
        ``import`` ...).
    when, who
        As the history has them; "" where it doesn't.
    command
        What was run.
    settings
        All that the result depends on, and what else was noted, as texts by name.
    run
        By which it can be told from every other; "" for what can't be taken back.
    undone
        Whether it was taken back.
    can_undo
        Whether what was there before is still kept.
    """

    number: int
    what: str
    when: str
    who: str
    command: str
    settings: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    undone: bool = False
    can_undo: bool = False


def runs_of(entry: ImageEntry, data: ImageData) -> tuple[Run, ...]:
    """Return all that qpbridge did to an image, oldest first."""
    stand, kept = standing(data.workflow), entry.kept_runs()
    steps = [s for s in data.workflow if s.name.startswith(PREFIX) or VERSION in s.parameters]
    return tuple(_run(i, step, step in stand, kept) for i, step in enumerate(steps, 1))


def deleted_places(entry: ImageEntry, data: ImageData) -> dict[str, FloatArray]:
    """Return where a person deleted what qpbridge found, by target.

    Returns
    -------
    places
        float64 (n, 3): x, y and radius of a disc of the same area, in full-resolution pixels.
    """
    found = {}
    for target in TARGETS:
        memory = recall(entry, data, target)
        places = memory.places.take(memory.deleted(data.objects, target))
        if len(places):
            found[target] = np.column_stack([places.xy, places.radius]).astype(np.float64)
    return found


def changed_counts(data: ImageData) -> dict[str, int]:
    """Count the objects of each target that a person changed."""
    counts = {t: int((origins(data.objects, t) == Origin.CHANGED).sum()) for t in TARGETS}
    return {target: count for target, count in counts.items() if count}


def _run(number: int, step: WorkflowStep, stands: bool, kept: tuple[str, ...]) -> Run:
    mark = RunMark.of(step)
    run = "" if mark is None else mark.run
    told = dict(step.parameters)
    return Run(
        number=number,
        what=step.name.removeprefix(PREFIX),
        when=told.pop("when", ""),
        who=told.pop("who", ""),
        command=step.script.removeprefix("// "),
        settings={n: text for n, text in told.items() if n not in (PARAMETER, JOB, UNDONE)},
        run=run,
        undone=bool(run) and not stands,
        can_undo=run in kept,
    )
