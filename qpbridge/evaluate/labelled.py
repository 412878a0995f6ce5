"""Images with instance labels, as folders hold them, to score a model on or to train one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from qpbridge.errors import QpbridgeError

IMAGE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".tif", ".tiff")
TYPICAL_NUCLEUS_UM2 = 30.0  # median area of a nucleus in tissue sections, for unknown scales


@dataclass(frozen=True)
class DataSource:
    """A folder with ``images/`` and ``labels/`` (same stems), and what is known about it.

    Attributes
    ----------
    folder
        Where ``images`` and ``labels`` lie.
    mpp
        Pixel size in µm, or None: estimated per image from the median size of its nuclei.
    pattern
        Which stems belong, as a shell pattern with ``[..]`` and ``*``; several joined by ``|``.
    weight
        Share of this source in a training batch, relative to the others.
    about
        Name, licence, citation and whatever else the bundle's metadata should repeat.
    """

    folder: Path
    mpp: float | None
    pattern: str = "*"
    weight: float = 1.0
    about: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sample:
    """One labelled image: uint8 RGB (H, W, 3), integer labels (H, W), µm per pixel."""

    name: str
    image: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.integer]
    mpp: float


def load_source(source: DataSource) -> list[Sample]:
    """Read all images of a source with their labels, in the order of their names.

    Raises
    ------
    QpbridgeError
        If a folder is missing, nothing matches, or an image and its labels don't fit.
    """
    images = source.folder / "images"
    labels = source.folder / "labels"
    for folder in (images, labels):
        if not folder.is_dir():
            raise QpbridgeError(
                f"{folder}: no such folder. A data folder holds images/ and labels/, "
                "with the same file stems in both."
            )
    patterns = source.pattern.split("|")
    samples = []
    for path in sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if not any(Path(path.stem).match(pattern) for pattern in patterns):
            continue
        truth = labels / f"{path.stem}.png"
        if not truth.is_file():
            raise QpbridgeError(f"{truth}: the labels of {path.name} are missing.")
        rgb = np.asarray(Image.open(path).convert("RGB"))
        instances = np.asarray(Image.open(truth))
        if instances.shape != rgb.shape[:2]:
            raise QpbridgeError(
                f"{truth}: {instances.shape} labels do not fit an image of {rgb.shape[:2]} pixels."
            )
        mpp = source.mpp or estimate_mpp(instances)
        samples.append(Sample(path.stem, rgb, instances.astype(np.int32), mpp))
    if not samples:
        raise QpbridgeError(f"{images}: no image matches {source.pattern!r}.")
    return samples


def estimate_mpp(labels: npt.NDArray[np.integer]) -> float:
    """Guess µm per pixel from the median area of the nuclei, between 0.12 and 0.6."""
    area = np.bincount(labels.ravel())[1:]
    area = area[area > 0]
    if not len(area):
        return 0.35
    return float(np.clip(math.sqrt(TYPICAL_NUCLEUS_UM2 / np.median(area)), 0.12, 0.6))
