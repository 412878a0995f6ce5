"""What pixels can't be tissue: glass, black fill and ink, told by colour, breadth and texture.

All functions are pure: from a picture at low resolution to masks. Folds and air bubbles are not
looked for: at this resolution folds look like dense tissue, and the rims of bubbles like fibres.
Red ink is only told where it is too strong for eosin and blood.
"""

from __future__ import annotations

import enum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Kind(enum.IntEnum):
    """What a pixel of a quality map shows."""

    OTHER = 0
    """Tissue, or what can't be told from it."""
    EMPTY = 1
    """Glass."""
    FILL = 2
    """Black that no light went through: what was not scanned, or cut away."""
    INK = 3
    """Of a pen, or any broad dark area without texture."""
    BLURRED = 4
    """Out of focus."""


FILL_WIDTH, INK_WIDTH = 8.0, 20.0
"""µm; half the width of the finest fill and ink that is told. Nuclei can have the same colours."""

WHITE = 243
"""Grey level of glass where the picture shows none."""

FLAT = 0.008
"""Standard deviation of optical density below which an area has no texture; tissue has more."""

DARK = 0.5
"""Mean optical density from which an area without texture is ink: pale mucus has none either."""

DENSE, DENSE_RED, DENSE_GREEN = 0.9, 0.65, 1.05
"""Optical densities that no broad area of tissue has, nuclei and the gaps between them: the mean;
of red where blue goes through (blue ink over tissue); and of green (red ink)."""

TEXTURE_SIDE, SHARPNESS_SIDE = 16.0, 32.0
"""µm; squares in which texture and sharpness are measured."""

FAINT, GLASS_TEXTURE = 0.04, 0.004
"""Stain, as `stain_of` measures it, and standard deviation of optical density, below which there is
only glass: pale tissue has fibres, glass the noise of the scanner."""

SHARPEST_BLUR = 2.0
"""Sharpness (see `sharpness_of`) below which a picture is out of focus."""

MIN_DETAIL = 0.004
"""Coarse detail, optical density, that tissue in focus has everywhere."""


def glass_colour(picture: Floats) -> Floats:
    """Find the colour of empty glass: the median of bright, almost grey pixels.

    Parameters
    ----------
    picture
        float32 (3, H, W), or (3, n).

    Returns
    -------
    colour
        float32 (3,).
    """
    low, high = picture.min(axis=0), picture.max(axis=0)
    empty = (low > 200) & (high - low < 22)
    if empty.mean() < 0.005:
        return np.full(3, WHITE, np.float32)
    # Pale tissue is among them, glass is brighter.
    brightness = picture[:, empty].sum(axis=0)
    brightest = brightness >= np.median(brightness)
    return np.median(picture[:, empty][:, brightest], axis=1).astype(np.float32)


def planes_of(picture: Pixels) -> Floats:
    """Turn uint8 (H, W, 3) into float32 (3, H, W), with the noise of single pixels taken off."""
    return np.stack(
        [ndimage.gaussian_filter(picture[..., i].astype(np.float32), 0.5) for i in range(3)]
    )


def density_of(planes: Floats, glass: Floats) -> Floats:
    """Return optical densities relative to glass, float32 (3, H, W)."""
    return np.asarray(np.log10(glass[:, None, None] / np.maximum(planes, 1)), np.float32)


def stain_of(density: Floats) -> Floats:
    """Tell how stained pixels are, float32 (H, W).

    What counts is how much more one colour is absorbed than another, which neither shadows nor
    black have; a little is added for darkness, for pale grey-blue tissue.
    """
    spread = density.max(axis=0) - density.min(axis=0)
    return np.asarray(spread + 0.3 * np.maximum(density.mean(axis=0), 0), np.float32)


def fill_mask(planes: Floats, mpp: float) -> Mask:
    """Find black fill, bool (H, W), noisy or not, in a picture of `mpp` µm per pixel."""
    highest = planes.max(axis=0)
    black = (highest < 45) & (highest - planes.min(axis=0) < 15)
    return _broad(black, FILL_WIDTH / mpp)


def ink_colours(planes: Floats, density: Floats) -> Mask:
    """Tell what has the colours of ink, or of ink over tissue; a dark nucleus can have them too.

    Parameters
    ----------
    planes, density
        float32 (3, H, W): colours, and their optical densities.

    Returns
    -------
    ink
        bool (H, W).
    """
    highest = planes.max(axis=0)
    red, green, blue = density
    ink: Mask = (highest < 90) & (highest - planes.min(axis=0) < 30)
    ink |= (red > 0.3) & (green < red - 0.12) & (green < blue + 0.03)
    ink |= (red > 0.35) & (blue < 0.3 * red) & (green < 0.95 * red)
    ink |= (red > 0.35) & (blue < 0.4 * red) & (green < 0.75 * red)
    ink |= (red > DENSE_RED) & (blue < 0.5 * red)
    ink |= (green > DENSE_GREEN) & (blue > 0.5 * green) & (blue < green)
    return ink


def ink_mask(planes: Floats, density: Floats, mpp: float, texture: Floats | None = None) -> Mask:
    """Find ink, bool (H, W).

    Parameters
    ----------
    planes, density
        The picture, and its optical densities.
    mpp
        µm per pixel.
    texture
        float32 (H, W), standard deviation of the density around each pixel; None: not known, and
        neither are flat dark colours and red ink.
    """
    ink = ink_colours(planes, density)
    red, green, blue = density
    dark = density.mean(axis=0)
    ink |= (dark > DENSE) & ~((blue > green) & (blue > 1.3 * red))  # much DAB
    if texture is not None:
        strong_red = (red < 0.15) & (green > 0.8) & (blue > 0.7)
        ink |= _to_edge(texture < FLAT, dark > DARK, mpp)
        ink |= _to_edge(texture < 6 * FLAT, strong_red, mpp)
    return _broad(ink, INK_WIDTH / mpp)


def classify(
    picture: Pixels,
    mpp: float,
    *,
    texture: Floats | None = None,
    sharpness: Floats | None = None,
    glass: Floats | None = None,
) -> Pixels:
    """Tell what each pixel of a picture shows.

    Parameters
    ----------
    picture
        uint8 (H, W, 3), at low resolution.
    mpp
        µm per pixel; 4 is what the thresholds are made for.
    texture, sharpness
        float32 (H, W), as `texture_of` and `sharpness_of` give them, NaN where it is not known.
    glass
        float32 (3,), the colour of glass; None: that of this picture.

    Returns
    -------
    kinds
        uint8 (H, W), values of `Kind`.
    """
    planes = planes_of(picture)
    density = density_of(planes, glass_colour(planes) if glass is None else glass)
    kinds = np.zeros(picture.shape[:2], np.uint8)
    if sharpness is not None:
        kinds[sharpness < SHARPEST_BLUR] = Kind.BLURRED
    faint = ndimage.gaussian_filter(stain_of(density), 4 / mpp) < FAINT
    if texture is not None:
        faint = _to_edge(texture < GLASS_TEXTURE, faint, mpp)
    kinds[faint] = Kind.EMPTY
    ink, fill = ink_mask(planes, density, mpp, texture), fill_mask(planes, mpp)
    kinds[ink] = Kind.INK
    # The edge of fill, mixed with what is beside it, is as dark as ink.
    kinds[fill | (ndimage.binary_dilation(fill, np.ones((3, 3))) & ink)] = Kind.FILL
    return kinds


def grey_density(picture: Pixels) -> Floats:
    """Return the optical density of the mean of the colours, float32 (H, W)."""
    grey = np.maximum(picture.mean(axis=2, dtype=np.float32), 1)
    return np.asarray(np.log10(255 / grey), np.float32)


def texture_of(density: Floats, side: int, step: int) -> Floats:
    """Measure the standard deviation in squares of `side` pixels, every `step` pixels.

    Parameters
    ----------
    density
        float32 (H, W), H and W multiples of `step`.

    Returns
    -------
    texture
        float32 (H / step, W / step).
    """
    mean, square = (
        ndimage.uniform_filter(v, side, mode="nearest")[step // 2 :: step, step // 2 :: step]
        for v in (density, density**2)
    )
    return np.asarray(np.sqrt(np.maximum(square - mean**2, 0)), np.float32)


def sharpness_of(density: Floats, side: int, step: int) -> Floats:
    """Compare the finest detail with that of twice the size: little of it is left out of focus.

    Parameters and result are as for `texture_of`; 0 where there is no detail at all.
    """
    fine, coarse = (
        ndimage.uniform_filter(_detail(v) ** 2, side, mode="nearest")
        for v in (density, ndimage.uniform_filter(density, 3, mode="nearest"))
    )
    fine, coarse = (v[step // 2 :: step, step // 2 :: step] for v in (fine, coarse))
    known = coarse > MIN_DETAIL**2
    ratio = np.sqrt(np.maximum(fine, 0) / np.maximum(coarse, MIN_DETAIL**2))
    return np.where(known, ratio, 0).astype(np.float32)


def _to_edge(flat: Mask, alike: Mask, mpp: float) -> Mask:
    """Let what is flat reach to its edge, where squares of texture see something else too."""
    core = flat & alike
    if not core.any():
        return core
    reach = TEXTURE_SIDE / 2 / mpp + 1
    near: Mask = alike & (ndimage.distance_transform_edt(~core) <= reach)
    return near


def _detail(density: Floats) -> Floats:
    detail: Floats = ndimage.laplace(density, mode="nearest")
    return detail


def _broad(mask: Mask, radius: float) -> Mask:
    """Keep what is broader than twice the radius; at the border it is taken to go on."""
    if not mask.any() or mask.all():
        return mask
    margin = int(np.ceil(radius)) + 1
    padded = np.pad(mask, margin, mode="edge")
    core = ndimage.distance_transform_edt(padded) > radius
    if not core.any():
        return np.zeros_like(mask)
    near = ndimage.distance_transform_edt(~core) <= 2 * radius
    kept: Mask = (padded & near)[margin:-margin, margin:-margin]
    return kept
