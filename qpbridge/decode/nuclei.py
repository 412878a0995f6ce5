"""Maps of a nuclei network to single nuclei.

Every foreground pixel votes for the centre that it points to; where votes gather there is a
nucleus, and a pixel belongs to the nucleus that it voted for. That parts nuclei that touch even
where no dark line lies between them. Each step looks only at its neighbourhood, so that a nucleus
comes out the same whatever else lies in the map.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

from qpbridge.decode.instances import Instances
from qpbridge.objects import IntArray

TRUNCATE = 3.0
"""Standard deviations at which the Gaussian that spreads votes ends."""


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
    pixel = np.flatnonzero(foreground > threshold)
    x, y = _goals(maps, pixel)
    reach = max(1, round(spacing_um / mpp))
    heights, start = _heights(x, y, foreground.shape, vote_sigma_um / mpp, reach)
    width = heights.shape[1]
    goal = start + y * width + x
    labels = np.zeros(foreground.shape, np.int32)
    labels.ravel()[pixel] = _climb(heights.ravel(), width, goal, reach, min_votes)
    labels = _without_tails(labels)
    labels, probability = _select(labels, foreground, min_area_um2 / mpp**2, min_probability)
    return Instances(labels, probability, foreground, threshold)


def _goals(maps: npt.NDArray[np.float32], pixel: IntArray) -> tuple[IntArray, IntArray]:
    """Column and row of the pixel that each of the given pixels points to."""
    height, width = maps.shape[1:]
    row = pixel // width
    x = np.rint(pixel - row * width + maps[2].ravel()[pixel]).astype(np.int64)
    y = np.rint(row + maps[3].ravel()[pixel]).astype(np.int64)
    return np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)


def _heights(
    x: IntArray, y: IntArray, shape: tuple[int, int], sigma: float, reach: int
) -> tuple[npt.NDArray[np.float32], int]:
    """Spread votes, one for each (x, y), within a map of a shape, by a Gaussian.

    Returns the map with room around it for what looks `reach` pixels further, and the flat index
    at which it starts; a line's end is the room before the next line.
    """
    height, width = shape
    radius = int(TRUNCATE * sigma + 0.5)
    room = max(radius, reach)
    # down the columns, each with zeros behind it, then along the rows
    votes = np.zeros(width * (height + radius), np.float32)
    np.add.at(votes, x * (height + radius) + y, np.float32(1))
    place, spread = _smooth_row(votes, sigma, radius)
    column, row = np.divmod(place, height + radius)
    inside = row < height
    start = reach * (width + room) + room
    heights = np.zeros((height + 2 * reach + 1, width + room), np.float32)
    flat = heights.ravel()
    flat[start + row[inside] * (width + room) + column[inside]] = spread[inside]
    place, spread = _smooth_row(flat, sigma, radius)
    flat[place] = spread
    heights[:, :room] = 0  # votes end with the map
    return heights, start


def _smooth_row(
    row: npt.NDArray[np.float32], sigma: float, radius: int
) -> tuple[IntArray, npt.NDArray[np.float32]]:
    """Smooth a long row that is mostly 0: the places where it isn't afterwards, and its values.

    Of longer stretches of zeros all are left out but what the Gaussian reaches from both ends.
    """
    there = np.zeros(len(row) + 2 * radius, bool)
    np.not_equal(row, 0, out=there[radius : radius + len(row)])
    near = there[: len(row)].copy()
    for shift in range(1, 2 * radius + 1):
        near |= there[shift : shift + len(row)]
    place = np.flatnonzero(near)
    spread = ndimage.gaussian_filter1d(row[place], sigma, mode="constant", truncate=TRUNCATE)
    return place, spread


def _climb(
    heights: npt.NDArray[np.float32], width: int, goal: IntArray, reach: int, least: float
) -> npt.NDArray[np.int32]:
    """Return the number of the summit uphill of each goal; 0 where it has too few votes.

    A step goes to the highest of the eight neighbours; from a summit on to the highest pixel
    within `reach`, so that no two are closer than that.
    """
    number = np.zeros(heights.shape, np.int32)
    number[goal] = 1
    first = np.flatnonzero(number != 0)
    summit = _uphill(heights, first, width)
    while True:
        top, which = np.unique(summit, return_inverse=True)
        further = _uphill(heights, _highest(heights, top, reach, width), width)
        if np.array_equal(further, top):
            break
        summit = further[which]
    high = heights[top] > least
    number[first] = (np.cumsum(high) * high)[which]
    return number[goal]


def _uphill(heights: npt.NDArray[np.float32], place: IntArray, width: int) -> IntArray:
    """Go from each place to the highest neighbour until there is none that is higher."""
    place = place.copy()
    moving = np.arange(len(place))
    while len(moving):
        before = place[moving]
        after = _highest(heights, before, 1, width)
        place[moving] = after
        moving = moving[after != before]
    return place


def _highest(heights: npt.NDArray[np.float32], place: IntArray, reach: int, width: int) -> IntArray:
    """Index of the highest pixel within `reach` (the first of several), for each place."""
    side = np.arange(-reach, reach + 1)
    around = (side[:, None] * width + side).ravel()
    highest = heights[place + around[0]]
    which = np.zeros(len(place), np.int16)
    for number, shift in enumerate(around[1:], 1):
        other = heights[place + shift]
        which[other > highest] = number
        np.maximum(highest, other, out=highest)
    best: IntArray = place + around[which]
    return best


def _without_tails(labels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Remove from each instance what is thinner than a plus of five pixels (opening).

    Beyond the edge of the map, instances go on as they end there.
    """
    down = labels[1:] == labels[:-1]
    across = labels[:, 1:] == labels[:, :-1]
    core = labels != 0
    core[1:] &= down
    core[:-1] &= down
    core[:, 1:] &= across
    core[:, :-1] &= across
    # a core's neighbours have its label
    kept = core.copy()
    kept[1:] |= core[:-1]
    kept[:-1] |= core[1:]
    kept[:, 1:] |= core[:, :-1]
    kept[:, :-1] |= core[:, 1:]
    opened: npt.NDArray[np.int32] = labels * kept
    return opened


def _select(
    labels: npt.NDArray[np.int32],
    foreground: npt.NDArray[np.float32],
    min_area: float,
    min_probability: float,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Keep the largest part of each nucleus, and of those the ones that are good enough."""
    pixel, parts = _parts(labels)
    area = np.bincount(parts)
    owner = np.zeros(len(area), np.int32)
    owner[parts] = labels.ravel()[pixel]
    order = np.lexsort((-area, owner))
    largest = order[np.diff(owner[order], prepend=0) > 0]
    chance = np.bincount(parts, foreground.ravel()[pixel]) / area
    kept = largest[(area[largest] >= min_area) & (chance[largest] >= min_probability)]
    number = np.zeros(len(area), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    selected = np.zeros(labels.shape, np.int32)
    selected.ravel()[pixel] = number[parts]
    return selected, chance[kept].astype(np.float32)


def _parts(labels: npt.NDArray[np.int32]) -> tuple[IntArray, npt.NDArray[np.int32]]:
    """Find the pixels of instances, in order, and the number of the part that each belongs to.

    Runs of pixels along rows are joined with those of the same instance that they touch in the row
    below.
    """
    inside = labels != 0
    begins = inside.copy()
    begins[:, 1:] &= labels[:, 1:] != labels[:, :-1]
    touch = inside[1:] & (labels[1:] == labels[:-1])
    touch &= begins[1:] | begins[:-1]  # two runs touch once, where the later one begins
    upper = np.flatnonzero(touch)
    first = np.flatnonzero(begins)
    pair = [np.searchsorted(first, p, "right") - 1 for p in (upper, upper + labels.shape[1])]
    joined = sparse.coo_array((np.ones(len(upper), bool), pair), shape=(len(first), len(first)))
    _, part = connected_components(joined, directed=False)
    pixel = np.flatnonzero(inside)
    parts: npt.NDArray[np.int32] = part[np.cumsum(begins.ravel()[pixel]) - 1]
    return pixel, parts
