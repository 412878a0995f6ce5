"""OME-Zarr images (NGFF 0.4 and 0.5): a folder of chunks for each level of the pyramid.

Which axes, levels and pixel sizes there are is in the group's attributes:
https://ngff.openmicroscopy.org/0.5
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from qpbridge.errors import SlideError
from qpbridge.slides.describe import Description
from qpbridge.slides.several import FileImage, choose_image
from qpbridge.slides.source import Bytes, on_white
from qpbridge.slides.zarr_files import PlainStore

TO_MICROMETRES = {
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 1e4,
    "meter": 1e6,
    "inch": 25_400.0,
}

RGB = ("FF0000", "00FF00", "0000FF")
"""Colours of the channels of a brightfield image, where colours are given at all."""


MOST_IMAGES = 100
"""That are looked at in one folder."""


class ZarrSource:
    """A brightfield image in OME-Zarr; a `qpbridge.slides.source.Source`.

    Parameters
    ----------
    path
        Folder of the image, or of several.
    series
        Index of the image, where Bio-Formats wrote several into the folder; None: the slide.

    Raises
    ------
    SlideError
        If it is no image (a plate, labels), or not one of RGB in 8 bits and one plane.
    """

    def __init__(self, path: Path, series: int | None = None) -> None:
        self.path = path
        store = PlainStore(path)
        group = zarr.open_group(store, mode="r")
        images: tuple[FileImage, ...] = ()
        if "bioformats2raw.layout" in _ome(group) or (series and str(series) in group):
            if series is None:
                images = _images_of(path, group)
                series = choose_image(images) if images else 0
            inner = group.get(str(series))
            if not isinstance(inner, zarr.Group):
                raise SlideError(f"{path}: there is no image {series} in this OME-Zarr")
            group = inner
        elif series:
            raise SlideError(f"{path}: there is no image {series}, this OME-Zarr has just one")
        attributes = _ome(group)
        for kind in ("plate", "well"):
            if kind in attributes:
                raise SlideError(
                    f"{path}: this OME-Zarr is a {kind} of high-content screening, which is not "
                    "supported; add one of its images"
                )
        image = _multiscale(path, attributes)
        self._axes = _axes(path, image)
        datasets = image["datasets"]
        self._levels = [_array(path, group, dataset) for dataset in datasets]
        for array in self._levels:
            self._check(array, attributes)
            store.bound(array)
        self.sizes: tuple[tuple[int, int], ...] = tuple(
            (array.shape[self._axes.index("x")], array.shape[self._axes.index("y")])
            for array in self._levels
        )
        chunks = self._levels[0].chunks
        self.tile_size = chunks[self._axes.index("x")], chunks[self._axes.index("y")]
        self.description = Description(
            "ome-zarr",
            _pixel_size(image, self._axes),
            mpp_from="scale of the axes",
            series=series or 0,
            images=images,
        )

    def close(self) -> None:
        """Nothing is open."""

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Bytes:
        """Read a rectangle that lies within the level, uint8 (height, width, 3)."""
        where = {"x": slice(x, x + width), "y": slice(y, y + height), "c": slice(None)}
        index = tuple(where.get(axis, 0) for axis in self._axes)
        try:
            pixels = np.asarray(self._levels[level][index])
        except Exception as error:  # codecs and stores fail in many ways on broken bytes
            raise SlideError(
                f"{self.path}: a chunk at {x}, {y} of level {level} can't be decoded ({error}); "
                "the image is damaged: copy it again, or export it anew"
            ) from error
        kept = [axis for axis in self._axes if axis in where]
        pixels = pixels.transpose([kept.index(axis) for axis in "yxc"])
        return on_white(pixels) if pixels.shape[2] == 4 else np.ascontiguousarray(pixels)

    def _check(self, array: zarr.Array[Any], attributes: Mapping[str, Any]) -> None:
        """Refuse what is not brightfield of 8 bits in one plane."""
        if len(array.shape) != len(self._axes):
            raise SlideError(
                f"{self.path}: the OME-Zarr has {len(array.shape)} axes, its attributes say "
                f"{len(self._axes)}; the file is damaged"
            )
        size = dict(zip(self._axes, array.shape, strict=True))
        colors = [c.get("color", "") for c in _list(attributes, "omero", "channels")][:3]
        found = f"{size.get('c', 1)} channel(s) of type {array.dtype}"
        if any(size.get(axis, 1) > 1 for axis in "zt"):
            found += ", several planes"
        elif colors and tuple(str(c).upper().lstrip("#") for c in colors) != RGB:
            found += f" in the colours {', '.join(map(str, colors))}"
        elif array.dtype == np.uint8 and size.get("c") in (3, 4):
            return
        raise SlideError(
            f"{self.path}: not an RGB image of 8 bits ({found}); only brightfield images are "
            "supported, export it as RGB"
        )


def _ome(group: zarr.Group) -> Mapping[str, Any]:
    """Return the attributes of NGFF: in ``ome`` since 0.5, beside all others before."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    inner = attributes.get("ome")
    return inner if isinstance(inner, Mapping) else attributes


def _images_of(path: Path, group: zarr.Group) -> tuple[FileImage, ...]:
    """List the images of a folder in Bio-Formats' layout: groups 0, 1 ... in it."""
    found: list[FileImage] = []
    while isinstance(inner := group.get(str(len(found))), zarr.Group) and len(found) < MOST_IMAGES:
        image = _multiscale(path, _ome(inner))
        axes, datasets = _axes(path, image), image["datasets"]
        shape = _array(path, inner, datasets[0]).shape
        width, height = (shape[axes.index(axis)] for axis in "xy")
        found.append(FileImage(str(image.get("name") or ""), width, height, len(datasets)))
    return tuple(found)


def _list(attributes: Mapping[str, Any], *keys: str) -> list[Mapping[str, Any]]:
    value: Any = attributes
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []


def _multiscale(path: Path, attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    images = _list(attributes, "multiscales")
    if not images or not _list(images[0], "datasets"):
        raise SlideError(
            f"{path}: a Zarr without an image (no 'multiscales' in its attributes); choose the "
            "folder of an OME-Zarr image"
        )
    return images[0]


def _axes(path: Path, image: Mapping[str, Any]) -> list[str]:
    axes = [str(axis.get("name", "")).lower() for axis in _list(image, "axes")]
    if len(set(axes)) < len(axes) or not {"y", "x"} <= set(axes) <= set("tczyx"):
        raise SlideError(
            f"{path}: the axes of this OME-Zarr are {', '.join(axes) or 'not told'}; only images "
            "of the versions 0.4 and 0.5 with x, y and c are supported"
        )
    return axes


def _array(path: Path, group: zarr.Group, dataset: Mapping[str, Any]) -> zarr.Array[Any]:
    name = str(dataset.get("path", ""))
    parts = Path(name).parts
    inside = bool(parts) and ".." not in parts and not Path(name).is_absolute()
    array = group.get(name) if inside else None
    if not isinstance(array, zarr.Array):
        raise SlideError(f"{path}: the level {name!r} is missing in this OME-Zarr; copy it again")
    return array


def _pixel_size(image: Mapping[str, Any], axes: Sequence[str]) -> tuple[float, float] | None:
    """Read µm per pixel (x, y) of the first level; None without a unit of length."""
    units = {
        str(axis.get("name", "")).lower(): TO_MICROMETRES.get(str(axis.get("unit", "")).lower())
        for axis in _list(image, "axes")
    }
    scale = [1.0] * len(axes)
    for holder in (_list(image, "datasets")[0], image):
        for step in _list(holder, "coordinateTransformations"):
            factors = step.get("scale")
            if step.get("type") == "scale" and isinstance(factors, list):
                numbers = [f if isinstance(f, int | float) else math.nan for f in factors]
                if len(numbers) == len(scale):
                    scale = [a * b for a, b in zip(scale, numbers, strict=True)]
    x, y = (scale[axes.index(axis)] * (units.get(axis) or math.nan) for axis in "xy")
    return (x, y) if 0 < x < math.inf and 0 < y < math.inf else None
