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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qpbridge.errors import ProjectError
from qpbridge.objects import ObjectTable, PathClass
from qpbridge.project.colors import pack_argb
from qpbridge.project.embedded.class_colors import colored
from qpbridge.project.embedded.qpdata.data_file import read_image_data
from qpbridge.project.embedded.qpproj import EmbeddedEntry, EmbeddedProject
from qpbridge.project.interface import ImageData
from qpbridge.project.places import NOWHERE, Places
from qpbridge.project.qupath_places import may_be_found

OLDEST, NEWEST = (0, 4), (0, 7)
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

    def __init__(self, path: Path, places: Places = NOWHERE) -> None:
        super().__init__(path, places)
        qupath = start_qupath()
        wanted = _minor(self.version)
        if wanted is not None and wanted > qupath.minor:
            raise UnfitQuPathError(
                f"{path}: written by QuPath {self.version}, and {qupath} is older; install QuPath "
                f"{self.version} or newer, {_CURE}"
            )

    def _entry(self, entry: Mapping[str, Any]) -> PaquoEntry:
        return PaquoEntry(self, entry)


class PaquoEntry(EmbeddedEntry):
    """One image of a `PaquoProject`."""

    def _checked(self, data: bytes, path: Path) -> tuple[bytes, ImageData]:
        """Nothing takes the place of the old before QuPath has read and written it."""
        return self._as_qupath_writes(data, super()._parse(data, path), path)

    def _parse(self, data: bytes, path: Path) -> ImageData:
        """Read data as QuPath does, once it is known that it may be shown to QuPath."""
        known = super()._parse(data, path)
        found = self._as_qupath_writes(data, known, path)[1]
        # Ids that QuPath has just drawn would be others at the next reading.
        return replace(found, objects=found.objects.replace(ids=known.objects.ids))

    def _as_qupath_writes(
        self, data: bytes, known: ImageData, path: Path
    ) -> tuple[bytes, ImageData]:
        """Let QuPath read and write data; return what it wrote, and what that holds.

        Parameters
        ----------
        data
            To be rewritten.
        known
            What our codec reads in it.
        path
            For messages.

        Raises
        ------
        ProjectError
            If QuPath refuses it, or leaves an object out.
        """
        qupath, before = start_qupath(), known.objects
        try:
            written = qupath.rewrite(data, colored(before.classes, self._project.classes))
        except qupath.exceptions as error:
            raise ProjectError(
                f"{path}: {qupath} can't read this ({error}); look what it says when you open the "
                f"image there, {_CURE}"
            ) from error
        found = read_image_data(written)
        if not _are_same(found.objects, before):
            raise ProjectError(
                f"{path}: {qupath} makes {len(found.objects)} objects of the {len(before)} in it; "
                f"nothing was changed; correct them there, {_CURE}"
            )
        return written, found


def _are_same(found: ObjectTable, known: ObjectTable) -> bool:
    """Whether QuPath has the same objects as our codec.

    For objects without id (QuPath before 0.4) QuPath draws one at every reading, and our codec
    derives one of version 8.
    """
    if len(found) != len(known):
        return False
    as_stored = (found.ids == known.ids).all(axis=1)
    return bool(
        (as_stored | (known.ids[:, 6] >> 4 == 8)).all()
        and np.array_equal(found.kind, known.kind)
        and np.array_equal(found.parent, known.parent)
    )


def find_qupath() -> str | None:
    """Return the folder of the QuPath that paquo would use; None where it finds none.

    Where there can be none, paquo is not asked: it takes half a second to import.
    """
    if not may_be_found():
        return None
    from paquo.jpype_backend import find_qupath as search

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = search(**_settings())
        except (ValueError, OSError):
            return None
    return str(found.app_dir)


@functools.cache
def start_qupath() -> QuPath:
    """Start the QuPath that paquo finds, once for the whole process.

    Raises
    ------
    UnfitQuPathError
        If there is none, it can't be started, or is too old or too new.
    """
    folder = find_qupath()
    if folder is None:
        raise UnfitQuPathError(
            "the backend paquo is not available: no QuPath was found; install QuPath (in /opt or "
            f"your home folder, or set PAQUO_QUPATH_DIR to its folder), {_CURE}"
        )
    jars = (file.name for file in Path(folder).glob("qupath-core-[0-9]*.jar"))
    version = next((name[12:-4] for name in jars), "")
    name = f"QuPath {version or 'of an unknown version'} in {folder}"
    minor = _minor(version)
    if minor is None or not OLDEST <= minor <= NEWEST:
        fault = "new" if minor is not None and minor > NEWEST else "old"
        raise UnfitQuPathError(
            f"{name} is too {fault} for the backend paquo, which was tested with "
            f"{_dotted(OLDEST)} to {_dotted(NEWEST)}; let PAQUO_QUPATH_DIR be the folder of one of "
            f"these, {_CURE}"
        )
    try:
        return QuPath(name, version, minor)
    except Exception as error:
        # Whatever a foreign installation, its Java or the bridge to it come up with.
        raise UnfitQuPathError(f"{name} can't be started ({error}); repair it, {_CURE}") from error


class QuPath:
    """A QuPath that runs in this process, in the Java machine that it came with."""

    def __init__(self, name: str, version: str, minor: tuple[int, int]) -> None:
        from paquo.jpype_backend import start_jvm

        self.name, self.version, self.minor = name, version, minor
        settings = _settings()
        settings["java_opts"] += [
            "-Xrs",  # Ctrl+C stays with Python, which then removes locks and temporary files
            "-Djava.awt.headless=true",
            "--enable-native-access=ALL-UNNAMED",  # else Java 24 and later warn of the bridge
        ]
        start_jvm(finder_kwargs=settings)
        import jpype
        from paquo import java

        # What Java prints is for people; stdout belongs to the results.
        java.System.setOut(java.System.err)
        java.LogManager.setWarn()
        self._java, self._proxy = java, jpype.JProxy
        self._thread = jpype.JClass("java.lang.Thread")
        self._stream_in = jpype.JClass("java.io.ByteArrayInputStream")
        self._object_stream_out = jpype.JClass("java.io.ObjectOutputStream")
        self.exceptions: tuple[type[Exception], ...] = (jpype.JException,)

    def __str__(self) -> str:
        return self.name

    def rewrite(self, data: bytes, classes: Iterable[PathClass]) -> bytes:
        """Turn the contents of a ``data.qpdata`` into QuPath's objects, and write these.

        That is how QuPath opens and saves, without what it needs a readable image for.

        Parameters
        ----------
        data
            Of any version up to this QuPath's.
        classes
            Those in it. QuPath knows one class of each name, and would give it the colour that
            it has in the project opened first.
        """
        java, written = self._java, self._java.ByteArrayOutputStream(len(data))
        for path_class in classes:
            if path_class.color is not None:
                try:
                    known = java.PathClass.fromCollection(java.ArrayList(list(path_class.names)))
                except UnicodeEncodeError:
                    continue  # half a character, which Java may hold and the bridge can't pass
                known.setColor(java.Integer.valueOf(pack_argb(path_class.color)))
        source = java.PathIO.createObjectInputStream(self._stream_in(data))
        sink = self._object_stream_out(written)
        self._from_java(lambda: self._copy(source, sink))
        return bytes(written.toByteArray())

    def _copy(self, source: Any, sink: Any) -> None:
        java = self._java
        source.readUTF()
        number = int(java.PathIO.getCurrentDataFileVersion())
        sink.writeUTF(f"Data file version {number}")
        sink.writeObject(java.String(self._header(str(source.readObject()), number)))
        item = None
        while not (isinstance(item, java.String) and str(item) == "EOF"):
            item = source.readObject()
            sink.writeObject(item)
        sink.close()

    def _from_java(self, task: Callable[[], None]) -> None:
        """Call something with Java code below it on the stack.

        Objects are read with the classes that the Java code which asks for them can see, and
        Python alone would see none of QuPath's.
        """
        errors: list[Exception] = []

        def run() -> None:
            try:
                task()
            except Exception as error:  # noqa: BLE001 (it is raised again, on the other side)
                errors.append(error)

        self._thread(self._proxy("java.lang.Runnable", dict={"run": run})).run()
        for error in errors:
            raise error

    def _header(self, text: str, number: int) -> str:
        """Say who wrote the file; what it says of the image stays."""
        try:
            document = json.loads(text)
        except ValueError:
            return text  # QuPath 0.2 and before: the path of the image
        document |= {"dataVersion": number, "qupathVersion": self.version}
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _settings() -> dict[str, Any]:
    """Return paquo's own settings, from its files and environment variables."""
    from paquo._config import settings, to_kwargs

    found: dict[str, Any] = to_kwargs(settings)
    options = found["java_opts"]
    return found | {
        "java_opts": shlex.split(options) if isinstance(options, str) else list(options)
    }


def _minor(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version, within which QuPath's formats stay the same."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return None if found is None else (int(found[1]), int(found[2]))


def _dotted(minor: tuple[int, int]) -> str:
    return f"{minor[0]}.{minor[1]}"
