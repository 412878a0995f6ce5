"""One object that is drawn into a picture: its optical density, and how much it covers."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from qpbridge.training.synthetic.shapes import Field, Shape, smooth_noise
from qpbridge.training.synthetic.stains import Density, Vector

Mask = npt.NDArray[np.bool_]
SOFT_UM = 0.6  # over which an edge fades: what a microscope at 20x resolves, about


class Layer:
    """What is drawn of one object, before it is laid over the picture.

    Attributes
    ----------
    shape
        Its outline and window.
    mpp
        µm per pixel.
    cover : float32 array (h, w)
        How much of the picture below is hidden, 0..1.
    density : float32 array (h, w, 3)
        Optical density, times cover.
    """

    def __init__(self, shape: Shape, mpp: float) -> None:
        self.shape, self.mpp = shape, mpp
        self.depth = shape.depth
        self.cover: Field = np.zeros(self.depth.shape, np.float32)
        self.density: Density = np.zeros((*self.depth.shape, 3), np.float32)

    def put(self, alpha: Field, density: Vector | Density) -> None:
        """Lay a colour over what is there, as opaque as `alpha` (h, w) says."""
        veil = alpha[..., None]
        self.density = (self.density * (1 - veil) + np.asarray(density, np.float32) * veil).astype(
            np.float32
        )
        self.cover = self.cover * (1 - alpha) + alpha

    def add(self, amount: Field, density: Vector) -> None:
        """Stain what is there, by `amount` (h, w) times a density (3,)."""
        self.density += amount[..., None] * density.astype(np.float32)

    def onto(self, canvas: Density, blur: float, taken: Mask, texture: Field | None = None) -> None:
        """Lay it over a picture's density.

        Parameters
        ----------
        canvas
            The picture, changed in place.
        blur
            Standard deviation in pixels, to be as sharp as the picture.
        taken : bool array (H, W)
            Where nothing may be drawn.
        texture : float32 array (H, W)
            Factor of the density, about 1: the grain of real tissue.
        """
        free = (~taken[self.shape.window]).astype(np.float32)
        cover = ndimage.gaussian_filter(self.cover * free, blur, mode="nearest")
        density = ndimage.gaussian_filter(
            self.density * free[..., None], (blur, blur, 0), mode="nearest"
        )
        if texture is not None:
            density *= texture[self.shape.window][..., None]
        below = canvas[self.shape.window]
        canvas[self.shape.window] = below * (1 - cover[..., None]) + density


def fade(depth: Field, width: float = SOFT_UM) -> Field:
    """Return 0 outside and 1 inside of an outline, with an edge `width` µm wide."""
    alpha: Field = np.clip(0.5 + depth / np.float32(width), 0, 1).astype(np.float32)
    return alpha


def band(depth: Field, low: float | Field, high: float | Field) -> Field:
    """Return 1 where depth lies between two values, in µm, with soft edges."""
    return np.asarray(np.minimum(fade(depth - low), fade(high - depth)), np.float32)


def nuclei_along(
    rng: np.random.Generator,
    layer: Layer,
    depth: float,
    spacing: float,
    length: tuple[float, float],
    thickness: tuple[float, float],
    colour: Vector,
    *,
    across: bool = False,
) -> int:
    """Put nuclei on the line that lies `depth` µm inside of an outline.

    Parameters
    ----------
    rng
        Of everything random.
    layer
        To draw on.
    depth
        Of their middle, in µm.
    spacing
        Mean µm of line for each nucleus.
    length, thickness
        Ranges, in µm, along and across the line.
    colour
        Optical density of a nucleus.
    across
        Whether they stand on the line, as in a columnar epithelium, not lie along it.

    Returns
    -------
    int
        How many.
    """
    mpp = layer.mpp
    near = np.argwhere(np.abs(layer.depth - depth) < mpp)
    if not len(near):
        return 0
    number = max(1, int(rng.poisson(len(near) * mpp / 2 / spacing)))
    places = near[rng.choice(len(near), min(number, len(near)), replace=False)]
    slope_y, slope_x = (np.gradient(layer.depth, axis=axis) for axis in (0, 1))
    for row, column in places:
        long, thick = rng.uniform(*length), rng.uniform(*thickness)
        reach = math.ceil((max(long, thick) + 2) / mpp)
        part = (
            slice(max(0, row - reach), row + reach + 1),
            slice(max(0, column - reach), column + reach + 1),
        )
        y, x = (
            (np.arange(s.start, min(s.stop, n)) - c) * mpp
            for s, n, c in zip(part, layer.depth.shape, (row, column), strict=True)
        )
        direction = np.array([slope_x[row, column], slope_y[row, column]])
        direction /= max(float(np.hypot(*direction)), 1e-6)
        along = -x[None] * direction[1] + y[:, None] * direction[0]
        inward = layer.depth[part] - layer.depth[row, column]
        away = np.hypot(x[None], y[:, None])
        if across:
            long, thick = thick, long
        distance = np.hypot(along / (long / 2), inward / (thick / 2))
        alpha = fade((1 - distance) * min(long, thick) / 2 * (away < 1.6 * max(long, thick)))
        alpha = np.where(away < 1.6 * max(long, thick), alpha, 0)
        chromatin = 1 + 0.18 * smooth_noise(rng, alpha.shape, 1.2 / mpp)
        shade = colour * rng.uniform(0.65, 1.1)
        view = layer.density[part]
        view[...] = view * (1 - alpha[..., None]) + (alpha * chromatin)[..., None] * shade
        layer.cover[part] = layer.cover[part] * (1 - alpha) + alpha
    return len(places)


def red_cells(
    rng: np.random.Generator, layer: Layer, lumen: Field, pink: Vector, fullness: float
) -> None:
    """Fill a lumen (depth inside of it, in µm) with red blood cells, in clumps.

    Parameters
    ----------
    rng
        Of everything random.
    layer
        To draw on.
    lumen
        µm from each pixel to the edge of the lumen, positive inside.
    pink
        Optical density of eosin.
    fullness
        Share of the lumen that is filled.
    """
    red = np.array([0.12, 0.75, 0.64])
    share = rng.uniform(0.2, 0.8)
    colour = share * pink / np.linalg.norm(pink) + (1 - share) * red
    colour *= rng.uniform(0.8, 2.2) * float(np.clip(np.linalg.norm(pink), 0.35, 0.8))
    rows, columns = np.nonzero(lumen > -0.5)
    if not len(rows):
        return
    spacing = rng.uniform(4.4, 6.2)
    low = np.array([rows.min(), columns.min()]) * layer.mpp
    high = np.array([rows.max(), columns.max()]) * layer.mpp + spacing
    steps = np.meshgrid(*(np.arange(a, b, spacing) for a, b in zip(low, high, strict=True)))
    centres = np.stack([s.ravel() for s in steps], 1)
    centres += rng.normal(0, spacing * 0.28, centres.shape) + rng.uniform(0, spacing, 2)
    distance, which = cKDTree(centres).query(np.stack([rows, columns], 1) * layer.mpp)
    radius = rng.uniform(2.4, 3.5, len(centres))
    clumps = smooth_noise(rng, lumen.shape, 12 / layer.mpp)[rows, columns]
    there = clumps < np.quantile(clumps, fullness)
    kept = np.zeros(len(centres), bool)
    kept[which[there & (distance < 1.5)]] = True
    pale = rng.uniform(0.0, 0.4)
    strength = rng.uniform(0.7, 1.15, len(centres))[which]
    strength *= 1 - pale * np.exp(-((distance / 1.3) ** 2))
    alpha = np.zeros(lumen.shape, np.float32)
    alpha[rows, columns] = fade((radius[which] - distance).astype(np.float32)) * kept[which]
    fused = rng.uniform(0.0, 0.95) if rng.random() < 0.5 else 0.0
    mass = np.zeros(lumen.shape, np.float32)
    mass[rows, columns] = there
    alpha = np.maximum(alpha, fused * ndimage.gaussian_filter(mass, 1 / layer.mpp)) * fade(lumen)
    shade = np.zeros(lumen.shape, np.float32)
    shade[rows, columns] = strength
    layer.put(alpha, shade[..., None] * colour)
