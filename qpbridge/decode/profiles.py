"""What glands and vessels in a section have in common: profiles with a wall around a lumen.

Their networks draw three maps: foreground (lumen included), contour (near an outline), lumen.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import label as label_parts
from skimage.segmentation import watershed

from qpbridge.decode.instances import Instances, label_means

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


def decode_profiles(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float,
    core_threshold: float,
    opening_um: float,
    closing_um: float,
    min_core_um2: float,
    min_area_um2: float,
    min_probability: float,
    min_lumen_um2: float,
) -> Instances:
    """Find profiles in maps.

    The cores of profiles are where the foreground is sure and no contour near; from there they grow
    over the foreground, and meet where the contour is strongest.

    Parameters
    ----------
    maps : float32 array, shape (3, H, W)
        Probabilities of foreground, contour, and lumen.
    mpp
        Pixel size of the maps in µm.
    threshold
        Probability from which a pixel is foreground.
    core_threshold
        Least foreground probability less contour probability in a core.
    opening_um
        Bridges between two cores that are thinner than twice this part them, in µm.
    closing_um
        Gaps that are narrower than twice this are closed, in µm.
    min_core_um2
        Smaller cores make no profile of their own, in µm².
    min_area_um2
        Smaller profiles are dropped, in µm².
    min_probability
        Profiles with a lower mean foreground probability are dropped.
    min_lumen_um2
        Smaller lumina are filled, in µm².

    Returns
    -------
    Instances
        The lumen is cut out of `Instances.labels`.

    Raises
    ------
    ValueError
        If there are not three maps.
    """
    if maps.ndim != 3 or maps.shape[0] != 3:
        raise ValueError(f"Three maps (3, H, W) were expected, not {maps.shape}.")
    foreground, contour, lumen = maps
    solid = closed(foreground > threshold, closing_um / mpp)
    core = opened(solid & (foreground - contour > core_threshold), opening_um / mpp)
    seeds = drop_small(label_parts(core, connectivity=1), min_core_um2 / mpp**2)  # type: ignore[no-untyped-call]
    # what has no core of its own but is large enough is a profile all the same: a collapsed one
    parts = label_parts(solid, connectivity=1)  # type: ignore[no-untyped-call]
    seeded = np.unique(parts[seeds > 0])
    seeds = np.where(np.isin(parts, seeded), seeds, np.where(solid, parts + seeds.max(), 0))
    grown: Labels = watershed(contour - foreground, seeds, mask=solid)  # type: ignore[no-untyped-call]
    labels = drop_small(largest_parts(fill_holes(grown)), min_area_um2 / mpp**2)
    chance = label_means(labels, foreground)
    labels = renumber(labels, chance >= min_probability)
    walls = hollowed(labels, lumen > 0.5, min_lumen_um2 / mpp**2)
    return Instances(walls, label_means(walls, foreground), foreground, threshold)


def closed(mask: Mask, radius: float) -> Mask:
    """Close gaps narrower than twice `radius` pixels; outside of the map is empty."""
    wide = int(np.ceil(radius)) + 1
    padded = np.pad(mask, wide)
    grown = ndimage.distance_transform_edt(~padded) <= radius
    shrunk = ndimage.distance_transform_edt(grown) > radius
    filled: Mask = mask | shrunk[wide:-wide, wide:-wide]
    return filled


def opened(mask: Mask, radius: float) -> Mask:
    """Remove what is narrower than twice `radius` pixels; the mask goes on outside of the map."""
    if radius <= 0 or not mask.any():
        return mask
    wide = int(np.ceil(radius)) + 1
    padded = np.pad(mask, wide, mode="edge")
    shrunk = ndimage.distance_transform_edt(padded) > radius
    if not shrunk.any():
        return np.zeros_like(mask)
    grown = ndimage.distance_transform_edt(~shrunk) <= radius
    kept: Mask = mask & grown[wide:-wide, wide:-wide]
    return kept


def fill_holes(labels: Labels) -> Labels:
    """Fill what one object encloses alone, or with the edge of nothing else."""
    empty = label_parts(labels == 0, connectivity=2)  # type: ignore[no-untyped-call]
    count = int(empty.max()) + 1
    low = np.full(count, np.iinfo(np.int32).max, np.int32)
    high = np.zeros(count, np.int32)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        beside = _shifted(labels, shift)
        edge = (empty > 0) & (beside > 0)
        np.minimum.at(low, empty[edge], beside[edge])
        np.maximum.at(high, empty[edge], beside[edge])
    border = np.concatenate([empty[0], empty[-1], empty[:, 0], empty[:, -1]])
    owner = np.where(low == high, high, 0)
    owner[border] = 0
    owner[0] = 0
    return np.where(labels == 0, owner[empty], labels)


def hollowed(labels: Labels, lumen: Mask, least: float) -> Labels:
    """Cut lumina of at least `least` pixels out of objects, which stay in one part each.

    A wall is left all around, at the edge of the map as well: the lumen of an object that goes on
    outside is no notch in what is seen of it.
    """
    hollow = lumen & inside(labels)
    hollow = drop_small(label_parts(hollow, connectivity=1), least) > 0  # type: ignore[no-untyped-call]
    parts = label_parts(np.where(hollow, 0, labels), connectivity=1)  # type: ignore[no-untyped-call]
    owner = np.zeros(int(parts.max()) + 1, np.int64)
    owner[parts.ravel()] = labels.ravel()
    # around something else that it encloses, a lumen can leave two rings
    apart = np.bincount(owner[1:], minlength=int(labels.max()) + 1) > 1
    return np.where(hollow & ~apart[labels], 0, labels)


def inside(labels: Labels) -> Mask:
    """Pixels all of whose eight neighbours are of the same object; beyond the edge is another."""
    wide = np.pad(labels, 1)
    height, width = labels.shape
    same = labels > 0
    for row, column in np.ndindex(3, 3):
        same &= wide[row : row + height, column : column + width] == labels
    return same


def largest_parts(labels: Labels) -> Labels:
    """Keep the largest part (sides touching) of each object, and renumber 1..n."""
    parts = label_parts(labels, connectivity=1)  # type: ignore[no-untyped-call]
    area = np.bincount(parts.ravel())
    owner = np.zeros(len(area), np.int64)
    owner[parts.ravel()] = labels.ravel()
    area[0] = 0
    order = np.lexsort((-area, owner))
    best = order[np.r_[True, np.diff(owner[order]) > 0]]
    best = best[owner[best] > 0]
    number = np.zeros(len(area), np.int32)
    number[best] = np.arange(1, len(best) + 1)
    largest: Labels = number[parts]
    return largest


def drop_small(labels: npt.NDArray[np.integer], least: float) -> Labels:
    """Drop objects of less than `least` pixels, and renumber 1..n."""
    return renumber(labels, np.bincount(labels.ravel())[1:] >= least)


def renumber(labels: npt.NDArray[np.integer], kept: Mask) -> Labels:
    """Keep some of the objects 1..n of a map, bool (n,), and renumber them."""
    number = np.zeros(len(kept) + 1, np.int32)
    number[1:][kept] = np.arange(1, np.count_nonzero(kept) + 1)
    renumbered: Labels = number[labels]
    return renumbered


def _shifted(labels: Labels, shift: tuple[int, int]) -> Labels:
    """Labels of the neighbours in one direction; beyond the edge, as on the edge."""
    rows = np.clip(np.arange(labels.shape[0]) + shift[0], 0, labels.shape[0] - 1)
    columns = np.clip(np.arange(labels.shape[1]) + shift[1], 0, labels.shape[1] - 1)
    return labels[rows][:, columns]
