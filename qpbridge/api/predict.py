"""What a model finds in pixels that are in memory, or in an image file: without a project."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge import checks
from qpbridge.api.segment import ModelLike, as_bundle
from qpbridge.engine.segmenting.request import check_device
from qpbridge.errors import RequestError
from qpbridge.measurements.color import H_DAB, H_E
from qpbridge.measurements.names import PROBABILITY
from qpbridge.measurements.raster import rasterize
from qpbridge.models.bundle import Bundle
from qpbridge.objects import FloatArray, GeometryArray, ImageType, ObjectTable
from qpbridge.prediction.predict import predict_objects
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides.calibration import check_mpp, pixel_size
from qpbridge.slides.slide import Slide, open_slide, slide_of_pixels

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model found in an image.

    Attributes
    ----------
    objects : ObjectTable
        One row for each object, in pixels of the image, measured: what `segment` would write of the
        whole image; for `to_pandas`, `write_geojson` or `Edit(add=...)`.
    size
        Height and width of the image.
    model
        The model's name.
    """

    objects: ObjectTable
    size: tuple[int, int]
    model: str

    @cached_property
    def labels(self) -> npt.NDArray[np.int32]:
        """int32 (h, w): 0 is background, every other value the row of an object and 1.

        A pixel belongs to an object if its centre lies within.
        """
        return rasterize(self.objects.inner_shapes, self.size)

    @property
    def outlines(self) -> GeometryArray:
        """Shapely polygons (n,): of nuclei without holes, of glands and vessels with lumina."""
        return self.objects.geometries

    @property
    def probability(self) -> FloatArray:
        """How likely each object is right, as the model knows it, float64 (n,)."""
        return self.objects.measurement(PROBABILITY)

    @property
    def classes(self) -> list[str]:
        """Full name of the class of each object."""
        names = [str(path_class) for path_class in self.objects.classes]
        return [names[i] for i in self.objects.class_index.tolist()]

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        height, width = self.size
        return f"<Prediction of {self.model}: {len(self)} objects in {width} x {height} px>"


def predict(
    pixels: Pixels | str | os.PathLike[str],
    mpp: float | None = None,
    *,
    model: ModelLike = "nuclei_he",
    model_mpp: float | None = None,
    trust: bool = False,
    keep_artefacts: bool = False,
    device: str = "auto",
) -> Prediction:
    """Find objects in an image that is in memory, or in a file, as `segment` does in a project.

    The image is read at the model's µm per pixel; what is found is in pixels of the image as it was
    given. Large images go through the network in tiles.

    Parameters
    ----------
    pixels : uint8 array, shape (h, w, 3), or path
        RGB, or an image file: a slide, too.
    mpp
        µm per pixel. None: what the file says.
    model
        Name, path or `Bundle`. It stays in memory for the next call.
    model_mpp
        µm per pixel that a model expects which doesn't say so itself.
    trust
        Let a model be TorchScript, which is a program of whoever made it, from now on: see
        `load_bundle`.
    keep_artefacts
        Search black fill and ink as well.
    device
        ``auto``, ``cpu`` or ``cuda[:N]``.

    Returns
    -------
    Prediction
        Outlines, probabilities, classes, and a label image.

    Raises
    ------
    RequestError
        If the pixels are no RGB image, or another argument makes no sense.
    PixelSizeError
        If the file doesn't know its µm per pixel, and they are not given.
    SlideError
        If the file can't be read.
    ModelError
        If the model is unknown or broken, or the device isn't there.

    Examples
    --------
    >>> found = qpbridge.predict(pixels, mpp=0.5, model="nuclei_he", device="cpu")
    >>> len(found) > 10, found.labels.shape == pixels.shape[:2]
    (True, True)
    >>> found.classes[0], bool(found.probability[0] > 0.5)
    ('Nucleus', True)
    """
    check_mpp("mpp", mpp)
    check_mpp("model_mpp", model_mpp)
    check_device(device)
    checks.flag("keep_artefacts", keep_artefacts)
    slide = _slide(pixels, mpp)
    with slide:
        bundle = as_bundle(model, mpp=model_mpp, trust=trust)
        known = slide.mpp or ((bundle.mpp, bundle.mpp) if bundle.nominal_mpp else None)
        size = pixel_size(str(slide.path), None, known, mpp)
        stains = H_DAB if bundle.image_type is ImageType.BRIGHTFIELD_H_DAB else H_E
        network, cuts = _network(bundle, device), not keep_artefacts
        objects, _ = predict_objects(network, slide, size, stains=stains, cuts=cuts)
    return Prediction(objects, (slide.height, slide.width), bundle.name)


def _slide(pixels: Any, mpp: float | None) -> Slide:
    if isinstance(pixels, str | os.PathLike):
        return open_slide(Path(pixels))
    check_pixels(pixels)
    if mpp is None:
        raise RequestError("mpp", mpp, "give the µm per pixel of the image")
    return slide_of_pixels(pixels, mpp)


def check_pixels(pixels: Any) -> None:
    """Refuse what is no RGB image.

    Raises
    ------
    RequestError
        Says which shape and type were given.
    """
    expected = (
        "expected RGB pixels, a numpy array of the type uint8 and the shape (h, w, 3), or the path "
        "of an image"
    )
    if not isinstance(pixels, np.ndarray):
        raise RequestError("pixels", type(pixels).__name__, expected)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise RequestError("pixels", f"{pixels.dtype} {pixels.shape}", expected)


def _network(bundle: Bundle, device: str) -> TargetNetwork:
    """Load a network, or give the one of the call before, as long as its files are the same."""
    key = bundle.path, bundle.digest(), device
    if key not in _kept:
        _kept.clear()
        _kept[key] = TargetNetwork(bundle, device)
    return _kept[key]


_kept: dict[tuple[Path, str, str], TargetNetwork] = {}
