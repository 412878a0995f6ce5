"""Arguments and options that commands share."""

from __future__ import annotations

from pathlib import Path

import click

from qpbridge.engine.provenance import TARGETS

project_argument = click.argument("project", type=click.Path(path_type=Path))

image_option = click.option(
    "--image",
    "images",
    metavar="NAME",
    multiple=True,
    help="Only this image, by name or entry id; may be given several times.  [default: all]",
)

json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON document on stdout instead of text; messages go to stderr.",
)

backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "paquo", "embedded"]),
    default="auto",
    show_default=True,
    help="How the project is read and written: 'embedded' needs no QuPath.",
)

target_option = click.option(
    "--target",
    "targets",
    type=click.Choice(TARGETS),
    multiple=True,
    help="What to work on; may be given several times.  [default: nuclei]",
)

device_option = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    help="Where the network runs; 'auto' takes a GPU where there is one.",
)
