"""``qpbridge relocate``: note in a project where its images are now."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import qpbridge
from qpbridge.cli.options import image_option, json_option, places_options, project_argument
from qpbridge.cli.output import SOME_IMAGES_FAILED, describe_missing, print_json, print_missing, say
from qpbridge.cli.wording import Command
from qpbridge.project import Places, open_project


@click.command(cls=Command)
@project_argument
@image_option
@places_options
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@json_option
def relocate(
    project: Path, images: tuple[str, ...], places: Places, dry_run: bool, as_json: bool
) -> None:
    """Write into PROJECT where its images are now, so that QuPath finds them too.

    An image is looked for where --relocate says, where the project says, on the same way from the
    project as before the project moved, in the folders to --search, and beside the project. Nothing
    else in the project file changes, and the file before is kept as project.qpproj.backup. Close
    the project in QuPath first: what is open there would be saved over it.

    Exit code 0: all images are found; 1: failed; 2: wrong usage; 3: some are still missing, the
    others are written.
    """
    opened = open_project(project, backend="embedded", places=places)
    total = len(opened.select(images))
    result = qpbridge.relocate(opened, images=images, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "project": str(opened.path),
                "written": result.changes and not dry_run,
                "uri": result.project_now,
                "moved": [vars(image) for image in result.moved],
                "missing": describe_missing(result.missing),
            }
        )
    else:
        for image in result.moved:
            say(f"{image.name}: {image.new}")
        verb = "would be written" if dry_run else "written"
        if result.changes:
            what = f"{len(result.moved)} new places of images" if result.moved else "its new place"
            say(f"{opened.path}: {what} {verb}")
        elif not result.missing:
            say(f"{opened.path}: nothing to change, the images are where it says")
    print_missing([(name, error) for _, name, error in result.missing], total)
    if result.missing:
        sys.exit(SOME_IMAGES_FAILED)
