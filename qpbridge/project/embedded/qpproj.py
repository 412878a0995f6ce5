"""QuPath projects without QuPath: the entries of a project.qpproj and their files."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from qpbridge import checks
from qpbridge.errors import ChangedMeanwhileError, FormatError, ProjectError, SlideError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.embedded.calibrate import calibrated, calibrated_copy
from qpbridge.project.embedded.class_colors import colored, with_colors
from qpbridge.project.embedded.json_edit import Place
from qpbridge.project.embedded.json_files import (
    as_texts,
    make_summary,
    parse_project_file,
    read_classes,
    read_metadata,
    read_project_file,
    to_json,
    with_classes,
)
from qpbridge.project.embedded.kept_runs import (
    KeptRun,
    files_to_keep,
    find_run,
    find_runs,
    forget,
    is_as_left,
    read_before,
    read_note,
    remove_old,
)
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.embedded.relocate import plan_relocation, relocated, relocated_copy
from qpbridge.project.embedded.servers import parse_server
from qpbridge.project.files.atomic import replace_files
from qpbridge.project.files.explain import explain_failure
from qpbridge.project.files.leftovers import remove_abandoned
from qpbridge.project.files.locks import Lease, lock
from qpbridge.project.files.no_links import folder_below, is_link, is_there, look, real
from qpbridge.project.files.states import ABSENT, FileState, look_at, read_file
from qpbridge.project.interface import Edit, ImageData, ImageEntry, Project, Relocation
from qpbridge.project.json_text import as_text
from qpbridge.project.places import NOWHERE, Places, locate
from qpbridge.project.uris import path_from_uri

DATA_FILE = "data.qpdata"
BACKUP_FILE = "data.qpdata.bkp"

SAVING = 60.0
"""Seconds that QuPath takes at most to save an image: it puts the old file aside, and writes in
place, so that there is half a file for that long."""

QUIET = 0.7
"""Seconds without a change after which nobody seems to be saving, and a broken file is broken."""


class EmbeddedProject(Project):
    """A project read from its files; keeps the whole document of the project file.

    Raises
    ------
    ProjectError
        If there is no project at `path`, or something else.
    """

    def __init__(self, path: Path, places: Places = NOWHERE) -> None:
        self.path = path
        self.places = places
        self._tidy = False
        self._load(read_project_file(path))

    def _load(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.version = as_text(document.get("version") or "").removeprefix("v")
        _, self.classes = read_classes(self.classes_path)
        self.metadata = read_metadata(self.folder / "data" / "metadata.json")
        entries: Sequence[Mapping[str, Any]] = document.get("images") or ()
        self.images: tuple[EmbeddedEntry, ...] = tuple(self._entry(e) for e in entries)

    def _entry(self, entry: Mapping[str, Any]) -> EmbeddedEntry:
        return EmbeddedEntry(self, entry)

    @property
    def folder(self) -> Path:
        """Where the project's files are."""
        return self.path.parent

    @property
    def classes_path(self) -> Path:
        """The file with the list of classes."""
        return self.folder / "classifiers" / "classes.json"

    @property
    def lacks_data(self) -> bool:
        """Whether the folder is missing that QuPath has written for every project since 0.6."""
        since = re.match(r"(\d+)\.(\d+)", self.version)
        is_new = since is not None and (int(since[1]), int(since[2])) >= (0, 6)
        return is_new and not is_there(self.folder / "data")

    def add_classes(self, classes: Sequence[PathClass]) -> None:
        """Append classes that the project's list lacks (by name), and save the list."""
        with self.hold() as lease:
            contents, expected = self.with_classes(classes)
            if contents:
                replace_files(
                    contents, root=self.folder, expected=expected, last_look=lease.confirm
                )
        _, self.classes = read_classes(self.classes_path)

    def check_writable(self) -> None:
        """Find out before long work whether its result can be written."""
        with self.hold():
            folder_below(self.folder, self.folder / "data")

    @contextlib.contextmanager
    def hold(self) -> Iterator[Lease]:
        """Hold the right to write; clear away first what killed runs have left."""
        with lock(self.folder) as lease:
            if not self._tidy:
                inner = [self.folder / "data" / entry.id for entry in self.images]
                for folder in (self.folder / "data", self.classes_path.parent, *inner):
                    with explain_failure(folder):
                        remove_abandoned(folder_below(self.folder, folder))
                self._tidy = True
            yield lease

    def relocate(self, names: Sequence[str] = (), *, dry_run: bool = False) -> Relocation:
        """Note in the project file where images are now, as far as they are found."""
        plan, _ = self._relocation(names)  # searching may take long, so before the lock
        if dry_run or not plan.changes:
            return plan
        with self.hold() as lease:
            data, state = read_file(self.path)
            self._load(parse_project_file(data, self.path))
            plan, values = self._relocation(names)
            contents = dict[Path, bytes]()
            for number, images in groupby(plan.moved, key=lambda image: image.id):
                server = self.folder / "data" / number / "server.json"
                copy = relocated_copy(server, images) if is_there(server) else None
                if copy is not None:
                    contents[server] = copy
            try:
                new = relocated(data, values)
            except FormatError as error:
                raise error.in_file(self.path) from error
            self._save(new, contents, state, lease)
        return plan

    def set_pixel_size(self, ids: Collection[str], mpp: float) -> None:
        """Store µm per pixel of images, as QuPath does where a person sets it."""
        with self.hold() as lease:
            data, state = read_file(self.path)
            self._load(parse_project_file(data, self.path))
            numbers = [i for i, entry in enumerate(self.images) if entry.id in ids]
            contents: dict[Path, bytes] = {}
            for number in numbers:
                server = self.folder / "data" / self.images[number].id / "server.json"
                copy = calibrated_copy(server, mpp) if is_there(server) else None
                if copy is not None:
                    contents[server] = copy
            self._save(
                calibrated(data, self.path, self.document, numbers, mpp), contents, state, lease
            )

    def _save(
        self, project: bytes, others: Mapping[Path, bytes], state: FileState, lease: Lease
    ) -> None:
        """Save the project file, and others before it; the file before stays as a backup."""
        file = real(self.path)  # the file that was named may be a link

        def last_look() -> None:
            lease.confirm()
            if not state.is_on_disk(self.path):
                raise ChangedMeanwhileError(
                    f"{self.path}: was saved by another program meanwhile; nothing was "
                    "changed; close the project in QuPath and run again"
                )

        replace_files(
            # Last, so that whoever sees the new project sees all of it.
            {**others, file: project},
            root=self.folder,
            expected={file: state},
            backups={file: file.with_name(file.name + ".backup")},
            last_look=last_look,
        )
        self._load(parse_project_file(project, self.path))

    def _relocation(self, names: Sequence[str]) -> tuple[Relocation, dict[Place, str]]:
        chosen = {id(entry) for entry in self.select(names)}
        ids = {i: (e.id, e.name) for i, e in enumerate(self.images) if id(e) in chosen}
        return plan_relocation(self.document, self.path, ids, self.places)

    def with_classes(
        self, classes: Sequence[PathClass]
    ) -> tuple[dict[Path, bytes], dict[Path, FileState]]:
        """Return what to write so that the project lists these classes, and in which state's place.

        Both are empty if it lists them.
        """
        state = look_at(self.classes_path)
        document, known = read_classes(self.classes_path)
        new = [c for c in dict.fromkeys(classes) if c not in known]
        if not new:
            return {}, {}
        with explain_failure(self.classes_path):
            folder_below(self.folder, self.classes_path.parent, make=True)
        new_list = to_json(with_classes(document, new))
        return {self.classes_path: new_list}, {self.classes_path: state}


class EmbeddedEntry(ImageEntry):
    """One image of an `EmbeddedProject`, read from its entry in the document."""

    def __init__(self, project: EmbeddedProject, entry: Mapping[str, Any]) -> None:
        self._project = project
        self.id = _entry_id(entry, project.path)
        builder = entry.get("serverBuilder")
        self.server = parse_server(builder if isinstance(builder, dict) else {})
        self.name = _name(entry, self.server.uri) or f"image {self.id}"
        description = entry.get("description")
        self.description = None if description is None else as_text(description)
        self.metadata = as_texts(entry.get("metadata"))
        tags = entry.get("tags")
        self.tags = tuple(map(as_text, tags)) if isinstance(tags, list) else ()

    @property
    def folder(self) -> Path:
        """Where the files of this image are, if there are any."""
        return self._project.folder / "data" / self.id

    def has_data(self) -> bool:
        """Whether QuPath, or anybody, has saved data for this image."""
        return self._data_path() is not None

    def read(self) -> ImageData:
        """Read everything; an image without data has no objects and type UNSET.

        Raises
        ------
        FormatError
            If the file is truncated, foreign or lies about itself.
        """
        found = self._read_whole()
        if found is None:
            self._check_complete()
            return no_data()
        classes = colored(found.objects.classes, self._project.classes)
        return replace(found, objects=replace(found.objects, classes=classes))

    def _read_whole(self) -> ImageData | None:
        """Read the data, if there is any; wait where another program is about to save it."""
        seen, since = None, 0.0
        deadline = time.monotonic() + SAVING
        while True:
            path = self._data_path()
            if path is None:
                return None
            try:
                data, state = read_file(path)
                return replace(self._parse(data, path), state=state)
            except ProjectError:
                status = look(path)
                now = None if status is None else (status.st_size, status.st_mtime_ns)
                if now != seen:
                    seen, since = now, time.monotonic()
                age = 0.0 if status is None else abs(time.time() - status.st_mtime)
                backed = path.name == BACKUP_FILE or look(self.folder / BACKUP_FILE) is not None
                quiet = time.monotonic() - since > QUIET or time.monotonic() > deadline
                # The first time that an image is saved, nothing is put aside.
                if quiet or age > (SAVING if backed else QUIET):
                    raise
                time.sleep(0.05)

    def check_writable(self) -> None:
        """Find out before long work whether the image's objects are its own, and may be written."""
        project = self._project.path
        twins = [entry.name for entry in self._project.images if entry.id == self.id]
        if len(twins) > 1:
            raise ProjectError(
                f"{project}: {len(twins)} images have the entry id {self.id}, so the same "
                f"objects ({', '.join(map(repr, twins[:5]))}); remove all but one of them "
                "from the project in QuPath, and add them again"
            )
        inner = self.folder if is_there(self.folder) else self.folder.parent
        for place in (inner, self._data_path()):
            if place is not None and is_there(place) and not os.access(place, os.W_OK):
                with explain_failure(place):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def apply(self, edit: Edit, state: Any = None) -> None:
        """Carry out a change: atomically, with a backup, keeping all that it doesn't touch.

        The data is read again under the project's lock, and what is to be written is read once
        before it takes the place of the old.

        Raises
        ------
        ChangedMeanwhileError
            If the data changed since `state`.
        ProjectError
            If it can't be written. In either case the old data is untouched.
        """
        checks.instance("edit", edit, Edit, "an Edit")
        project = self._project
        self.check_writable()
        with project.hold() as lease:
            path = self._data_path()
            try:
                old, now = (None, ABSENT) if path is None else read_file(path)
            except ProjectError as error:
                found_there = None if path is None else look(path)
                dangles = found_there is not None and is_link(found_there)
                if dangles or not isinstance(error.__cause__, FileNotFoundError):
                    raise
                raise self._changed() from error
            if path is None:
                self._check_complete()
            if state is not None and state != now:
                raise self._changed()
            _, known = read_classes(project.classes_path)
            edit, classes = with_colors(edit, known)
            target = self.folder / DATA_FILE
            edited = self._edited(old, edit, path or target)
            if edited == old:
                return
            new, found = self._checked(edited, target)
            with explain_failure(self.folder):
                folder_below(project.folder, self.folder, make=True)
            server = self.server.builder.get("metadata")
            summary = make_summary(found, server if isinstance(server, dict) else {})

            def last_look() -> None:
                lease.confirm()
                if self._data_path() != path or not now.is_on_disk(path or target):
                    raise self._changed()

            lists, listed = project.with_classes(classes)
            # First: notes of a run that the data knows nothing of are never asked for.
            kept = {} if edit.note is None else files_to_keep(self.folder, edit.note, old, new)
            replace_files(
                {**kept, target: new, **lists, self.folder / "summary.json": summary},
                root=project.folder,
                expected={target: now if path == target else ABSENT, **listed},
                backups={target: self.folder / BACKUP_FILE},
                last_look=last_look,
            )
            forget(self.folder, edit.forget)
            if kept:
                remove_old(self.folder, len(new))
        _, project.classes = read_classes(project.classes_path)

    def kept_runs(self) -> tuple[str, ...]:
        """Return the runs (`Note.run`) that can be taken back, oldest first."""
        found = find_runs(self.folder)
        return tuple(kept.run for kept in found if look(kept.before) is not None)

    def note(self, run: str) -> bytes | None:
        """Return what was noted of a run; None where that is not kept, or broken, which is said."""
        found = find_run(self.folder, run)
        return None if found is None else read_note(found)

    def before(self, run: str) -> ImageData:
        """Read the image's data as it was before a run."""
        kept, data = self._kept(run)
        return self._parse(data, kept.before) if data else no_data()

    def take_back(self, run: str) -> bool:
        """Make the data what it was before a run, to the byte, and keep nothing more of the run."""
        self.check_writable()
        with self._project.hold() as lease:
            kept, before = self._kept(run)
            target = self.folder / DATA_FILE
            if not before or self._data_path() != target:
                return False
            _, now = read_file(target)
            if not is_as_left(kept, now):
                return False
            server = self.server.builder.get("metadata")
            summary = make_summary(
                self._parse(before, kept.before), server if isinstance(server, dict) else {}
            )
            replace_files(
                {target: before, self.folder / "summary.json": summary},
                root=self._project.folder,
                expected={target: now},
                backups={target: self.folder / BACKUP_FILE},
                last_look=lease.confirm,
            )
            forget(self.folder, [run])
        return True

    def _kept(self, run: str) -> tuple[KeptRun, bytes]:
        """Find what is kept of a run, and the data as it was before."""
        found = find_run(self.folder, run)
        data = None if found is None else read_before(found)
        if found is None or data is None:
            raise ProjectError(
                f"{self._project.path}: of the image {self.name!r}, what was there before this run "
                "is no longer kept"
            )
        return found, data

    def _edited(self, old: bytes | None, edit: Edit, path: Path) -> bytes:
        """Return the data after an edit; `old` itself if nothing changes."""
        try:
            return apply_edit(
                old,
                edit,
                qupath_version=self._project.version,
                server_builder=self.server.builder,
                entry_id=f"{self._project.path.absolute()}::{self.id}",
            )
        except FormatError as error:
            raise error.in_file(path) from error
        except ProjectError as error:
            raise ProjectError(f"{path}: {error}") from error

    def _checked(self, data: bytes, path: Path) -> tuple[bytes, ImageData]:
        """Read data that is about to be written: what to write, and what that holds."""
        return data, self._parse(data, path)

    def image_path(self) -> Path:
        """Find the image file, also where the project moved together with its images.

        Raises
        ------
        MissingImageError
            If it is in none of the places looked at, which are named.
        SlideError
            If it isn't one file.
        """
        if self.server.uri is None:
            kinds = ", ".join(self.server.wrappers) or "unknown"
            raise SlideError(
                f"{self._project.path}: the image {self.name!r} is not one file (kind: {kinds}), "
                "which can't be read yet; export it from QuPath as OME-TIFF"
            )
        uri = self._project.document.get("uri")
        uri = uri if isinstance(uri, str) else None
        return locate(self.server.uri, self._project.path, uri, self._project.places)

    def _data_path(self) -> Path | None:
        """Return the file that QuPath would read: while it saves, only the backup may be there."""
        for name in (DATA_FILE, BACKUP_FILE):
            if look(self.folder / name) is not None:
                return self.folder / name
        return None

    def _check_complete(self) -> None:
        """Refuse to say that nothing was drawn where the folder that QuPath made is gone.

        QuPath makes it together with the thumbnail, when it first opens an image. Then it knows the
        image's size, and notes that. It may not have saved anything in it since.
        """
        project = self._project
        opened = _has_key(self.server.builder, "metadata")
        if is_there(self.folder) or not (opened or project.lacks_data):
            return
        lost = self.folder if is_there(self.folder.parent) else self.folder.parent
        raise ProjectError(
            f"{lost}: this folder is missing, so what was drawn in the image {self.name!r} can't "
            f"be known; copy it here from where {project.path.name} comes from, or make an empty "
            f"folder data/{self.id} if nothing was drawn"
        )

    def _parse(self, data: bytes, path: Path) -> ImageData:
        try:
            return read_image_data(data)
        except FormatError as error:
            backup = self.folder / BACKUP_FILE
            if path != backup and backup.is_file():
                hint = f"; the version before is kept in {BACKUP_FILE} beside it"
                error = FormatError(error.message + hint, offset=error.offset)
            raise error.in_file(path) from error

    def _changed(self) -> ChangedMeanwhileError:
        return ChangedMeanwhileError(
            f"{self._project.path}: the image {self.name!r} was saved by another program "
            "meanwhile; nothing was changed, run again"
        )


def _entry_id(entry: Mapping[str, Any], path: Path) -> str:
    """Return the number of an entry, which is the name of its folder: so nothing else will do."""
    number = entry.get("entryID", 0)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    text = str(number)
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 2**63):
        shown = f"{number!r:.40}"
        raise FormatError(f"an image whose entryID is no number of an image: {shown}", path=path)
    return str(int(text))


def _has_key(value: Any, key: str) -> bool:
    return isinstance(value, Mapping) and (
        key in value or any(_has_key(inner, key) for inner in value.values())
    )


def _name(entry: Mapping[str, Any], uri: str | None) -> str:
    name = entry.get("imageName")
    if name is not None:
        return as_text(name)
    try:
        return path_from_uri(uri or "").name
    except SlideError:
        return uri or ""


def no_data() -> ImageData:
    """Return what an image holds before anybody saved anything."""
    return ImageData(ObjectTable.new(ObjectKind.ANNOTATION, Shapes.empty()), state=ABSENT)
