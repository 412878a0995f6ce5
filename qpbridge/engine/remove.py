"""Taking away what qpbridge made: its own unchanged objects of a target, and what it noted."""

from __future__ import annotations

from dataclasses import replace

from qpbridge.engine.added import count_lost
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.edit import find_existing
from qpbridge.engine.memory import Memory
from qpbridge.engine.runs import JOB, RunMark, provenance_key, step_of
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.measurements import quality
from qpbridge.measurements.outdated import outdated
from qpbridge.measurements.region_names import EVALUATED_AREA
from qpbridge.objects import ObjectTable
from qpbridge.project.interface import AnnotationUpdate, Edit, ImageData, ImageEntry


def remove_objects(entry: ImageEntry, target: str, job: str) -> tuple[int, int] | None:
    """Take away qpbridge's own unchanged objects of a target from an image; see `RunRecord.job`.

    Returns
    -------
    counts
        How many, and how many of these had measurements that somebody added; None if there was
        nothing of ours, and nothing was written.
    """

    def plan(data: ImageData) -> tuple[Edit | None, tuple[int, int] | None]:
        edit = plan_removal(data.objects, target)
        if edit is None:
            return None, None
        steps = [replace(s, parameters={**s.parameters, JOB: job}) for s in edit.steps]
        counts = len(edit.remove), count_lost(data.objects, edit)
        return replace(edit, steps=steps), counts

    return apply_planned(entry, entry.read(), plan)


def plan_removal(objects: ObjectTable, target: str) -> Edit | None:
    """Plan to take away all of qpbridge's own unchanged objects of a target, and what it noted.

    Returns
    -------
    edit
        None if there is nothing to do.
    """
    existing = find_existing(objects, None, target)
    noted = [row for row, m in objects.metadata.items() if provenance_key(target) in m]
    if not len(existing.replaced) and not noted:
        return None
    names = outdated(objects.measurement_names, target, {})
    shared = [EVALUATED_AREA, *quality.DEFINITIONS]
    other_keys = {provenance_key(t) for t in TARGETS if t != target}

    def forget(row: int) -> AnnotationUpdate:
        last = not other_keys & set(objects.metadata[row])
        return AnnotationUpdate(
            metadata={provenance_key(target): None}, forget=names + shared * last
        )

    command, mark = f"qpbridge remove --target {target}", RunMark.new("remove")
    removed = objects.ids[existing.replaced]
    return Edit(
        remove=removed,
        update={objects.ids[row].tobytes(): forget(row) for row in noted},
        steps=(step_of(f"remove {target}", command, mark=mark),),
        # what a command removes was not deleted by hand: nothing is remembered
        note=Memory(removed=removed).note(target, mark.run),
    )
