"""Small objects, nuclei: each is seen whole by the tile that its centroid lies in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.decode.decoders import decode
from qpbridge.decode.polygons import instances_to_polygons, round_rings
from qpbridge.engine.edit import RunRecord, find_existing, plan_edit, without_twins
from qpbridge.engine.merge import Found, merge_tiles
from qpbridge.engine.plan import Tile, TilePlan
from qpbridge.engine.provenance import storable
from qpbridge.engine.regions import Region, assign_regions
from qpbridge.engine.result import Result, classify, ids_below
from qpbridge.engine.run import MERGE_MARGIN, Maps, Pixels, core_depth
from qpbridge.engine.stages import Stages
from qpbridge.measure.intensity import intensity_names, stains_of_shapes
from qpbridge.measure.shape import shape_measurements, shape_names
from qpbridge.measure.summary import PROBABILITY, summarize_nuclei
from qpbridge.models.bundle import Bundle
from qpbridge.objects import FloatArray, IntArray, ObjectKind, ObjectTable, Shapes, Stains
from qpbridge.project.model import Edit


@dataclass(frozen=True)
class WholeObjects:
    """Measured nuclei from the maps of tiles; a `qpbridge.engine.job.Target`.

    Parameters
    ----------
    bundle
        The model that made the maps.
    tiles
        The tiles.
    mpp
        µm per server pixel (x, y).
    stains
        The image's own, for the intensities.
    stages
        Counts the time.
    """

    bundle: Bundle
    tiles: TilePlan
    mpp: tuple[float, float]
    stains: Stains
    stages: Stages = field(default_factory=Stages)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the measurements, in the order of the columns."""
        stains = self.stains.stain_names
        return (PROBABILITY, *shape_names(self.mpp), *intensity_names(stains))

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> Found:
        """Decode one tile, and measure what is found."""
        with self.stages("decode"):
            shapes, depth, probability, classes = self._decode(maps, tile)
        with self.stages("measure"):
            _, shape = shape_measurements(shapes, self.mpp)
            _, intensity = stains_of_shapes(
                pixels, self.stains, shapes, tile.corner, self.tiles.downsample
            )
        measured = np.column_stack([probability, shape, intensity])
        return Found(shapes, measured, depth, np.zeros(len(shapes), np.int64), classes)

    def _decode(
        self, maps: Maps, tile: Tile
    ) -> tuple[Shapes, FloatArray, npt.NDArray[np.float32], IntArray | None]:
        """Outlines in server pixels, depth, probability and class of the objects of a tile."""
        seen = decode(self.bundle.decoder, maps, **self.bundle.decode)
        rings = instances_to_polygons(seen.labels, seen.level, seen.threshold)
        outlines = Shapes.from_rings(rings.coords, rings.offsets)
        depth = core_depth(outlines.centroids(), tile)
        near = np.flatnonzero(depth >= -MERGE_MARGIN)
        outlines = outlines.take(near)

        placed = (outlines.coords + tile.corner) * self.tiles.downsample
        rounded = round_rings(placed, outlines.rings, _decimals(placed))
        kept = near[rounded.owner]
        shapes = Shapes.from_rings(storable(rounded.coords), rounded.offsets)
        instance = rings.owner[kept] - 1
        classes = None if seen.classes is None else seen.classes[instance]
        return shapes, depth[kept], seen.probability[instance], classes

    def merge(self, tiles: Iterable[Found]) -> Found:
        """Let each object belong to one tile."""
        return merge_tiles(tiles, MERGE_MARGIN)

    def plan(
        self,
        objects: ObjectTable,
        regions: tuple[Region, ...],
        found: Found,
        record: RunRecord,
    ) -> tuple[Edit, Result]:
        """Keep what has its centroid in a region, and put it below the innermost one."""
        existing = find_existing(objects, regions, record.target)
        kept = objects.shapes.take(existing.changed).geometries
        centroids = shapely.points(found.shapes.centroids())
        innermost, inside = assign_regions(centroids, regions)
        stay = (innermost >= 0) & without_twins(found.shapes, kept)
        found, innermost, inside = found.take(stay), innermost[stay], inside[:, stay]
        new = ObjectTable.new(
            ObjectKind.DETECTION,
            found.shapes,
            measurement_names=self.names,
            measurements=found.measurements,
        )
        new = classify(new, self.bundle, found.class_index)
        areas = [region.area(self.mpp) for region in regions]
        summaries = tuple(
            summarize_nuclei(self.names, new.measurements[member], area)
            for member, area in zip(inside, areas, strict=True)
        )
        below = ids_below(objects, regions, innermost, centroids[stay])
        edit = plan_edit(
            objects, regions, new, record, summaries, below, existing, self.bundle.image_type
        )
        return edit, Result(regions, existing, len(new), summaries)


def _decimals(coords: npt.NDArray[np.float64]) -> int:
    """Digits that QuPath's float32 coordinates can hold that far from the origin."""
    return 2 if np.abs(coords).max(initial=0) < 2**17 else 1
