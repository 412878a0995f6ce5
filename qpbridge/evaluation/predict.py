"""What a model finds in one labelled image, at the resolution of its labels."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from qpbridge.evaluation.labelled import Place, Sample
from qpbridge.measurements.names import PROBABILITY
from qpbridge.measurements.raster import rasterize
from qpbridge.models.bundle import Bundle
from qpbridge.objects import FloatArray, ObjectTable, Shapes
from qpbridge.outlines import without_holes
from qpbridge.prediction.predict import predict_objects
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides.slide import slide_of_pixels

WITH_HOLES = ("lines", "semantic")
"""Decoders whose objects have holes in the truth as well; glands and vessels include the lumen."""


class Prediction(NamedTuple):
    """What was found in an image.

    Attributes
    ----------
    labels : int32 array, shape (H, W)
        0 is background, every other value one object, lumen included.
    probability : float64 array, shape (n,)
        Of objects 1..n; not all of them need have a pixel.
    level : float32 array, shape (H, W), optional
        Foreground probability of each pixel.
    """

    labels: npt.NDArray[np.int32]
    probability: FloatArray
    level: npt.NDArray[np.float32] | None


def ready_network(bundle: Bundle, network: nn.Module | None) -> TargetNetwork:
    """Make a network ready to run where it lies; None: the bundle's own, on the best device."""
    if network is None:
        return TargetNetwork(bundle, "auto")
    where = next(chain(network.parameters(), network.buffers())).device
    return TargetNetwork(bundle, str(where), network=network)


def predict(network: TargetNetwork, sample: Sample, *, with_level: bool = False) -> Prediction:
    """Run a model on an image as `qpbridge segment` does, and draw what that would write.

    Parameters
    ----------
    network
        The model, ready to run.
    sample
        The image; its labels are not looked at.
    with_level
        Whether the foreground probability of each pixel is wanted.
    """
    place = place_of(sample)
    with place.open() as slide:
        objects, level = predict_objects(
            network,
            slide,
            place.mpp,
            place.regions,
            by_hand=place.by_hand,
            with_level=with_level,
        )
    size = sample.labels.shape[0], sample.labels.shape[1]
    return Prediction(
        draw_objects(objects, network.bundle, sample),
        objects.measurement(PROBABILITY),
        None if level is None else level.at(size, place.corner, place.downsample),
    )


def place_of(sample: Sample) -> Place:
    """Return where a sample was read; a picture alone is all that there is."""
    mpp = sample.mpp
    return sample.place or Place(lambda: slide_of_pixels(sample.image, mpp), (mpp, mpp))


def draw_objects(objects: ObjectTable, bundle: Bundle, sample: Sample) -> npt.NDArray[np.int32]:
    """Draw what a model found of a sample as labels (H, W) that its own can be compared with.

    A pixel belongs to an object if its centre lies within.
    """
    place, size = place_of(sample), (sample.labels.shape[0], sample.labels.shape[1])
    shapes = objects.inner_shapes
    if bundle.decoder not in WITH_HOLES:
        shapes = Shapes.from_geometries(without_holes(shapes.geometries))
    return rasterize(shapes, size, place.corner, place.downsample)
