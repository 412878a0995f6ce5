"""How well the quality map tells ink, black fill and blur, on labelled images with some added.

    python benchmarks/quality.py DATA [--model nuclei_he] > quality.json

DATA is a folder of images (PNG or TIFF), or of sets of them that each have a folder ``images``.
With a model, ``labels`` beside them tell the AJI with what was added: of all that is found, and
without what is found in fill and ink. Where something opaque was added, nothing is true.
To the right half of each image ink of each colour, black fill, or blur is added; the left half
stays. A black pen and black fill may be taken for one another. Sensitivity is the share of what
was added that is told, specificity the share of the rest that is not; a strip of 16 µm where they
meet is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from PIL import Image
from scipy import ndimage

import qpbridge
from qpbridge.artefacts.masks import Kind, Pixels
from qpbridge.artefacts.reading import read_quality
from qpbridge.evaluation.objects import aji
from qpbridge.evaluation.overlaps import overlaps
from qpbridge.slides.describe import Description
from qpbridge.slides.slide import Slide
from qpbridge.slides.source import ArraySource

SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".webp"}
INKS = {
    "black pen": (35, 32, 38),
    "blue pen": (30, 40, 150),
    "green pen": (20, 120, 40),
    "red pen": (190, 15, 30),
}
OPAQUE = ("black fill", "noisy black fill", *INKS)
"""What hides all that is below it."""

NOISE = 6
BLURS = (1.0, 2.0, 4.0, 8.0)
"""µm, standard deviations."""

Change = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


def changes(mpp: float) -> Iterator[tuple[str, set[Kind], Change]]:
    """Name what is added, what it is to be told as, and how it is done."""
    noise = np.random.default_rng(0)

    def flat(colour: tuple[int, int, int], sigma: float) -> Change:
        return lambda half: (np.zeros_like(half) + colour) + noise.normal(0, sigma, half.shape)

    def over(colour: tuple[int, int, int]) -> Change:  # light goes through ink and tissue
        return lambda half: half * np.divide(colour, 243)

    def blur(sigma: float) -> Change:
        return lambda half: ndimage.gaussian_filter(half, (sigma / mpp, sigma / mpp, 0))

    yield "black fill", {Kind.FILL}, flat((0, 0, 0), 0)
    yield "noisy black fill", {Kind.FILL}, flat((15, 15, 15), NOISE)
    for name, colour in INKS.items():
        yield name, {Kind.INK, Kind.FILL}, flat(colour, NOISE)
        yield f"{name} over tissue", {Kind.INK, Kind.FILL}, over(colour)
    # what is in a bubble is pale and out of focus; in a fold the tissue lies twice
    yield "air bubble", {Kind.BLURRED}, lambda half: blur(4.0)(243 * (half / 243) ** 0.7)
    yield "fold", set(Kind) - {Kind.OTHER, Kind.EMPTY}, lambda half: half * half[:, ::-1] / 243
    for sigma in BLURS:
        yield f"blur {sigma:g} µm", {Kind.BLURRED}, blur(sigma)


def kinds_of(pixels: Pixels, mpp: float) -> tuple[Pixels, float]:
    """Read the quality map of pixels in memory, and its pixel size."""
    slide = Slide(Path("picture"), ArraySource(pixels, Description("png")))
    found = read_quality(slide, (mpp, mpp), shapely.box(0, 0, slide.width, slide.height))
    return found.kinds, found.downsample


def labels_of(file: Path) -> npt.NDArray[np.int32] | None:
    """Read the labels beside an image, where there are some."""
    folder = file.parent.parent / "labels"
    found = next(iter(folder.glob(f"{file.stem}.*")), None)
    return None if found is None else np.asarray(Image.open(found)).astype(np.int32)


def aji_with(pixels: Pixels, truth: npt.NDArray[np.int32], mpp: float, model: str) -> list[float]:
    """Return the AJI of all that a model finds, and of that outside of fill and ink."""
    return [
        aji(overlaps(truth, qpbridge.predict(pixels, mpp, model=model, keep_artefacts=keep).labels))
        for keep in (True, False)
    ]


def main() -> None:
    """Print sensitivity and specificity by kind, and the time, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--mpp", type=float, default=0.25, help="µm per pixel of the images")
    parser.add_argument("--model", help="a model for nuclei: tell the AJI too")
    parser.add_argument("--images", type=int, default=20, help="at most, of each folder")
    asked = parser.parse_args()
    folders = sorted(asked.data.glob("*/images")) or [asked.data]
    files = [
        file
        for folder in folders
        for file in sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)[: asked.images]
    ]
    told: dict[str, list[tuple[float, float]]] = {}
    scores: dict[str, list[list[float]]] = {}
    plain: dict[str, list[float]] = {kind.name.lower(): [] for kind in Kind}
    pixels_read, seconds = 0, 0.0
    for file in files:
        picture = np.asarray(Image.open(file).convert("RGB"))
        began = time.perf_counter()
        kinds, _ = kinds_of(picture, asked.mpp)
        seconds += time.perf_counter() - began
        pixels_read += picture.shape[0] * picture.shape[1]
        for kind in Kind:
            plain[kind.name.lower()].append(float((kinds == kind).mean()))
        middle = picture.shape[1] // 2
        truth = labels_of(file) if asked.model else None
        if truth is not None:
            scores.setdefault("nothing", []).append(
                aji_with(picture, truth, asked.mpp, asked.model)
            )
        for name, wanted, change in changes(asked.mpp):
            changed = picture.astype(np.float32)
            changed[:, middle:] = change(changed)[:, middle:]
            pixels = changed.clip(0, 255).round().astype(np.uint8)
            kinds, downsample = kinds_of(pixels, asked.mpp)
            if truth is not None:
                true = truth.copy()
                if name in OPAQUE:
                    true[:, middle:] = 0
                scores.setdefault(name, []).append(aji_with(pixels, true, asked.mpp, asked.model))
            edge, aside = round(middle / downsample), round(16 / (asked.mpp * downsample))
            right, left = kinds[:, edge + aside :], kinds[:, : edge - aside]
            judged = right if Kind.BLURRED not in wanted else right[right != Kind.EMPTY]
            told.setdefault(name, []).append(
                (
                    float(np.isin(judged, list(wanted)).mean()) if judged.size else np.nan,
                    float(1 - np.isin(left, list(wanted)).mean()),
                )
            )
    result = {
        "images": len(files),
        "seconds per megapixel": seconds / pixels_read * 1e6,
        "as they are": {kind: float(np.mean(shares)) for kind, shares in plain.items()},
        "added": {
            name: {"sensitivity": round(hit, 4), "specificity": round(free, 4)}
            for name, v in told.items()
            for hit, free in [np.nanmean(v, axis=0).tolist()]
        },
        "AJI": {
            name: {"of all": round(whole, 4), "without fill and ink": round(cut, 4)}
            for name, v in scores.items()
            for whole, cut in [np.mean(v, axis=0).tolist()]
        },
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
