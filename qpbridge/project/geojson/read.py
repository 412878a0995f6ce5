"""Reading GeoJSON of every QuPath version, and of others who write for QuPath."""

from __future__ import annotations

import codecs
import contextlib
import gc
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qpbridge.errors import FormatError, ProjectError, RequestError
from qpbridge.objects import ObjectTable, RoiKind, Shapes
from qpbridge.project.geojson.features import Batch, ClassList, FeatureList, Problem
from qpbridge.project.geojson.grid import MAX_COORDINATE, on_grid
from qpbridge.project.geojson.growing_table import GrowingTable
from qpbridge.project.geojson.shapes import without
from qpbridge.project.geojson.split import WINDOW, Feature, FeatureText
from qpbridge.project.geojson.unpack import open_texts

BATCH = 2_000
"""Features that are turned into columns at a time."""

LISTED = 100
"""Objects with something wrong that are named; of more there is just the number."""


@dataclass
class Problems:
    """Objects that have something wrong with them: how many, and the first of them."""

    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        """Count one."""
        self.count += 1
        if len(self.first) < LISTED:
            self.first.append(problem)


@dataclass(frozen=True, eq=False)
class Salvage:
    """What can be used of a file.

    Parameters
    ----------
    objects
        n objects, their shapes valid on QuPath's grid of 0.01 pixels.
    has_id
        bool (n,), whether the id is from the file.
    repaired
        Objects whose outline had to be repaired.
    left_out
        Objects that can't be used.
    encoding
        Of the text, by Python's name, if it isn't UTF-8.
    """

    objects: ObjectTable
    has_id: npt.NDArray[np.bool_]
    repaired: Problems
    left_out: Problems
    encoding: str | None = None


def read_geojson(path: Path | str, *, encoding: str | None = None) -> ObjectTable:
    """Read objects from a ``.geojson``, ``.json``, ``.gz`` or ``.zip`` file.

    Accepted are a FeatureCollection, a list (also of lists), one feature or one geometry, in the
    forms of all QuPath versions since 0.2. What has no type is an annotation; a UUID is kept as
    id, anything else replaced by a new one; children keep their parents where they are nested.
    Besides the table, only a few thousand features are in memory at a time.

    Parameters
    ----------
    path
        The file.
    encoding
        Of the text, by Python's name; None: UTF-8, UTF-16, or Windows-1252 (which QuPath once
        wrote), of which the latter two are warned about, as are objects of unknown type.

    Raises
    ------
    FormatError
        If the file is something else, or one of its features is broken (which one is said).
    ProjectError
        If it can't be read.
    RequestError
        If there is no such encoding.
    """
    table = GrowingTable()
    texts = _Texts(Path(path), encoding)
    with _explained(Path(path)):
        odd = Problems()
        for batch in texts:
            _raise_first(batch)
            for row, what in sorted(batch.notes.items()):
                odd.add(Problem(batch.sources[row], what))
            table.extend(batch.objects)
        if encoding is None and texts.encoding:
            warnings.warn(f"{path}: {described(texts.encoding)}", stacklevel=2)
        if odd.count:
            more = f", and {odd.count - 1:,} others" if odd.count > 1 else ""
            warnings.warn(f"{path}: {odd.first[0]}{more}", stacklevel=2)
        return table.table()


def described(encoding: str) -> str:
    """Say that a text was not in UTF-8, but in `encoding`, which was guessed."""
    name = {"cp1252": "Windows-1252"}.get(encoding, encoding.upper())
    return f"text in {name}, not UTF-8; if names look wrong, say by `encoding` what it is in"


def salvage_geojson(path: Path | str, *, encoding: str | None = None) -> Salvage:
    """Read what can be used of a file: as `read_geojson`, but broken objects are left out.

    Coordinates are rounded to 0.01 pixels, as QuPath does. Outlines that are open, or cross or
    touch themselves, are repaired. Objects are left out that have no shape, an outline without
    area, or properties that make no sense; what is nested in them stays, without a parent.

    Raises
    ------
    FormatError
        If the file is no GeoJSON, or damaged as a whole.
    ProjectError
        If it can't be read.
    """
    table = GrowingTable()
    has_id = []
    repaired, left_out = Problems(), Problems()
    texts = _Texts(Path(path), encoding)
    with _explained(Path(path)):
        for batch in texts:
            objects, usable = _usable(batch, repaired, left_out)
            table.extend(objects)
            has_id.append(batch.has_id[usable])
        return Salvage(
            table.table(),
            np.concatenate([np.zeros(0, bool), *has_id]),
            repaired,
            left_out,
            None if encoding else texts.encoding,
        )


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    was_on = gc.isenabled()
    # Or Python looks for garbage among millions of young lists, again and again.
    gc.disable()
    try:
        yield
    except FormatError as error:
        raise error.in_file(path) from error
    except RecursionError as error:
        raise FormatError("nested too deeply", path=path) from error
    except OSError as error:
        raise ProjectError(f"{path}: can't be read ({error.strerror or error})") from error
    finally:
        if was_on:
            gc.enable()


class _Texts:
    """The objects of a file, some thousand at a time; `encoding` is known once they are through."""

    def __init__(self, path: Path, encoding: str | None) -> None:
        self.path, self.given = path, encoding and _known(encoding)
        self.encoding: str | None = None

    def __iter__(self) -> Iterator[Batch]:
        classes, count = ClassList(), 0
        found = self.path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FormatError("not a file, but a folder or a device; give a file")
        if not found.st_size:
            raise FormatError("the file is empty; whatever wrote it has failed")
        for source in open_texts(self.path):
            text = FeatureText(source, self.given)
            for features in _groups(iter(text)):
                growing = FeatureList(classes, count)
                for feature in features:
                    growing.add(feature)
                count = growing.count
                features.clear()
                yield growing.batch()
            if text.encoding != "utf-8":
                self.encoding = text.encoding


def _known(encoding: str) -> str | None:
    """Return Python's name of an encoding; None of one that the text begins with a mark of."""
    try:
        name = codecs.lookup(encoding).name
        "a".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise RequestError(
            "encoding", encoding, "no encoding of text; cp1252, cp1250, gbk and shift_jis are some"
        ) from error
    return None if name in ("utf-16", "utf-32", "utf-8-sig") else name


def _groups(features: Iterator[Feature]) -> Iterator[list[Feature]]:
    """Gather features, as many as is good for speed, but not much more than a window."""
    group: list[Feature] = []
    for feature in features:
        group.append(feature)
        if len(group) == BATCH or feature.offset - group[0].offset > WINDOW:
            yield group
            group = []
    yield group


def _raise_first(batch: Batch) -> None:
    faults = [Problem(batch.sources[row], what) for row, what in batch.faults.items()]
    faults += [
        Problem(batch.sources[row], f"has a nucleus that {what}")
        for row, what in batch.nucleus_faults.items()
    ]
    faults += [
        Problem(
            batch.sources[row],
            "has an outline that is not closed: its last vertex must repeat the first",
        )
        for row in batch.unclosed
    ]
    faults += batch.broken
    if faults:
        first = min(faults, key=lambda fault: fault.source.number)
        raise first.source.error(first.what)


def _usable(
    batch: Batch, repaired: Problems, left_out: Problems
) -> tuple[ObjectTable, npt.NDArray[np.bool_]]:
    """Return the objects that can be used, valid and on the grid, and which rows these are."""
    table = batch.objects
    out = [*batch.broken]
    faults = dict(batch.faults)
    notes = batch.notes | dict.fromkeys(batch.unclosed, "had an open outline")

    def checked(shapes: Shapes, faults: dict[int, str]) -> Shapes:
        outside = ~(np.abs(shapes.coords) < MAX_COORDINATE).all(axis=1)
        if outside.any():
            bounds = shapes.rings[shapes.parts[shapes.objects]]
            at = np.flatnonzero(outside)
            rows = np.unique(np.searchsorted(bounds, at, side="right") - 1).tolist()
            faults |= dict.fromkeys(rows, "lies beyond any image")
            shapes = without(shapes, rows)
        found = on_grid(shapes)
        faults |= dict.fromkeys(np.flatnonzero(found.flat).tolist(), "has no area")
        faults |= dict.fromkeys(
            np.flatnonzero(found.tangled).tolist(), "crosses itself too often to be repaired"
        )
        what = "had an outline that crosses or touches itself"
        notes.update(dict.fromkeys(np.flatnonzero(found.repaired).tolist(), what))
        return found.shapes

    shapes = checked(table.shapes, faults)
    nuclei, nucleus_faults = table.nuclei, dict(batch.nucleus_faults)
    if nuclei is not None:
        nuclei = checked(nuclei, nucleus_faults)
        if nucleus_faults:
            nuclei = without(nuclei, list(nucleus_faults))
    notes |= {row: f"lost a nucleus that {what}" for row, what in nucleus_faults.items()}
    usable = shapes.roi != RoiKind.EMPTY
    usable[list(faults)] = False
    out += [Problem(batch.sources[row], what) for row, what in faults.items()]
    for problem in sorted(out, key=lambda problem: problem.source.number):
        left_out.add(problem)
    for row in sorted(notes):
        if usable[row]:
            repaired.add(Problem(batch.sources[row], notes[row]))
    table = table.replace(shapes=shapes, nuclei=nuclei)
    return table if usable.all() else _take(table, usable), usable


def _take(table: ObjectTable, usable: npt.NDArray[np.bool_]) -> ObjectTable:
    """Take some objects, and only measurements that any of them may have."""
    taken = table.take(usable)
    had, have = (~np.isnan(t.measurements).all(axis=0) for t in (table, taken))
    names = [
        name for name, lost in zip(table.measured, np.less(have, had), strict=True) if not lost
    ]
    return taken.replace(measured=taken.measured.select(names))
