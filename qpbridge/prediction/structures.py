"""Large objects, glands and vessels: seen in parts, joined across tiles, cut to the regions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from skimage.measure import label as label_parts

from qpbridge.decode.decoders import decode
from qpbridge.decode.lines import centre_lines
from qpbridge.decode.polygons import instances_to_areas
from qpbridge.hierarchy.clip import clip_to_regions
from qpbridge.hierarchy.provenance import storable
from qpbridge.hierarchy.regions import Region
from qpbridge.measurements.names import PROBABILITY
from qpbridge.measurements.shape import shape_measurements
from qpbridge.measurements.structures import line_measurements, lumen_measurements
from qpbridge.models.bundle import Bundle
from qpbridge.objects import GeometryArray, MeasurementTable, ObjectKind, ObjectTable, Shapes
from qpbridge.outlines import areas_um2, valid_areas
from qpbridge.prediction.placed import Placed, classify
from qpbridge.prediction.tiles.merge import TileObjects
from qpbridge.prediction.tiles.plan import Tile, TilePlan
from qpbridge.prediction.tiles.run import Maps, Pixels
from qpbridge.prediction.tiles.stages import Stages
from qpbridge.prediction.tiles.stitch import stitch_tiles

MARGIN = 16
"""How far around its core a tile reports parts of objects, in grid pixels."""

TOLERANCE = 0.25
"""How far simplification may move an outline, in grid pixels."""


@dataclass(frozen=True)
class StructureFinder:
    """Glands or vessels from the maps of tiles; a `finders.Finder`.

    Parameters
    ----------
    bundle
        The model that made the maps.
    tiles
        The tiles.
    mpp
        µm per server pixel (x, y).
    kind
        What is written: annotations, which can be edited and hold nuclei, or detections.
    stages
        Counts the time.
    """

    bundle: Bundle
    tiles: TilePlan
    mpp: tuple[float, float]
    kind: ObjectKind = ObjectKind.ANNOTATION
    stages: Stages = field(default_factory=Stages)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the objects of tiles depend on, besides the model and the tiles: nothing."""
        return {}

    @property
    def _line_mpp(self) -> float:
        """µm per grid pixel."""
        return self.tiles.downsample * math.sqrt(self.mpp[0] * self.mpp[1])

    @property
    def _lines(self) -> bool:
        return self.bundle.decoder == "lines"

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
        """Decode one tile; of each part, sum pixels and others over the tile's core."""
        with self.stages("decode"):
            return self._decode(maps, tile)

    def _decode(self, maps: Maps, tile: Tile) -> TileObjects:
        margin = min(MARGIN, tile.halo)
        window = self.tiles.within(tile)
        reported = window.meet(tile.around(margin))
        seen = decode(self.bundle.decoder, maps[:, *window.slices], **self.bundle.decode)
        there = reported.seen_from(window).slices
        labels, level = seen.labels[there], seen.level[there]
        parts = label_parts(labels, connectivity=1)  # type: ignore[no-untyped-call]
        areas = instances_to_areas(parts, level, seen.threshold, tolerance=TOLERANCE)
        core = window.meet(tile.around(0)).seen_from(reported).slices
        inside = parts[core].ravel()
        summed = [np.ones_like(level), level]
        if self._lines:
            length, width = centre_lines(parts)
            summed += [length, length * width]
        sums = [np.bincount(inside, m[core].ravel(), len(areas) + 1)[1:] for m in summed]
        bounds = shapely.bounds(areas) + np.tile(reported.corner - tile.halo, 2)
        size = tile.width, tile.height
        depth = np.column_stack([bounds[:, :2], size - bounds[:, 2:]]).min(axis=1)
        label = np.zeros(len(areas) + 1, np.int64)
        label[parts.ravel()] = labels.ravel()
        scale, shift = self.tiles.downsample, reported.corner + tile.corner
        return TileObjects(
            Shapes.from_geometries(shapely.transform(areas, lambda xy: (xy + shift) * scale)),
            np.column_stack(sums),
            depth,
            np.zeros(len(areas), np.int64),
            None if seen.classes is None else seen.classes[label[1:] - 1],
        )

    def merge(self, tiles: Iterable[TileObjects]) -> TileObjects:
        """Join the parts of each object."""
        return stitch_tiles(tiles, self.tiles, min(MARGIN, self.tiles.halo))

    def place(
        self,
        found: TileObjects,
        regions: tuple[Region, ...],
        kept: Shapes | None = None,
        is_free: Callable[[Shapes], npt.NDArray[np.bool_]] | None = None,
    ) -> Placed:
        """Cut objects to the regions, and measure them; none of them gives way to what is kept."""
        target = self.bundle.target
        whole = _on_grid(found.shapes.geometries)
        pieces, source, region = clip_to_regions(whole, regions)
        pieces = _on_grid(pieces)
        least = self.bundle.decode.get("min_area_um2", 0.0)
        stay = areas_um2(pieces, self.mpp) > least
        if is_free is not None:
            stay &= is_free(Shapes.from_geometries(pieces))
        pieces, source, region = pieces[stay], source[stay], region[stay]
        sums = found.measurements[source]
        shapes = Shapes.from_geometries(pieces)
        measured = MeasurementTable.of(
            {PROBABILITY: self.bundle.certainty(sums[:, 1] / np.maximum(sums[:, 0], 1))}
        )
        measured |= shape_measurements(shapes, self.mpp)
        if self._lines:
            # of what was cut off, the line is taken to be as long as its share of the area
            share = shapely.area(pieces) / shapely.area(whole[source])
            measured |= line_measurements(sums[:, 2] * share, sums[:, 3] * share, self._line_mpp)
        else:
            measured |= lumen_measurements(target, shapes, self.mpp)
        new = ObjectTable.new(self.kind, shapes).replace(measured=measured)
        classes = None if found.class_index is None else found.class_index[source]
        new = classify(new, self.bundle, classes)
        return Placed(new, region)


def _on_grid(geometries: GeometryArray) -> GeometryArray:
    """Make areas valid, with vertices that every way through QuPath gives back."""
    snapped = shapely.set_precision(valid_areas(geometries), 0.01)
    return valid_areas(shapely.transform(snapped, storable))
