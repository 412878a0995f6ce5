"""Vessels as a section shows them: a wall, a lining with flat nuclei, and what the lumen holds."""

from __future__ import annotations

import math

import numpy as np

from qpbridge.training.synthetic.layer import Layer, Mask, band, fade, nuclei_along, red_cells
from qpbridge.training.synthetic.shapes import Field, Shape, blob, roughen, smooth_noise, tube
from qpbridge.training.synthetic.stains import Tissue, Vector

DIAMETERS = (5.0, 200.0)  # µm: capillaries to small arteries and veins


def draw_diameter(rng: np.random.Generator) -> float:
    """Random diameter in µm: mostly small vessels, as there are."""
    low, high = DIAMETERS
    while True:
        value = float(np.exp(rng.normal(math.log(20.0), 0.85)))
        if low <= value <= high:
            return value


def vessel_shape(
    rng: np.random.Generator, centre: tuple[float, float], diameter: float, mpp: float, size: int
) -> Shape:
    """Draw an outline: round, oblique, along the way, branching, or collapsed."""
    kind = rng.random()
    if kind < 0.5:
        elongation = float(np.exp(abs(rng.normal(0, 0.45))))
        shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=elongation, wobble=0.08)
    elif kind < 0.68:
        elongation = rng.uniform(2.5, 6.0)  # collapsed
        shape = blob(rng, centre, diameter, mpp=mpp, size=size, elongation=elongation, wobble=0.12)
    else:
        width = min(diameter, 60.0) * 0.8
        length = width * rng.uniform(2.0, 6.0) + 10
        branches = int(rng.integers(1, 3)) if kind > 0.88 else 0
        shape = tube(
            rng, centre, width, min(length, 180.0), mpp=mpp, size=size, branches=branches, taper=0.2
        )
    return roughen(rng, shape, min(0.03 * diameter, 1.5), 8 / mpp)


def paint_vessel(
    rng: np.random.Generator, shape: Shape, diameter: float, tissue: Tissue, mpp: float
) -> tuple[Layer, Mask, Mask]:
    """Draw a vessel in H&E.

    Returns
    -------
    layer
        To lay over the picture.
    profile, lumen : bool arrays (h, w)
        The truth: the profile includes the lumen.
    """
    layer = Layer(shape, mpp)
    depth = shape.depth
    muscular = diameter > 18 and rng.random() < 0.45
    half = float(depth.max())
    wall = rng.uniform(0.12, 0.3) * diameter if muscular else rng.uniform(0.9, 2.0)
    wall = min(wall, max(0.55 * half, 0.6), 30.0)
    if diameter < 25 and rng.random() < 0.12:  # closed
        wall = 1.2 * half
    uneven = 1 + 0.2 * smooth_noise(rng, depth.shape, 15 / mpp)
    inner: Field = (depth - np.float32(wall) * np.clip(uneven, 0.5, 1.6)).astype(np.float32)
    if diameter > 15 and rng.random() < 0.5:  # cells that bulge into the lumen
        bulges = smooth_noise(rng, depth.shape, rng.uniform(4, 7) / mpp)
        inner -= np.float32(rng.uniform(0.4, 1.2)) * np.clip(bulges, -0.5, None)
    surroundings(rng, layer, tissue)
    fibres(rng, layer, tissue, wall, muscular)
    if muscular:
        for at in np.arange(2.5, wall - 1, 4.0):
            nuclei_along(rng, layer, at, 22, (8, 18), (1.6, 3.2), tissue.nuclear * 0.85)
    paint_lumen(rng, layer, inner, tissue)
    lining = rng.uniform(0.3, 1.1)
    strength = rng.uniform(0.4, 1.4)
    blue = rng.uniform(0.0, 0.25)
    patchy = np.clip(0.7 + 0.5 * smooth_noise(rng, depth.shape, 9 / mpp), 0.0, 1.0)
    edge = band(inner, -lining, rng.uniform(0.0, 0.4)) * np.float32(rng.uniform(0.2, 1.0)) * patchy
    layer.put(edge, strength * tissue.pink + blue * tissue.nuclear)
    if rng.random() < 0.4:  # cells around
        nuclei_along(
            rng, layer, -rng.uniform(0.5, 3), rng.uniform(15, 50), (5, 12), (2, 4), tissue.nuclear
        )
    thick = (1.4, 2.6) if diameter < 9 else (1.6, 3.4) if rng.random() < 0.4 else (2.5, 5.5)
    long = (5, 13) if diameter > 12 else (4, 9)
    spacing = rng.uniform(14, 45)
    at = min(wall, 0.8 * half) + rng.uniform(-0.5, 1.0)
    nuclei_along(rng, layer, at, spacing, long, thick, tissue.nuclear)
    return layer, depth > 0, inner > 0


def paint_stained_vessel(
    rng: np.random.Generator,
    shape: Shape,
    diameter: float,
    tissue: Tissue,
    brown: Vector,
    *,
    nuclear: bool,
    mpp: float,
) -> tuple[Layer, Mask, Mask]:
    """Draw a vessel whose endothelium is stained brown; returns as `paint_vessel`.

    The profile ends where the endothelium does: muscle around it is not stained.

    Parameters
    ----------
    rng
        Of everything random.
    shape, diameter
        Its outline, and size in µm.
    tissue
        Colours of what is not brown.
    brown
        Optical density of full staining.
    nuclear
        Whether the nuclei are stained (ERG), not the cells (CD31, CD34).
    mpp
        µm per pixel.
    """
    layer = Layer(shape, mpp)
    depth = shape.depth
    half = float(depth.max())
    rim = min(rng.uniform(1.0, 3.2), max(0.6 * half, 0.6))
    if diameter < 25 and rng.random() < 0.25 and not nuclear:  # closed
        rim = 1.3 * half
    uneven = 1 + 0.3 * smooth_noise(rng, depth.shape, 6 / mpp)
    inner: Field = (depth - np.float32(rim) * np.clip(uneven, 0.4, 1.8)).astype(np.float32)
    if diameter > 25 and rng.random() < 0.4:  # muscle around
        around = rng.uniform(4, 11)
        layer.put(0.8 * band(depth, -around, 0.5), tissue.pink * rng.uniform(0.8, 1.8))
        nuclei_along(rng, layer, -around / 2, 25, (8, 16), (1.8, 3.2), tissue.nuclear)
    surroundings(rng, layer, tissue)
    layer.put(fade(depth), tissue.pink * rng.uniform(0.6, 1.5))
    paint_lumen(rng, layer, inner, tissue, pale=True)
    spacing = rng.uniform(12, 30)
    long, thick = (5.0, 13.0), (1.8, 3.6)
    at = min(rim, 0.8 * half) + rng.uniform(-0.5, 0.6)
    if nuclear:
        haze = rng.uniform(0.0, 0.12)
        layer.add(haze * band(depth, 0.0, rim), brown)
        nuclei_along(rng, layer, at, spacing * 0.8, long, thick, brown * rng.uniform(0.7, 1.2))
        return layer, depth > 0, inner > 0
    nuclei_along(rng, layer, at, spacing, long, thick, tissue.nuclear)
    patchy = 1 + rng.uniform(0.1, 0.45) * smooth_noise(rng, depth.shape, rng.uniform(4, 14) / mpp)
    grain = 1 + 0.2 * smooth_noise(rng, depth.shape, 0.8 / mpp)
    amount = rng.uniform(0.35, 1.2) * np.clip(patchy * grain, 0.12, 1.8)
    edge = np.minimum(fade(depth, 1.2), fade(-inner, 1.2))
    layer.add((edge * amount).astype(np.float32), brown)
    return layer, depth > 0, inner > 0


def surroundings(rng: np.random.Generator, layer: Layer, tissue: Tissue) -> None:
    """Draw what may lie around: loose collagen, or a gap where the tissue shrank away."""
    depth, mpp = layer.depth, layer.mpp
    if rng.random() < 0.4:
        width = rng.uniform(2, 7)
        grain = 1 + 0.25 * smooth_noise(rng, depth.shape, 2 / mpp)
        layer.put(
            (0.6 * fade(depth + width, width)).astype(np.float32),
            (grain * rng.uniform(0.5, 1.1))[..., None] * tissue.pink,
        )
    if rng.random() < 0.15:
        width = rng.uniform(0.8, 2.5)
        side = smooth_noise(rng, depth.shape, 25 / mpp)
        gap = band(depth, -width, -0.3) * fade(side, 0.5)
        layer.put(gap, np.full(3, 0.02))


def fibres(
    rng: np.random.Generator, layer: Layer, tissue: Tissue, wall: float, muscular: bool
) -> None:
    """Draw the wall: layers that follow the outline, where it is of muscle."""
    depth, mpp = layer.depth, layer.mpp
    grain = 1 + 0.15 * smooth_noise(rng, depth.shape, 1.2 / mpp)
    if muscular:
        bend = smooth_noise(rng, depth.shape, 10 / mpp)
        waves = np.sin(2 * np.pi * depth / rng.uniform(2.5, 5.0) + 2.5 * bend)
        grain = grain * (1 + rng.uniform(0.08, 0.3) * waves)
    shade = tissue.pink * rng.uniform(0.5, 1.3) + tissue.nuclear * rng.uniform(0.0, 0.12)
    # a thin wall is hardly another thing than the tissue around
    opaque = rng.uniform(0.3, 1.0) if muscular or rng.random() < 0.4 else rng.uniform(0.0, 0.4)
    ends = rng.uniform(0.6, 3.0)  # nor is there always a line where a wall ends
    layer.put(
        fade(depth - ends / 2, ends) * np.float32(opaque),
        np.clip(grain, 0.2, None)[..., None] * shade,
    )


def paint_lumen(
    rng: np.random.Generator, layer: Layer, inner: Field, tissue: Tissue, *, pale: bool = False
) -> None:
    """Empty the lumen, and fill some with plasma, red cells, and a white cell or two."""
    mpp = layer.mpp
    haze = rng.uniform(0.0, 0.06) * (1 + 0.15 * smooth_noise(rng, inner.shape, 5 / mpp))
    layer.put(fade(inner, rng.uniform(0.4, 1.4)), haze[..., None] * np.ones(3))
    if rng.random() < (0.15 if pale else 0.35):
        cloud = 1 + 0.25 * smooth_noise(rng, inner.shape, rng.uniform(1, 6) / mpp)
        share = rng.uniform(0.1, 0.5)
        shrunk = inner - rng.choice([0.0, rng.uniform(0.5, 3.0)])
        layer.put(fade(shrunk), (share * np.clip(cloud, 0.2, None))[..., None] * tissue.pink)
    if rng.random() < (0.25 if pale else 0.55):
        fullness = float(rng.choice([rng.uniform(0.05, 0.5), rng.uniform(0.5, 1.0), 1.0]))
        eosin = tissue.pink * 0.35 / np.linalg.norm(tissue.pink) if pale else tissue.pink
        red_cells(rng, layer, inner, eosin, fullness)
    if rng.random() < 0.2 and float(inner.max()) > 5:
        nuclei_along(
            rng, layer, float(depth_inside(layer, inner)), 60, (5, 7), (5, 7), tissue.nuclear
        )


def depth_inside(layer: Layer, inner: Field) -> float:
    """Depth in µm of a line through the lumen."""
    return float(np.median(layer.depth[inner > 0]))
