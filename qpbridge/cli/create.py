"""``qpbridge create``: a QuPath project around slides."""

from __future__ import annotations

from pathlib import Path

import click
import shapely

from qpbridge.cli.options import json_option, project_argument
from qpbridge.cli.output import messages, print_json, say
from qpbridge.cli.wording import Command
from qpbridge.errors import SlideError
from qpbridge.objects import ObjectKind, ObjectTable, RoiKind, Shapes
from qpbridge.project import NewImage, create_project
from qpbridge.project.interface import Edit
from qpbridge.slides.calibration import pixel_size
from qpbridge.slides.slide import Slide, open_slide
from qpbridge.slides.tissue import tissue_outline


@click.command(cls=Command)
@project_argument
@click.argument(
    "slides", metavar="SLIDE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--annotate-tissue", is_flag=True, help="Add an annotation around the tissue of each slide."
)
@click.option("--annotate-full", is_flag=True, help="Add an annotation of each whole slide.")
@json_option
def create(
    project: Path,
    slides: tuple[Path, ...],
    annotate_tissue: bool,
    annotate_full: bool,
    as_json: bool,
) -> None:
    """Create the QuPath project PROJECT (a new .qpproj file) around slides."""
    images, drawn = [], []
    for path in slides:
        with open_slide(path) as slide:
            images.append(describe(slide))
            _warn_about_pixel_size(slide)
            tables = [full_annotation(slide)] if annotate_full else []
            drawn.append(tables + ([tissue_annotation(slide)] if annotate_tissue else []))
    created = create_project(project, images)
    annotations = {}
    for entry, tables in zip(created.images, drawn, strict=True):
        for table in tables:
            entry.apply(Edit(add=table))
        annotations[entry.id] = sum(len(table) for table in tables)
    if as_json:
        print_json(
            {
                "project": str(created.path),
                "images": [
                    {"id": e.id, "name": e.name, "annotations": annotations[e.id]}
                    for e in created.images
                ],
            }
        )
        return
    say(f"{created.path}: {len(created.images)} images")
    for entry in created.images:
        say(f"  {entry.name}: {annotations[entry.id]} annotations")


def describe(slide: Slide) -> NewImage:
    """Describe an open slide as QuPath would."""
    return NewImage(
        path=slide.path.absolute(),
        name=slide.path.name,
        width=slide.width,
        height=slide.height,
        mpp=slide.mpp,
        levels=tuple((v.downsample, v.width, v.height) for v in slide.levels),
        magnification=slide.magnification,
        is_rgb=slide.is_rgb,
        tile=slide.tile_size,
        thumbnail=slide.thumbnail(1000, 600),
    )


def full_annotation(slide: Slide) -> ObjectTable:
    """Make a rectangle around the whole image."""
    shape = Shapes.corners(RoiKind.RECTANGLE, 0, 0, slide.width, slide.height)
    return ObjectTable.new(ObjectKind.ANNOTATION, shape).replace(names={0: "Whole image"})


def tissue_annotation(slide: Slide) -> ObjectTable:
    """Make one annotation of all the tissue of a slide; none where there is no tissue."""
    outlines = tissue_outline(slide)
    if not outlines:
        messages.print(f"{slide.path.name}: no tissue found, no annotation made")
    shapes = Shapes.from_geometries([shapely.MultiPolygon(outlines)] if outlines else [])
    return ObjectTable.new(ObjectKind.ANNOTATION, shapes).replace(
        names=dict.fromkeys(range(len(shapes)), "Tissue")
    )


def _warn_about_pixel_size(slide: Slide) -> None:
    try:
        pixel_size(slide.path.name, None, slide.mpp)
    except SlideError as error:
        messages.print(f"Note: {error}")
