"""The colours of a picture of tissue: its white, its two stains and how strong they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qpbridge.training.augment import STAINS

Vector = npt.NDArray[np.float64]
Density = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tissue:
    """What is needed to draw something in the colours of a picture.

    Attributes
    ----------
    white
        RGB of the empty slide.
    nuclear, pink
        Optical density of a nucleus and of dense stroma, (3,).
    noise
        Standard deviation of the picture's grain, in grey levels.
    """

    white: Vector
    nuclear: Vector
    pink: Vector
    noise: float


def to_density(rgb: npt.NDArray[np.uint8], white: Vector) -> Density:
    """Optical density (H, W, 3) of RGB, 0 for the empty slide."""
    return -np.log(np.maximum(rgb, 1.0) / white).astype(np.float32)


def to_rgb(density: Density, white: Vector) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) of optical density."""
    return np.clip(np.exp(-density) * white + 0.5, 0, 255).astype(np.uint8)


def estimate_tissue(rgb: npt.NDArray[np.uint8]) -> Tissue:
    """Estimate the colours of an H&E picture.

    The stains are the extreme directions of optical density in its main plane: Macenko et al.,
    ISBI 2009. Where there is too little tissue for that, they are those of Ruifrok & Johnston.
    """
    white = estimate_white(rgb)
    density = to_density(rgb, white).reshape(-1, 3).astype(np.float64)
    tissue = density[density.mean(1) > 0.12]
    haematoxylin, eosin = STAINS[0], STAINS[1]
    if len(tissue) > 500:
        _, _, axes = np.linalg.svd(tissue[:: max(1, len(tissue) // 20000)], full_matrices=False)
        plane = axes[:2] * np.sign(axes[:2].sum(1, keepdims=True))
        along = tissue @ plane.T
        angle = np.arctan2(along[:, 1], along[:, 0])
        first, second = (
            np.abs(np.array([np.cos(a), np.sin(a)]) @ plane) for a in np.percentile(angle, (1, 99))
        )
        if first[0] < second[0]:  # haematoxylin absorbs more red
            first, second = second, first
        if first @ second < 0.985:
            haematoxylin, eosin = first, second
    amounts = np.linalg.lstsq(np.stack([haematoxylin, eosin], 1), density.T, rcond=None)[0]
    some = density.mean(1) > 0.06
    blue = some & (amounts[0] >= np.percentile(amounts[0][some], 94) if some.any() else some)
    rosy = some & (amounts[0] < amounts[1])
    rosy &= amounts[1] >= np.percentile(amounts[1][rosy], 50) if rosy.any() else rosy
    nuclear = np.median(density[blue], 0) if blue.any() else haematoxylin * 0.9
    pink = np.median(density[rosy], 0) if rosy.sum() > 50 else eosin * 0.4
    nuclear = nuclear * np.clip(np.linalg.norm(nuclear), 0.7, 1.7) / np.linalg.norm(nuclear)
    pink = pink * np.clip(np.linalg.norm(pink), 0.2, 0.9) / np.linalg.norm(pink)
    # second differences where the picture is smoothest: their 20th percentile is 0.253 of their
    # standard deviation, and that is the root of 6 times the grain's
    rough = np.abs(np.diff(rgb.astype(np.float32), n=2, axis=1).mean(2))
    noise = float(np.clip(np.percentile(rough, 20) / 0.253 / np.sqrt(6), 0.3, 2.5))
    return Tissue(white, nuclear, pink, noise)


def estimate_white(rgb: npt.NDArray[np.uint8]) -> Vector:
    """RGB of the empty slide: of what is bright and grey, or else of the brightest part."""
    pixels = rgb.reshape(-1, 3)
    low, high = pixels.min(1), pixels.max(1)
    empty = (low > max(205.0, float(np.percentile(low, 99.5)) - 15)) & (high - low < 18)
    if empty.mean() > 0.02:
        middle: Vector = np.median(pixels[empty], 0).astype(np.float64)
        return middle
    bright = np.percentile(pixels, 99.5, axis=0)
    top = max(float(bright.max()), 225.0)
    white: Vector = np.clip(bright, top - 7, top)
    return white


def counterstain_only(
    rng: np.random.Generator, density: Density, tissue: Tissue
) -> tuple[Density, Tissue]:
    """Take the eosin out of an H&E picture: blue nuclei in pale tissue, as in immunohistochemistry.

    Returns
    -------
    density, tissue
        Of the new picture; `Tissue.pink` is what unstained tissue looks like.
    """
    both = np.stack([tissue.nuclear, tissue.pink], 1)
    amounts = density.reshape(-1, 3) @ np.linalg.pinv(both).T
    blue = np.array([0.74, 0.62, 0.27]) + rng.normal(0, 0.05, 3)
    blue *= rng.uniform(0.45, 1.1) / np.linalg.norm(blue)
    pale = (blue / np.linalg.norm(blue) + rng.uniform(0, 0.7, 3)) * rng.uniform(0.06, 0.2)
    changed = np.maximum(amounts - 0.04, 0) @ np.stack([blue, pale])
    stained = changed.reshape(density.shape).astype(np.float32)
    return stained, replace(tissue, nuclear=blue, pink=pale)
