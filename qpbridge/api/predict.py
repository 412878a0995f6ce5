"""What a model finds in pixels that are in memory: no project, no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from qpbridge.api.segment import ModelLike, as_bundle
from qpbridge.decode.decoders import decode
from qpbridge.decode.polygons import instances_to_areas, instances_to_polygons
from qpbridge.engine.segmenting.request import check_device
from qpbridge.engine.segmenting.result import classify
from qpbridge.errors import RequestError
from qpbridge.evaluation.predict import find_maps, resample
from qpbridge.measurements.names import PROBABILITY
from qpbridge.measurements.raster import rasterize
from qpbridge.models.bundle import Bundle
from qpbridge.models.network import choose_device
from qpbridge.objects import FloatArray, GeometryArray, IntArray, ObjectKind, ObjectTable, Shapes
from qpbridge.slides.calibration import check_mpp


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model found in pixels.

    Attributes
    ----------
    objects : ObjectTable
        One row for each object, in pixels of the image: for `to_pandas`, `write_geojson` or
        `Edit(add=...)`.
    labels : int32 array, shape (h, w)
        0 is background, every other value the row of an object and 1.
    model
        The model's name.
    """

    objects: ObjectTable
    labels: npt.NDArray[np.int32]
    model: str

    @property
    def outlines(self) -> GeometryArray:
        """Shapely polygons (n,): of nuclei without holes, of glands and vessels with lumina."""
        return self.objects.geometries

    @property
    def probability(self) -> FloatArray:
        """Mean foreground probability of each object, float64 (n,)."""
        return self.objects.measurement(PROBABILITY)

    @property
    def classes(self) -> list[str]:
        """Full name of the class of each object."""
        names = [str(path_class) for path_class in self.objects.classes]
        return [names[i] for i in self.objects.class_index.tolist()]

    def __len__(self) -> int:
        return len(self.objects)

    def __repr__(self) -> str:
        height, width = self.labels.shape
        return f"<Prediction of {self.model}: {len(self)} objects in {width} x {height} px>"


def predict(
    pixels: npt.NDArray[np.uint8],
    mpp: float,
    *,
    model: ModelLike = "nuclei_he",
    model_mpp: float | None = None,
    trust: bool = False,
    device: str = "auto",
) -> Prediction:
    """Find objects in an image that is in memory.

    The image is resampled to the model's µm per pixel; what is found is in pixels of the image as
    it was given. Large images go through the network in tiles.

    Parameters
    ----------
    pixels : uint8 array, shape (h, w, 3)
        RGB.
    mpp
        µm per pixel.
    model
        Name, path or `Bundle`. It stays in memory for the next call.
    model_mpp
        µm per pixel that a model expects which doesn't say so itself.
    trust
        Let a model be TorchScript, which is a program of whoever made it, from now on: see
        `load_bundle`.
    device
        ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.

    Returns
    -------
    Prediction
        Outlines, probabilities, classes, and a label image.

    Raises
    ------
    RequestError
        If the pixels are no RGB image, or another argument makes no sense.
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
    check_pixels(pixels)
    if mpp is None:
        raise RequestError("mpp", mpp, "give the µm per pixel of the image")
    check_mpp("mpp", mpp)
    check_mpp("model_mpp", model_mpp)
    check_device(device)
    bundle = as_bundle(model, mpp=model_mpp, trust=trust)
    network = _network(bundle, str(choose_device(device)))
    maps = find_maps(bundle, network, resample(pixels, mpp / bundle.mpp))
    found = decode(bundle.decoder, maps, **bundle.decode)
    outline = found.labels, found.level, found.threshold
    if bundle.target == "nuclei":
        rings = instances_to_polygons(*outline)
        shapes, owner = Shapes.from_rings(rings.coords, rings.offsets), rings.owner - 1
    else:
        areas = instances_to_areas(*outline)
        shapes, owner = Shapes.from_geometries(areas), np.arange(len(areas))
    scale = np.array(pixels.shape[1::-1]) / maps.shape[:0:-1]
    shapes = _scaled(shapes, scale)
    objects = _table(bundle, shapes, found.probability[owner], found.classes, owner)
    return Prediction(objects, rasterize(shapes, pixels.shape[:2]), bundle.name)


def check_pixels(pixels: Any) -> None:
    """Refuse what is no RGB image.

    Raises
    ------
    RequestError
        Says which shape and type were given.
    """
    expected = "expected RGB pixels: a numpy array of the type uint8 and the shape (h, w, 3)"
    if not isinstance(pixels, np.ndarray):
        raise RequestError("pixels", type(pixels).__name__, expected)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise RequestError("pixels", f"{pixels.dtype} {pixels.shape}", expected)


def _network(bundle: Bundle, device: str) -> nn.Module:
    """Load a network, or give the one of the call before, as long as its files are the same."""
    key = bundle.path, bundle.digest(), device
    if key not in _kept:
        _kept.clear()
        _kept[key] = bundle.network(device)
    return _kept[key]


_kept: dict[tuple[Path, str, str], nn.Module] = {}


def _scaled(shapes: Shapes, scale: FloatArray) -> Shapes:
    return Shapes(shapes.roi, shapes.coords * scale, shapes.rings, shapes.parts, shapes.objects)


def _table(
    bundle: Bundle,
    shapes: Shapes,
    probability: npt.NDArray[np.float32],
    classes: IntArray | None,
    owner: IntArray,
) -> ObjectTable:
    kind = ObjectKind.DETECTION if bundle.target == "nuclei" else ObjectKind.ANNOTATION
    table = ObjectTable.new(kind, shapes, measurement_names=[PROBABILITY], measurements=probability)
    return classify(table, bundle, None if classes is None else classes[owner])
