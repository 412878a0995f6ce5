"""What a QuPath project is to the rest of qpbridge: the interface that every backend keeps."""

from __future__ import annotations

import abc
import html
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qpbridge import checks
from qpbridge.errors import MissingImageError, SlideError, UnknownImageError
from qpbridge.objects import ImageType, IntArray, ObjectTable, PathClass
from qpbridge.objects import Stains as Stains
from qpbridge.project.edits import KEEP as KEEP
from qpbridge.project.edits import AnnotationUpdate as AnnotationUpdate
from qpbridge.project.edits import Edit as Edit
from qpbridge.project.edits import Keep as Keep
from qpbridge.project.edits import MeasurementUpdate as MeasurementUpdate
from qpbridge.project.edits import Note as Note
from qpbridge.project.edits import ObjectChange as ObjectChange
from qpbridge.project.edits import WorkflowStep as WorkflowStep
from qpbridge.texts import same_name


@dataclass(frozen=True, eq=False)
class TmaGrid:
    """The grid of a tissue microarray.

    Parameters
    ----------
    cores
        int64 (rows, columns), row of each core in the image's `ObjectTable`; -1: not there.
    """

    cores: IntArray


@dataclass(frozen=True)
class ImageData:
    """All that QuPath stores of one image, as far as qpbridge understands it.

    Parameters
    ----------
    objects
        All but the root.
    image_type, stains, workflow
        As QuPath shows them.
    properties
        Free values by name, as scripts and extensions keep them with an image: texts, numbers,
        truth values, and lists and maps of these. Anything else stays in the file, unseen.
    tma_grid
        None if the image is no tissue microarray.
    state
        Which bytes on disk this was read from; a backend that writes compares it.
    """

    objects: ObjectTable
    image_type: ImageType = ImageType.UNSET
    stains: Stains | None = None
    workflow: tuple[WorkflowStep, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    tma_grid: TmaGrid | None = None
    state: Any = None


@dataclass(frozen=True)
class Server:
    """QuPath's image server of an entry: where the pixels are and what is known of them.

    Parameters
    ----------
    uri
        As stored, e.g. ``file:/C:/slides/a.svs``; None for a builder that has none, or several.
    provider
        Class name of QuPath's server builder, "" if left to QuPath.
    args
        Its arguments, e.g. ``("--series", "0")``.
    wrappers
        ``builderType`` of everything wrapped around the file's own server, outermost first
        (``rotated``, ``cropped`` ...), and of that one itself if it isn't ``uri``; empty for a
        plain image.
    width, height
        Full-resolution pixels of the outermost server, None where the project doesn't say.
    mpp
        µm per pixel (x, y) of the outermost server, None where the project doesn't say, or says
        "px".
    builder
        The JSON as stored.
    """

    uri: str | None
    provider: str
    args: tuple[str, ...]
    wrappers: tuple[str, ...]
    width: int | None
    height: int | None
    mpp: tuple[float, float] | None
    builder: Mapping[str, Any]


@dataclass(frozen=True)
class MovedImage:
    """An image file that is elsewhere than its project says: the URIs in it, old and new."""

    id: str
    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Relocation:
    """What changes in a project so that it names the present places.

    Parameters
    ----------
    moved
        Files that were found elsewhere.
    missing
        Entry id, name and error of those that were not found.
    project_then, project_now
        The project's own URI, before and after. It stays the old one as long as images are missing
        that could be found, later, by their way from there.
    """

    moved: tuple[MovedImage, ...]
    missing: tuple[tuple[str, str, MissingImageError], ...]
    project_then: str | None
    project_now: str | None

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.moved) or self.project_then != self.project_now


class ImageEntry(abc.ABC):
    """One image of a project."""

    id: str
    name: str
    description: str | None
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    server: Server

    def __repr__(self) -> str:
        server = self.server
        size = f"{server.width} x {server.height} px" if server.width else "size unknown"
        mpp = f"{server.mpp[0]:g} µm/px" if server.mpp else "pixel size unknown"
        return f"<{type(self).__name__} {self.id} {self.name!r}: {size}, {mpp}>"

    def _repr_html_(self) -> str:
        server = self.server
        rows = {
            "Id": self.id,
            "Image": self.name,
            "Pixels": f"{server.width} x {server.height}" if server.width else "unknown",
            "µm per pixel": " x ".join(f"{v:g}" for v in server.mpp) if server.mpp else "unknown",
            "Description": self.description or "",
            "Tags": ", ".join(self.tags),
            **self.metadata,
        }
        return "<table>{}</table>".format(
            "".join(
                f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
                for name, value in rows.items()
                if value
            )
        )

    @abc.abstractmethod
    def has_data(self) -> bool:
        """Whether QuPath, or anybody, has saved data for this image."""

    @abc.abstractmethod
    def read(self) -> ImageData:
        """Read everything; an image without data has no objects and type UNSET.

        Raises
        ------
        FormatError
            If the file is truncated, foreign or lies about itself.
        """

    @abc.abstractmethod
    def check_writable(self) -> None:
        """Find out before long work whether the image's objects are its own, and may be written.

        Raises
        ------
        ProjectError
            If another image of the project has the same entry id, and so the same data; or files
            of the image can't be written.
        """

    @abc.abstractmethod
    def apply(self, edit: Edit, state: Any = None) -> None:
        """Carry out a change: atomically, with a backup, keeping all that it doesn't touch.

        Parameters
        ----------
        edit
            The change.
        state
            `ImageData.state` of the reading that the change was planned on; None skips the check.

        Raises
        ------
        ChangedMeanwhileError
            If the data changed since `state`.
        ProjectError
            If it can't be written, see also `check_writable`. In either case the old data is
            untouched.
        """

    @abc.abstractmethod
    def kept_runs(self) -> tuple[str, ...]:
        """Return the runs (`Note.run`) that can be taken back, oldest first."""

    @abc.abstractmethod
    def note(self, run: str) -> bytes | None:
        """Return what was noted of a run; None where that is not kept, or broken, which is said."""

    @abc.abstractmethod
    def before(self, run: str) -> ImageData:
        """Read the image's data as it was before a run.

        Raises
        ------
        ProjectError
            If that is not kept, or broken.
        """

    @abc.abstractmethod
    def take_back(self, run: str) -> bool:
        """Make the data what it was before a run, to the byte, and keep nothing more of the run.

        Returns
        -------
        done
            False if the data is not to the byte as the run left it, or there was none before:
            nothing is done then.

        Raises
        ------
        ChangedMeanwhileError
            If another program saves the image right then.
        ProjectError
            If the data before is not kept or broken, or nothing can be written.
        """

    @abc.abstractmethod
    def image_path(self) -> Path:
        """Find the image file, also where the project moved together with its images.

        Raises
        ------
        MissingImageError
            If it is in none of the places looked at, which are named.
        SlideError
            If it isn't one file.
        """


SHOWN = 20
"""Images that a project lists in a notebook."""


class Project(abc.ABC):
    """A QuPath project: images in order, the list of classes, and free texts by name."""

    path: Path
    version: str
    classes: tuple[PathClass, ...]
    metadata: Mapping[str, str]
    images: tuple[ImageEntry, ...]

    @abc.abstractmethod
    def add_classes(self, classes: Sequence[PathClass]) -> None:
        """Append classes that the project's list lacks (by name), and save the list."""

    @abc.abstractmethod
    def set_pixel_size(self, ids: Collection[str], mpp: float) -> None:
        """Store µm per pixel of images, as QuPath does where a person sets it.

        All else in the project file stays to the letter, and the file before is kept as
        ``project.qpproj.backup``. What was measured by the old size stays as it is.

        Parameters
        ----------
        ids
            Entry ids of the images.
        mpp
            µm per pixel, of x and y.

        Raises
        ------
        ChangedMeanwhileError
            If another program saves the project right then; nothing is written over that.
        ProjectError
            If it can't be written, or QuPath has not noted yet what an image is like.
        """

    @abc.abstractmethod
    def check_writable(self) -> None:
        """Find out before long work whether its result can be written.

        Raises
        ------
        ProjectError
            If files can't be made there, or another program has the project locked.
        """

    @abc.abstractmethod
    def relocate(self, names: Sequence[str] = (), *, dry_run: bool = False) -> Relocation:
        """Note in the project file where images are now, as far as they are found.

        All else in the file stays to the letter, and the file before is kept as
        ``project.qpproj.backup``, as QuPath keeps it.

        Parameters
        ----------
        names
            Of images, or entry ids; none: all.
        dry_run
            Only find out.

        Raises
        ------
        SelectionError
            If an image is unknown.
        ChangedMeanwhileError
            If another program saves the project right then; nothing is written over that.
        ProjectError
            If it can't be written.
        """

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.images)

    def __iter__(self) -> Iterator[ImageEntry]:
        return iter(self.images)

    def __getitem__(self, key: str | int) -> ImageEntry:
        """Return an image by its name or entry id, or by its place in the list.

        Raises
        ------
        UnknownImageError
            If there is none of the name, or several.
        """
        return self.images[key] if isinstance(key, int) else self.image(key)

    def __contains__(self, key: object) -> bool:
        if isinstance(key, ImageEntry):
            return key in self.images
        return any(key in (entry.name, entry.id) for entry in self.images)

    def __bool__(self) -> bool:
        return True  # a project without images is one all the same

    def __repr__(self) -> str:
        images = "1 image" if len(self) == 1 else f"{len(self):,} images"
        return f"<{type(self).__name__} {str(self.path)!r}: {images}, QuPath {self.version}>"

    def _repr_html_(self) -> str:
        def row(cells: Sequence[object], tag: str = "td") -> str:
            texts = (f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
            return f"<tr>{''.join(texts)}</tr>"

        rows = [
            row(
                (
                    e.id,
                    e.name,
                    *((e.server.width and (e.server.width, e.server.height)) or ("", "")),
                )
            )
            for e in self.images[:SHOWN]
        ]
        if len(self) > SHOWN:
            rows.append(row(("...", f"and {len(self) - SHOWN:,} more", "", "")))
        head = row(("Id", "Image", "Width", "Height"), "th")
        return f"<p>{html.escape(repr(self))}</p><table>{head}{''.join(rows)}</table>"

    def select(self, names: str | Iterable[str]) -> tuple[ImageEntry, ...]:
        """Find images by name or entry id, in the order given; no names: all images.

        Raises
        ------
        UnknownImageError
            If there is none of a name, or several have it.
        """
        return tuple(self.image(name) for name in checks.names("images", names)) or self.images

    def image(self, name: str) -> ImageEntry:
        """Find an image by its name, or its entry id.

        Raises
        ------
        UnknownImageError
            If there is none, or several have the name.
        """
        wanted = same_name(checks.text("image", name))
        found = (
            [e for e in self.images if e.name == name]
            or [e for e in self.images if same_name(e.name) == wanted]
            or [e for e in self.images if e.id == name]
        )
        if len(found) == 1:
            return found[0]
        if found:
            raise UnknownImageError(self.path, name, ids=tuple(e.id for e in found))
        raise UnknownImageError(self.path, name, known=tuple(e.name for e in self.images))


def missing_images(entries: Sequence[ImageEntry]) -> list[tuple[ImageEntry, MissingImageError]]:
    """Find out which images of a project can't be found, before any work is done."""
    missing = []
    for entry in entries:
        try:
            entry.image_path()
        except MissingImageError as error:
            missing.append((entry, error))
        except SlideError:
            pass  # it is there, as far as anybody knows
    return missing
