"""Colour and sharpness as they vary between laboratories, stains and scanners; all on batches."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.transforms.compose import Compose, OneOf
from monai.transforms.intensity.array import (
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSharpen,
    RandGaussianSmooth,
)
from monai.transforms.utility.array import Identity
from monai.utils.type_conversion import convert_to_tensor
from PIL import Image

# Optical density of haematoxylin, eosin and DAB: Ruifrok & Johnston, Anal Quant Cytol Histol 2001
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
STAINS /= np.linalg.norm(STAINS, axis=1, keepdims=True)


def vary_appearance(
    images: torch.Tensor, rng: np.random.Generator, *, stained: bool = True
) -> torch.Tensor:
    """Return images (N, 3, H, W), in 0..1, as another laboratory or camera might have made them.

    What isn't `stained` is lit in another way instead.
    """
    images = vary_stain(images, rng) if stained else vary_light(images, rng)
    images = vary_colour(images, rng)
    images = vary_exposure(images, rng) if stained else images
    images = vary_optics(images, rng)
    return recompress(images, rng)


def vary_stain(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change amount and hue of each stain, image by image, in optical density space.

    Density is unmixed with the standard stain vectors, each stain scaled, and mixed again with
    vectors that were turned a little; all of it is one 3x3 matrix per image.
    """
    count = len(images)
    mixed = STAINS + rng.normal(0, 1, (count, 3, 3)) * rng.uniform(0, 0.15, (count, 1, 1))
    mixed = np.clip(mixed, 0.0, None)
    mixed /= np.linalg.norm(mixed, axis=2, keepdims=True)
    amount = np.exp(rng.normal(0, 0.35, (count, 3)))
    amount *= np.exp(rng.normal(0, 0.25, (count, 1)))  # thickness of the section
    untouched = rng.random(count) < 0.15
    amount[untouched] = 1
    mixed[untouched] = STAINS
    matrix = np.linalg.inv(STAINS) @ (amount[:, :, None] * mixed)
    density = -torch.log(images.clamp(min=1 / 255))
    haze = torch.from_numpy(rng.normal(0, 0.03, (count, 3, 1, 1))).float()
    return torch.exp(-(_mix(density, matrix) + haze).clamp(min=-0.1)).clamp(0, 1)


def vary_chromatin(
    images: torch.Tensor, targets: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Make nuclei of some images pale inside of their rim, as vesicular ones are.

    Parameters
    ----------
    images
        (N, 3, H, W), in 0..1.
    targets
        (N, 5, H, W), of nuclei: foreground and distance come first.
    rng
        Source of chance.
    """
    core = targets[:, :1] * ((targets[:, 1:2] - 0.2) / 0.3).clamp(0, 1)
    outside = (1 - targets[:, :1]).clamp(min=1e-3)
    around = (images * outside).sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True)
    strength = _per_image(rng.random(len(images)) < 0.35, rng, 0.2, 1.0)
    field = torch.from_numpy(rng.random((len(images), 1, 8, 8), np.float32))  # not all nuclei alike
    field = F.interpolate(field, images.shape[2:], mode="bicubic").clamp(0, 1)
    return images + 0.8 * strength * field * core * (around - images)


def vary_light(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change the colour of the light, and let it come from one side or fade away."""
    count = len(images)
    colour = torch.from_numpy(rng.normal(0, 0.12, (count, 3, 1, 1))).float()
    coarse = torch.from_numpy(rng.normal(0, 1, (count, 1, 3, 3))).float()
    coarse *= _per_image(np.ones(count, bool), rng, 0.0, 0.25)
    uneven = F.interpolate(coarse, size=images.shape[2:], mode="bicubic", align_corners=False)
    return (images * torch.exp(colour + uneven)).clamp(0, 1)


def vary_colour(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change hue, saturation, contrast and brightness, image by image."""
    count = len(images)
    angle = np.where(rng.random(count) < 0.5, rng.normal(0, math.radians(12), count), 0)
    saturation = np.where(rng.random(count) < 0.5, np.exp(rng.normal(0, 0.3, count)), 1)
    saturation = np.where(rng.random(count) < 0.04, 0, saturation)
    yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    turn = np.zeros((count, 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * np.cos(angle)
    turn[:, 1, 2] = -saturation * np.sin(angle)
    turn[:, 2, 1] = saturation * np.sin(angle)
    matrix = np.linalg.inv(yiq) @ turn @ yiq
    images = _mix(images, matrix.transpose(0, 2, 1))
    some = rng.random(count) < 0.7
    contrast = 1 + _per_image(some, rng, -0.25, 0.25)
    brightness = _per_image(some, rng, -0.12, 0.08)
    mean = images.mean((1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean + brightness).clamp(0, 1)


def vary_exposure(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Expose some images anew, so that their white is anywhere from a dark grey to full white.

    There are cameras whose white is 150 of 255, and they go with one laboratory each: darkness
    must not tell a network where an image is from.
    """
    count = len(images)
    white = images[:, :, ::4, ::4].flatten(2).quantile(0.98, dim=2).amax(1).clamp(min=0.2)
    goal = torch.from_numpy(rng.uniform(0.5, 1.0, count)).float()
    factor = torch.where(torch.from_numpy(rng.random(count) < 0.3), goal / white, 1.0)
    return (images * factor[:, None, None, None]).clamp(0, 1)


def vary_optics(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change contrast, sharpness and noise with MONAI's transforms, image by image.

    On negatives: a filter pads with zeros, which are white then, as the empty slide around tissue.
    """
    smooth, sharp = (0.4, 1.6), (0.5, 1.5)
    change = Compose(
        [
            RandAdjustContrast(prob=0.5, gamma=(0.67, 1.5)),
            OneOf(
                [
                    RandGaussianSmooth(sigma_x=smooth, sigma_y=smooth, prob=1.0),
                    RandGaussianSharpen(sigma1_x=smooth, sigma1_y=smooth, alpha=sharp, prob=1.0),
                    Identity(),
                ],
                weights=[0.35, 0.15, 0.5],
            ),
            RandGaussianNoise(prob=0.4, std=0.04),
        ]
    )
    change.set_random_state(seed=int(rng.integers(2**32)))
    changed = [convert_to_tensor(change(image), track_meta=False) for image in 1 - images]
    return (1 - torch.stack(changed)).clamp(0, 1)


def recompress(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Pass some images through JPEG of random quality."""
    out = images.clone()
    for index in np.flatnonzero(rng.random(len(images)) < 0.35):
        pixels = (images[index].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(35, 95)))
        back = torch.from_numpy(np.array(Image.open(buffer)))
        out[index] = back.permute(2, 0, 1).float() / 255
    return out


def _mix(images: torch.Tensor, matrices: npt.NDArray[np.float64]) -> torch.Tensor:
    """Multiply each pixel, as a row, with its image's 3x3 matrix."""
    matrix = torch.from_numpy(matrices).float().transpose(1, 2)
    return torch.bmm(matrix, images.flatten(2)).reshape(images.shape)


def _per_image(
    chosen: npt.NDArray[np.bool_], rng: np.random.Generator, low: float, high: float
) -> torch.Tensor:
    """Uniform random number for the chosen images, 0 for the others, (N, 1, 1, 1)."""
    values = np.where(chosen, rng.uniform(low, high, len(chosen)), 0.0)
    return torch.from_numpy(values).float()[:, None, None, None]
