"""Changes to an image as values: made without doing anything, then carried out by a backend."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qpbridge import checks
from qpbridge.errors import RequestError
from qpbridge.objects import ImageType, MeasurementTable, ObjectTable, PathClass, Stains


@dataclass(frozen=True)
class WorkflowStep:
    """One line of the history that QuPath shows for an image."""

    name: str
    script: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("name", "script"):
            checks.instance(name, getattr(self, name), str, "a text")
        checks.instance("parameters", self.parameters, Mapping, "a dict of texts")


@dataclass(frozen=True)
class AnnotationUpdate:
    """What to set on an object that stays: metadata and measurements, added or replaced by name.

    A metadata value of None, or a measurement in `forget`, is taken away.

    Raises
    ------
    RequestError
        If these are no dicts, or `forget` no names.
    """

    metadata: Mapping[str, str | None] = field(default_factory=dict)
    measurements: Mapping[str, float] = field(default_factory=dict)
    forget: Sequence[str] = ()

    def __post_init__(self) -> None:
        checks.instance("metadata", self.metadata, Mapping, "a dict of texts")
        checks.instance("measurements", self.measurements, Mapping, "a dict of numbers")
        checks.names("forget", self.forget)


@dataclass(frozen=True, eq=False)
class MeasurementUpdate:
    """Measurements to set on many objects that stay; what else they carry is kept, in its order.

    Parameters
    ----------
    ids
        uint8 (n, 16), of the objects.
    measured
        Of these objects; NaN: could not be computed. A name that an object carries already keeps
        its place. What QuPath keeps in single precision stays so.
    forget
        Names that are taken away.

    Raises
    ------
    RequestError
        If these are no ids or measurements, there are not as many of one as of the other, or a name
        comes twice.
    """

    ids: npt.NDArray[np.uint8]
    measured: MeasurementTable
    forget: Sequence[str] = ()

    def __post_init__(self) -> None:
        if np.shape(self.ids)[1:] != (16,):
            raise RequestError("ids", self.ids, "ids were expected, uint8 (k, 16)")
        checks.instance("measured", self.measured, MeasurementTable, "a MeasurementTable")
        n, m = len(self.ids), self.measured.n
        if n != m:
            raise RequestError(
                "measured", self.measured, f"measurements of {m} objects for {n} ids"
            )
        if len({*self.measured, *self.forget}) < len(self.measured) + len(self.forget):
            raise RequestError("forget", self.forget, "a measurement is set, or forgotten, twice")


@dataclass(frozen=True)
class Note:
    """What a run keeps beside an image's data, together with the data as it was before.

    Parameters
    ----------
    kind
        What the run was for, small letters: of each kind the last notes are kept.
    run
        Sixteen hexadecimal digits that no other run has.
    content
        What whoever asks by `ImageEntry.note` wants to know.
    """

    kind: str
    run: str
    content: bytes


class Keep(enum.Enum):
    """Stands for what is not to be changed, where None means that it is taken away."""

    KEEP = enum.auto()

    def __repr__(self) -> str:
        return "KEEP"


KEEP = Keep.KEEP


@dataclass(frozen=True)
class ObjectChange:
    """What a person would change on an object by hand; what is not given stays as it is.

    Parameters
    ----------
    shift
        How far its shape is moved, full-resolution pixels (x, y); a cell's nucleus goes with it.
    path_class
        Its class; None: it gets none.
    name
        Its name; None: it gets none.
    locked
        Whether QuPath lets it be moved and reshaped.
    """

    shift: tuple[float, float] | None = None
    path_class: PathClass | Keep | None = KEEP
    name: str | Keep | None = KEEP
    locked: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change to the objects of one image, as a value: planned, printed, then applied at once.

    Parameters
    ----------
    remove
        uint8 (k, 16), ids of the objects to take away. Their children, if they stay, move up to
        the parent of what was removed.
    add
        New objects. `ObjectTable.parent` is used among them; one with parent -1 goes below
        `add_below`.
    add_below
        uint8 (n, 16), for each row of `add` the id of an object in the image; zeros: the root.
    update
        By id (16 bytes), what to set on objects that stay.
    measure
        Measurements of many objects that stay; none of them in `update`, or twice.
    change
        By id (16 bytes), what else changes on objects that stay; none of them in `update` or
        `measure`.
    steps
        Workflow steps to append.
    image_type
        Set only where the image has none yet (UNSET), unless `retype`.
    retype
        Set the type in any case; with another type the stains of the old one go.
    stains
        Stain vectors to set; None: they stay, and an image of a new type gets QuPath's defaults.
    note
        Kept beside the data, so that the change can be taken back.
    forget
        Runs (`Note.run`) of which nothing is kept any more.

    Raises
    ------
    RequestError
        If `remove` holds no ids, or `add` no objects.
    """

    remove: npt.NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 16), np.uint8))
    add: ObjectTable | None = None
    add_below: npt.NDArray[np.uint8] | None = None
    update: Mapping[bytes, AnnotationUpdate] = field(default_factory=dict)
    measure: Sequence[MeasurementUpdate] = ()
    change: Mapping[bytes, ObjectChange] = field(default_factory=dict)
    steps: Sequence[WorkflowStep] = ()
    image_type: ImageType | None = None
    retype: bool = False
    stains: Stains | None = None
    note: Note | None = None
    forget: Sequence[str] = ()

    def __post_init__(self) -> None:
        if np.shape(self.remove)[1:] != (16,):
            raise RequestError("remove", self.remove, "ids were expected, uint8 (k, 16)")
        if self.add is not None:
            checks.instance("add", self.add, ObjectTable, "an ObjectTable")
