"""Making a new project around images, so that QuPath opens it without looking at them first."""

from __future__ import annotations

import contextlib
import io
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qpbridge.errors import ProjectError
from qpbridge.objects import PathClass
from qpbridge.project.colors import DEFAULT_CLASSES
from qpbridge.project.embedded.json_files import make_summary, to_json, with_classes
from qpbridge.project.embedded.qpproj import EmbeddedProject, no_data
from qpbridge.project.embedded.servers import BIOFORMATS, NewImage, make_builder, provider_of
from qpbridge.project.files.atomic import replace_files
from qpbridge.project.files.explain import explain_failure
from qpbridge.project.files.locks import lock
from qpbridge.project.uris import uri_from_path

QUPATH_VERSION = "0.6.0"
"""The version whose form new projects have."""

THUMBNAIL_SIZE = (1000, 600)


def create_embedded(path: Path, images: Sequence[NewImage]) -> EmbeddedProject:
    """Make a project file and its folders; see `qpbridge.project.create_project`."""
    path = path.absolute()
    if path.suffix != ".qpproj":
        raise ProjectError(f"{path}: the name of a project ends in .qpproj, as in project.qpproj")
    _refuse_duplicates(images)
    with _undone_on_failure() as made:
        _make_folder(path.parent, made)
        with lock(path.parent):
            shared, folders = _shared_files(path.parent), []
            contents: dict[Path, bytes] = dict(shared)
            entries = []
            for number, image in enumerate(images, start=1):
                builder = make_builder(image, _provider(image))
                folders.append(path.parent / "data" / str(number))
                entries.append(_entry(number, image, builder))
                contents |= _entry_files(folders[-1], image, builder)
            # An old folder of that number may hold objects, which would show up in the new project.
            _refuse_existing(path, (*shared, *folders))
            # Last, so that whoever sees the project sees all of it.
            contents[path] = to_json(_project(path, entries))
            for folder in dict.fromkeys(file.parent for file in contents):
                _make_folder(folder, made)
            replace_files(contents)
            made.clear()
    return EmbeddedProject(path)


def _shared_files(folder: Path) -> dict[Path, bytes]:
    classes = with_classes({"pathClasses": []}, [PathClass.parse(name) for name in DEFAULT_CLASSES])
    return {
        folder / "data" / "metadata.json": to_json({}),
        folder / "classifiers" / "classes.json": to_json(classes),
    }


def _provider(image: NewImage) -> str:
    return provider_of(image.path) if image.is_rgb else BIOFORMATS


def _refuse_duplicates(images: Sequence[NewImage]) -> None:
    seen: set[str] = set()
    for image in images:
        real = os.path.realpath(image.path)
        if real in seen:
            raise ProjectError(f"{image.path}: given twice; name each slide once")
        seen.add(real)


def _refuse_existing(path: Path, taken: Iterable[Path]) -> None:
    if path.exists():
        raise ProjectError(
            f"{path}: there is a project already; choose another name or folder, or open this one"
        )
    for place in taken:
        if place.exists():
            raise ProjectError(
                f"{place}: belongs to another project, whose files would mix with the new one's; "
                "choose another folder"
            )


def _project(path: Path, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    now = time.time_ns() // 1_000_000
    return {
        "version": QUPATH_VERSION,
        "createTimestamp": now,
        "modifyTimestamp": now,
        "uri": uri_from_path(path),
        "lastID": len(entries),
        "images": list(entries),
    }


def _entry(number: int, image: NewImage, builder: dict[str, Any]) -> dict[str, Any]:
    return {
        "serverBuilder": builder,
        "entryID": number,
        "randomizedName": str(uuid.uuid4()),
        "imageName": image.name,
        "metadata": {},
        "tags": [],
    }


def _entry_files(folder: Path, image: NewImage, builder: dict[str, Any]) -> dict[Path, bytes]:
    files = {
        folder / "server.json": to_json(builder),
        folder / "summary.json": make_summary(no_data(), builder.get("metadata", {})),
    }
    if image.thumbnail is not None:
        files[folder / "thumbnail.jpg"] = _thumbnail(image.thumbnail)
    return files


def _thumbnail(pixels: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(pixels).convert("RGB")
    picture.thumbnail(THUMBNAIL_SIZE)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, and note which were new."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    with explain_failure(folder):
        for new in reversed(missing):
            made.append(new)
            new.mkdir()


@contextlib.contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    """Remove the folders noted in the list, as far as they are empty, if something goes wrong."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
