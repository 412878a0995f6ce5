"""How qpbridge knows its own objects again, and whether a person changed them.

The id of an object that qpbridge makes is a checksum of the object: of its vertices (a cell's, and
its nucleus's), class and plane. QuPath keeps an object's id while a person moves, reshapes or
reclassifies the object, so an object is ours and untouched exactly if its id still fits. Nothing
else has to be recorded, and an object that a person drew can't be taken for ours.

The sixteen bytes, an RFC 9562 UUID of version 8 (custom): ``qpbr`` in ASCII, one byte for the
target, one that tells apart objects that would have the same id otherwise, then 74 bits of checksum
around the version and variant bits.
"""

from __future__ import annotations

import enum
import hashlib

import numpy as np
import numpy.typing as npt

from qpbridge.ids import as_version, repeated
from qpbridge.objects import FloatArray, ObjectTable, Shapes

TARGETS = ("nuclei", "glands", "vessels")
"""What qpbridge can segment. The position in this tuple is stored in ids: only ever append."""

AREAS = ("tissue", "quality")
"""What qpbridge can draw as a person would, for a person to correct: regions and what is ignored.
They count as drawn. Stored as `TARGETS` are: only ever append."""

_NUMBERS = {name: i for i, name in enumerate(TARGETS)} | {
    name: 0x80 + i for i, name in enumerate(AREAS)
}
_MARK = np.frombuffer(b"qpbr", np.uint8)
_TARGET_BYTE, _COPY_BYTE = 4, 5
_U64 = np.uint64
_CHUNK = 2**16  # objects at a time: bounds the memory


class Origin(enum.IntEnum):
    """Where an object comes from."""

    OTHER = 0
    """A person, or another program."""
    OURS = 1
    """Made by qpbridge, and as it was made."""
    CHANGED = 2
    """Made by qpbridge, and changed by somebody since."""


def mint_ids(
    table: ObjectTable, target: str, taken: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Make the ids that mark the objects of `table` as qpbridge's own.

    Parameters
    ----------
    table
        New objects, with everything but the ids in place.
    target
        One of `TARGETS` or `AREAS`.
    taken
        uint8 (m, 16), ids in use: an object of ours that a person moved away keeps the id that
        the same nucleus, found again, would get.

    Returns
    -------
    ids
        uint8 (n, 16), all different.
    """
    ids = _marked_checksums(table, target)
    while len(again := repeated(ids, taken)):
        ids[again, _COPY_BYTE] += 1
    return ids


def content_ids(table: ObjectTable) -> npt.NDArray[np.uint8]:
    """Make ids for objects that have none, the same for the same objects every time.

    Returns
    -------
    ids
        uint8 (n, 16), UUIDs of version 8 that don't say the objects are qpbridge's; equal where
        kind, class, plane and vertices (a cell's, and its nucleus's) are.
    """
    ids = _checksums(table).view(np.uint8).reshape(len(table), 16).copy()
    return as_version(ids, 8)


def made_by_us(ids: npt.NDArray[np.uint8], *targets: str) -> npt.NDArray[np.bool_]:
    """Tell which objects qpbridge made, whether changed by somebody since or not.

    The ids alone say so: nothing is computed of the objects, as in `origins`.

    Parameters
    ----------
    ids
        uint8 (n, 16), of objects.
    targets
        Of `TARGETS` or `AREAS`: only objects made for these count.  [default: for any of `TARGETS`]

    Returns
    -------
    made
        bool (n,).
    """
    numbers = [_NUMBERS[target] for target in targets or TARGETS]
    made: npt.NDArray[np.bool_] = (ids[:, :4] == _MARK).all(axis=1)
    return made & np.isin(ids[:, _TARGET_BYTE], numbers)


def origins(table: ObjectTable, *targets: str) -> npt.NDArray[np.uint8]:
    """Tell for each object whether qpbridge made it, and whether it still is as made.

    Where only the first is asked, `made_by_us` tells it in a fraction of the time.

    Parameters
    ----------
    table
        n objects.
    targets
        Of `TARGETS`, or one of `AREAS`: an object made for another one is ``OTHER``. An area has a
        name from the start.  [default: for any of `TARGETS`]

    Returns
    -------
    origins
        uint8 (n,), values of `Origin`.
    """
    out = np.full(len(table), Origin.OTHER, np.uint8)
    rows = np.flatnonzero(made_by_us(table.ids, *targets))
    if len(rows):
        mine = table.take(rows)
        area = bool(targets) and targets[0] in AREAS
        equal = _marked_checksums(mine, (targets or TARGETS)[0]) == mine.ids
        equal[:, [_TARGET_BYTE, _COPY_BYTE]] = True
        same = equal.all(axis=1) & ~mine.locked
        same[list({*({} if area else mine.names), *mine.colors})] = False
        out[rows] = np.where(same, Origin.OURS, Origin.CHANGED)
    return out


def storable(coords: FloatArray) -> FloatArray:
    """Round coordinates to values that every way through QuPath gives back unchanged.

    QuPath keeps polygons as float32 and writes GeoJSON with two decimals: a multiple of 0.01 that
    was cast to float32 survives both.
    """
    single = coords.astype(np.float32).astype(np.float64)
    return np.round(single, 2).astype(np.float32).astype(np.float64)


def _marked_checksums(table: ObjectTable, target: str) -> npt.NDArray[np.uint8]:
    sums = _checksums(table)
    if target in AREAS:
        names = [_text_hash(table.names.get(row, "")) for row in range(len(table))]
        sums = _mix(sums ^ np.array(names, _U64)[:, None])
    ids = sums.view(np.uint8).reshape(len(table), 16).copy()
    ids[:, :4] = _MARK
    ids[:, _TARGET_BYTE] = _NUMBERS[target]
    ids[:, _COPY_BYTE] = 0
    return as_version(ids, 8)


def _checksums(table: ObjectTable) -> npt.NDArray[np.uint64]:
    """Two 64-bit checksums per object, uint64 (n, 2)."""
    class_hash = np.array([*(_text_hash(str(c)) for c in table.classes), 0], _U64)
    attributes = _mix(class_hash[table.class_index] ^ _mix(table.kind.astype(_U64)))
    for axis in range(3):
        attributes = _mix(attributes ^ table.plane[:, axis].astype(np.int64).view(_U64))
    vertices = _vertex_sums(table.shapes)
    if table.nuclei is not None:
        nuclei = _vertex_sums(table.nuclei)
        vertices ^= _mix(nuclei) * (nuclei != 0)  # 0: no nucleus
    return np.stack([_mix(vertices[:, i] ^ attributes) for i in range(2)], axis=1)


def _vertex_sums(shapes: Shapes) -> npt.NDArray[np.uint64]:
    """Sum the hashes of all vertices of each object: where a ring starts doesn't matter."""
    chunks = np.split(np.arange(len(shapes)), range(_CHUNK, len(shapes), _CHUNK))
    return np.concatenate([_sums_of_some(shapes.take(rows)) for rows in chunks])


def _sums_of_some(shapes: Shapes) -> npt.NDArray[np.uint64]:
    bits = storable(shapes.coords).astype(np.float32).view(np.uint32).astype(_U64)
    hashes = _mix((bits[:, 0] << _U64(32)) | bits[:, 1])
    hashes[shapes.rings[1:] - 1] = 0  # a closed ring repeats its first vertex
    bounds = shapes.rings[shapes.parts[shapes.objects]]
    out = np.zeros((len(shapes), 2), _U64)
    for i in range(2):
        total = np.concatenate([np.zeros(1, _U64), np.cumsum(hashes, dtype=_U64)])
        out[:, i] = total[bounds[1:]] - total[bounds[:-1]]
        hashes = _mix(hashes) * (hashes != 0)
    return out


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scramble 64-bit words: the finaliser of SplitMix64 (Steele, Lea, Flood; OOPSLA 2014)."""
    z = values + _U64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _U64(27))) * _U64(0x94D049BB133111EB)
    return z ^ (z >> _U64(31))


def _text_hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")  # Java's texts may end in half a character
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
