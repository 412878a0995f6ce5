"""Colour deconvolution (Ruifrok and Johnston 2001) as QuPath does it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.objects import FloatArray, ImageType, Stains
from qpbridge.project.interface import ImageData

BLOCK = 2**16
"""Pixels that are separated at a time, few enough to stay in the processor's cache."""

H_E = Stains(
    "H&E default",
    ("Hematoxylin", "Eosin"),
    (
        (0.6511078257574492, 0.7011930431234068, 0.29049426072255424),
        (0.21589893562087106, 0.8011960501132093, 0.5580972485873467),
    ),
)
"""QuPath's default stains of H&E images."""

H_DAB = Stains(
    "H-DAB default",
    ("Hematoxylin", "DAB"),
    (
        (0.6511078257574492, 0.7011930431234068, 0.29049426072255424),
        (0.26916687204956063, 0.5682411743268502, 0.777593185920953),
    ),
)
"""QuPath's default stains of hematoxylin and DAB."""


def image_stains(image: ImageData) -> Stains:
    """Return the stains of an image; where it has none, what QuPath takes for one of its type."""
    return image.stains or (H_DAB if image.image_type is ImageType.BRIGHTFIELD_H_DAB else H_E)


def stain_matrix(stains: Stains) -> FloatArray:
    """Return the optical density vectors of three stains, float64 (3, 3), one a row.

    Where the image has two, the third is what is left over: at right angles to both.
    """
    vectors = np.array(stains.vectors[:3], np.float64).reshape(-1, 3)
    if len(vectors) == 2:
        vectors = np.vstack([vectors, np.cross(vectors[0], vectors[1])])
    if vectors.shape != (3, 3):
        raise ValueError(f"colour deconvolution needs 2 or 3 stains, got {len(vectors)}")
    matrix: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return matrix


def optical_density(background: tuple[float, float, float]) -> FloatArray:
    """Return the optical density of each 8-bit value of each channel, float64 (3, 256).

    ``max(0, -log10(max(value, 1) / background))``, as QuPath has it.
    """
    value = np.maximum(np.arange(256), 1)
    white = np.array(background, np.float64)[:, None]
    density: FloatArray = np.maximum(0, -np.log10(value / white))
    return density


def deconvolve(rgb: npt.NDArray[np.uint8], stains: Stains) -> npt.NDArray[np.float32]:
    """Separate the stains of an image.

    Parameters
    ----------
    rgb
        uint8 (..., 3).
    stains
        Two or three stains.

    Returns
    -------
    numpy.ndarray
        float32 (n, ...): how much of each stain, in units of optical density; no residual unless
        it is one of `stains`.
    """
    n = len(stains.stain_names)
    unmix = np.linalg.inv(stain_matrix(stains)).T[:n]
    table = optical_density(stains.background)
    pixels = rgb.reshape(-1, 3)
    out = np.empty((n, len(pixels)), np.float32)
    for i in range(0, len(pixels), BLOCK):
        block = pixels[i : i + BLOCK].T
        density = np.stack([np.take(lut, v) for lut, v in zip(table, block, strict=True)])
        out[:, i : i + BLOCK] = unmix @ density
    return out.reshape(n, *rgb.shape[:-1])
