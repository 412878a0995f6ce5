"""What measuring again is asked to do, and what it tells in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qpbridge.engine.measuring.nuclei import Surroundings
from qpbridge.hierarchy.regions import Selection
from qpbridge.measurements.grading import Aid


@dataclass(frozen=True)
class MeasureRequest:
    """What to measure in every image.

    Parameters
    ----------
    selection
        Which regions.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    surroundings
        What is measured around nuclei.
    intensities
        Whether the stains of nuclei are measured again, for which the image is read.
    morphometry
        Whether regions tell of all measurements of their nuclei.
    grading
        Names of the grading aids.
    reference
        Class of annotations whose nuclei are normal.
    epithelium
        Class of annotations that are the tumour's epithelium.
    command
        What the history says that was run.
    """

    selection: Selection = field(default_factory=Selection)
    mpp: float | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)
    intensities: bool = False
    morphometry: bool = False
    grading: tuple[str, ...] = ()
    reference: str | None = None
    epithelium: str | None = None
    command: str = "qpbridge measure"


@dataclass(frozen=True)
class MeasuredRegion:
    """What one region adds up to, and the grading aids of it, by name.

    `found_by` says for each target that was segmented there which model was run last, and when.
    """

    name: str
    path_class: str | None
    found_by: Mapping[str, str]
    measurements: Mapping[str, float]
    grading: Mapping[str, Aid]


@dataclass(frozen=True)
class MeasureReport:
    """What was measured in one image.

    `status` is ``written``, ``skipped`` (no region) or ``failed``; `message` says why. `counts` has
    the objects in the regions by target, `others` how many of them qpbridge did not make, and
    `notes` what a person should know.
    """

    image: str
    status: str
    message: str = ""
    regions: tuple[MeasuredRegion, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
