"""Pictures of real tissue to draw on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import IMAGE_SUFFIXES, DataSource
from qpbridge.slides.slide import open_slide

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff")
MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Background:
    """One picture of tissue: uint8 RGB (H, W, 3), with its µm per pixel."""

    name: str
    image: npt.NDArray[np.uint8]
    mpp: float


def load_backgrounds(source: DataSource) -> list[Background]:
    """Read the pictures of a folder, or of ``images/`` in it; labels are not looked at.

    Raises
    ------
    QpbridgeError
        If none matches, one is too large to be held in memory, or its µm per pixel isn't known.
    """
    folder = source.folder / "images" if (source.folder / "images").is_dir() else source.folder
    patterns = source.pattern.split("|")
    found = [
        _read(path, source.mpp)
        for path in sorted(folder.glob("*"))
        if path.suffix.lower() in (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)
        and any(Path(path.stem).match(pattern) for pattern in patterns)
    ]
    if not found:
        raise QpbridgeError(f"{folder}: no picture matches {source.pattern!r}.")
    return found


def crop(
    rng: np.random.Generator, backgrounds: Sequence[Background], mpp: float, size: int
) -> Background:
    """Cut a random part of a random picture, (size, size, 3); it keeps the µm per pixel it had.

    Small pictures are mirrored at their edges; parts with hardly any tissue are passed over.
    """
    area = np.array([b.image.shape[0] * b.image.shape[1] * b.mpp**2 for b in backgrounds])
    chance = np.sqrt(area) / np.sqrt(area).sum()
    for _ in range(30):
        chosen = backgrounds[int(rng.choice(len(backgrounds), p=chance))]
        stretch = rng.uniform(0.85, 1.2)
        step = mpp / chosen.mpp * stretch  # its pixels per pixel of the part
        wide = int(np.ceil(size * step))
        image = chosen.image
        pad = [max(0, wide - length) for length in image.shape[:2]]
        top, left = (
            int(rng.integers(0, max(length, wide) - wide + 1)) for length in image.shape[:2]
        )
        part = image[top : top + wide, left : left + wide]
        if any(pad):
            before = [int(rng.integers(0, p + 1)) for p in pad]
            around = [(b, p - b) for b, p in zip(before, pad, strict=True)]
            part = np.pad(part, [*around, (0, 0)], mode="symmetric")
        small = Image.fromarray(part).resize((size, size), Image.Resampling.BICUBIC)
        pixels = np.rot90(np.asarray(small), int(rng.integers(4)))
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if (pixels.min(axis=2) < 205).mean() > 0.4:
            break
    return Background(chosen.name, np.ascontiguousarray(pixels), chosen.mpp / stretch)


def _read(path: Path, mpp: float | None) -> Background:
    with open_slide(path) as slide:
        scale = mpp or (slide.mpp and slide.mpp[0])
        if scale is None:
            raise QpbridgeError(f"{path}: give its µm per pixel (mpp) in the recipe.")
        width, height = slide.width, slide.height
        if width * height > MAX_PIXELS:
            raise QpbridgeError(f"{path}: {width} x {height} pixels are too many; use a part.")
        return Background(path.stem, slide.read(0, 0, width, height, 1.0), scale)
