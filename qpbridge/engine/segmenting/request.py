"""What a run is asked to do, and what it tells: on its way and in the end."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from qpbridge import checks
from qpbridge.engine.runs import new_job
from qpbridge.errors import MissingImageError, PixelSizeError, RequestError, ScaleError
from qpbridge.hierarchy.regions import Selection, check_selection
from qpbridge.objects import ImageType, ObjectKind
from qpbridge.prediction.options import NucleusOptions
from qpbridge.project.each_image import Report
from qpbridge.project.interface import ImageEntry
from qpbridge.slides.calibration import check_mpp

Missing = Sequence[tuple[ImageEntry, MissingImageError]]

FEATURES = ("basic", "all")
"""How much is measured of each nucleus."""

MIN_TILE = 64
"""Pixels; a smaller tile would be all halo."""

MAX_TILE = 2**14
"""Pixels; a larger one would take more memory than there is."""

AREA_KINDS = {"annotations": ObjectKind.ANNOTATION, "detections": ObjectKind.DETECTION}
_DEVICE = re.compile(r"auto|[a-z]+(:[0-9]+)?")


@dataclass(frozen=True)
class Request:
    """What to do in every image.

    Parameters
    ----------
    selection
        Which regions.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; several GPUs with commas between.
    mpp
        µm per pixel of the images, where the project and the files don't know it or are wrong.
    tile
        Largest side of a tile with its halo, in pixels at the model's resolution.
    batch_size
        Tiles per batch; None: what suits the device.
    workers
        On a CPU, tiles under way at a time; on a GPU, threads that read, and as many that decode.
        None: as many as there are processors.
    compiled
        Let torch compile the network.
    restart
        Begin anew where a run was stopped.
    area_kind
        What glands and vessels are written as: ``annotations`` or ``detections``, or the kind.
    keep_artefacts
        Whether black fill and ink are searched as well, and only told.
    image_type
        What the images are, whatever the project says; None: what it says, or else the pixels.
    force
        Go on where by the size of the nuclei the pixel size is wrong, or too coarse for the model.
    nuclei
        What else is done with nuclei; what it doesn't say is done as the run before did it.
    restore_deleted
        Put in again what a person deleted, where it is found.
    dry_run
        Plan only.
    command
        What the history says that was run.
    job
        What the history has in common for all that one command does.

    Raises
    ------
    RequestError
        If a value makes no sense.
    """

    selection: Selection = field(default_factory=Selection)
    device: str = "auto"
    mpp: float | None = None
    tile: int = 2048
    batch_size: int | None = None
    workers: int | None = None
    compiled: bool = False
    restart: bool = False
    area_kind: ObjectKind = ObjectKind.ANNOTATION
    keep_artefacts: bool = False
    image_type: ImageType | None = None
    force: bool = False
    nuclei: NucleusOptions = field(default_factory=NucleusOptions)
    restore_deleted: bool = False
    dry_run: bool = False
    command: str = "qpbridge segment"
    job: str = field(default_factory=new_job, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_selection(self.selection)
        check_device(self.device)
        check_mpp("mpp", self.mpp)
        checks.whole("tile", self.tile, MIN_TILE, MAX_TILE)
        for name in ("batch_size", "workers"):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 1)
        flags = ("compiled", "restart", "restore_deleted", "keep_artefacts", "force", "dry_run")
        for name in flags:
            checks.flag(name, getattr(self, name))
        object.__setattr__(self, "area_kind", _area_kind(self.area_kind))
        if not isinstance(self.nuclei, NucleusOptions):
            raise RequestError("nuclei", self.nuclei, "NucleusOptions were expected")
        checks.text("command", self.command)


def refuse_nucleus_options(options: NucleusOptions, target: str) -> None:
    """Refuse what is for nuclei where they are not looked for.

    Raises
    ------
    RequestError
        If anything is asked for.
    """
    for name in ("cell_expansion", "positivity", "all_features"):
        if getattr(options, name) != getattr(NucleusOptions(), name):
            field = "features" if name == "all_features" else name
            value = "all" if name == "all_features" else getattr(options, name)
            raise RequestError(
                field,
                value,
                f"is for nuclei, not for {target}; leave it out, or ask for `targets` "
                "nuclei as well",
            )


def check_device(value: object) -> None:
    """Refuse what can't be the name of a device, or of several."""
    if not isinstance(value, str) or not all(
        _DEVICE.fullmatch(name.strip()) for name in value.split(",")
    ):
        raise RequestError("device", value, "expected 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'")


def _area_kind(value: object) -> ObjectKind:
    if isinstance(value, ObjectKind) and value in AREA_KINDS.values():
        return value
    word = value.lower() if isinstance(value, str) else value
    return AREA_KINDS[checks.choice("area_kind", word, AREA_KINDS)]


@dataclass(frozen=True)
class RegionReport:
    """What was found in one region."""

    name: str
    path_class: str | None
    measurements: dict[str, float]


@dataclass(frozen=True)
class ImageReport(Report):
    """What was done to one image.

    `status` is ``written``, ``planned`` (dry run), ``skipped`` (nothing to segment in) or
    ``failed``; `message` says why. `missing`: it failed because its file was not found.
    `deleted`: those that a person deleted, and that stay so. `lost_measurements`: objects that are
    not found again, and with which measurements went that somebody had added; those of objects that
    are stay. `megapixels` go through the network;
    `seconds` and `memory_gb` are estimates where the run is only planned. `resumed`: tiles that an
    earlier run had finished. `stages`: seconds that each stage was busy, summed over its threads.
    `warnings`: what is in the way of trusting the result. `target`, `model` and the like say what
    was looked for, and with what; `settings` all that the result depends on, as the history has it.
    `as_before`: those that are as in the run before, since nothing was asked for. `image_type`:
    what the image is taken for, and `image_type_from` how that is known: ``given``, ``project``,
    ``pixels``, ``model``, or not. `estimated_mpp`: µm per pixel by the size of the nuclei, and the
    bounds of that, where the pixel size is unknown or can't be right. The text of a report is a
    line that tells what was done, or would be.
    """

    regions: tuple[RegionReport, ...] = ()
    found: int = 0
    replaced: int = 0
    kept_changed: int = 0
    deleted: int = 0
    lost_measurements: int = 0
    tiles: int = 0
    megapixels: float = 0.0
    memory_gb: float = 0.0
    seconds: float = 0.0
    resumed: int = 0
    stages: dict[str, float] = field(default_factory=dict)
    bottleneck: str = ""
    missing: bool = False
    target: str = ""
    model: str = ""
    model_version: str = ""
    model_mpp: float = 0.0
    warnings: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    as_before: tuple[str, ...] = ()
    image_type: str = ""
    image_type_from: str = ""
    estimated_mpp: tuple[float, ...] | None = None

    @classmethod
    def of_failure(cls, image: str, error: Exception) -> Self:
        """Report what kept an image from being segmented."""
        missing = isinstance(error, MissingImageError)
        estimate = error.estimate if isinstance(error, PixelSizeError | ScaleError) else None
        report = super().of_failure(image, error)
        return replace(report, missing=missing, estimated_mpp=estimate and estimate[:3])

    @property
    def _deleted(self) -> str:
        return f", {self.deleted} deleted by hand" if self.deleted else ""

    def __str__(self) -> str:
        if self.status == "planned":
            time = "?" if math.isnan(self.seconds) else f"{self.seconds:.0f}"
            text = (
                f"{self.image}: {self.tiles} tiles, {self.megapixels:.1f} MPix, about "
                f"{time} s and {self.memory_gb:.1f} GB; would replace "
                f"{self.replaced} {self.target}, and keep {self.kept_changed} that were changed by "
                f"hand{self._deleted}"
            )
            return f"{text}; {self.message}" if self.message else text
        if self.status == "written":
            return (
                f"{self.image}: {self.found} {self.target} written, {self.replaced} replaced, "
                f"{self.kept_changed} changed by hand kept{self._deleted}; {self.seconds:.1f} s, "
                f"{self.megapixels / self.seconds:.2f} MPix/s"
            )
        return super().__str__()


@dataclass
class Progress:
    """Hooks for whoever watches a run.

    `start_target` is called before the images of each target, with the target, the number of
    images, and the model's name and notice (what whoever uses it must know; mostly empty).
    `missing` is called once, before any work, with the images whose files are not found, if any,
    and the number of all images; in `end_image` they come like others that fail. `start_image` gets
    the megapixels of an image and those that are done already, `advance` those of each tile.
    """

    start_target: Callable[[str, int, str, str], None] = field(
        default=lambda target, images, model, notice: None
    )
    start_image: Callable[[str, float, float], None] = field(default=lambda name, total, done: None)
    advance: Callable[[float], None] = field(default=lambda megapixels: None)
    end_image: Callable[[ImageReport], None] = field(default=lambda report: None)
    missing: Callable[[Missing, int], None] = field(default=lambda missing, images: None)
