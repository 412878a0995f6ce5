"""What may be taken for a vessel and is none; drawn by the same means, without truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpbridge.training.synthetic.layer import Layer, band, fade, nuclei_along, red_cells
from qpbridge.training.synthetic.shapes import Shape, blob, roughen, smooth_noise, tube
from qpbridge.training.synthetic.stains import Tissue, Vector

Place = tuple[float, float]
Draw = Callable[[np.random.Generator, Place, Tissue, float, int], Layer]


def vacuole(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw fat, or a bubble in a cell: empty and round, with hardly a membrane and no nuclei."""
    diameter = float(np.exp(rng.uniform(np.log(5), np.log(90))))
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 1.4))
    layer = Layer(shape, mpp)
    layer.put(fade(shape.depth), np.full(3, rng.uniform(-0.01, 0.04)))
    membrane = band(shape.depth, -rng.uniform(0.2, 0.8), 0.2)
    layer.put(membrane * np.float32(rng.uniform(0.2, 1)), tissue.pink * rng.uniform(0.5, 1.2))
    return layer


def tear(rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int) -> Layer:
    """Draw a crack in the tissue: empty, ragged, without a lining."""
    width = float(np.exp(rng.uniform(np.log(3), np.log(30))))
    shape = tube(rng, centre, width, width * rng.uniform(2, 10), mpp=mpp, size=size, taper=0.5)
    shape = roughen(rng, shape, 0.12 * width, 6 / mpp)
    if rng.random() < 0.6:
        shape = roughen(rng, shape, min(0.06 * width, 0.8), 2 / mpp)
    layer = Layer(shape, mpp)
    haze = rng.uniform(0.0, 0.06) * (1 + 0.15 * smooth_noise(rng, shape.depth.shape, 5 / mpp))
    layer.put(fade(shape.depth, rng.uniform(0.4, 1.4)), haze[..., None] * np.ones(3))
    return layer


def shrinkage(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw a gap around cells that shrank: a white crescent around what is there."""
    diameter = rng.uniform(9, 90)
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 2.5))
    shape = roughen(rng, shape, 0.04 * diameter, 10 / mpp)
    layer = Layer(shape, mpp)
    side = smooth_noise(rng, shape.depth.shape, diameter / 3 / mpp)
    width = rng.uniform(1.0, 3.5) * np.clip(1 + 0.5 * side, 0, 2)
    layer.put(band(shape.depth, 0.0, width) * fade(side + 0.6, 0.6), np.full(3, 0.02))
    return layer


def gland(rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int) -> Layer:
    """Draw a lumen within a thick epithelium of crowded nuclei."""
    diameter = rng.uniform(25, 130)
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 2))
    shape = roughen(rng, shape, 1.2, 8 / mpp)
    layer = Layer(shape, mpp)
    height = min(rng.uniform(8, 20), 0.4 * diameter)
    grain = 1 + 0.2 * smooth_noise(rng, shape.depth.shape, 1.5 / mpp)
    shade = tissue.pink * rng.uniform(0.4, 0.9) + tissue.nuclear * rng.uniform(0.1, 0.35)
    layer.put(fade(shape.depth), grain[..., None] * shade)
    uneven = smooth_noise(rng, shape.depth.shape, 6 / mpp)
    inner = shape.depth - height - 1.2 * uneven
    layer.put(fade(inner), np.full(3, rng.uniform(0, 0.05)))
    if rng.random() < 0.3:
        layer.put(fade(inner - 2) * np.float32(0.9), tissue.pink * rng.uniform(0.2, 0.9))
    rows = 1 if height < 11 else 2
    for row in range(rows):
        at = height * (0.35 + 0.3 * row)
        nuclei_along(
            rng, layer, at, 5.5, (6, 10), (4, 6.5), tissue.nuclear * 0.85, across=rng.random() < 0.6
        )
    return layer


def spilt_blood(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw red cells that lie free in the tissue, in no lumen."""
    diameter = float(np.exp(rng.uniform(np.log(7), np.log(50))))
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 4))
    shape = roughen(rng, shape, 0.25 * diameter, 8 / mpp)
    layer = Layer(shape, mpp)
    red_cells(rng, layer, shape.depth, tissue.pink, rng.uniform(0.2, 0.7))
    return layer


def hyaline(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw a solid pink body: collagen, keratin, secretion."""
    diameter = float(np.exp(rng.uniform(np.log(8), np.log(50))))
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 3))
    layer = Layer(roughen(rng, shape, 0.05 * diameter, 5 / mpp), mpp)
    grain = 1 + 0.12 * smooth_noise(rng, shape.depth.shape, 2 / mpp)
    layer.put(
        fade(layer.depth, rng.uniform(0.8, 4)),
        grain[..., None] * tissue.pink * rng.uniform(0.8, 1.6),
    )
    return layer


def spindles(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw flat nuclei of the stroma along a line, around nothing."""
    shape = tube(rng, centre, 4.0, rng.uniform(15, 60), mpp=mpp, size=size, taper=0.6)
    layer = Layer(shape, mpp)
    nuclei_along(
        rng, layer, float(shape.depth.max()) * 0.5, 22, (6, 16), (1.5, 3.2), tissue.nuclear
    )
    return layer


def haloed_cell(
    rng: np.random.Generator, centre: Place, tissue: Tissue, mpp: float, size: int
) -> Layer:
    """Draw a round nucleus in a clear space of its own."""
    diameter = rng.uniform(8, 17)
    shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 1.5))
    layer = Layer(shape, mpp)
    layer.put(fade(shape.depth), np.full(3, rng.uniform(0, 0.08)))
    nucleus = blob(rng, centre, diameter * rng.uniform(0.4, 0.7), mpp=mpp, size=size)
    _stamp(layer, nucleus, tissue.nuclear * rng.uniform(0.7, 1.2))
    return layer


def brown_cell(
    rng: np.random.Generator, centre: Place, tissue: Tissue, brown: Vector, mpp: float, size: int
) -> Layer:
    """Draw a brown cell that is no endothelium: a macrophage, or a round nucleus."""
    whole = rng.random() < 0.5
    diameter = rng.uniform(9, 18) if whole else rng.uniform(4, 9)
    shape = blob(
        rng, centre, diameter, mpp=mpp, size=size, elongation=rng.uniform(1, 1.8), wobble=0.15
    )
    layer = Layer(shape, mpp)
    grain = np.clip(1 + 0.35 * smooth_noise(rng, shape.depth.shape, 2 / mpp), 0.1, 2)
    amount = fade(shape.depth, rng.uniform(0.8, 3)) * grain * rng.uniform(0.3, 1.1)
    layer.cover = fade(shape.depth)
    layer.add(layer.cover, tissue.pink)
    if whole and rng.random() < 0.7:
        _stamp(layer, blob(rng, centre, 6.0, mpp=mpp, size=size), tissue.nuclear)
    layer.add(amount.astype(np.float32), brown)
    return layer


def brown_smear(
    rng: np.random.Generator, centre: Place, tissue: Tissue, brown: Vector, mpp: float, size: int
) -> Layer:
    """Draw stain that lies about: a cloud without an edge, or a solid speck."""
    if rng.random() < 0.5:
        shape = blob(rng, centre, rng.uniform(15, 70), mpp=mpp, size=size, wobble=0.2)
        amount = fade(shape.depth, 12) * rng.uniform(0.05, 0.3)
    else:
        shape = blob(rng, centre, rng.uniform(1.5, 5), mpp=mpp, size=size, wobble=0.2)
        amount = fade(shape.depth) * rng.uniform(0.5, 1.6)
    layer = Layer(shape, mpp)
    layer.add(amount.astype(np.float32), brown)
    return layer


def _stamp(layer: Layer, shape: Shape, colour: Vector) -> None:
    """Draw a shape of a window of its own on a layer."""
    alpha = np.zeros_like(layer.cover)
    pairs = list(zip(layer.shape.window, shape.window, strict=True))
    cut = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in pairs]
    inside, source = (
        tuple(
            slice(low - pair[which].start, high - pair[which].start)
            for (low, high), pair in zip(cut, pairs, strict=True)
        )
        for which in (0, 1)
    )
    alpha[inside] = fade(shape.depth[source])
    layer.put(alpha, colour)


PLAIN: dict[Draw, float] = {
    vacuole: 0.22,
    tear: 0.16,
    shrinkage: 0.12,
    gland: 0.1,
    spilt_blood: 0.1,
    hyaline: 0.1,
    spindles: 0.12,
    haloed_cell: 0.08,
}
"""Look-alikes in any stain, and their shares."""
