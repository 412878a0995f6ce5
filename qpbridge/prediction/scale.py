"""How large the pixels of a slide are, by the size of its nuclei: for slides that don't say it.

A network is shown a few fields as if a pixel had this or that many µm. Where that is far off, it
finds little. Where it finds nuclei, their median area, against that of nuclei in general, tells how
far off; over a wide range of scales the answer is the same, since what is shown too large is found
too large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.decode.decoders import decode
from qpbridge.measurements.color import H_E, optical_density
from qpbridge.models.bundle import Bundle
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides.slide import Slide

LADDER = tuple(0.09 * 2 ** (step / 2) for step in range(9))
"""µm per pixel that are tried: 0.09 to 1.44."""

FIELDS, SIDE = 4, 256
"""How many fields are looked at, and their side in pixels of the network."""

PLACE = 512
"""Pixels of the slide around the middle of a field that are not those of another."""

LEAST = 3
"""Nuclei in all fields below which a scale tells nothing."""

ENOUGH = 20
"""Nuclei from which on an estimate is worth a word without doubt."""

COARSEST = 1.5
"""µm per pixel above which an estimate is doubtful: where there are hardly any nuclei (muscle, fat,
brain), the grain of a picture that is enlarged so much is taken for them."""

BETWEEN_SLIDES = 0.2
"""Standard deviation of the logarithm of nuclear diameters between slides; measured."""

WIDTH = 0.5
"""How far, as a logarithm, scales and sizes may be from what they are taken for."""

INK = 40
"""Grey level below which a pixel is no tissue."""


class Seen(NamedTuple):
    """What a network finds at one scale.

    Attributes
    ----------
    mpp
        µm per pixel that the slide was taken to have.
    area
        Median area of the nuclei, in µm² by that scale.
    certain
        Nuclei, each counted as far as it is certain.
    covered
        Share of the fields that they cover.
    """

    mpp: float
    area: float
    certain: float
    covered: float


class ScaleEstimate(NamedTuple):
    """µm per pixel by the size of nuclei, and between which bounds nine of ten slides are.

    Attributes
    ----------
    mpp, low, high
        µm per pixel.
    nuclei
        That were looked at.
    """

    mpp: float
    low: float
    high: float
    nuclei: int

    @property
    def sure(self) -> bool:
        """Whether there were enough nuclei, and it is no grain that was taken for them."""
        return self.nuclei >= ENOUGH and self.mpp <= COARSEST

    def __str__(self) -> str:
        doubt = ""
        if self.nuclei < ENOUGH:
            doubt = f", but only {self.nuclei} nuclei were found"
        elif not self.sure:
            doubt = ", but that may be the grain of the picture, taken for nuclei"
        return f"about {self.mpp:.2g} µm ({self.low:.2g} to {self.high:.2g}){doubt}"


def estimate_scale(slide: Slide, area: Any, network: TargetNetwork) -> ScaleEstimate | None:
    """Estimate µm per pixel of a slide.

    Parameters
    ----------
    slide
        An open slide.
    area
        Geometry in server pixels: where to look.
    network
        Of a model for nuclei, ready to run.

    Returns
    -------
    ScaleEstimate
        None if there are hardly any nuclei.
    """
    places = choose_fields(slide, area)
    seen = [_look(slide, places, network, mpp) for mpp in LADDER] if places else []
    return combine([one for one in seen if one is not None], network.bundle.nucleus_um2)


def combine(seen: Sequence[Seen], nucleus_um2: float) -> ScaleEstimate | None:
    """Make one estimate of what was seen at several scales.

    Parameters
    ----------
    seen
        At each scale at which anything was found.
    nucleus_um2
        Median area of nuclei in general.
    """
    if not seen:
        return None
    tried, area, certain, covered = np.array(seen).T
    told = np.log(tried) + 0.5 * np.log(nucleus_um2 / area)
    near = np.exp(-((told - np.log(tried)) ** 2) / (2 * WIDTH**2))
    weight = (covered / covered.max()) ** 2 * near
    guess = float(np.average(told, weights=weight))
    for _ in range(5):  # what was seen near the scale itself counts most
        nearest = weight * np.exp(-((np.log(tried) - guess) ** 2) / (2 * WIDTH**2))
        guess = float(np.average(told, weights=nearest))
    spread = float(np.average((told - guess) ** 2, weights=nearest))
    nuclei = round(float(np.average(certain, weights=nearest)))
    deviation = math.sqrt(BETWEEN_SLIDES**2 + spread + 0.25 / max(1, nuclei))
    low, high = (math.exp(guess + sign * 1.64 * deviation) for sign in (-1, 1))
    return ScaleEstimate(math.exp(guess), low, high, nuclei)


def choose_fields(slide: Slide, area: Any) -> list[tuple[float, float]]:
    """Choose where to look: where most hematoxylin is, each place apart from the others.

    Returns
    -------
    places
        Middles of fields (x, y), server pixels.
    """
    from scipy import ndimage

    picture = slide.thumbnail(1000, 1000)
    downsample = max(slide.width / picture.shape[1], slide.height / picture.shape[0])
    rows, columns = (np.arange(n) for n in picture.shape[:2])
    x, y = np.meshgrid((columns + 0.5) * downsample, (rows + 0.5) * downsample)
    shapely.prepare(area)
    inside = shapely.contains_xy(area, x, y)
    table = optical_density((255.0, 255.0, 255.0))
    density = np.stack([table[c][picture[..., c]] for c in range(3)], axis=-1)
    stained = density @ np.array(H_E.vectors[0]) * (picture.max(axis=2) > INK) * inside
    side = max(1, round(PLACE / downsample))
    score = ndimage.uniform_filter(stained, side, mode="constant") * inside
    places: list[tuple[float, float]] = []
    while len(places) < FIELDS and score.max() > 0.02:
        row, column = np.unravel_index(np.argmax(score), score.shape)
        places.append((float(x[row, column]), float(y[row, column])))
        score[max(0, row - side) : row + side, max(0, column - side) : column + side] = 0
    return places


def _look(
    slide: Slide, places: Sequence[tuple[float, float]], network: TargetNetwork, mpp: float
) -> Seen | None:
    """Look at fields as if the slide had `mpp`; None where there are hardly any nuclei."""
    bundle = network.bundle
    downsample = bundle.mpp / mpp
    size = slide.width / downsample, slide.height / downsample
    side = min(SIDE, math.ceil(max(size) / bundle.stride) * bundle.stride)
    side = max(1, side // bundle.stride) * bundle.stride
    middles = {(x / downsample, y / downsample) for x, y in places}
    if side >= max(size):  # the whole slide, once
        middles = {(size[0] / 2, size[1] / 2)}
    corners = [(round(x) - side // 2, round(y) - side // 2) for x, y in sorted(middles)]
    fields = [slide.read(x, y, side, side, downsample) for x, y in corners]
    pixels = sum(_overlap(x, side, size[0]) * _overlap(y, side, size[1]) for x, y in corners)
    sizes, certain = [], 0.0
    for maps in (network(field[None])[0] for field in fields):
        areas, certainty = _whole_nuclei(bundle, maps)
        sizes.append(areas)
        certain += float(certainty.sum())
    areas = np.concatenate(sizes)
    if len(areas) < LEAST or pixels <= 0:
        return None
    median = float(np.median(areas))
    covered = certain * median / pixels
    return Seen(mpp, median * bundle.mpp**2, certain, covered)


def _overlap(start: int, length: int, size: float) -> float:
    return max(0.0, min(start + length, size) - max(start, 0))


def _whole_nuclei(
    bundle: Bundle, maps: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating]]:
    """Find areas, in pixels, and certainties of the nuclei that no border cuts."""
    found = decode(bundle.decoder, maps, **bundle.decode)
    labels, n = found.labels, len(found.probability)
    areas = np.bincount(labels.ravel(), minlength=n + 1)
    areas[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
    whole = areas[1 : n + 1] > 0
    return areas[1 : n + 1][whole], bundle.certainty(found.probability[whole])
