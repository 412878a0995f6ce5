"""Pictures of tissue with vessels drawn into them, and the truth about these."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import DataSource, Sample
from qpbridge.training.synthetic import lookalikes
from qpbridge.training.synthetic.backgrounds import Background, crop, load_backgrounds
from qpbridge.training.synthetic.layer import Layer, Mask
from qpbridge.training.synthetic.shapes import Shape
from qpbridge.training.synthetic.stains import (
    Density,
    Tissue,
    Vector,
    counterstain_only,
    estimate_tissue,
    to_density,
    to_rgb,
)
from qpbridge.training.synthetic.vessels import (
    draw_diameter,
    paint_stained_vessel,
    paint_vessel,
    vessel_shape,
)

Drawn = tuple[Layer, Mask, Mask]
Others = Callable[[], Layer]
KINDS = ("he", "ihc")
SIZE = 384
"""Edge of a picture in pixels."""

WHOLLY_KNOWN = 0.25
"""Share of the pictures whose whole background is taken to hold no vessels.

In the others that is said only near what was drawn. Else a network learns what is easiest to tell
apart, real tissue and drawn things, and finds nothing in real tissue.
"""

NEAR_UM = 6.0


def load_pictures(source: DataSource, mpp: float) -> list[Sample]:
    """Draw the pictures of a source, the same ones every time.

    Parameters
    ----------
    source
        Backgrounds, kind of staining, and how many pictures.
    mpp
        µm per pixel to draw at.

    Raises
    ------
    QpbridgeError
        If the source asks for something else, or its pictures can't be read.
    """
    if source.synthetic not in KINDS or source.pictures < 1:
        raise QpbridgeError(
            f"{source.folder}: a source of drawn vessels needs synthetic = "
            f"{' or '.join(map(repr, KINDS))}, and how many pictures."
        )
    backgrounds = load_backgrounds(source)
    stream = zlib.crc32(f"{source.folder.name} {source.pattern}".encode())
    return [
        draw_picture(
            np.random.default_rng((stream, index)),
            backgrounds,
            source.synthetic,
            mpp=mpp,
            name=f"{source.folder.name}_{index:04d}",
        )
        for index in range(source.pictures)
    ]


def draw_picture(
    rng: np.random.Generator,
    backgrounds: Sequence[Background],
    kind: str,
    *,
    mpp: float = 0.5,
    size: int = SIZE,
    name: str = "",
) -> Sample:
    """Draw one picture.

    Parameters
    ----------
    rng
        Of everything random.
    backgrounds
        Tissue to draw on; whatever vessels it has of its own are not in the truth.
    kind
        "he", or "ihc": endothelium stained brown, with blue nuclei.
    mpp
        µm per pixel.
    size
        Edge in pixels.
    name
        Of the sample.

    Returns
    -------
    Sample
        Its labels are profiles with their lumina, which `Sample.lumen` gives as well.
    """
    tile = crop(rng, backgrounds, mpp, size)
    tissue = estimate_tissue(tile.image)
    density = to_density(tile.image, tissue.white)
    canvas = _Canvas(rng, density, tissue, mpp)
    canvas.blur = rng.uniform(0.25, 0.8) * max(1.0, tile.mpp / mpp)  # as sharp as the tissue
    if kind == "ihc":
        canvas.density, canvas.tissue = _in_blue(rng, density, tissue)
        brown = _brown(rng)
        canvas.density += (rng.uniform(0, 0.06) * brown).astype(np.float32)
        nuclear = rng.random() < 0.15

        def stained(shape: Shape, diameter: float) -> Drawn:
            return paint_stained_vessel(
                rng, shape, diameter, canvas.tissue, brown, nuclear=nuclear, mpp=mpp
            )

        _fill(canvas, stained, lambda: _brown_lookalike(canvas, brown))
    else:

        def plain(shape: Shape, diameter: float) -> Drawn:
            return paint_vessel(rng, shape, diameter, tissue, mpp)

        _fill(canvas, plain, lambda: _lookalike(canvas))
    picture = to_rgb(canvas.density, tissue.white)
    noise = rng.normal(0, tissue.noise, picture.shape) * canvas.drawn[..., None]
    picture = np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)
    known = None if rng.random() < WHOLLY_KNOWN else canvas.is_near(NEAR_UM)
    return Sample(name, picture, canvas.labels, mpp, tile.name, known, canvas.lumen)


class _Canvas:
    """A picture in the making.

    Attributes
    ----------
    density
        Optical density so far, (H, W, 3).
    labels, lumen
        The truth so far.
    taken, drawn
        Where something lies already; where anything was drawn.
    blur
        Of what is drawn, in pixels.
    grain
        How dense the tissue is in each pixel, compared with its surroundings.
    """

    def __init__(
        self, rng: np.random.Generator, density: Density, tissue: Tissue, mpp: float
    ) -> None:
        self.rng, self.density, self.tissue, self.mpp = rng, density, tissue, mpp
        self.size = density.shape[0]
        self.labels = np.zeros(density.shape[:2], np.int32)
        self.lumen = np.zeros(density.shape[:2], bool)
        self.taken = np.zeros(density.shape[:2], bool)
        self.drawn = np.zeros(density.shape[:2], np.float32)
        self.blur = 0.6
        dense = density.mean(2) + 0.05
        self.grain = np.clip(dense / ndimage.gaussian_filter(dense, 2.5 / mpp), 0.5, 1.6)
        smooth = ndimage.gaussian_filter(density.mean(2), 4 / mpp)
        self.places = np.argwhere(smooth > 0.08)

    def place(self) -> tuple[float, float]:
        """Return x and y in µm of a random spot with tissue."""
        if not len(self.places):
            return tuple(self.rng.uniform(0, self.size * self.mpp, 2))
        row, column = self.places[self.rng.integers(len(self.places))]
        return (column + 0.5) * self.mpp, (row + 0.5) * self.mpp

    def is_free(self, shape: Shape) -> bool:
        """Whether nothing lies where a shape would, nor within 1 µm of it."""
        return not bool((self.taken[shape.window] & (shape.depth > -1)).any())

    def is_near(self, reach: float) -> Mask:
        """Where anything was drawn up to `reach` µm away, bool (H, W)."""
        if not self.taken.any():
            return np.ones_like(self.taken)
        near: Mask = ndimage.distance_transform_edt(~self.taken) * self.mpp < reach
        return near

    def lay(self, layer: Layer, profile: Mask | None = None, lumen: Mask | None = None) -> None:
        """Draw a layer, and note the truth where it is a vessel."""
        window = layer.shape.window
        shift = tuple(self.rng.integers(0, self.size, 2).tolist())
        amount = np.float32(self.rng.uniform(0.2, 0.9))
        texture = 1 + amount * (np.roll(self.grain, shift, (0, 1)) - 1)
        layer.onto(self.density, self.blur, self.taken, texture)
        self.drawn[window] = np.maximum(self.drawn[window], layer.cover)
        self.taken[window] |= layer.depth > 0
        if profile is not None and lumen is not None:
            self.labels[window][profile] = self.labels.max() + 1
            self.lumen[window] |= lumen & profile


def _fill(canvas: _Canvas, vessel: Callable[[Shape, float], Drawn], others: Others) -> None:
    """Draw vessels and look-alikes, in any order, wherever there is room."""
    rng = canvas.rng
    vessels = 0 if rng.random() < 0.1 else int(rng.integers(2, 13))
    order = np.r_[np.ones(vessels, bool), np.zeros(int(rng.integers(4, 16)), bool)]
    for is_vessel in rng.permutation(order):
        for _ in range(6):
            if is_vessel:
                diameter = draw_diameter(rng)
                shape = vessel_shape(rng, canvas.place(), diameter, canvas.mpp, canvas.size)
                if canvas.is_free(shape) and (shape.depth > 0).any():
                    canvas.lay(*vessel(shape, diameter))
                    break
            else:
                layer = others()
                if canvas.is_free(layer.shape):
                    canvas.lay(layer)
                    break


def _lookalike(canvas: _Canvas) -> Layer:
    """Draw one that any stain may have."""
    how = list(lookalikes.PLAIN)
    share = np.array(list(lookalikes.PLAIN.values()))
    draw = how[int(canvas.rng.choice(len(how), p=share / share.sum()))]
    return draw(canvas.rng, canvas.place(), canvas.tissue, canvas.mpp, canvas.size)


def _brown_lookalike(canvas: _Canvas, brown: Vector) -> Layer:
    """Draw one that may be brown."""
    rng = canvas.rng
    if rng.random() > 0.45:
        return _lookalike(canvas)
    how = lookalikes.brown_cell if rng.random() < 0.7 else lookalikes.brown_smear
    return how(rng, canvas.place(), canvas.tissue, brown, canvas.mpp, canvas.size)


def _in_blue(rng: np.random.Generator, density: Density, tissue: Tissue) -> tuple[Density, Tissue]:
    """Make a background blue, unless it is so already: it absorbs more red than green."""
    dense = density[density.mean(2) > 0.1]
    if len(dense) and np.median(dense[:, 0] - dense[:, 1]) > 0:
        blue = np.percentile(dense, 80, axis=0)
        blue = np.array([0.74, 0.62, 0.27]) * max(float(blue[0]), 0.4)
        pale = np.median(dense[dense.mean(1) < np.percentile(dense.mean(1), 40)], axis=0)
        return density.copy(), Tissue(tissue.white, blue, pale * 0.8, tissue.noise)
    return counterstain_only(rng, density, tissue)


def _brown(rng: np.random.Generator) -> Vector:
    """Optical density of diaminobenzidine, as it varies; where it is strong, nearly black.

    Ruifrok & Johnston give the mean.
    """
    hue = np.array([0.268, 0.570, 0.776]) + rng.normal(0, 0.05, 3)
    hue += rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0
    brown: Vector = hue / np.linalg.norm(hue) * rng.uniform(0.8, 1.7)
    return brown
