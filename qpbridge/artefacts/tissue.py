"""Where the tissue is: outlines found at low resolution.

Glass is bright and colourless, stained tissue is neither (`masks.stain_of`). Fill and ink are never
tissue (`masks.fill_mask`, `masks.ink_mask`), except for red ink, which looks like eosin or blood.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import shapely
from scipy import ndimage
from skimage import filters, measure

from qpbridge.artefacts.masks import (
    Mask,
    density_of,
    fill_mask,
    glass_colour,
    ink_mask,
    planes_of,
    stain_of,
)
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP
from qpbridge.slides.slide import Slide

MAX_SIDE = 2000
"""Pixels of the picture in which tissue is looked for, along its longer side."""

FINEST_MPP = 4.0
"""µm per pixel of that picture at least: finer, nuclei and the gaps between them would show."""

USUAL_MPP = 0.5
"""µm per pixel assumed where the slide's are unknown or absurd; only sizes of gaps depend on it."""

SMOOTHING = 12.0
"""µm; radius of the blur, and of the notches that it fills."""

GAP = 40.0
"""µm; gaps in tissue that are narrower are closed."""

FILL_MARGIN = 4.0
"""µm; around black fill, whose edge is sharp, and beside which tissue may go on."""

SPECK = 0.02
"""mm^2; smaller pieces are dropped (or those below a hundredth of the image, if that is less)."""

HOLE = 0.05
"""mm^2; smaller holes are filled (or those below a fiftieth of the image, if that is less)."""

FAINTEST, STRONGEST = 0.03, 0.045
"""Bounds of the threshold, optical density: for slides all of glass, and for those all of tissue or
with a strong stain beside a pale one."""


def tissue_outline(slide: Slide) -> list[shapely.Polygon]:
    """Find the tissue of a slide stained with H&E, or with DAB or similar.

    Parameters
    ----------
    slide
        An open slide.

    Returns
    -------
    list of shapely.Polygon
        In full-resolution pixels, largest first, valid, on a grid of 0.01 px, within the image and
        apart from each other. Empty if there is no tissue.
    """
    known = slide.mpp is not None and all(MIN_MPP <= v <= MAX_MPP for v in slide.mpp)
    mpp = (slide.mpp[0] * slide.mpp[1]) ** 0.5 if slide.mpp and known else USUAL_MPP
    downsample = max(1.0, max(slide.width, slide.height) / MAX_SIDE, FINEST_MPP / mpp)
    # Small pictures are looked at more closely, or their outlines would be mere boxes.
    downsample = max(1.0, min(downsample, min(slide.width, slide.height) / 200))
    width, height = (max(1, round(v / downsample)) for v in (slide.width, slide.height))
    picture = slide.read(0, 0, width, height, downsample)
    mask = tissue_mask(picture, mpp * downsample)
    area = slide.width * slide.height
    mm2 = (1000 / mpp) ** 2
    return _outlines(
        mask,
        downsample,
        shapely.box(0, 0, slide.width, slide.height),
        speck=min(SPECK * mm2, area / 100),
        hole=min(HOLE * mm2, area / 50),
    )


def tissue_mask(picture: npt.NDArray[np.uint8], mpp: float) -> Mask:
    """Tell tissue from glass, pixel by pixel.

    Parameters
    ----------
    picture
        uint8 (H, W, 3), the slide at low resolution.
    mpp
        µm per pixel of the picture.

    Returns
    -------
    numpy.ndarray
        bool (H, W).
    """
    planes = planes_of(picture)
    density = density_of(planes, glass_colour(planes))
    stain = stain_of(density)
    ink = _with_margin(ink_mask(planes, density, mpp), 3 * SMOOTHING / mpp)
    foreign = ink | _with_margin(fill_mask(planes, mpp), FILL_MARGIN / mpp)
    stain[foreign] = 0
    # Strong stain is levelled first, or the blur would push its edge outwards.
    stain = ndimage.gaussian_filter(np.minimum(stain, 3 * STRONGEST), SMOOTHING / mpp)
    otsu: float = filters.threshold_otsu(stain)  # type: ignore[no-untyped-call]
    mask = stain > np.clip(otsu, FAINTEST, STRONGEST)
    closed: Mask = _closed(mask, GAP / mpp / 2) & ~foreign
    return closed


def _with_margin(mask: Mask, margin: float) -> Mask:
    """Grow a mask by some pixels: its edge is pale, and has the colours of stain."""
    if not mask.any():
        return mask
    grown: Mask = ndimage.distance_transform_edt(~mask) <= margin
    return grown


def _closed(mask: Mask, radius: float) -> Mask:
    """Close gaps, by distance: at the border of the image tissue is taken to go on."""
    if mask.all() or not mask.any():
        return mask
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(mask, margin, mode="edge")
    grown = ndimage.distance_transform_edt(~padded) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    inner = slice(margin, -margin)
    return np.asarray(closed[inner, inner] | mask, bool)


def _outlines(
    mask: Mask,
    downsample: float,
    image: shapely.Polygon,
    *,
    speck: float,
    hole: float,
) -> list[shapely.Polygon]:
    """Trace a mask, bool (H, W), into smooth polygons in full-resolution pixels."""
    soft = np.pad(ndimage.gaussian_filter(mask.astype(np.float32), 1.0, mode="nearest"), 1)
    rings = [
        shapely.LinearRing((line[:, ::-1] - 0.5) * downsample)
        for line in measure.find_contours(soft, 0.5)  # type: ignore[no-untyped-call]
        if len(line) > 3
    ]
    if not rings:
        return []
    area = shapely.build_area(shapely.GeometryCollection(rings))
    kept = []
    for piece in shapely.get_parts(area):
        holes = [ring for ring in piece.interiors if shapely.Polygon(ring).area >= hole]
        kept.append(shapely.Polygon(piece.exterior, holes))
    smooth = shapely.simplify(shapely.union_all(kept), 0.4 * downsample)
    inside = shapely.set_precision(shapely.intersection(smooth, image), 0.01)
    pieces = [
        piece
        for piece in shapely.get_parts(inside)
        if piece.geom_type == "Polygon" and piece.area >= speck
    ]
    return sorted(pieces, key=lambda piece: -piece.area)
