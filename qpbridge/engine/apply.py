"""Writing what was planned, also when another program saves the image in the meantime."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qpbridge.errors import ChangedMeanwhileError
from qpbridge.project.interface import Edit, ImageData, ImageEntry

T = TypeVar("T")

ATTEMPTS = 5


def apply_planned(
    entry: ImageEntry, data: ImageData, plan: Callable[[ImageData], tuple[Edit | None, T]]
) -> T:
    """Plan an edit on an image, and carry it out; plan again if the image changed in between.

    Parameters
    ----------
    entry
        The image.
    data
        What was read of it, however long ago.
    plan
        From what the image holds to an edit, or None if nothing is to be done, and what else the
        caller wants to know of the plan.

    Returns
    -------
    rest
        What `plan` returned beside the edit that was carried out.

    Raises
    ------
    ChangedMeanwhileError
        If the image changes every time.
    """
    for left in reversed(range(ATTEMPTS)):
        edit, rest = plan(data)
        if edit is None:
            break
        try:
            entry.apply(edit, data.state)
            break
        except ChangedMeanwhileError:
            if not left:
                raise
            data = entry.read()
    return rest
