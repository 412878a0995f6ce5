"""Objects as files for other programs: GeoJSON in QuPath's dialect, and tables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qpbridge import checks
from qpbridge.api.arguments import Names, ProjectLike, as_project
from qpbridge.errors import CombinationError, QpbridgeError, RequestError
from qpbridge.objects import ObjectTable
from qpbridge.project.each_image import Report, Reports, each_image
from qpbridge.project.files.explain import explain_failure
from qpbridge.project.geojson.write import write_geojson as write_table_as_geojson
from qpbridge.project.interface import ImageEntry

FORMATS = ("csv", "parquet")
ROWS = ("objects", "regions", "images")
"""What has a row in a table."""


@dataclass(frozen=True)
class GeojsonReport(Report):
    """What was written of one image: the file, how many objects, and what had to be changed.

    `repaired` counts outlines that cross themselves, `flat` those without area that became a tiny
    box: QuPath would not read them otherwise.
    """

    path: str = ""
    objects: int = 0
    repaired: int = 0
    flat: int = 0

    def __str__(self) -> str:
        if self.status != "written":
            return super().__str__()
        return f"{self.path}: {self.objects} objects"


@dataclass(frozen=True)
class TableReport:
    """What was written as a table.

    Attributes
    ----------
    path
        The file; None: no image could be read, and there is none.
    rows
        How many rows it has.
    failed
        Why images are not in it, by their names.
    images
        How many images were asked for.
    """

    path: str | None
    rows: int
    failed: dict[str, str] = field(default_factory=dict)
    images: int = 0

    def __str__(self) -> str:
        return f"{self.path or 'nothing written'}: {self.rows} rows"


def write_geojson(
    source: ProjectLike | ImageEntry | ObjectTable,
    output: str | os.PathLike[str],
    *,
    images: Names = (),
) -> Reports[GeojsonReport]:
    """Write objects as GeoJSON, as QuPath reads and writes it.

    Parameters
    ----------
    source
        An open project or the path of one, an image of it, or objects.
    output
        The file (.gz and .zip compress); for several images a folder, in which each gets a file.
    images
        Names or entry ids of images of a project; none: all.

    Returns
    -------
    Reports of GeojsonReport
        One for each image. An image that fails is among them.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    SelectionError
        If an image is unknown.
    ProjectError
        If the project can't be read.

    Examples
    --------
    >>> reports = qpbridge.write_geojson(project, folder / "objects")
    >>> reports[0].objects == len(project[0].read().objects)
    True
    """
    path = Path(checks.path("output", output))
    if images and isinstance(source, ObjectTable | ImageEntry):
        raise CombinationError("`images` chooses images of a project; this is none.", "images")
    if isinstance(source, ObjectTable):
        return Reports([_write(source, "objects", path)])
    if isinstance(source, ImageEntry):
        entries: Sequence[ImageEntry] = (source,)
    else:
        entries = as_project(source).select(images)
    files = dict(zip((id(entry) for entry in entries), _files(path, entries), strict=True))

    def work(entry: ImageEntry) -> GeojsonReport:
        return _write(entry.read().objects, entry.name, files[id(entry)])

    return each_image(entries, work, GeojsonReport.of_failure)


def _kind_of(path: Path) -> str:
    """Tell from a file's name what is to be written to it."""
    *_, before, last = ["", "", *path.suffixes]
    if last.lower() in (".parquet", ".pq"):
        return "parquet"
    if (before if last.lower() in (".gz", ".zip") else last).lower() in (".csv", ".tsv", ".txt"):
        return "csv"
    raise RequestError("output", str(path), "ends in none of .csv, .tsv and .parquet: say `kind`")


def _write(objects: ObjectTable, name: str, path: Path) -> GeojsonReport:
    try:
        done = write_table_as_geojson(objects, path)
    except ValueError as error:  # of objects without a shape
        if isinstance(error, QpbridgeError):
            raise
        return GeojsonReport(name, "failed", str(error))
    return GeojsonReport(
        name,
        "written",
        path=str(path),
        objects=done.objects,
        repaired=done.repaired,
        flat=done.flat,
    )


def _files(output: Path, entries: Sequence[ImageEntry]) -> list[Path]:
    """Choose a file for each image: the one given, or one in the folder given for each of many."""
    if len(entries) == 1 and not output.is_dir():
        return [output]
    with explain_failure(output):
        output.mkdir(parents=True, exist_ok=True)
    safe = [re.sub(r'[\x00-\x1f<>:"/\\|?*]+', "_", e.name) for e in entries]
    names = [
        n if safe.count(n) == 1 else f"{n} ({e.id})" for n, e in zip(safe, entries, strict=True)
    ]
    return [output / f"{name}.geojson" for name in names]


def export_table(
    project: ProjectLike,
    output: str | os.PathLike[str],
    *,
    rows: str = "objects",
    kind: str | None = None,
    images: Names = (),
    columns: Names = (),
    of_class: Names = (),
    excel: bool = False,
    separator: str | None = None,
) -> TableReport:
    """Write one table of all images, in the columns that QuPath exports, in its words and units.

    Beside these are `Entry ID` and `Image path`, by which images of one name can be told apart.

    Parameters
    ----------
    project
        An open project, or the path of one.
    output
        The file: .csv or .parquet (which needs the package pyarrow); .gz and .zip compress text,
        and .tsv has tabs.
    rows
        What has a row: ``objects``; ``regions``, every annotation that qpbridge did not make; or
        ``images``, with what qpbridge found there in sum.
    kind
        ``csv`` or ``parquet``; None: as the name of the file says.
    images
        Names or entry ids of images; none: all.
    columns
        Names of the columns, in the order that they are to have; none: all.
    of_class
        Full names of classes: only objects or regions of these, and of classes that derive from
        them, have a row; none: all.
    excel
        Write text for Excel: with a byte order mark, and a ``'`` before texts that a spreadsheet
        would take for formulas.
    separator
        ``comma``, ``semicolon`` (then numbers have decimal commas) or ``tab``; None: as the name of
        the file says.

    Returns
    -------
    TableReport
        What was written; images that failed are listed in it.

    Raises
    ------
    RequestError
        If an argument makes no sense.
    SelectionError
        If an image is unknown, or no image has one of the columns.
    MissingExtraError
        If what writes this kind of file isn't installed.
    ProjectError
        If the project can't be read, or the file can't be written; what was there is untouched.

    Examples
    --------
    >>> report = qpbridge.export_table(project, folder / "regions.csv", rows="regions")
    >>> report.rows, report.failed
    (2, {})
    >>> only = "Entry ID", "Name", "Nuclei: Count"
    >>> report = qpbridge.export_table(project, folder / "few.csv", rows="regions", columns=only)
    >>> (folder / "few.csv").read_text("utf-8").splitlines()[0]
    'Entry ID,Name,Nuclei: Count'
    """
    # not before they are used: they take time to import
    from qpbridge.tables.cohort import Wanted, write_table
    from qpbridge.tables.writers import SEPARATORS, Style

    path = Path(checks.path("output", output))
    if kind is None:
        kind = _kind_of(path)
    elif kind == "geojson":
        raise RequestError("kind", kind, "is no table: use `write_geojson`")
    checks.choice("kind", kind, FORMATS)
    checks.choice("rows", rows, ROWS)
    style = Style(
        checks.flag("excel", excel),
        "" if separator is None else checks.choice("separator", separator, SEPARATORS),
    )
    names = checks.names("columns", columns), checks.names("of_class", of_class)
    if rows == "images" and names[1]:
        raise CombinationError("`of_class` is for objects and regions, not images.", "of_class")
    for name in ("excel", "separator"):
        if kind == "parquet" and getattr(style, name):
            raise CombinationError(f"`{name}` is for text, not for Parquet files.", name)
    entries = as_project(project).select(images)
    n, failed = write_table(entries, path, kind, Wanted(rows, *names, style))
    written = len(failed) < len(entries) or not entries
    return TableReport(str(path) if written else None, n, failed, len(entries))
