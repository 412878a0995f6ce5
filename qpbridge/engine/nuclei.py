"""The nuclei target: a bundle's network on a device, and its maps to measured nuclei."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
import torch

from qpbridge.decode.nuclei import decode_nuclei
from qpbridge.decode.polygons import instances_to_polygons, round_rings
from qpbridge.engine.merge import Found
from qpbridge.engine.plan import TilePlan
from qpbridge.engine.provenance import storable
from qpbridge.engine.run import MERGE_MARGIN, Maps, Pixels, core_depth
from qpbridge.measure.color import deconvolve
from qpbridge.measure.intensity import intensity_names, intensity_of_shapes
from qpbridge.measure.shape import shape_measurements, shape_names
from qpbridge.models.bundle import Bundle
from qpbridge.models.network import choose_device
from qpbridge.objects import Shapes, Stains

PROBABILITY = "Detection probability"


class NucleusNetwork:
    """The network of a nuclei model, ready to run.

    Parameters
    ----------
    bundle
        The model.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    """

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.bundle = bundle
        self.device = choose_device(device)
        self._network = bundle.network(self.device)

    def __call__(self, pixels: Pixels) -> Maps:
        """Run the network on a batch, uint8 (b, h, w, 3), and return its maps (b, c, h, w)."""
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
            maps: Maps = self._network(batch).cpu().numpy()
        return maps


@dataclass(frozen=True)
class NucleusDecoder:
    """Turns the maps of a tile into measured nuclei.

    Parameters
    ----------
    bundle
        The model that made the maps.
    plan
        The tiles.
    mpp
        µm per server pixel (x, y).
    stains
        The image's own, for the intensities.
    """

    bundle: Bundle
    plan: TilePlan
    mpp: tuple[float, float]
    stains: Stains

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the measurements, in the order of the columns."""
        stains = self.stains.stain_names
        return (PROBABILITY, *shape_names(self.mpp), *intensity_names(stains))

    def __call__(self, pixels: Pixels, maps: Maps, corner: tuple[int, int]) -> Found:
        """Decode one tile; see `qpbridge.engine.run.find_objects`."""
        decode = self.bundle.decode
        labels, probability, *_ = decode_nuclei(maps, **decode)
        rings = instances_to_polygons(labels, maps[0], decode["threshold"])
        centroids = shapely.get_coordinates(shapely.centroid(rings.polygons()))
        depth = core_depth(centroids, self.plan.core, self.plan.halo)
        near = np.flatnonzero(depth >= -MERGE_MARGIN)
        outlines = Shapes.from_rings(rings.coords, rings.offsets).take(near)

        placed = (outlines.coords + corner) * self.plan.downsample
        rounded = round_rings(placed, outlines.rings, _decimals(placed))
        kept = near[rounded.owner]
        shapes = Shapes.from_rings(storable(rounded.coords), rounded.offsets)
        _, shape = shape_measurements(shapes, self.mpp)
        _, intensity = intensity_of_shapes(
            deconvolve(pixels, self.stains),
            self.stains.stain_names,
            shapes,
            corner,
            self.plan.downsample,
        )
        return Found(
            shapes,
            np.column_stack([probability[rings.owner[kept] - 1], shape, intensity]),
            depth[kept],
            np.zeros(len(kept), np.int64),
        )


def _decimals(coords: npt.NDArray[np.float64]) -> int:
    """Digits that QuPath's float32 coordinates can hold that far from the origin."""
    return 2 if np.abs(coords).max(initial=0) < 2**17 else 1
