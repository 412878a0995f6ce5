"""What measuring again is asked to do, and what it tells in the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from qpbridge import checks
from qpbridge.errors import CombinationError, RequestError
from qpbridge.hierarchy.regions import Selection, check_selection
from qpbridge.measurements.grading import SYSTEMS, Aid
from qpbridge.project.each_image import Report
from qpbridge.slides.calibration import check_mpp


@dataclass(frozen=True)
class Surroundings:
    """What is measured around nuclei, beside the nearest neighbour; all in µm.

    Parameters
    ----------
    delaunay
        Edges of the triangulation as long as this, or longer, are left out.
    clusters
        Whether measurements are averaged over nuclei that the triangulation connects, for which
        `delaunay` must be limited.
    density
        Radii in which nuclei are counted.
    orientation
        Radii in which it is measured how unlike the directions of nuclei are.
    smooth
        Full widths at half maximum of Gaussians that measurements are averaged with.
    distances
        Whether distances to annotations, glands and vessels are measured.

    Raises
    ------
    RequestError
        If a value makes no sense.
    """

    delaunay: float = math.inf
    density: tuple[float, ...] = ()
    smooth: tuple[float, ...] = ()
    distances: bool = False
    clusters: bool = False
    orientation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checks.number("delaunay", self.delaunay, "a length in µm, above 0", above=0)
        for name in ("density", "smooth", "orientation"):
            object.__setattr__(self, name, checks.lengths(name, getattr(self, name)))
        checks.flag("distances", self.distances)
        checks.flag("clusters", self.clusters)
        if self.clusters and math.isinf(self.delaunay):
            raise CombinationError(
                "`clusters` needs `delaunay`: without a limit all are one.",
                "clusters",
            )


@dataclass(frozen=True)
class MeasureRequest:
    """What to measure in every image.

    Parameters
    ----------
    selection
        Which regions.
    classes
        Full names of the classes of detections and cells that count as nuclei; empty: all.
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

    Raises
    ------
    RequestError
        If a value makes no sense.
    """

    selection: Selection = field(default_factory=Selection)
    classes: tuple[str, ...] = ()
    mpp: float | None = None
    surroundings: Surroundings = field(default_factory=Surroundings)
    intensities: bool = False
    morphometry: bool = False
    grading: tuple[str, ...] = ()
    reference: str | None = None
    epithelium: str | None = None
    command: str = "qpbridge measure"

    def __post_init__(self) -> None:
        check_selection(self.selection)
        object.__setattr__(self, "classes", checks.names("classes", self.classes))
        check_mpp("mpp", self.mpp)
        if not isinstance(self.surroundings, Surroundings):
            raise RequestError("surroundings", self.surroundings, "Surroundings were expected")
        checks.flag("intensities", self.intensities)
        checks.flag("morphometry", self.morphometry)
        object.__setattr__(self, "grading", checks.choices("grading", self.grading, SYSTEMS))
        for name in ("reference", "epithelium"):
            if getattr(self, name) is not None:
                checks.text(name, getattr(self, name))
        checks.text("command", self.command)


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
class MeasureReport(Report):
    """What was measured in one image.

    `status` is ``written``, ``skipped`` (no region) or ``failed``; `message` says why. `counts` has
    the objects in the regions by target, `others` how many of them qpbridge did not make,
    `left_out` how many detections and cells there are of other classes than were asked for, and
    `notes` what a person should know.
    """

    regions: tuple[MeasuredRegion, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
