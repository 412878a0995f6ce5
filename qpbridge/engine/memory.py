"""What qpbridge found in an image, remembered, so that what a person deletes stays deleted.

A run notes the ids of all its objects and where they are, and the outlines that it searched. What
is gone from the image at the next run was deleted by hand: nothing is put in its place again, as
long as the place lies in the same region as then.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.engine.runs import (
    PREFIX,
    RunMark,
    RunRecord,
    provenance_key,
    run_of,
    standing,
)
from qpbridge.hierarchy.regions import Region, assign_regions
from qpbridge.ids import IdArray, are_among
from qpbridge.objects import IntArray, ObjectTable, Shapes
from qpbridge.outlines import areas_of, valid_areas
from qpbridge.project.interface import ImageData, ImageEntry, Note

SAME_SIZE = 2.0
"""Of two objects in the same place one may be this many times as wide as the other."""

MOST_BYTES = 2**30
"""Of a note that is unpacked."""

_WHOLE_IMAGE = bytes(16)
_NO_IDS = np.zeros((0, 16), np.uint8)

_log = logging.getLogger("qpbridge")

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Places:
    """Where objects are, or were.

    Parameters
    ----------
    ids
        uint8 (n, 16).
    xy
        float32 (n, 2), their centroids, full-resolution pixels.
    radius
        float32 (n,), of discs of the same areas.
    """

    ids: IdArray
    xy: npt.NDArray[np.float32]
    radius: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def none(cls) -> Self:
        """Return no places."""
        return cls(_NO_IDS, np.zeros((0, 2), np.float32), np.zeros(0, np.float32))

    @classmethod
    def of(cls, shapes: Shapes, ids: IdArray) -> Self:
        """Find those of objects (of cells, their nuclei)."""
        radius = np.sqrt(areas_of(shapes) / math.pi)
        return cls(ids, shapes.centroids().astype(np.float32), radius.astype(np.float32))

    def take(self, index: BoolArray | IntArray) -> Places:
        """Select by integer index or boolean mask."""
        return Places(self.ids[index], self.xy[index], self.radius[index])

    def plus(self, other: Places) -> Places:
        """Append others."""
        parts = ((getattr(p, name) for p in (self, other)) for name in ("ids", "xy", "radius"))
        return Places(*(np.concatenate(list(part)) for part in parts))

    def inside(self, outline: Any) -> BoolArray:
        """Tell which lie in an outline, bool (n,)."""
        shapely.prepare(outline)
        found: BoolArray = shapely.intersects_xy(outline, *self.xy.T.astype(np.float64))
        return found

    def taken(self, shapes: Shapes) -> BoolArray:
        """Tell which outlines are in one of these places: as large, and around the same point.

        Returns
        -------
        taken
            bool (len(shapes),): the centroid is nearer to that of a place than its radius.
        """
        out = np.zeros(len(shapes), bool)
        if not len(self) or not len(shapes):
            return out
        low, high = shapes.bounds()
        widest = SAME_SIZE * np.hypot(*(high - low).T).max() / 2
        places = self.take(self.radius <= widest)  # others would only be near to everything
        reach = places.radius[:, None].astype(np.float64)
        boxes = shapely.box(*(places.xy - reach).T, *(places.xy + reach).T)
        centroids = shapes.centroids()
        new, old = shapely.STRtree(boxes).query(shapely.points(centroids))
        near = np.hypot(*(centroids[new] - places.xy[old]).T) <= places.radius[old]
        new, old = new[near], old[near]
        some, which = np.unique(new, return_inverse=True)
        radius = np.sqrt(areas_of(shapes.take(some)) / math.pi)[which]
        ratio = radius / np.maximum(places.radius[old], 1e-6)
        out[new[(ratio <= SAME_SIZE) & (ratio >= 1 / SAME_SIZE)]] = True
        return out


@dataclass(frozen=True, eq=False)
class Memory:
    """What runs for one target left in an image.

    Parameters
    ----------
    places
        Of all that they found, except of what they replaced themselves.
    regions
        What was searched, by the ids of the annotations (zeros: the whole image): the run that did,
        and the outline.
    added
        How many of the places, the first ones, are of the last run.
    removed
        uint8 (k, 16), ids of the objects that the last run took away.
    """

    places: Places = field(default_factory=Places.none)
    regions: Mapping[bytes, tuple[str, Any]] = field(default_factory=dict)
    added: int = 0
    removed: IdArray = field(default_factory=lambda: _NO_IDS)

    def deleted(self, objects: ObjectTable, target: str) -> BoolArray:
        """Tell which places a person emptied that lie in the same regions as then, bool (n,).

        A region that doesn't say that it was searched never got what was found: QuPath's script
        leaves out those that were reshaped meanwhile.
        """
        gone = ~are_among(self.places.ids, objects.ids)
        rows = np.flatnonzero(gone)
        stands = np.zeros(len(rows), bool)
        places = self.places.take(rows)
        for uid, now in self._outlines(objects, target).items() if len(rows) else ():
            stands |= places.inside(self.regions[uid][1]) & places.inside(now)
        gone[rows] = stands
        return gone

    def without(self, objects: ObjectTable, regions: Sequence[Region]) -> Memory:
        """Forget what a person deleted in some regions."""
        gone = ~are_among(self.places.ids, objects.ids)
        keep = ~(gone & (within(self.places, regions) >= 0))
        return replace(self, places=self.places.take(keep))

    def after(
        self,
        record: RunRecord,
        objects: ObjectTable,
        regions: Sequence[Region],
        added: ObjectTable,
        removed: IdArray,
    ) -> Memory:
        """Return what is to be remembered after a run.

        Parameters
        ----------
        record
            Of the run.
        objects
            What the image holds before it.
        regions
            What is searched.
        added, removed
            The new objects, and the ids of those that make room.
        """
        run = "" if record.mark is None else record.mark.run
        known = are_among(self.places.ids, objects.ids)
        stay = self.deleted(objects, record.target) | (known & ~are_among(self.places.ids, removed))
        searched = {region.id: region.geometry for region in regions if region.row < 0}
        searched |= outlines_of(objects, [region.row for region in regions if region.row >= 0])
        there = {uid: self.regions[uid] for uid in self._outlines(objects, record.target)}
        new = Places.of(added.inner_shapes, added.ids)
        places = new.plus(self.places.take(stay))
        now = {uid: (run, outline) for uid, outline in searched.items()}
        return Memory(places, {**there, **now}, len(new), removed)

    def _outlines(self, objects: ObjectTable, target: str) -> dict[bytes, Any]:
        """Return what those regions enclose now that say that they were searched."""
        key = provenance_key(target)
        noted = {
            objects.ids[row].tobytes(): (row, run_of(texts[key]))
            for row, texts in objects.metadata.items()
            if key in texts
        }
        rows = [
            noted[uid][0]
            for uid, (run, _) in self.regions.items()
            if noted.get(uid, (-1, ""))[1] == run
        ]
        whole = {uid: outline for uid, (_, outline) in self.regions.items() if uid == _WHOLE_IMAGE}
        return whole | outlines_of(objects, rows)

    def note(self, target: str, run: str) -> Note:
        """Write it down."""
        head = {
            "places": len(self.places),
            "added": self.added,
            "removed": len(self.removed),
            "regions": {
                uid.hex(): [run, shapely.to_wkb(g, hex=True)]
                for uid, (run, g) in self.regions.items()
            },
        }
        columns = (self.places.ids, self.places.xy, self.places.radius, self.removed)
        text = json.dumps(head, separators=(",", ":")).encode() + b"\n"
        packed = zlib.compress(text + b"".join(c.tobytes() for c in columns), 1)
        return Note(target, run, packed)

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Read what `note` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            unpack = zlib.decompressobj()
            text, _, data = unpack.decompress(content, MOST_BYTES).partition(b"\n")
            if not unpack.eof:
                raise ValueError("cut off, or too large")
            head = json.loads(text)
            n, m, added = (int(head[name]) for name in ("places", "removed", "added"))
            if min(n, m, added) < 0 or len(data) != 28 * n + 16 * m or added > n:
                raise ValueError("other columns than it says")
            outlines = {
                bytes.fromhex(u): (str(run), _outline(g)) for u, (run, g) in head["regions"].items()
            }
        except (zlib.error, shapely.GEOSException, LookupError, TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
        ids, xy, radius, removed = np.split(
            np.frombuffer(data, np.uint8), np.cumsum([16 * n, 8 * n, 4 * n])
        )
        places = Places(
            ids.reshape(n, 16), xy.view(np.float32).reshape(n, 2), radius.view(np.float32)
        )
        if not (np.isfinite(places.xy).all() and np.isfinite(places.radius).all()):
            raise ValueError("places that are no numbers")
        return cls(places, outlines, added, removed.reshape(m, 16))


def recall(entry: ImageEntry, data: ImageData, target: str) -> Memory:
    """Return what is remembered of an image: what the last run for a target noted.

    Where that was a run of a version that noted nothing, or of which nothing is kept, it is
    nothing: then nobody knows what was deleted. A note that is broken is said.
    """
    names = (f"{PREFIX}{target}", f"{PREFIX}remove {target}")
    steps = [step for step in standing(data.workflow) if step.name in names]
    mark = RunMark.of(steps[-1]) if steps else None
    return Memory() if mark is None else memory_of(entry, mark.run) or Memory()


def memory_of(entry: ImageEntry, run: str) -> Memory | None:
    """Return what a run noted; None: it is not kept, or broken, which is said."""
    content = entry.note(run)
    if content is None:
        return None
    try:
        return Memory.read(content)
    except ValueError as error:
        _log.warning("%s: the note of the run %s is damaged (%s)", entry.name, run, error)
        return None


def within(places: Places, regions: Sequence[Region]) -> IntArray:
    """Find the smallest region that each place lies in, int64 (n,); -1: in none."""
    innermost, _ = assign_regions(shapely.points(places.xy.astype(np.float64)), regions)
    return innermost


def outlines_of(objects: ObjectTable, rows: Sequence[int]) -> dict[bytes, Any]:
    """Return the outlines of annotations or TMA cores, by their ids."""
    outlines = valid_areas(objects.shapes.take(list(rows)).geometries)
    return {objects.ids[row].tobytes(): g for row, g in zip(rows, outlines, strict=True)}


def _outline(wkb: str) -> Any:
    outline = shapely.from_wkb(wkb)
    if not isinstance(outline, shapely.Polygon | shapely.MultiPolygon):
        raise ValueError("a region that encloses no area")
    return valid_areas(np.array([outline], object))[0]
