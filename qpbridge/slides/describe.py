"""What a TIFF says about its image: vendor, pixel size, objective, bounds."""

from __future__ import annotations

import math
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tiffslide import TiffSlide

MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3}


@dataclass(frozen=True)
class Description:
    """What a file says about its image.

    Parameters
    ----------
    format
        ``"aperio"``, ``"leica"``, ``"hamamatsu"`` ..., ``"ome-tiff"``, ``"generic-tiff"``,
        ``"png"``, ``"jpeg"`` ...
    mpp
        µm per pixel (x, y).
    magnification
        Of the objective.
    bounds
        x, y, width, height of the scanned part, in pixels of the largest level.
    """

    format: str
    mpp: tuple[float, float] | None = None
    magnification: float | None = None
    bounds: tuple[int, int, int, int] | None = None


def properties_of(slide: TiffSlide) -> dict[str, Any]:
    """Read what tiffslide knows; nothing where it doesn't know this kind of TIFF."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(slide.properties)
    except Exception:  # noqa: BLE001 (it refuses by errors of any kind; the pixels may be fine)
        return {}


def describe(tiff: Any, properties: Mapping[str, Any], series: int) -> Description:
    """Describe one image of a TIFF.

    Parameters
    ----------
    tiff
        `tifffile.TiffFile`.
    properties
        tiffslide's, empty where it has none.
    series
        Index of the image in the file.
    """
    if tiff.is_ome:
        return _describe_ome(tiff.ome_metadata, series)
    x, y = (positive(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
    if not properties:
        x, y = _resolution(tiff.series[series].keyframe)
    box = [properties.get(f"tiffslide.bounds-{k}") for k in ("x", "y", "width", "height")]
    known = [int(value) for value in box if value is not None]
    return Description(
        format=properties.get("tiffslide.vendor") or "generic-tiff",
        mpp=None if x is None or y is None else (x, y),
        magnification=positive(properties.get("tiffslide.objective-power")),
        bounds=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None,
    )


def _describe_ome(text: str, series: int) -> Description:
    """Read OME-XML, as Bio-Formats does: the resolution tags beside it are rounded."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return Description("ome-tiff")
    images = root.findall("{*}Image")
    if series >= len(images):
        return Description("ome-tiff")
    pixels = images[series].find("{*}Pixels")
    size = []
    for axis in "XY":
        value = None if pixels is None else positive(pixels.get(f"PhysicalSize{axis}"))
        unit = "µm" if pixels is None else pixels.get(f"PhysicalSize{axis}Unit", "µm")
        size.append(value * MICROMETRES[unit] if value and unit in MICROMETRES else None)
    used = images[series].find("{*}ObjectiveSettings")
    magnification = None
    for objective in root.iter("{*}Objective"):
        if used is not None and objective.get("ID") == used.get("ID"):
            magnification = positive(objective.get("NominalMagnification"))
    x, y = size
    return Description("ome-tiff", None if x is None or y is None else (x, y), magnification)


def _resolution(page: Any) -> tuple[float | None, float | None]:
    """Read µm per pixel from the resolution tags, where they state a unit."""
    if page.tags.valueof("ResolutionUnit", default=1) == 1:
        return None, None
    x, y = (positive(value) for value in page.get_resolution("MICROMETER"))
    return (1 / x if x else None), (1 / y if y else None)


def positive(value: Any) -> float | None:
    """Read a number above zero; None of anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
