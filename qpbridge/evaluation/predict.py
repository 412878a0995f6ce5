"""What a model finds in one labelled image, at the resolution of its labels."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from qpbridge.decode.decoders import decode
from qpbridge.decode.instances import Instances
from qpbridge.decode.polygons import instances_to_areas, instances_to_polygons
from qpbridge.measurements.raster import rasterize
from qpbridge.models.bundle import Bundle
from qpbridge.models.maps import failed
from qpbridge.objects import Shapes

TILE = 1024
"""Pixels at the side of what a network sees at once, without its margin: bounds the memory."""

WITH_HOLES = ("lines", "semantic")
"""Decoders whose objects have holes in the truth as well; glands and vessels include the lumen."""


class Prediction(NamedTuple):
    """What was found in an image.

    Attributes
    ----------
    labels : int32 array, shape (H, W)
        0 is background, every other value one object, lumen included.
    level : float32 array, shape (H, W)
        Foreground probability of each pixel.
    probability : float32 array, shape (n,)
        Of objects 1..n, as the decoder gives it; not all of them need have a pixel.
    """

    labels: npt.NDArray[np.int32]
    level: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]


def predict(
    bundle: Bundle, network: nn.Module, image: npt.NDArray[np.uint8], mpp: float
) -> Prediction:
    """Run a model on an image.

    The image is resampled to the model's µm per pixel; labels are drawn from the outlines of the
    objects, so that everything up to the polygons is part of a score.

    Parameters
    ----------
    bundle
        The model.
    network
        Its network, ready to run.
    image
        uint8 RGB (H, W, 3).
    mpp
        µm per pixel of the image.
    """
    maps = find_maps(bundle, network, resample(image, mpp / bundle.mpp))
    found = decode(bundle.decoder, maps, **bundle.decode)
    shape = image.shape[:2]
    labels = draw_labels(found, shape, mpp / bundle.mpp, holes=bundle.decoder in WITH_HOLES)
    return Prediction(labels, _resize(found.level, shape), found.probability)


def resample(image: npt.NDArray[np.uint8], factor: float) -> npt.NDArray[np.uint8]:
    """Make an image `factor` times as large; by area where it becomes smaller."""
    height, width = (max(1, round(length * factor)) for length in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    how = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def find_maps(
    bundle: Bundle, network: nn.Module, image: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Draw a model's maps (C, H, W) of an image (H, W, 3) that has its µm per pixel.

    Raises
    ------
    InferenceError
        If the network fails on it, or answers NaN.
    """
    try:
        return draw_maps(network, image, bundle.stride, bundle.halo)
    except Exception as error:  # whatever a network says of what it doesn't take
        raise failed(bundle.path, image.shape[:2], error) from error


def draw_maps(
    network: nn.Module, image: npt.NDArray[np.uint8], stride: int, margin: int
) -> npt.NDArray[np.float32]:
    """Draw the maps (C, H, W) of one RGB image (H, W, 3), mirrored at its edges for context.

    Large images go through the network in tiles, with `margin` pixels of what is around each.
    """
    height, width = image.shape[:2]
    pad = [(margin, margin + -length % stride) for length in (height, width)]
    wide = torch.from_numpy(np.pad(image, [*pad, (0, 0)], mode="symmetric")).permute(2, 0, 1)[None]
    device = next(chain(network.parameters(), network.buffers())).device
    side = max(TILE // stride, 1) * stride
    rows = []
    with torch.inference_mode():
        for y in range(0, height, side):
            row = []
            for x in range(0, width, side):
                tile = wide[..., y : y + side + 2 * margin, x : x + side + 2 * margin].to(device)
                inner = np.s_[:, margin : tile.shape[2] - margin, margin : tile.shape[3] - margin]
                row.append(network(tile)[0].cpu().numpy()[inner])
            rows.append(np.concatenate(row, axis=2))
    maps: npt.NDArray[np.float32] = np.concatenate(rows, axis=1)[:, :height, :width]
    return maps


def draw_labels(
    found: Instances, shape: tuple[int, ...], downsample: float, *, holes: bool
) -> npt.NDArray[np.int32]:
    """Instance map (H, W) of outlines, `downsample` pixels of theirs per pixel of the map."""
    outline = found.labels, found.level, found.threshold
    if holes:
        shapes = Shapes.from_geometries(instances_to_areas(*outline))
    else:
        rings = instances_to_polygons(*outline)
        shapes = Shapes.from_rings(rings.coords, rings.offsets)
    return rasterize(shapes, (shape[0], shape[1]), downsample=downsample)


def _resize(level: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if level.shape == shape:
        return level
    picture = Image.fromarray(level).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)
