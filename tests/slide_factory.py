"""Small test slides of known content: pink tissue, purple ellipses as nuclei, in many formats.

`make_slide` returns what is in the slide, so that a test can compare with the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity
import tifffile
from PIL import Image, ImageDraw

Bytes = npt.NDArray[np.uint8]

HEMATOXYLIN = np.array([0.6511, 0.7012, 0.2905], np.float32)
EOSIN = np.array([0.2159, 0.8012, 0.5581], np.float32)
GLASS = 245
"""Grey level of empty glass."""


@dataclass(frozen=True)
class SlideTruth:
    """What `make_slide` wrote.

    Parameters
    ----------
    path
        The file.
    pixels
        uint8 (height, width, 3), full resolution, before lossy compression.
    nuclei
        One polygon per nucleus, full-resolution pixels.
    mpp
        µm per pixel as written into the file, None if it has none.
    """

    path: Path
    pixels: Bytes
    nuclei: list[shapely.Polygon]
    mpp: float | None


def nuclei_at_random(
    width: int, height: int, *, radius: float, spacing: float, seed: int
) -> list[shapely.Polygon]:
    """Make ellipses on a jittered grid: they never touch each other or the border."""
    rng = np.random.default_rng(seed)
    found = []
    for y in np.arange(spacing, height - spacing / 2, spacing):
        for x in np.arange(spacing, width - spacing / 2, spacing):
            a, b = radius * rng.uniform(0.9, 1.2), radius * rng.uniform(0.6, 0.9)
            shift = rng.uniform(-0.5, 0.5, 2) * max(0.0, spacing - 2.8 * radius)
            circle = shapely.Point(0, 0).buffer(1, quad_segs=24)
            ellipse = shapely.affinity.rotate(
                shapely.affinity.scale(circle, a, b), rng.uniform(0, 180)
            )
            found.append(shapely.affinity.translate(ellipse, x + shift[0], y + shift[1]))
    return found


def paint(
    width: int,
    height: int,
    nuclei: list[shapely.Polygon],
    *,
    tissue: shapely.Polygon | None = None,
    seed: int = 0,
) -> Bytes:
    """Paint H&E-like tissue by optical density: uint8 (height, width, 3).

    Pixels outside `tissue` (None: no outside) are empty glass.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (height // 16 + 2, width // 16 + 2)).astype(np.float32)
    rows = np.arange(height, dtype=np.float32) / 16
    columns = np.arange(width, dtype=np.float32) / 16
    texture = _bilinear(coarse, rows, columns)
    eosin = 0.30 + 0.03 * texture
    hematoxylin = np.full((height, width), 0.05, np.float32)
    for nucleus in nuclei:
        left, top, right, bottom = (int(v) for v in nucleus.bounds)
        x0, y0 = max(left - 1, 0), max(top - 1, 0)
        x, y = np.meshgrid(
            np.arange(x0, min(right + 2, width)), np.arange(y0, min(bottom + 2, height))
        )
        inside = shapely.contains_xy(nucleus, x + 0.5, y + 0.5)
        window = np.s_[y0 : y0 + x.shape[0], x0 : x0 + x.shape[1]]
        hematoxylin[window][inside] = 0.75
        eosin[window][inside] = 0.12
    density = hematoxylin[..., None] * HEMATOXYLIN + eosin[..., None] * EOSIN
    noisy = 255 * np.exp(-np.log(np.float32(10)) * density)
    noisy += 2 * rng.standard_normal(density.shape, np.float32)
    if tissue is not None:
        outside = ~_filled(tissue, width, height)
        noisy[outside] = GLASS + rng.normal(0, 1.5, (int(outside.sum()), 3))
    return np.rint(noisy.clip(0, 255)).astype(np.uint8)


def _filled(polygon: shapely.Polygon, width: int, height: int) -> npt.NDArray[np.bool_]:
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    for ring, fill in [(polygon.exterior, 1), *((ring, 0) for ring in polygon.interiors)]:
        draw.polygon([(x - 0.5, y - 0.5) for x, y in ring.coords], fill=fill)
    return np.asarray(image)


def _bilinear(
    coarse: npt.NDArray[np.float32], rows: npt.NDArray[np.float32], cols: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    r, c = rows.astype(int), cols.astype(int)
    fr, fc = (rows - r)[:, None], (cols - c)[None]
    top = coarse[r][:, c] * (1 - fc) + coarse[r][:, c + 1] * fc
    below = coarse[r + 1][:, c] * (1 - fc) + coarse[r + 1][:, c + 1] * fc
    return top * (1 - fr) + below * fr


def halve(pixels: Bytes) -> Bytes:
    """Average 2 x 2 pixels; a last odd row or column is left out, as scanners do."""
    h, w = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    quads = pixels[:h, :w].reshape(h // 2, 2, w // 2, 2, -1).astype(np.uint16)
    return ((quads.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)


def pyramid(pixels: Bytes, levels: int) -> list[Bytes]:
    """Halve `levels` - 1 times."""
    out = [pixels]
    for _ in range(levels - 1):
        out.append(halve(out[-1]))
    return out


def make_slide(
    path: Path,
    *,
    kind: str | None = None,
    width: int = 900,
    height: int = 700,
    mpp: float | None = 0.5,
    levels: int = 2,
    radius: float = 7.0,
    spacing: float = 40.0,
    tissue: shapely.Polygon | None = None,
    lossless: bool = False,
    pixels: Bytes | None = None,
    seed: int = 0,
) -> SlideTruth:
    """Write a slide.

    Parameters
    ----------
    path
        Where to; the kind follows from its name unless given.
    kind
        ``svs`` (Aperio), ``tiff`` (tiled pyramid), ``ome`` (OME-TIFF pyramid), ``strips`` (plain
        TIFF), ``png`` or ``jpeg``.
    mpp
        µm per pixel to write; None writes none. PNG and JPEG never carry one.
    levels
        Levels of the pyramid, each half of the one before.
    radius, spacing
        Of the nuclei, in pixels.
    tissue
        Nuclei and tissue just within; empty glass elsewhere. None: tissue everywhere.
    lossless
        Deflate instead of JPEG tiles.
    pixels
        Another image to write, uint8 (h, w, 3); then there are no nuclei in the truth.
    """
    nuclei: list[shapely.Polygon] = []
    if pixels is None:
        nuclei = nuclei_at_random(width, height, radius=radius, spacing=spacing, seed=seed)
        if tissue is not None:
            nuclei = [nucleus for nucleus in nuclei if tissue.contains(nucleus)]
        pixels = paint(width, height, nuclei, tissue=tissue, seed=seed)
    kind = kind or _kind_of(path)
    if kind == "png":
        Image.fromarray(pixels).save(path)
    elif kind == "jpeg":
        Image.fromarray(pixels).save(path, quality=95, subsampling=0)
    elif kind == "svs":
        _write_svs(path, pyramid(pixels, levels), mpp, lossless)
    elif kind == "ome":
        _write_ome(path, pyramid(pixels, levels), mpp, lossless)
    elif kind == "tiff":
        _write_tiff(path, pyramid(pixels, levels), mpp, lossless)
    elif kind == "strips":
        tifffile.imwrite(path, pixels, photometric="rgb", rowsperstrip=64, **_resolution(mpp))
    else:
        raise ValueError(f"no such kind of slide: {kind}")
    known = None if kind in ("png", "jpeg") else mpp
    return SlideTruth(path, pixels, nuclei, known)


def _kind_of(path: Path) -> str:
    name = path.name.lower()
    if name.endswith((".ome.tif", ".ome.tiff")):
        return "ome"
    return {
        ".svs": "svs",
        ".tif": "tiff",
        ".tiff": "tiff",
        ".png": "png",
        ".jpg": "jpeg",
        ".jpeg": "jpeg",
    }[path.suffix.lower()]


def _resolution(mpp: float | None) -> dict[str, object]:
    if mpp is None:
        return {"resolutionunit": "NONE"}
    return {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}


def _compression(lossless: bool) -> dict[str, object]:
    if lossless:
        return {"compression": "deflate"}
    return {"compression": "jpeg", "compressionargs": {"level": 92}}


def _write_tiff(path: Path, levels: list[Bytes], mpp: float | None, lossless: bool) -> None:
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            scaled = None if mpp is None else mpp * 2**i
            file.write(
                level,
                photometric="rgb",
                tile=(256, 256),
                subfiletype=int(i > 0),
                metadata=None,
                **_resolution(scaled),
                **_compression(lossless),
            )


def _write_ome(path: Path, levels: list[Bytes], mpp: float | None, lossless: bool) -> None:
    metadata: dict[str, object] = {"axes": "YXS"}
    if mpp is not None:
        metadata |= {"PhysicalSizeX": mpp, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": mpp, "PhysicalSizeYUnit": "µm"}
    options = {"photometric": "rgb", "tile": (256, 256), **_compression(lossless)}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)


def _write_svs(path: Path, levels: list[Bytes], mpp: float | None, lossless: bool) -> None:
    height, width = levels[0].shape[:2]
    facts = "" if mpp is None else f"|AppMag = {round(10 / mpp)}|MPP = {mpp:.4f}"
    with tifffile.TiffWriter(path) as file:
        for i, level in enumerate(levels):
            h, w = level.shape[:2]
            scale = "" if i == 0 else f" -> {w}x{h}"
            text = f"Aperio Image Library v11.2.1\n{width}x{height} (240x240){scale} JPEG/RGB Q=70"
            options = {"photometric": "rgb", "metadata": None, "description": text + facts}
            file.write(level, tile=(240, 240), **options, **_compression(lossless))
            if i == 0:
                small = np.asarray(Image.fromarray(level).resize((w // 4, h // 4)))
                options["description"] = f"Aperio Image Library v11.2.1\n{w}x{h} -> - |"
                file.write(small, rowsperstrip=16, compression="jpeg", **options)
