"""Noting in a project where its images, and it itself, are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qpbridge.errors import MissingImageError, ProjectError, SlideError
from qpbridge.project.embedded.json_edit import Place, find_values, replace_values
from qpbridge.project.embedded.json_files import parse_json
from qpbridge.project.files.states import read_file
from qpbridge.project.interface import MovedImage, Relocation
from qpbridge.project.places import Places, exists, locate, stored_place, way_from_project
from qpbridge.project.uris import path_from_uri, uri_from_path


def stored_uris(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Find the URIs of a server builder and of all that it is built of, with their places."""
    if isinstance(value, list):
        items: Iterable[tuple[str | int, Any]] = enumerate(value)
    else:
        items = value.items() if isinstance(value, Mapping) else ()
    for key, item in items:
        if key == "uri" and isinstance(item, str):
            yield (*place, key), item
        elif key != "metadata":  # of the image; no part of the server
            yield from stored_uris(item, (*place, key))


def plan_relocation(
    document: Mapping[str, Any], path: Path, ids: Mapping[int, tuple[str, str]], places: Places
) -> tuple[Relocation, dict[Place, str]]:
    """Find out what has to change in a project file so that it names the present places.

    Parameters
    ----------
    document
        The project file.
    path
        Where it is now.
    ids
        The images to look for: by index in the document their entry id and name.
    places
        Where the user says that images are.

    Returns
    -------
    relocation
        What moved, and what is missing.
    values
        New URIs by their place in the document.
    """
    then = document.get("uri")
    then = then if isinstance(then, str) else None
    moved: list[MovedImage] = []
    missing: list[tuple[str, str, MissingImageError]] = []
    values: dict[Place, str] = {}
    left_behind = False  # whether an image may still be found by the project's old place
    for index, entry in enumerate(document.get("images") or ()):
        for place, uri in stored_uris(
            entry.get("serverBuilder"), ("images", index, "serverBuilder")
        ):
            try:
                stored = path_from_uri(uri)
            except SlideError:
                continue  # in no file, so it can't have moved
            if not stored.name:
                continue
            as_stored = stored_place(stored, path)
            if index in ids:
                try:
                    now = locate(uri, path, then, places)
                except MissingImageError as error:
                    missing.append((*ids[index], error))
                else:
                    if now != as_stored:
                        values[place] = uri_from_path(now)
                        moved.append(MovedImage(*ids[index], uri, values[place]))
                    continue
            if then is not None and not (as_stored is not None and exists(as_stored)):
                left_behind |= way_from_project(then, stored) is not None
    here = uri_from_path(path.absolute())
    is_plain = not isinstance(document.get("uri"), dict | list)
    if is_plain and not left_behind and not (then is not None and _same(then, here)):
        values[("uri",)] = here
    return Relocation(tuple(moved), tuple(missing), then, values.get(("uri",), then)), values


def relocated(data: bytes, values: Mapping[Place, str]) -> bytes:
    """Return a project file with new URIs in it; all else stays to the letter.

    Raises
    ------
    FormatError
        If an object in it has a key twice.
    """
    text = data.decode()
    spans = find_values(text, "uri")
    known = {place: value for place, value in values.items() if place in spans}
    new = replace_values(text, spans, known)
    if ("uri",) in values.keys() - known.keys():
        start = new.index("{") + 1
        new = f'{new[:start]}\n  "uri": "{values[("uri",)]}",{new[start:]}'
    return new.encode()


def relocated_copy(path: Path, moved: Iterable[MovedImage]) -> bytes | None:
    """Return an image's server.json with new URIs; None where there is nothing to change.

    It is a copy for people and other programs, which QuPath changes along.
    """
    new_of = {image.old: image.new for image in moved}
    try:
        data, _ = read_file(path)
        document = parse_json(data, path)
        text = data.decode()
        spans = find_values(text, "uri")
    except ProjectError:
        return None
    values = {place: new_of[uri] for place, uri in stored_uris(document) if uri in new_of}
    return replace_values(text, spans, values).encode() if values else None


def _same(one: str, other: str) -> bool:
    try:
        return path_from_uri(one) == path_from_uri(other)
    except SlideError:
        return False
