"""Small objects, nuclei: each is seen whole by the tile that its centroid lies in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.decode.decoders import decode
from qpbridge.decode.polygons import Rings, instances_to_polygons
from qpbridge.hierarchy.regions import Region, assign_regions
from qpbridge.measurements import intensity
from qpbridge.measurements.names import AREA, CELL, NUCLEUS, PROBABILITY, fill
from qpbridge.measurements.nuclei import Measuring, cell_shapes, measure_objects, measured_names
from qpbridge.measurements.positivity import classify_intensity
from qpbridge.models.bundle import Bundle
from qpbridge.objects import (
    FloatArray,
    IntArray,
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    Shapes,
    Stains,
    concatenate_shapes,
)
from qpbridge.outlines import ENCLOSING, areas_of
from qpbridge.prediction.cells import cells_of_image, grow_cells, round_outlines
from qpbridge.prediction.options import NucleusOptions
from qpbridge.prediction.placed import Placed, classify
from qpbridge.prediction.tiles.merge import TileObjects, merge_tiles
from qpbridge.prediction.tiles.plan import Tile, TilePlan
from qpbridge.prediction.tiles.run import MERGE_MARGIN, Maps, Pixels, core_depth
from qpbridge.prediction.tiles.stages import Stages

DAB = "DAB"
"""The stain that tells positive nuclei."""

SAME_AREA = 1e-6
"""Relative difference of the areas of two cells below which they are taken for the same."""


@dataclass(frozen=True)
class NucleusFinder:
    """Measured nuclei from the maps of tiles, or cells; a `finders.Finder`.

    Parameters
    ----------
    bundle
        The model that made the maps.
    tiles
        The tiles.
    mpp
        µm per server pixel (x, y).
    stains
        The image's own, for the intensities; None: nothing is measured.
    stages
        Counts the time.
    options
        What else is done with nuclei.
    regions
        Where cells may grow.
    """

    bundle: Bundle
    tiles: TilePlan
    mpp: tuple[float, float]
    stains: Stains | None
    stages: Stages = field(default_factory=Stages)
    options: NucleusOptions = field(default_factory=NucleusOptions)
    regions: tuple[Region, ...] = ()

    @cached_property
    def _how(self) -> Measuring | None:
        if self.stains is None:
            return None
        return Measuring(
            self.mpp, self.stains, self.tiles.downsample, bool(self.options.all_features)
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the measurements, in the order of the columns."""
        if self._how is None:
            return (PROBABILITY,)
        return (PROBABILITY, *measured_names(self._how, cells=self._grows))

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the objects of tiles depend on, besides the model and the tiles."""
        regions = [region.geometry.wkb_hex for region in self.regions] if self._grows else []
        expansion = self.options.cell_expansion or None
        facts = {"names": self.names, "expansion": expansion, "regions": regions}
        if self.stains is not None:
            facts["stains"] = [self.stains.stain_names, self.stains.background]
            # QuPath's file may hold the default stains with another last digit.
            facts["vectors"] = np.round(self.stains.vectors, 9).tolist()
        return facts

    @property
    def _grows(self) -> bool:
        return bool(self.options.cell_expansion)

    def find(self, pixels: Pixels, maps: Maps, tile: Tile) -> TileObjects:
        """Decode one tile, and measure what is found."""
        with self.stages("decode"):
            shapes, depth, probability, classes = self._decode(maps, tile)
        near = np.flatnonzero(depth >= -MERGE_MARGIN)
        nuclei = shapes.take(near)
        cells = None
        if self.options.cell_expansion:
            with self.stages("cells"):
                cells = grow_cells(
                    shapes, near, self.mpp, self.options.cell_expansion, self.regions
                )
        columns: list[FloatArray] = [probability[near, None].astype(np.float64)]
        if self._how is not None:
            with self.stages("measure"):
                measured = measure_objects(
                    pixels,
                    nuclei if cells is None else cells,
                    self._how,
                    nuclei=None if cells is None else nuclei,
                    corner=tile.corner,
                )
            columns.append(measured.matrix)
        return TileObjects(
            nuclei,
            np.concatenate(columns, axis=1),
            depth[near],
            np.zeros(len(near), np.int64),
            None if classes is None else classes[near],
        )

    def _decode(
        self, maps: Maps, tile: Tile
    ) -> tuple[Shapes, FloatArray, npt.NDArray[np.float32], IntArray | None]:
        """Outlines in server pixels, depth, probability and class of the objects of a tile.

        Where cells are grown these are all that the tile sees, else those in or near its core.
        """
        window = self.tiles.within(tile)
        seen = decode(self.bundle.decoder, maps[:, *window.slices], **self.bundle.decode)
        rings = instances_to_polygons(seen.labels, seen.level, seen.threshold)
        outlines = Shapes.from_rings(rings.coords + window.corner, rings.offsets)
        depth = core_depth(outlines.centroids(), tile)
        near = np.flatnonzero(depth >= (-np.inf if self._grows else -MERGE_MARGIN))
        outlines = outlines.take(near)

        placed = self.tiles.place(outlines.coords + tile.corner)
        shapes, owner = round_outlines(Rings(placed, outlines.rings, near))
        kept = near[owner]
        if self._grows:  # one outside of the regions is dropped in the end, and limits no cell
            inside, _ = assign_regions(shapely.points(shapes.centroids()), self.regions)
            shapes, kept = shapes.take(inside >= 0), kept[inside >= 0]
        instance = rings.owner[kept] - 1
        classes = None if seen.classes is None else seen.classes[instance]
        return shapes, depth[kept], self.bundle.certainty(seen.probability[instance]), classes

    def merge(self, tiles: Iterable[TileObjects]) -> TileObjects:
        """Let each object belong to one tile."""
        return merge_tiles(tiles, MERGE_MARGIN)

    def place(
        self,
        found: TileObjects,
        regions: tuple[Region, ...],
        kept: Shapes | None = None,
        is_free: Callable[[Shapes], npt.NDArray[np.bool_]] | None = None,
    ) -> Placed:
        """Keep what has its centroid in a region; of a cell that is the centroid of its nucleus."""
        innermost, _ = assign_regions(shapely.points(found.shapes.centroids()), regions)
        stay = innermost >= 0
        if is_free is not None:
            stay &= is_free(found.shapes)
        found = found.take(stay)
        table = self._table(found, Shapes.empty() if kept is None else kept, regions)
        new = classify(table, self.bundle, found.class_index)
        if self.options.positivity:
            new = self._by_intensity(new)
        return Placed(new, innermost[stay])

    def _table(self, found: TileObjects, kept: Shapes, regions: tuple[Region, ...]) -> ObjectTable:
        """Make detections of nuclei, or cells around them that leave those alone that are kept."""
        nuclei, measured = found.shapes, MeasurementTable(self.names, found.measurements)
        if not self.options.cell_expansion:
            return ObjectTable.new(ObjectKind.DETECTION, nuclei).replace(measured=measured)
        solid = kept.take(np.isin(kept.roi, ENCLOSING))
        cells = cells_of_image(
            concatenate_shapes([nuclei, solid]),
            np.concatenate([found.tile, np.full(len(solid), -1)]),
            self.mpp,
            self.options.cell_expansion,
            regions,
        )
        measured = self._remeasured(measured, cells, nuclei)
        return ObjectTable.new(ObjectKind.CELL, cells).replace(nuclei=nuclei, measured=measured)

    def _remeasured(
        self, measured: MeasurementTable, cells: Shapes, nuclei: Shapes
    ) -> MeasurementTable:
        """Measure the shape of those cells again that a tile took for others.

        Their intensities stay as measured: by the border of a tile, on an outline that differs by
        what the tile saw otherwise.
        """
        area = areas_of(cells) * self.mpp[0] * self.mpp[1]
        other = np.flatnonzero(np.abs(area - measured[f"{CELL}{AREA}"]) > SAME_AREA * area)
        again = cell_shapes(cells.take(other), nuclei.take(other), self.mpp)
        matrix = measured.matrix.copy()
        columns = np.array([self.names.index(name) for name in again])
        matrix[other[:, None], columns] = again.matrix
        return MeasurementTable(self.names, matrix)

    def _on_nuclei(self, name: str) -> str:
        """Name a measurement of nuclei as the objects have it."""
        return f"{NUCLEUS}{name}" if self._grows else name

    def _by_intensity(self, table: ObjectTable) -> ObjectTable:
        classes, index = classify_intensity(
            table.classes,
            table.class_index,
            table.measured[self._on_nuclei(fill(intensity.MEAN, STAIN=DAB))],
            self.options.positivity or (),
        )
        return replace(table, classes=classes, class_index=index)
