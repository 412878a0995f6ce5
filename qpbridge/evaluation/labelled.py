"""Images with instance labels, as folders hold them, to score a model on or to train one."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from qpbridge.errors import QpbridgeError
from qpbridge.hierarchy.regions import Region
from qpbridge.slides.slide import Slide, open_slide
from qpbridge.slides.source import reason

EstimateMpp = Callable[[npt.NDArray[np.integer]], float]
Mpp = float | EstimateMpp
"""µm per pixel of an image, or what gives it for its labels."""

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
LABEL_SUFFIXES = (".png", ".tif", ".tiff")
TYPICAL_NUCLEUS_UM2 = 30.0  # median area of a nucleus in tissue sections, for unknown scales
MPP_RANGE = (0.12, 0.6)


@dataclass(frozen=True)
class DataSource:
    """Labelled images, and what is known about them.

    Attributes
    ----------
    folder
        Where ``images`` and ``labels`` (same stems) lie, or a project.
    mpp
        Pixel size in µm, or None: estimated per image from the median size of its nuclei.
    mpp_range
        Bounds of what is estimated.
    nucleus_um2
        Median area of a nucleus that it is estimated with.
    pattern
        Which stems belong, as a shell pattern with ``[..]`` and ``*``; several joined by ``|``.
    weight
        Share of this source in a training batch, relative to the others.
    patient
        Regular expression whose first group, found in a stem, is the patient. Without it, a CSV
        file in the folder with columns ``patient...`` and ``name`` tells; without that, too, each
        image is a patient of its own.
    truth
        Of a project: the class of the objects that a person drew or accepted. None: it's a folder.
    synthetic
        Instead of labelled images: draw vessels on the pictures of the folder, as in "he" (H&E) or
        "ihc" (brown endothelium); see `qpbridge.training.synthetic`.
    pictures
        How many of them to draw.
    about
        Name, licence, citation and whatever else the bundle's metadata should repeat.
    """

    folder: Path
    mpp: float | None
    pattern: str = "*"
    weight: float = 1.0
    patient: str | None = None
    truth: str | None = None
    synthetic: str | None = None
    pictures: int = 0
    about: tuple[tuple[str, str], ...] = ()
    mpp_range: tuple[float, float] = MPP_RANGE
    nucleus_um2: float = TYPICAL_NUCLEUS_UM2

    @property
    def title(self) -> str:
        """What to call it in tables."""
        return dict(self.about).get("title", self.folder.name)


class Place(NamedTuple):
    """Where a labelled image was read.

    Attributes
    ----------
    open
        Opens its slide; whoever calls it closes that.
    mpp
        µm per pixel of the slide (x, y).
    regions
        What of it the labels are of; none: all.
    corner
        x and y of the image in the slide, in pixels of the image.
    downsample
        Pixels of the slide per pixel of the image.
    by_hand
        Whether a person has the quality map as annotations.
    """

    open: Callable[[], Slide]
    mpp: tuple[float, float]
    regions: tuple[Region, ...] = ()
    corner: tuple[int, int] = (0, 0)
    downsample: float = 1.0
    by_hand: bool = False


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes
    ----------
    name
        What tells it apart.
    image
        uint8 RGB (H, W, 3).
    labels
        Integers (H, W), 0 is background.
    mpp
        µm per pixel.
    patient
        Whom it comes from: images of one patient are never on both sides of a split.
    known
        bool (H, W), where the labels say the truth; None: everywhere.
    lumen
        bool (H, W), the lumina of the objects, if known.
    place
        Where it was read, if there is more to see there: what is around it, or other resolutions.
    """

    name: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    mpp: float
    patient: str = ""
    known: npt.NDArray[np.bool_] | None = None
    lumen: npt.NDArray[np.bool_] | None = None
    place: Place | None = None


def load_source(source: DataSource, unknown_mpp: EstimateMpp | None = None) -> list[Sample]:
    """Read all images of a source with their labels, in the order of their names.

    Parameters
    ----------
    source
        The folder.
    unknown_mpp
        Gives µm per pixel for labels, where the source doesn't.  [default: `estimate_mpp`, with
        the source's bounds]

    Raises
    ------
    QpbridgeError
        If a folder is missing, nothing matches, or an image and its labels don't fit.
    """
    images, labels = source.folder / "images", source.folder / "labels"
    unknown_mpp = unknown_mpp or partial(
        estimate_mpp, bounds=source.mpp_range, nucleus_um2=source.nucleus_um2
    )
    patient_of = _patients(source)
    return [
        _read_sample(path, truth, source.mpp or unknown_mpp, patient_of(path.stem))
        for path, truth in _pairs(images, labels, source.pattern)
    ]


def load_pairs(images: Path, labels: Path, mpp: float) -> Iterator[Sample]:
    """Read the images of a folder with their labels from another, one by one, by name.

    Raises
    ------
    QpbridgeError
        If there are no images, or one and its labels don't fit.
    """
    for path, truth in _pairs(images, labels, "*"):
        yield _read_sample(path, truth, mpp, path.stem)


def _pairs(images: Path, labels: Path, pattern: str) -> list[tuple[Path, Path]]:
    """Files of images that match a pattern, with the files of their labels."""
    for folder in (images, labels):
        if not folder.is_dir():
            raise QpbridgeError(
                f"{folder}: no such folder. Labelled images are a folder of images and one of "
                "labels, with the same file stems in both; in a data folder these are images/ and "
                "labels/."
            )
    patterns = pattern.split("|")
    try:
        files = sorted(images.iterdir())
    except OSError as error:
        raise QpbridgeError(f"{images}: can't be read ({error.strerror or error}).") from error
    chosen = [
        path
        for path in files
        if path.suffix.lower() in IMAGE_SUFFIXES
        and any(Path(path.stem).match(pattern) for pattern in patterns)
    ]
    if not chosen:
        raise QpbridgeError(f"{images}: no image matches {pattern!r}.")
    pairs = []
    for path in chosen:
        there = [f for s in LABEL_SUFFIXES if (f := labels / f"{path.stem}{s}").is_file()]
        if not there:
            raise QpbridgeError(f"{labels / path.stem}.png: the labels of {path.name} are missing.")
        pairs.append((path, there[0]))
    return pairs


def _read_sample(path: Path, truth: Path, mpp: Mpp, patient: str) -> Sample:
    """Read an image, as a slide is read, and its labels."""
    with open_slide(path) as slide:
        rgb = slide.read(0, 0, slide.width, slide.height, 1.0)
        only_one = len(slide.levels) == 1
    labels = _read_labels(truth, rgb.shape[:2])
    size = mpp(labels) if callable(mpp) else mpp
    place = None if only_one else Place(partial(open_slide, path), (size, size))
    return Sample(path.stem, rgb, labels, size, patient, place=place)


def _read_labels(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Read the labels of an image of some shape, int32 (H, W)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as drawn:
                found = drawn.size[::-1]
                if found == shape:  # else it may be far larger than the image
                    instances = np.asarray(drawn)
    except Exception as error:  # decoders fail in many ways on broken bytes
        raise QpbridgeError(
            f"{path}: can't be read ({reason(error)}); write the labels again as PNG."
        ) from error
    if found != shape:
        raise QpbridgeError(f"{path}: {found} labels do not fit an image of {shape} pixels.")
    if instances.ndim != 2:
        raise QpbridgeError(
            f"{path}: labels have one channel, 0 for background and a number for each object; "
            f"this has {instances.shape[2]} channels."
        )
    with np.errstate(invalid="ignore"):  # what is no number is told
        labels = instances.astype(np.int32)
    if (labels != instances).any() or labels.min(initial=0) < 0:
        raise QpbridgeError(f"{path}: its values are not whole numbers from 0 on, as of labels.")
    if labels.max(initial=0) > labels.size:  # tables of them would be larger than the image
        _, index = np.unique(np.append(labels, 0), return_inverse=True)
        labels = index[:-1].reshape(labels.shape).astype(np.int32)
    return labels


def _patients(source: DataSource) -> Callable[[str], str]:
    """Return what tells the patient from the stem of an image."""
    if source.patient is not None:
        pattern = re.compile(source.patient)
        if pattern.groups < 1:
            raise QpbridgeError(
                f"The pattern {source.patient!r} for patients has no group: put (...) around the "
                "part of the file name that is the patient."
            )

        def by_name(stem: str) -> str:
            match = pattern.search(stem)
            if match is None:
                raise QpbridgeError(
                    f"{source.folder}: the pattern {source.patient!r} finds no patient in {stem!r}."
                )
            return match[1]

        return by_name
    table: dict[str, str] = {}
    for path in sorted(source.folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file, skipinitialspace=True):
                patient = next((v for k, v in row.items() if k and k.startswith("patient")), None)
                if patient is not None and row.get("name"):
                    table[row["name"].strip()] = patient.strip()
    return lambda stem: table.get(stem, stem)


def estimate_mpp(
    labels: npt.NDArray[np.integer],
    bounds: tuple[float, float] = MPP_RANGE,
    nucleus_um2: float = TYPICAL_NUCLEUS_UM2,
) -> float:
    """Guess µm per pixel, within bounds, from the median area of the nuclei.

    Where there are none, it is the middle of the bounds.
    """
    area = np.bincount(labels.ravel())[1:]
    area = area[area > 0]
    if not len(area):
        return sum(bounds) / 2
    return float(np.clip(math.sqrt(nucleus_um2 / np.median(area)), *bounds))
