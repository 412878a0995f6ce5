"""Changing objects by hand: one call each, atomic, with a backup, and nothing else touched.

Every function takes an image of a project, and the ids of some of its objects: texts, UUIDs, 16
bytes each, or rows of `ObjectTable.ids`. Where another program saves the image in between, what is
there then is changed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

from qpbridge import checks
from qpbridge.engine.apply import apply_planned
from qpbridge.engine.runs import step_of
from qpbridge.errors import RequestError, SelectionError
from qpbridge.ids import IdArray, id_text, parse_id
from qpbridge.objects import PathClass
from qpbridge.project.interface import Edit, ImageData, ImageEntry, ObjectChange, WorkflowStep

__all__ = ["delete", "lock", "move", "reclassify", "rename"]

Ids = str | bytes | uuid.UUID | IdArray | Iterable[str | bytes | uuid.UUID | IdArray]
"""One id, or several."""


def move(image: ImageEntry, ids: Ids, dx: float, dy: float) -> int:
    """Move objects; what lies below them in QuPath's tree stays where it is.

    Parameters
    ----------
    image
        An image of a project.
    ids
        Ids of objects, or one.
    dx, dy
        How far, in full-resolution pixels, to the right and down. A cell's nucleus goes with it.

    Returns
    -------
    n
        How many objects were changed.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    SelectionError
        If there is no object of an id; nothing is changed then.
    ProjectError
        If the image can't be written.

    Examples
    --------
    >>> before = project[0].read().objects
    >>> qpbridge.edit.move(project[0], before.ids[0], 10, -5)
    1
    >>> after = project[0].read().objects
    >>> (after.shapes.centroids()[0] - before.shapes.centroids()[0]).tolist()
    [10.0, -5.0]
    """
    what = "a number of pixels"
    shift = tuple(
        checks.number(field, value, what, least=-1e9, most=1e9)
        for field, value in (("dx", dx), ("dy", dy))
    )
    return _change(image, ids, ObjectChange(shift=(shift[0], shift[1])), f"move {dx:g} {dy:g}")


def reclassify(image: ImageEntry, ids: Ids, path_class: PathClass | str | None) -> int:
    """Give objects a class, as ``"Tumor: Positive"``; None: take it away.

    Parameters, errors and result are those of `move`. A class that the project's list lacks joins
    it.

    Examples
    --------
    >>> uid = project[0].read().objects.uuid(0)
    >>> qpbridge.edit.reclassify(project[0], uid, "Stroma")
    1
    >>> str(project[0].read().objects.path_class(0))
    'Stroma'
    """
    new = path_class
    if isinstance(path_class, str):
        try:
            new = PathClass.parse(path_class)
        except ValueError as error:
            raise RequestError("path_class", path_class, "is not the name of a class") from error
    if not isinstance(new, PathClass | None):
        raise RequestError("path_class", path_class, "the name of a class was expected")
    return _change(image, ids, ObjectChange(path_class=new), f"classify as {new}")


def rename(image: ImageEntry, ids: Ids, name: str | None) -> int:
    """Give objects a name; None: take it away.

    Parameters, errors and result are those of `move`.

    Examples
    --------
    >>> uid = project[0].read().objects.uuid(0)
    >>> qpbridge.edit.rename(project[0], str(uid), "border")
    1
    >>> project[0].read().objects.names
    {0: 'border'}
    """
    new = None if name is None else checks.text("name", name)
    return _change(image, ids, ObjectChange(name=new), f"rename to {new!r}")


def lock(image: ImageEntry, ids: Ids, locked: bool = True) -> int:
    """Lock objects, so that nobody moves or reshapes them in QuPath, or unlock them.

    Parameters, errors and result are those of `move`.

    Examples
    --------
    >>> uid = project[0].read().objects.uuid(0)
    >>> qpbridge.edit.lock(project[0], uid)
    1
    >>> bool(project[0].read().objects.locked[0])
    True
    """
    wanted = checks.flag("locked", locked)
    return _change(image, ids, ObjectChange(locked=wanted), "lock" if wanted else "unlock")


def delete(image: ImageEntry, ids: Ids, *, with_children: bool = False) -> int:
    """Delete objects; what lies below them in QuPath's tree moves up, or is deleted too.

    Parameters
    ----------
    image, ids
        As for `move`.
    with_children
        Delete all below them as well.

    Returns
    -------
    n
        How many objects were deleted.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    SelectionError
        If there is no object of an id; nothing is changed then.
    ProjectError
        If the image can't be written.

    Examples
    --------
    >>> uid = project[0].read().objects.uuid(0)
    >>> qpbridge.edit.delete(project[0], uid)
    1
    """
    checks.flag("with_children", with_children)
    wanted = as_ids(ids)
    step = _step("delete")

    def plan(data: ImageData) -> tuple[Edit | None, int]:
        objects = data.objects
        chosen = np.zeros(len(objects), bool)
        chosen[_rows(image, data, wanted)] = True
        if with_children:  # parents come before their children
            for row in np.flatnonzero(objects.parent >= 0):
                chosen[row] |= chosen[objects.parent[row]]
        n = int(chosen.sum())
        return (Edit(remove=objects.ids[chosen], steps=(step,)) if n else None), n

    return apply_planned(_image(image), image.read(), plan)


def as_ids(ids: Any) -> IdArray:
    """Turn ids in any form into uint8 (n, 16), each once.

    Raises
    ------
    RequestError
        If one is none.
    """
    if isinstance(ids, np.ndarray) and ids.dtype == np.uint8 and ids.shape[-1:] == (16,):
        return np.unique(ids.reshape(-1, 16), axis=0)
    one = isinstance(ids, str | bytes | uuid.UUID)
    if not one and not isinstance(ids, Iterable):
        raise RequestError("ids", ids, "ids of objects were expected")
    found = b"".join(map(_as_bytes, [ids] if one else ids))
    return np.unique(np.frombuffer(found, np.uint8).reshape(-1, 16), axis=0)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape == (16,):
        return value.tobytes()
    uid = parse_id(value) if isinstance(value, str) else value
    if not isinstance(uid, bytes) or len(uid) != 16:
        raise RequestError("ids", value, "is no id of an object: a UUID was expected")
    return uid


def _image(image: Any) -> ImageEntry:
    if not isinstance(image, ImageEntry):
        raise RequestError("image", image, "an image of a project was expected: project['name']")
    return image


def _rows(image: ImageEntry, data: ImageData, ids: IdArray) -> Any:
    """Find the rows of objects.

    Raises
    ------
    SelectionError
        If one is not there.
    """
    keys, known = (np.ascontiguousarray(i).view("V16").ravel() for i in (ids, data.objects.ids))
    there = np.isin(keys, known)
    if not there.all():
        missing = ids[np.argmin(there)]
        raise SelectionError(f"{image.name}: no object has the id {id_text(missing)}")
    return np.flatnonzero(np.isin(known, keys))


def _change(image: ImageEntry, ids: Ids, change: ObjectChange, what: str) -> int:
    wanted = as_ids(ids)
    step = _step(what)

    def plan(data: ImageData) -> tuple[Edit | None, int]:
        rows = _rows(image, data, wanted)
        every = {uid.tobytes(): change for uid in data.objects.ids[rows]}
        return (Edit(change=every, steps=(step,)) if every else None), len(every)

    return apply_planned(_image(image), image.read(), plan)


def _step(what: str) -> WorkflowStep:
    verb = what.partition(" ")[0]
    return step_of(verb, f"qpbridge.edit: {what}")
