"""What a TIFF says about its image: vendor, pixel size, objective, bounds."""

from __future__ import annotations

import math
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qpbridge.slides.several import FileImage

if TYPE_CHECKING:
    from tiffslide import TiffSlide

MICROMETRES = {
    **{"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3},
    **{"Å": 1e-4, "\N{ANGSTROM SIGN}": 1e-4, "in": 25_400.0},
    **{"micron": 1.0, "microns": 1.0, "micrometer": 1.0, "inch": 25_400.0, "inches": 25_400.0},
}
"""µm per unit, as OME-XML and ImageJ write units."""

_APERIO_MPP = re.compile(r"\bMPP\s*=\s*([0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?)")


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
    mpp_from
        Where in the file the µm per pixel are told.
    associated
        Names of the pictures beside the image: label, macro, thumbnail.
    series
        Which of the images in the file it is.
    images
        All of them, where the file may hold several.
    """

    format: str
    mpp: tuple[float, float] | None = None
    magnification: float | None = None
    bounds: tuple[int, int, int, int] | None = None
    mpp_from: str = ""
    associated: tuple[str, ...] = ()
    series: int = 0
    images: tuple[FileImage, ...] = ()


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
    x, y, where = _pixel_size(tiff, properties, series)
    box = [properties.get(f"tiffslide.bounds-{k}") for k in ("x", "y", "width", "height")]
    known = [int(value) for value in box if value is not None]
    return Description(
        format=properties.get("tiffslide.vendor") or "generic-tiff",
        mpp=None if x is None or y is None else (x, y),
        magnification=positive(properties.get("tiffslide.objective-power")),
        bounds=(known[0], known[1], known[2], known[3]) if len(known) == 4 else None,
        mpp_from="" if x is None or y is None else where,
        associated=tuple(s.name for s in tiff.series[1:] if s.name) if properties else (),
    )


def _pixel_size(
    tiff: Any, properties: Mapping[str, Any], series: int
) -> tuple[float | None, float | None, str]:
    """Find µm per pixel (x, y), and where they are told: by the scanner, or in TIFF's tags."""
    x, y = (positive(properties.get(f"tiffslide.mpp-{axis}")) for axis in "xy")
    vendor = properties.get("tiffslide.vendor")
    if x is not None and y is not None:
        return x, y, "resolution tags" if vendor == "generic-tiff" else f"{vendor} metadata"
    page = tiff.series[series].keyframe
    # Some scanners write a decimal comma, or a description that nobody else can take apart.
    found = _APERIO_MPP.search(str(page.tags.valueof("ImageDescription", default="")))
    if found:
        x = positive(found[1].replace(",", "."))
        return x, x, "MPP in the description"
    if tiff.is_imagej:
        unit = _imagej_unit(tiff)
        x, y = (positive(value) for value in page.resolution)
        if unit and x and y:
            return unit / x, unit / y, "ImageJ metadata"
        return None, None, ""
    return (None, None, "") if properties else (*_resolution(page), "resolution tags")


def _imagej_unit(tiff: Any) -> float | None:
    """Tell how many µm ImageJ's unit is; it writes the micro sign as an escape."""
    name = str((tiff.imagej_metadata or {}).get("unit", ""))
    return MICROMETRES.get(name.replace("\\u00B5", "µ"))


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
    names = (image.get("Name") or image.get("ID") or "" for image in images)
    return Description(
        "ome-tiff",
        None if x is None or y is None else (x, y),
        magnification,
        mpp_from="PhysicalSize in OME-XML",
        associated=tuple(name for i, name in enumerate(names) if i != series and name),
    )


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
