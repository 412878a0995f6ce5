"""``qpbridge info``: what is in a project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

import qpbridge
from qpbridge.api.info import counted_kinds
from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    places_options,
    project_argument,
)
from qpbridge.cli.output import describe_missing, exit_with_failures, print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.engine.runs import brief, provenance_key
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project import Backend, Places, open_project
from qpbridge.slides.several import FileImage, tell_choice

if TYPE_CHECKING:
    from qpbridge.api.info import ImageInfo


@click.command(cls=Command)
@project_argument
@image_option
@click.option(
    "--thumbnail",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Of an image file: write it small into this new PNG or JPEG file.",
)
@places_options
@backend_option
@json_option
def info(
    project: Path,
    images: tuple[str, ...],
    thumbnail: Path | None,
    places: Places,
    backend: Backend,
    as_json: bool,
) -> None:
    """Show the images of PROJECT, what is annotated in them, and what qpbridge has added.

    PROJECT may also be an image file: then format, size, levels, pixel size and where it is from,
    objective, and the pictures beside the image are shown.
    """
    if is_image(project):
        _show_image(project, thumbnail, as_json)
        return
    if thumbnail is not None:
        raise click.UsageError("--thumbnail is for an image file, not for a project.")
    found = qpbridge.info(open_project(project, backend=backend, places=places), images=images)
    described = [report.info for report in found.images if report.info is not None]
    failures = found.images.reasons()
    if as_json:
        print_json(
            {
                "project": found.path,
                "version": found.version,
                "classes": found.classes,
                "metadata": found.metadata,
                "images": described,
                "missing": describe_missing(
                    [(entry.id, entry.name, error) for entry, error in found.missing]
                ),
                "failed": failures,
            }
        )
    else:
        say(f"{found.path} (QuPath {found.version}), {found.total} images")
        for image in described:
            _print(image)
    exit_with_failures(failures, len(found.images))


def is_image(path: Path) -> bool:
    """Tell an image from a project, by its name: a folder is a project's unless it is a Zarr."""
    suffix = path.suffix.lower()
    return suffix == ".zarr" if path.is_dir() else suffix != ".qpproj"


def _show_image(path: Path, thumbnail: Path | None, as_json: bool) -> None:
    found = qpbridge.image_info(path, thumbnail=thumbnail)
    if as_json:
        print_json(found)
        return
    say(f"{found['path']} ({found['format']}), {found['width']} x {found['height']} px")
    mpp = found["mpp"]
    size = "unknown" if mpp is None else f"{mpp[0]:g} x {mpp[1]:g} µm ({found['mpp_from']})"
    say(f"   pixel size: {size}")
    power = found["magnification"]
    say(f"   objective: {'unknown' if power is None else f'{power:g}x'}")
    x, y, width, height = found["bounds"]
    tile = " x ".join(map(str, found["tile"]))
    say(f"   scanned: {width} x {height} px from {x}, {y}; tiles of {tile} px")
    levels = (f"{v['width']} x {v['height']} (1/{v['downsample']:g})" for v in found["levels"])
    say(f"   levels: {', '.join(levels)}")
    say(f"   beside it: {', '.join(found['associated']) or 'nothing'}")
    if len(found["images"]) > 1:
        images = [FileImage(i["name"], i["width"], i["height"]) for i in found["images"]]
        if choice := tell_choice(images, found["series"]):
            say(f"   {choice}")


def _print(image: ImageInfo) -> None:
    size = f"{image['width']} x {image['height']} px" if image["width"] else "size unknown"
    mpp = f"{image['mpp'][0]:g} µm/px" if image["mpp"] else "pixel size unknown"
    say()
    say(f"{image['id']}: {image['name']} ({size}, {mpp}, {image['image_type']})")
    say(f"   {image['problem'] or image['path']}")
    say(f"   {counted_kinds(image['objects'])}")
    for target, own in image["qpbridge"].items():
        if any(own.values()):
            text = f"{own['unchanged']:,} {target} by qpbridge, {own['changed']:,} changed since"
            say(f"   {text}")
    if image["annotations"]:
        columns = ("Annotation", "Class", "Shape", "Children", "Segmented with")
        rows = [
            (a["name"], a["class"], a["roi"], a["children"], _segmented_with(a["metadata"]))
            for a in image["annotations"]
        ]
        print_table(columns, rows)
    if image["cores"]:
        print_table(
            ("TMA core", "", "Children", "Segmented with"),
            [
                (
                    c["name"],
                    "missing" if c["missing"] else "",
                    c["children"],
                    _segmented_with(c["metadata"]),
                )
                for c in image["cores"]
            ],
        )


def _segmented_with(metadata: Mapping[str, str]) -> str:
    return "; ".join(brief(metadata[k]) for k in map(provenance_key, TARGETS) if k in metadata)
