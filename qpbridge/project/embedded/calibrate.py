"""Noting in a project how large the pixels of its images are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qpbridge.errors import FormatError, ProjectError
from qpbridge.project.embedded.json_edit import Place, find_values, replace_values
from qpbridge.project.embedded.json_files import parse_json
from qpbridge.project.files.states import read_file

MICRON = "µm"
"""QuPath's name of the unit."""


def calibrated(
    data: bytes, path: Path, document: Mapping[str, Any], images: Iterable[int], mpp: float
) -> bytes:
    """Return a project file with other pixel sizes in it; all else stays to the letter.

    Parameters
    ----------
    data, document
        The project file, and what is in it.
    path
        For messages.
    images
        Indices of the images in its list.
    mpp
        µm per pixel, of x and y.

    Raises
    ------
    ProjectError
        If an image has no pixel size that could be replaced.
    """
    places = []
    for index in images:
        entry = document["images"][index]
        inside = _calibration(entry.get("serverBuilder"))
        if inside is None:
            raise ProjectError(
                f"{path}: of the image {str(entry.get('imageName'))!r} QuPath has not noted yet "
                "what it is like; open it there once and save it, then set its pixel size"
            )
        places.append(("images", index, "serverBuilder", *inside))
    try:
        return _replaced(data.decode(), places, mpp).encode()
    except FormatError as error:
        raise error.in_file(path) from error


def calibrated_copy(path: Path, mpp: float) -> bytes | None:
    """Return an image's server.json with another pixel size; None where it has none.

    It is a copy for people and other programs, in three forms by the version of QuPath.
    """
    try:
        data, _ = read_file(path)
        document = parse_json(data, path)
        places = []
        for start in ((), ("builder",)):
            value = document.get("builder") if start else document
            inside = _calibration(value)
            places += [] if inside is None else [(*start, *inside)]
        return _replaced(data.decode(), places, mpp).encode() if places else None
    except ProjectError:
        return None


def _calibration(builder: Any) -> Place | None:
    """Find the calibration of a server: its own, or else that of the one inside, which it has too.

    Returns
    -------
    place
        Keys from the builder inwards; None if there is none.
    """
    place: Place = ()
    while isinstance(builder, Mapping):
        metadata = builder.get("metadata")
        if isinstance(metadata, Mapping):
            size = metadata.get("pixelCalibration")
            sides = ("pixelWidth", "pixelHeight")
            whole = isinstance(size, Mapping) and all(
                isinstance(size.get(side), Mapping) and {"value", "unit"} <= size[side].keys()
                for side in sides
            )
            return (*place, "metadata", "pixelCalibration") if whole else None
        place, builder = (*place, "builder"), builder.get("builder")
    return None


def _replaced(text: str, places: Iterable[Place], mpp: float) -> str:
    sides = [(*place, side) for place in places for side in ("pixelWidth", "pixelHeight")]
    for key, value in (("value", float(mpp)), ("unit", MICRON)):
        spans = find_values(text, key)
        text = replace_values(text, spans, {(*side, key): value for side in sides})
    return text
