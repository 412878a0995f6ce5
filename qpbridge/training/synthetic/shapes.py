"""Outlines of what is drawn, as fields: how deep inside of an outline each pixel lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Field = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A shape in a part of a picture.

    Attributes
    ----------
    window
        Rows and columns of the picture that it lies in, with some space around.
    depth : float32 array
        µm from each pixel of the window to the outline, negative outside.
    """

    window: tuple[slice, slice]
    depth: Field


def blob(
    rng: np.random.Generator,
    centre: tuple[float, float],
    diameter: float,
    *,
    mpp: float,
    size: int,
    elongation: float = 1.0,
    wobble: float = 0.06,
) -> Shape:
    """Draw a closed outline that is nearly an ellipse.

    Parameters
    ----------
    rng
        Of everything random.
    centre
        x and y in µm.
    diameter
        Of a circle of the same area, in µm.
    mpp, size
        µm per pixel and edge of the (square) picture.
    elongation
        Ratio of the axes.
    wobble
        How far the radius strays, as a share of it.
    """
    long = diameter / 2 * math.sqrt(elongation)
    x, y, window = _grid(centre, long * (1.2 + 2 * wobble) + 12, mpp, size)
    angle = np.arctan2(y - centre[1], x - centre[0]) - rng.uniform(0, 2 * math.pi)
    short = diameter / 2 / math.sqrt(elongation)
    steps = np.linspace(-math.pi, math.pi, 721)
    radius = long * short / np.hypot(short * np.cos(steps), long * np.sin(steps))
    for order in range(2, 7):
        amount = rng.normal(0, wobble * 1.5 / order)
        radius = radius * (1 + amount * np.cos(order * steps + rng.uniform(0, 2 * math.pi)))
    slope = np.gradient(radius, steps)
    wrapped = np.mod(angle + math.pi, 2 * math.pi) - math.pi
    edge = np.interp(wrapped, steps, radius)
    tilt = np.interp(wrapped, steps, radius / np.hypot(radius, slope))
    depth = (edge - np.hypot(x - centre[0], y - centre[1])) * tilt
    return Shape(window, depth.astype(np.float32))


def tube(
    rng: np.random.Generator,
    centre: tuple[float, float],
    width: float,
    length: float,
    *,
    mpp: float,
    size: int,
    branches: int = 0,
    taper: float = 0.25,
) -> Shape:
    """Draw a winding tube, with branches: a vessel that is cut along its way.

    Parameters
    ----------
    rng
        Of everything random.
    centre
        x and y in µm of its middle.
    width, length
        In µm.
    mpp, size
        µm per pixel and edge of the (square) picture.
    branches
        How many thinner tubes leave it.
    taper
        How much the width varies, as a share of it.
    """
    points, radii = _way(rng, np.array(centre), width / 2, length, taper)
    points -= points.mean(0) - centre
    for _ in range(branches):
        at = int(rng.integers(len(points) // 4, max(3 * len(points) // 4, len(points) // 4 + 1)))
        more, thinner = _way(
            rng,
            points[at],
            width / 2 * rng.uniform(0.5, 0.9),
            length * rng.uniform(0.3, 0.6),
            taper,
        )
        points, radii = np.concatenate([points, more]), np.concatenate([radii, thinner])
    middle = (points.min(0) + points.max(0)) / 2
    reach = float(np.abs(points - middle).max() + radii.max() + 12)
    x, y, window = _grid((middle[0], middle[1]), reach, mpp, size)
    depth = np.full(x.shape, -np.inf, np.float32)
    for (px, py), radius in zip(points.astype(np.float32), radii.astype(np.float32), strict=True):
        np.maximum(depth, radius - np.hypot(x - px, y - py), out=depth)
    return Shape(window, depth)


def roughen(rng: np.random.Generator, shape: Shape, amount: float, scale: float) -> Shape:
    """Let the outline stray by about `amount` pixels' worth of µm over a distance of `scale`."""
    stray = smooth_noise(rng, shape.depth.shape, scale)
    return Shape(shape.window, shape.depth + np.float32(amount) * stray)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> Field:
    """Random field of mean 0 and standard deviation of about 1, smooth over `scale` pixels."""
    coarse = [max(2, math.ceil(length / max(scale, 1.0)) + 3) for length in shape]
    values = torch.from_numpy(rng.standard_normal((1, 1, *coarse), np.float32))
    size = tuple(round(length * max(scale, 1.0)) for length in coarse)
    field = F.interpolate(values, size=size, mode="bicubic", align_corners=False)[0, 0]
    return np.asarray(field[: shape[0], : shape[1]].numpy() * np.float32(1.3))


def _way(
    rng: np.random.Generator,
    start: npt.NDArray[np.float64],
    radius: float,
    length: float,
    taper: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points and radii along a winding line, closer together than the line is wide."""
    step = max(radius * 0.35, 0.5)
    count = max(4, round(length / step))
    bend = _slow(rng, count, 8) * step / max(length, 1.0) * 2.5
    heading = rng.uniform(0, 2 * math.pi) + np.cumsum(bend)
    points = start + np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), 0) * step
    return points, radius * np.clip(1 + taper * _slow(rng, count, 8), 0.5, 1.8)


def _slow(rng: np.random.Generator, count: int, every: int) -> npt.NDArray[np.float64]:
    """Random numbers that change slowly, with a new one `every` so many."""
    knots = count // every + 3
    values: npt.NDArray[np.float64] = np.interp(
        np.linspace(0, knots - 1, count), np.arange(knots), rng.normal(0, 1, knots)
    )
    return values


def _grid(
    centre: tuple[float, float], reach: float, mpp: float, size: int
) -> tuple[Field, Field, tuple[slice, slice]]:
    """Return x and y in µm of the pixels up to `reach` from the centre, and which they are."""
    ranges = [
        slice(max(0, int((c - reach) / mpp)), max(0, min(size, math.ceil((c + reach) / mpp))))
        for c in (centre[1], centre[0])
    ]
    y, x = (
        ((np.arange(r.start, max(r.start, r.stop)) + 0.5) * mpp).astype(np.float32) for r in ranges
    )
    columns, rows = np.meshgrid(x, y)
    return columns, rows, (ranges[0], ranges[1])
