"""What a person or a script added to objects of ours: it goes on where the object does.

A run makes its objects anew. One that is found again as it was has the id that it had, and so keeps
the measurements and the metadata that are not qpbridge's own.
"""

from __future__ import annotations

import numpy as np

from qpbridge.ids import are_among, id_keys
from qpbridge.objects import IntArray, MeasurementTable, ObjectTable
from qpbridge.project.interface import Edit


def added_measurements(objects: ObjectTable, rows: IntArray) -> MeasurementTable:
    """Select the measurements of some objects that are none of qpbridge's, and that any has."""
    some = objects.measured.take(rows)
    there = [name for name in some if np.isfinite(some[name]).any()]
    return some.select([name for name in there if not _is_ours(name)])


def carried_over(objects: ObjectTable, gone: IntArray, new: ObjectTable) -> ObjectTable:
    """Give new objects what was added to those that had the same ids.

    Parameters
    ----------
    objects, gone
        What an image holds, and int64 (k,), the rows that make room.
    new
        What comes, with its ids.
    """
    added = added_measurements(objects, gone)
    noted = [row for row in objects.metadata.keys() & set(gone.tolist()) if objects.metadata[row]]
    if not len(added) and not noted:
        return new
    keys = id_keys(objects.ids[gone])
    order = np.argsort(keys)
    at = order[np.minimum(np.searchsorted(keys[order], id_keys(new.ids)), len(keys) - 1)]
    again = np.flatnonzero(keys[at] == id_keys(new.ids))
    row_of = {int(gone[at[i]]): int(i) for i in again} if noted else {}
    return new.replace(
        measured=new.measured | added.take(at[again]).spread(len(new), again),
        metadata={**new.metadata, **{row_of[r]: objects.metadata[r] for r in noted if r in row_of}},
    )


def count_lost(objects: ObjectTable, edit: Edit) -> int:
    """Count the objects that go for good, and with them what somebody measured of them."""
    if not len(edit.remove):
        return 0
    gone = are_among(objects.ids, edit.remove)
    if edit.add is not None:
        gone &= ~are_among(objects.ids, edit.add.ids)
    added = added_measurements(objects, np.flatnonzero(gone))
    return int(np.isfinite(added.matrix).any(axis=1).sum())


def lost_measurements(count: int) -> tuple[str, ...]:
    """Say so, for a person; nothing where there is nothing to say."""
    if not count:
        return ()
    objects = "1 object" if count == 1 else f"{count:,} objects"
    return (f"{objects} with measurements that somebody added did not stay, and these went too",)


def _is_ours(name: str) -> bool:
    from qpbridge.measurements.definitions import find  # imports all that measures, for rare names

    return find(name) is not None
