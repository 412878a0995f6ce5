"""QuPath's image servers as JSON: what a project says of an image's pixels."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from qpbridge.project.colors import pack_argb
from qpbridge.project.interface import Server
from qpbridge.project.uris import uri_from_path

OPENSLIDE = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"
BIOFORMATS = "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"

# As OpenSlide reads them; generic TIFF is told apart by its contents.
_OPENSLIDE_SUFFIXES = frozenset(
    {".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm"}
)
# What these wrap keeps its size; they change pixels, or their order, or nothing at full resolution.
_SAME_GRID = frozenset(
    {
        "channels",
        "color",
        "color_deconvolved",
        "flipped",
        "normalized",
        "pyramidize",
        "sliced",
        "swapRedBlue",
        "typeConvert",
        "z_projected",
    }
)
_Size = tuple[int | None, int | None]
_MICRON = frozenset({"µm", "μm", "um"})  # micro sign, Greek mu, ASCII


@dataclass(frozen=True, kw_only=True)
class NewImage:
    """An image to be put into a project.

    Parameters
    ----------
    path
        The image file.
    name
        As it is to be shown in QuPath; usually the file's name.
    width, height
        Pixels of the image server at full resolution (where a slide has bounds: inside them).
    mpp
        µm per pixel (x, y), or None if unknown.
    levels
        (downsample, width, height) of each level of the pyramid, full resolution first; empty:
        just that one.
    magnification
        Of the objective, or None if unknown.
    is_rgb
        Whether the pixels are 8-bit red, green, blue. Of other images QuPath itself finds out.
    tile
        Width and height of the tiles in the file, or None if it has none.
    thumbnail
        The whole image, small: uint8 (h, w, 3), or None.
    series
        Which image of the file it is.
    """

    path: Path
    name: str
    width: int
    height: int
    mpp: tuple[float, float] | None = None
    levels: tuple[tuple[float, int, int], ...] = ()
    magnification: float | None = None
    is_rgb: bool = True
    tile: tuple[int, int] | None = None
    thumbnail: npt.NDArray[np.uint8] | None = None
    series: int = 0


def parse_server(builder: Mapping[str, Any]) -> Server:
    """Read a server builder; what is missing or unknown stays None.

    Sizes and calibration are those of the outermost server, which is the one that the objects
    refer to. QuPath may leave them out there; then they follow from those of the server inside.
    """
    chain = [builder]
    while isinstance(chain[-1].get("builder"), Mapping):
        chain.append(chain[-1]["builder"])
    inner = chain[-1]
    wrappers = [str(outer.get("builderType", "")) for outer in chain[:-1]]
    if inner.get("builderType", "uri") != "uri":
        wrappers.append(str(inner["builderType"]))
    size: _Size = (None, None)
    mpp: tuple[float, float] | None = None
    for server in reversed(chain):
        size, mpp = _seen_through(server, size, mpp)
        metadata = server.get("metadata")
        if isinstance(metadata, Mapping):
            size = _size(metadata.get("width")), _size(metadata.get("height"))
            mpp = _mpp(_mapping(metadata.get("pixelCalibration")))
    uri, args = inner.get("uri"), inner.get("args")
    return Server(
        uri=uri if isinstance(uri, str) else None,
        provider=str(inner.get("providerClassName") or ""),
        args=tuple(map(str, args)) if isinstance(args, list) else (),
        wrappers=tuple(wrappers),
        width=size[0],
        height=size[1],
        mpp=mpp,
        builder=builder,
    )


def _seen_through(
    wrapper: Mapping[str, Any], size: _Size, mpp: tuple[float, float] | None
) -> tuple[_Size, tuple[float, float] | None]:
    """Return size and calibration of what one wrapper makes of a server."""
    kind = str(wrapper.get("builderType"))
    if kind == "cropped":
        region = _mapping(wrapper.get("region"))
        return (_size(region.get("width")), _size(region.get("height"))), mpp
    if kind == "rotated" and wrapper.get("rotation") in ("ROTATE_90", "ROTATE_270"):
        return size[::-1], None if mpp is None else mpp[::-1]
    known = kind in _SAME_GRID or (
        kind == "rotated" and wrapper.get("rotation") in ("ROTATE_NONE", "ROTATE_180")
    )
    return (size, mpp) if known else ((None, None), None)


def make_builder(image: NewImage, provider: str) -> dict[str, Any]:
    """Make the server builder of an image, as QuPath 0.6 writes it.

    Without metadata QuPath opens the image to find out; with it, it doesn't have to.
    """
    builder: dict[str, Any] = {
        "builderType": "uri",
        "providerClassName": provider,
        "uri": uri_from_path(PurePath(image.path)),
        "args": [] if provider == OPENSLIDE else ["--series", str(image.series)],
    }
    if image.is_rgb:
        builder["metadata"] = _rgb_metadata(image)
    return builder


def provider_of(path: Path) -> str:
    """Choose QuPath's reader for a file, as QuPath does: OpenSlide for tiled RGB pyramids."""
    name = path.name.lower()
    if path.suffix.lower() in _OPENSLIDE_SUFFIXES:
        return OPENSLIDE
    if name.endswith((".tif", ".tiff")) and _is_tiled_tiff(path):
        return OPENSLIDE
    return BIOFORMATS


def _is_tiled_tiff(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            return not tiff.is_ome and tiff.pages.first.is_tiled
    except (tifffile.TiffFileError, OSError, IndexError, ValueError, struct.error):
        return False  # broken, which is found out by whoever reads it


def _rgb_metadata(image: NewImage) -> dict[str, Any]:
    unit = "px" if image.mpp is None else "µm"
    mpp_x, mpp_y = image.mpp or (1.0, 1.0)
    levels = image.levels or ((1.0, image.width, image.height),)
    # Bio-Formats reads plain images in strips of a megabyte.
    strip = min(image.height, max(1, 2**20 // (3 * image.width)))
    tile_width, tile_height = image.tile or (image.width, strip)
    metadata: dict[str, Any] = {
        "name": image.name,
        "width": image.width,
        "height": image.height,
        "sizeZ": 1,
        "sizeT": 1,
        "channelType": "DEFAULT",
        "isRGB": True,
        "pixelType": "UINT8",
        "levels": [
            {"downsample": float(downsample), "width": width, "height": height}
            for downsample, width, height in levels
        ],
        "channels": [
            {"name": "Red", "color": pack_argb((255, 0, 0))},
            {"name": "Green", "color": pack_argb((0, 255, 0))},
            {"name": "Blue", "color": pack_argb((0, 0, 255))},
        ],
        "pixelCalibration": {
            "pixelWidth": {"value": float(mpp_x), "unit": unit},
            "pixelHeight": {"value": float(mpp_y), "unit": unit},
            "zSpacing": {"value": 1.0, "unit": "z-slice"},
            "timeUnit": "SECONDS",
            "timepoints": [],
        },
    }
    if image.magnification is not None:
        metadata["magnification"] = float(image.magnification)
    return metadata | {"preferredTileWidth": tile_width, "preferredTileHeight": tile_height}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _positive(value: object) -> float | None:
    with contextlib.suppress(OverflowError):
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
    return None


def _size(value: object) -> int | None:
    number = _positive(value)
    return None if number is None else int(number)


def _mpp(calibration: Mapping[str, Any]) -> tuple[float, float] | None:
    x, y = (
        _positive(length.get("value")) if str(length.get("unit")) in _MICRON else None
        for length in (_mapping(calibration.get(side)) for side in ("pixelWidth", "pixelHeight"))
    )
    return None if x is None or y is None else (x, y)
