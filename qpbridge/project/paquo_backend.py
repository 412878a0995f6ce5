"""The only module that touches paquo: QuPath's own Java code, where a QuPath is installed.

paquo's calls, one for each object, are too slow for a million nuclei, know neither ids nor cells,
tiles, planes and derived classes of all kinds, and skip saving where an image is missing. What it
finds and starts is used in bulk instead: all of an image's data goes through QuPath's own classes
as one stream of bytes, at every reading and before every writing. So QuPath says what is in a
file, and every file that is written is one that QuPath wrote; files are handled, and replaced, as
in the embedded backend.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import PathClass
from qpbridge.project.colors import pack_argb
from qpbridge.project.embedded.files import make_summary, read_classes
from qpbridge.project.embedded.qpdata import apply_edit, read_image_data
from qpbridge.project.embedded.qpproj import (
    BACKUP_FILE,
    DATA_FILE,
    EmbeddedEntry,
    EmbeddedProject,
    _colored,
    _with_colors,
)
from qpbridge.project.embedded.values import OBJECT_ID
from qpbridge.project.model import AnnotationUpdate, Edit, ImageData
from qpbridge.project.safety import ABSENT, explain_failure, lock, read_file, replace_files

OLDEST, NEWEST = (0, 5), (0, 7)
"""The versions of QuPath that this backend was run with, first to last."""

_CURE = "or use the backend 'embedded', which needs no QuPath"


class UnfitQuPathError(ProjectError):
    """There is no QuPath, or none that fits qpbridge or the project."""


class PaquoProject(EmbeddedProject):
    """A project whose images' data QuPath reads and writes.

    Raises
    ------
    ProjectError
        If there is no project at `path`, or something else.
    UnfitQuPathError
        If there is no QuPath, it can't be started, or is too old or too new.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        qupath = start_qupath()
        wanted = _minor(self.version)
        if wanted is not None and wanted > qupath.minor:
            raise UnfitQuPathError(
                f"{path}: written by QuPath {self.version}, and {qupath} is older; install QuPath "
                f"{self.version} or newer, {_CURE}"
            )
        self.images: tuple[PaquoEntry, ...] = tuple(
            PaquoEntry(self, entry) for entry in self.document.get("images") or ()
        )


class PaquoEntry(EmbeddedEntry):
    """One image of a `PaquoProject`."""

    def apply(self, edit: Edit, state: Any = None) -> None:
        """Carry out a change: atomically, with a backup, keeping all that it doesn't touch.

        Nothing takes the place of the old before QuPath has read and written it.

        Raises
        ------
        ProjectError
            If the data changed since `state`, or can't be written, or QuPath refuses it. The old
            data is untouched.
        """
        project = self._project
        with lock(project.folder):
            path = self._data_path()
            old, now = (None, ABSENT) if path is None else read_file(path)
            if state is not None and state != now:
                raise self._changed()
            _, known = read_classes(project.classes_path)
            edit, classes = _with_colors(edit, known)
            target = self.folder / DATA_FILE
            edited = self._edit(old, edit, path or target)
            if edited is None:
                return
            new, found = self._as_qupath_writes(edited, target)
            with explain_failure(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            server = self.server.builder.get("metadata")
            summary = make_summary(found, server if isinstance(server, dict) else {})

            def last_look() -> None:
                if self._data_path() != path or not now.is_on_disk(path or target):
                    raise self._changed()

            replace_files(
                {
                    target: new,
                    **project._with_classes(classes),
                    self.folder / "summary.json": summary,
                },
                backups={target: self.folder / BACKUP_FILE},
                last_look=last_look,
            )
        _, project.classes = read_classes(project.classes_path)

    def _edit(self, old: bytes | None, edit: Edit, path: Path) -> bytes | None:
        """Return the data after an edit, before QuPath has seen it; None if nothing changes."""
        try:
            base = None if old is None else _with_ids(old, read_image_data(old))
            new = apply_edit(
                base,
                edit,
                qupath_version=start_qupath().version,
                server_builder=self.server.builder,
                entry_id=f"{self._project.path.absolute()}::{self.id}",
            )
        except FormatError as error:
            raise error.in_file(path) from error
        except ProjectError as error:
            raise ProjectError(f"{path}: {error}") from error
        return None if new == base else new

    def _parse(self, data: bytes, path: Path) -> ImageData:
        """Read data as QuPath does, once it is known that it may be shown to QuPath."""
        known = super()._parse(data, path)
        return self._as_qupath_writes(_with_ids(data, known), path)[1]

    def _as_qupath_writes(self, data: bytes, path: Path) -> tuple[bytes, ImageData]:
        """Let QuPath read and write data; return what it wrote, and what that holds.

        Raises
        ------
        ProjectError
            If QuPath refuses it, or leaves an object out.
        """
        qupath = start_qupath()
        before = read_image_data(data).objects
        colors = _colored(before.classes, self._project.classes)
        try:
            written = qupath.rewrite(data, colors)
        except qupath.exceptions as error:
            raise ProjectError(f"{path}: {qupath} can't read this ({error}); {_CURE}") from error
        found = read_image_data(written)
        if not np.array_equal(found.objects.ids, before.ids):
            raise ProjectError(
                f"{path}: {qupath} reads {len(found.objects)} of the {len(before)} objects as they "
                f"are; nothing was changed; {_CURE}"
            )
        return written, found


def _with_ids(data: bytes, known: ImageData) -> bytes:
    """Store the ids of objects that have none in the file (QuPath before 0.4).

    QuPath would draw new ones at every reading, and an edit could not name its objects.
    """
    ids = known.objects.ids
    derived = ids[ids[:, 6] >> 4 == 8]  # the version of UUIDs that only our codec makes
    if not len(derived):
        return data
    # No id is ever changed: naming it only makes it stored.
    store = AnnotationUpdate({OBJECT_ID: None})
    return apply_edit(data, Edit(update={uid.tobytes(): store for uid in derived}))


def find_qupath() -> str | None:
    """Return the folder of the QuPath that paquo would use; None where it finds none."""
    from paquo._config import settings, to_kwargs
    from paquo.jpype_backend import find_qupath as search

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = search(**to_kwargs(settings))
        except (ValueError, OSError):
            return None
    return str(found.app_dir)


class _QuPath:
    """A QuPath that runs in this process."""

    def __init__(self, folder: str, version: str) -> None:
        import jpype
        from paquo import java
        from paquo._config import settings, to_kwargs
        from paquo.jpype_backend import start_jvm

        self.folder, self.version = folder, version
        self.exceptions: tuple[type[Exception], ...] = (jpype.JException,)
        self._java = java
        self._stream_in = jpype.JClass("java.io.ByteArrayInputStream")
        self._stream_out = jpype.JClass("java.io.ObjectOutputStream")
