"""Maps of a nuclei network to single nuclei.

Every foreground pixel votes for the centre that it points to; where votes gather there is a
nucleus, and a pixel belongs to the nucleus that it voted for. That parts nuclei that touch even
where no dark line lies between them. Each step looks only at its neighbourhood, so that a nucleus
comes out the same whatever else lies in the map.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_parts

from qpbridge.decode.instances import Instances


def decode_nuclei(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float = 0.5,
    vote_sigma_um: float = 1.0,
    spacing_um: float = 1.5,
    min_votes: float = 0.3,
    min_area_um2: float = 10.0,
    min_probability: float = 0.0,
) -> Instances:
    """Find nuclei in maps.

    Parameters
    ----------
    maps : float32 array, shape (4, H, W)
        Foreground probability, distance (not used here), and the way to the centroid of the
        pixel's nucleus in x and y, in pixels.
    mpp
        Pixel size of the maps in µm.
    threshold
        Probability from which a pixel is foreground.
    vote_sigma_um
        How far votes are spread (standard deviation), in µm.
    spacing_um
        Centres of two nuclei are further apart than this, in µm, along x or y.
    min_votes
        Votes per pixel, after spreading, that a centre must have.
    min_area_um2
        Smaller nuclei are dropped.
    min_probability
        Nuclei with a lower mean foreground probability are dropped.

    Raises
    ------
    ValueError
        If there are not four maps.
    """
    if maps.ndim != 3 or maps.shape[0] != 4:
        raise ValueError(f"Four maps (4, H, W) were expected, not {maps.shape}.")
    foreground = maps[0]
    shape = foreground.shape
    pixel = np.flatnonzero(foreground > threshold)
    goal = _goals(maps, pixel)
    votes = np.bincount(goal, minlength=foreground.size).reshape(shape).astype(np.float32)
    votes = ndimage.gaussian_filter(votes, vote_sigma_um / mpp, mode="constant", truncate=3)
    centres = _climb(votes, goal, max(1, round(spacing_um / mpp)), min_votes)
    labels = np.zeros(shape, np.int32)
    labels.ravel()[pixel] = centres
    labels = _without_tails(labels)
    labels, probability = _select(labels, foreground, min_area_um2 / mpp**2, min_probability)
    return Instances(labels, probability, foreground, threshold)


def _goals(maps: npt.NDArray[np.float32], pixel: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Flat index of the pixel that each of the given pixels points to."""
    height, width = maps.shape[1:]
    x = np.rint(pixel % width + maps[2].ravel()[pixel]).astype(np.int64)
    y = np.rint(pixel // width + maps[3].ravel()[pixel]).astype(np.int64)
    goal: npt.NDArray[np.int64] = np.clip(y, 0, height - 1) * width + np.clip(x, 0, width - 1)
    return goal


def _climb(
    votes: npt.NDArray[np.float32], goal: npt.NDArray[np.int64], reach: int, least: float
) -> npt.NDArray[np.int32]:
    """Return the number of the summit uphill of each goal; 0 where it has too few votes.

    A step goes to the highest of the eight neighbours; from a summit on to the highest pixel
    within `reach`, so that no two are closer than that. Steps are doubled until nothing moves.
    """
    width = votes.shape[1] + 2 * reach
    heights = np.pad(votes, reach).ravel()
    start = (goal // votes.shape[1] + reach) * width + goal % votes.shape[1] + reach
    # whatever lies uphill of a pixel with votes has votes
    place = np.flatnonzero(heights)
    number = np.zeros(heights.shape, np.int32)
    number[place] = np.arange(len(place))
    step = number[_highest(heights, place, 1, width)]
    top = np.flatnonzero(step == np.arange(len(place)))
    step[top] = number[_highest(heights, place[top], reach, width)]
    while True:
        further = step[step]
        if np.array_equal(further, step):
            break
        step = further
    summit = step[number[start]]
    high = heights[place[summit]] > least
    _, label = np.unique(np.where(high, summit, -1), return_inverse=True)
    labels: npt.NDArray[np.int32] = label.astype(np.int32) + np.int32(high.all())
    return labels


def _highest(
    heights: npt.NDArray[np.float32], place: npt.NDArray[np.int64], reach: int, width: int
) -> npt.NDArray[np.int64]:
    """Index of the highest pixel within `reach` (the first of several), for each place."""
    side = np.arange(-reach, reach + 1)
    around = (side[:, None] * width + side).ravel()
    best: npt.NDArray[np.int64] = place + around[0]
    highest = heights[best]
    for shift in around[1:]:
        other = heights[place + shift]
        higher = other > highest
        highest = np.where(higher, other, highest)
        best = np.where(higher, place + shift, best)
    return best


def _without_tails(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Remove from each instance what is thinner than a plus of five pixels (opening)."""
    core = np.where(np.logical_and.reduce([n == labels for n in _beside(labels)]), labels, 0)
    kept = np.logical_or.reduce([n == labels for n in (core, *_beside(core))])
    opened: npt.NDArray[np.int32] = np.where(kept, labels, 0)
    return opened


def _beside(labels: npt.NDArray[np.int32]) -> list[npt.NDArray[np.int32]]:
    """Label of the pixel above, on the left, on the right and below; outside as the edge."""
    wide = np.pad(labels, 1, mode="edge")
    return [wide[:-2, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:], wide[2:, 1:-1]]


def _select(
    labels: npt.NDArray[np.int32],
    foreground: npt.NDArray[np.float32],
    min_area: float,
    min_probability: float,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Keep the largest part of each nucleus, and of those the ones that are good enough."""
    parts = label_parts(labels, connectivity=1).ravel()  # type: ignore[no-untyped-call]
    area = np.bincount(parts)
    area[0] = 0
    owner = np.zeros(len(area), np.int32)
    owner[parts] = labels.ravel()
    order = np.lexsort((-area, owner))
    largest = order[np.r_[True, np.diff(owner[order]) > 0]]
    chance = np.bincount(parts, foreground.ravel(), len(area)) / np.maximum(area, 1)
    kept = largest[(area[largest] >= min_area) & (chance[largest] >= min_probability)]
    kept = kept[kept > 0]
    number = np.zeros(len(area), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    return number[parts].reshape(labels.shape), chance[kept].astype(np.float32)
