"""What a run does as the run before it in the same regions did, since nobody asked for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qpbridge.engine.edit import Existing
from qpbridge.engine.runs import PREFIX, RunMark, provenance_key, run_of, standing
from qpbridge.hierarchy.regions import Region
from qpbridge.measurements.positivity import GRADES, NEGATIVE, POSITIVE
from qpbridge.objects import ObjectKind, ObjectTable
from qpbridge.prediction.options import NucleusOptions
from qpbridge.project.interface import ImageData


def options_before(data: ImageData, regions: Sequence[Region], target: str) -> NucleusOptions:
    """Find out what the last run for a target in some regions did with nuclei.

    Returns
    -------
    options
        Without anything said where none of them was searched, or by a version that noted less.
    """
    steps = [step for step in standing(data.workflow) if step.name == f"{PREFIX}{target}"]
    if all(region.row >= 0 for region in regions):
        key, metadata = provenance_key(target), data.objects.metadata
        runs = {run_of(metadata.get(region.row, {}).get(key, "")) for region in regions}
        steps = [step for step in steps if (mark := RunMark.of(step)) and mark.run in runs]
    return NucleusOptions.of(steps[-1].parameters) if steps else NucleusOptions()


def kept_settings(asked: NucleusOptions, done: NucleusOptions) -> tuple[str, ...]:
    """Tell which settings nobody asked for, and are those of the run before."""
    usual, asked_for = NucleusOptions().described(), asked.over(NucleusOptions()).described()
    return tuple(
        f"{name} {value}"
        for name, value in done.described().items()
        if value not in (usual[name], asked_for[name])
    )


def lost_settings(
    objects: ObjectTable, existing: Existing, asked: NucleusOptions, done: NucleusOptions
) -> tuple[str, ...]:
    """Tell what a run takes away that nobody asked it to: of runs that noted no settings."""
    lost, rows = [], existing.replaced
    cells = int((objects.kind[rows] == ObjectKind.CELL).sum())
    if cells and asked.cell_expansion is None and not done.cell_expansion:
        lost.append(
            f"{cells:,} cells are replaced by nuclei, since it is not known how far they were "
            "grown; give `cell_expansion` to have cells"
        )
    derived = [c.names[-1] in (NEGATIVE, POSITIVE, *GRADES) for c in objects.classes]
    graded = int(np.append(np.array(derived, bool), False)[objects.class_index[rows]].sum())
    if graded and asked.positivity is None and not done.positivity:
        lost.append(
            f"{graded:,} nuclei are no longer positive or negative, since the thresholds are not "
            "known; give `positivity` to have them classed"
        )
    return tuple(lost)
