"""Where the images of a project are now: as stored, moved along with it, or where a user says."""

from __future__ import annotations

import ntpath
import os
import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePath, PureWindowsPath

from qpbridge import checks
from qpbridge.errors import MissingImageError, RequestError, SlideError
from qpbridge.project.uris import path_from_uri
from qpbridge.texts import same_name


def _is_pair(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], PurePath)
        and isinstance(value[1], Path)
    )


@dataclass(frozen=True)
class Places:
    """Where a user says that images are.

    Parameters
    ----------
    moved
        Pairs of an old place, of any machine, and where what was in it is now.
    search
        Folders to look through, with all folders in them, for files of the images' names.

    Raises
    ------
    RequestError
        If these are no places; see `parse` for texts.
    """

    moved: tuple[tuple[PurePath, Path], ...] = ()
    search: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.moved, tuple) or not all(map(_is_pair, self.moved)):
            raise RequestError("moved", self.moved, "expected a tuple of pairs of paths")
        if not isinstance(self.search, tuple) or not all(isinstance(p, Path) for p in self.search):
            raise RequestError("search", self.search, "expected a tuple of paths")

    @classmethod
    def parse(cls, moved: Sequence[str] = (), search: Sequence[Path | str] = ()) -> Places:
        r"""Read places as they are given on a command line.

        Parameters
        ----------
        moved
            ``OLD=NEW``, e.g. ``D:\slides=/data/slides``; OLD is a path of any machine, a share or
            a ``file:`` URI.
        search
            Folders.

        Raises
        ------
        RequestError
            If it makes no sense, or a place of this machine doesn't exist.
        """
        for folder in checks.paths("search", search):
            if not os.path.isdir(folder):  # noqa: PTH112 (does not raise where permission lacks)
                raise RequestError("search", folder, "no such folder")
        return cls(
            tuple(map(_pair, checks.names("moved", moved))),
            tuple(map(_absolute, checks.paths("search", search))),
        )

    def moved_to(self, stored: PurePath) -> list[Path]:
        """Return where a path is now by the longest of the old places that hold it.

        There are several if that place was given several times, as when it was split.
        """
        parts = _components(stored)
        fitting = [
            (len(old), new / "/".join(stored.as_posix().split("/")[len(old) :]))
            for old, new in ((_components(old), new) for old, new in self._of_kind(stored))
            if parts[: len(old)] == old
        ]
        longest = max((length for length, _ in fitting), default=0)
        return [place for length, place in fitting if length == longest]

    def find(self, stored: PurePath) -> Path | None:
        """Return the file of this name in the folders to search, None if there is none.

        Of several the one is meant that shares the most folders with the stored path, counted from
        the file upwards.

        Raises
        ------
        MissingImageError
            If that is true of several.
        """
        named = (Path(*place) for place in self._files.get(_folded(stored.name), ()))
        if not isinstance(stored, PureWindowsPath):
            named = (file for file in named if same_name(file.name) == same_name(stored.name))
        found = [(_shared_tail(file, stored), file) for file in named if exists(file)]
        best = max((length for length, _ in found), default=0)
        # Two ways to one file, by a link, are no question.
        files = {os.path.realpath(file): file for length, file in found if length == best}
        if len(files) > 1:
            raise MissingImageError(str(stored), candidates=tuple(files.values()))
        return next(iter(files.values()), None)

    def _of_kind(self, stored: PurePath) -> list[tuple[PurePath, Path]]:
        windows = isinstance(stored, PureWindowsPath)
        return [pair for pair in self.moved if isinstance(pair[0], PureWindowsPath) == windows]

    @cached_property
    def _files(self) -> dict[str, list[tuple[str, str]]]:
        """All files in the folders to search: by folded name their folders and names."""
        files: dict[str, list[tuple[str, str]]] = defaultdict(list)
        seen: set[tuple[int, int]] = set()
        for top in self.search:
            # Folders that can't be read are passed over.
            for folder, folders, names in os.walk(top, followlinks=True):
                try:
                    status = Path(folder).stat()
                except OSError:  # gone meanwhile
                    continue
                if (status.st_dev, status.st_ino) in seen:  # links may run in circles
                    folders.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                images = {name for name in folders if name.lower().endswith(".zarr")}
                folders[:] = sorted(set(folders) - images)
                for name in (*names, *images):
                    files[_folded(name)].append((folder, name))
        return dict(files)


NOWHERE = Places()
"""Nothing is said."""


def locate(uri: str, project: Path, project_uri_then: str | None, places: Places = NOWHERE) -> Path:
    """Find an image, also where the project moved together with it.

    Looked at are, in this order: where the user says that its old place is now; the stored path;
    the same way as from the project's old place to the image, gone from its new place; the folders
    that the user wants searched; the image's name beside the project.

    Parameters
    ----------
    uri
        Of the image, as stored.
    project
        The project file, where it is now.
    project_uri_then
        The key ``uri`` of the project: where it was when QuPath saved it.
    places
        What the user says.

    Raises
    ------
    MissingImageError
        If it is in none of these places, or by its name in several; they are named.
    SlideError
        If the URI is not that of a file.
    """
    stored = path_from_uri(uri)
    if not stored.name:
        raise SlideError(
            f"the project names no file for this image, but {uri!r}; remove it and add it again in "
            "QuPath"
        )
    here = _absolute(project).parent
    likely = places.moved_to(stored)
    if (as_stored := stored_place(stored, project)) is not None:
        likely.append(as_stored)
    way = None if project_uri_then is None else way_from_project(project_uri_then, stored)
    if way is not None:
        likely.append(Path(os.path.normpath(here.joinpath(*way.parts))))
    for place in likely:
        if exists(place):
            return place
    try:
        found = places.find(stored)
    except MissingImageError as error:
        raise MissingImageError(uri, candidates=error.candidates) from None
    if found is not None:
        return found
    beside = here / stored.name
    if exists(beside):
        return beside
    raise MissingImageError(uri, tried=tuple(dict.fromkeys((*likely, *places.search, beside))))


def stored_place(stored: PurePath, project: Path) -> Path | None:
    """Return the stored path as one of this machine; None if it can't be one."""
    return _absolute(project).parent / stored if isinstance(stored, type(PurePath())) else None


def exists(place: Path) -> bool:
    """Whether something is there, as far as this process may know."""
    return os.path.exists(place)  # noqa: PTH110 (does not raise where permission lacks)


def way_from_project(project_uri: str, goal: PurePath) -> PurePath | None:
    """Return the relative path from a project's folder to an image, by their names alone.

    None if there is none, as between two drives.
    """
    try:
        start = path_from_uri(project_uri).parent
    except SlideError:
        return None
    if type(start) is not type(goal) or not (start.is_absolute() and goal.is_absolute()):
        return None
    module = ntpath if isinstance(goal, PureWindowsPath) else posixpath
    try:
        return type(goal)(module.relpath(str(goal), str(start)))
    except ValueError:
        return None


def _pair(text: str) -> tuple[PurePath, Path]:
    """Read ``OLD=NEW``; both may hold a '=', the one that counts has a place behind it."""
    ways = [(text[:i], text[i + 1 :]) for i, sign in enumerate(text) if sign == "="]
    ways = [(old, new) for old, new in ways if old and new]
    if not ways:
        raise RequestError(
            "moved",
            text,
            r"give the old place, '=' and the new place, as in 'D:\slides=/data/slides'",
        )
    old, new = next((way for way in ways if exists(Path(way[1]))), ways[0])
    if not exists(Path(new)):
        raise RequestError("moved", text, f"the new place {new} does not exist")
    path = path_from_uri(old)
    if not (path.drive if isinstance(path, PureWindowsPath) else path.is_absolute()):
        raise RequestError(
            "moved",
            text,
            f"the old place {old} is no full path; give it from the root, drive or share on, as in "
            "the project",
        )
    return path, _absolute(Path(new))


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (resolve would follow links)


def _components(path: PurePath) -> list[str]:
    """Split a path so that those of two paths are equal where they mean the same place."""
    parts = same_name(path.as_posix().rstrip("/")).split("/")
    return list(map(str.casefold, parts)) if isinstance(path, PureWindowsPath) else parts


def _folded(name: str) -> str:
    return same_name(name).casefold()


def _shared_tail(file: Path, stored: PurePath) -> int:
    """Count the names that two paths have in common at their ends."""
    ours, theirs = _components(type(stored)(*file.parts[1:])), _components(stored)
    pairs = zip(reversed(ours), reversed(theirs), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
