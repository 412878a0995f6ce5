"""Well-known binary of polygons and lines, straight between bytes and `Shapes`."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import shapely

from qpbridge.objects import RoiKind, Shapes, offsets
from qpbridge.outlines import crowded

POINT, LINE, POLYGON, MULTI_LINE, MULTI_POLYGON, COLLECTION = 1, 2, 3, 5, 6, 7
MAX_NESTING = 16
SIMPLE = {
    POLYGON: RoiKind.GEOMETRY,
    MULTI_POLYGON: RoiKind.GEOMETRY,
    MULTI_LINE: RoiKind.LINES,
}


@dataclass
class ShapesBuilder:
    """Collects shapes one by one."""

    kinds: list[int] = field(default_factory=list)
    coords: list[npt.NDArray[np.float64]] = field(default_factory=list)
    rings: list[int] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)

    def shapes(self) -> Shapes:
        """Return all that was collected."""
        return Shapes(
            np.array(self.kinds, np.uint8),
            np.concatenate([np.zeros((0, 2)), *self.coords]),
            offsets(self.rings),
            offsets(self.parts),
            offsets(self.objects),
        )

    def add(self, shapes: Shapes) -> None:
        """Add one shape."""
        self.kinds.append(int(shapes.roi[0]))
        self.coords.append(shapes.coords)
        self.rings += np.diff(shapes.rings).tolist()
        self.parts += np.diff(shapes.parts).tolist()
        self.objects.append(len(shapes.parts) - 1)

    def read(self, wkb: bytes) -> None:
        """Add the shape of some well-known binary.

        Raises
        ------
        ValueError
            If it is not, or a collection of nothing.
        """
        if not self._read_simple(wkb):
            check_nesting(wkb)
            try:
                self.add(shape_of(shapely.force_2d(shapely.from_wkb(wkb))))
            except shapely.errors.ShapelyError as error:
                raise ValueError(str(error)) from None

    def _read_simple(self, wkb: bytes) -> bool:
        """Add polygons or lines in two dimensions; False if it is anything else."""
        order = ">" if wkb[:1] == b"\0" else "<"
        head, word = struct.Struct(order + "xI"), struct.Struct(order + "I")
        coords, rings, parts = [], [], []
        try:
            (kind,) = head.unpack_from(wkb, 0)
            if kind not in SIMPLE:
                return False
            at, count = 5, 1
            if kind != POLYGON:
                (count,) = word.unpack_from(wkb, at)
                at += 4
            else:
                at = 0
            if not 0 < count <= len(wkb):
                return False
            for _ in range(count):
                if wkb[at : at + 1] != wkb[:1] or head.unpack_from(wkb, at)[0] != (
                    LINE if kind == MULTI_LINE else POLYGON
                ):
                    return False
                at += 5
                n_rings = 1
                if kind != MULTI_LINE:
                    (n_rings,) = word.unpack_from(wkb, at)
                    at += 4
                if not 0 < n_rings <= len(wkb):
                    return False
                parts.append(n_rings)
                for _ in range(n_rings):
                    (length,) = word.unpack_from(wkb, at)
                    at += 4
                    if length < (2 if kind == MULTI_LINE else 4) or at + 16 * length > len(wkb):
                        return False
                    xy = np.frombuffer(wkb, order + "f8", 2 * length, at)
                    if kind != MULTI_LINE and (xy[:2] != xy[-2:]).any():
                        return False
                    coords.append(xy)
                    rings.append(length)
                    at += 16 * length
        except struct.error:
            return False
        self.kinds.append(SIMPLE[kind])
        self.coords.append(np.concatenate(coords).astype(np.float64).reshape(-1, 2))
        self.rings += rings
        self.parts += parts
        self.objects.append(count)
        return True


def check_nesting(wkb: bytes) -> None:
    """Refuse what GEOS can't be given: it recurses, and ends the process where that is too deep.

    Raises
    ------
    ValueError
        If it is cut off, of a kind that QuPath has no region for, or nested deeply.
    """
    at, left = 0, [1]
    try:
        while left:
            if left[-1] == 0:
                left.pop()
                continue
            left[-1] -= 1
            word = struct.Struct("><"[wkb[at]] + "I")
            (code,) = word.unpack_from(wkb, at + 1)
            iso, kind = divmod(code & 0x1FFFFFFF, 1000)
            has_z, has_m = bool(code & 1 << 31) or iso in (1, 3), bool(code & 1 << 30) or iso > 1
            size = 8 * (2 + has_z + has_m)
            at += 9 if code & 1 << 29 else 5
            if kind == POINT:
                at += size
                continue
            (count,) = word.unpack_from(wkb, at)
            at += 4
            if kind == LINE:
                at += count * size
            elif kind == POLYGON:
                for _ in range(count):
                    at += 4 + size * word.unpack_from(wkb, at)[0]
            elif POLYGON < kind <= COLLECTION and len(left) < MAX_NESTING:
                left.append(count)
            else:
                raise ValueError("an unknown kind of geometry, or nested too deeply")
    except (struct.error, IndexError):
        raise ValueError("well-known binary that is cut off") from None


def shape_of(geometry: shapely.Geometry) -> Shapes:
    """Make the shape of anything that may stand in a file; collections keep their main part."""
    if geometry is None or geometry.is_empty:
        return Shapes.empty(1)
    if geometry.geom_type == "GeometryCollection":
        parts = [p for p in shapely.get_parts(geometry) if not p.is_empty]
        dimension = max(shapely.get_dimensions(p) for p in parts)
        parts = [p for p in parts if shapely.get_dimensions(p) == dimension]
        if crowded(parts):
            raise ValueError("regions that cross far too often")
        return shape_of(shapely.union_all(parts))
    parts = shapely.get_parts(geometry)
    if shapely.is_empty(parts).any():
        geometry = type(geometry)(list(parts[~shapely.is_empty(parts)]))
    shape = Shapes.from_geometries([geometry])
    if shapely.get_dimensions(geometry) == 2:
        shape.roi[:] = RoiKind.GEOMETRY
    return shape


def write_wkb(shapes: Shapes, row: int) -> bytes:
    """Return the well-known binary of polygons (with holes, of several parts) or lines."""
    lines = shapes.roi[row] == RoiKind.LINES
    first, last = int(shapes.objects[row]), int(shapes.objects[row + 1])
    out = bytearray()
    if lines or last - first > 1:
        out += struct.pack(">BII", 0, MULTI_LINE if lines else MULTI_POLYGON, last - first)
    for part in range(first, last):
        rings = range(int(shapes.parts[part]), int(shapes.parts[part + 1]))
        out += struct.pack(">BI", 0, LINE if lines else POLYGON)
        out += b"" if lines else struct.pack(">I", len(rings))
        for ring in rings:
            xy = shapes.coords[shapes.rings[ring] : shapes.rings[ring + 1]]
            out += struct.pack(">I", len(xy)) + xy.astype(">f8").tobytes()
    return bytes(out)
