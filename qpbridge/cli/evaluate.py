"""``qpbridge evaluate``: how well a model, or a person's corrections, agree with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.cli.options import (
    backend_option,
    folders_options,
    image_option,
    json_option,
    model_mpp_option,
    pixel_size_option,
    places_options,
    trust_option,
)
from qpbridge.cli.output import exit_with_failures, print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.evaluation.scores import MEANINGS
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.project import Backend, Places, open_project

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "nuclei": ("aji", "pq", "dq", "sq", "dice", "missed", "false", "merged", "split"),
    "glands": ("object_f1", "object_dice", "object_hausdorff", "pq", "dice", "merged", "split"),
    "vessels": ("pq", "object_f1", "dice", "auc", "sensitivity", "specificity"),
}
"""The scores of each target that a table shows, where they were measured; JSON has all."""


@click.command(cls=Command)
@click.argument("project", required=False, type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(TARGETS), required=True, help="What was looked for.")
@folders_options()
@click.option(
    "--truth",
    metavar="CLASS",
    help="With PROJECT: class of the objects that are the truth.",
)
@image_option
@click.option("--model", metavar="BUNDLE", help="Name or path of a model.  [default: the target's]")
@model_mpp_option
@trust_option
@pixel_size_option(
    "µm per pixel of the images; with PROJECT, at which to compare.  [default: the model's]"
)
@backend_option
@places_options
@json_option
def evaluate(
    project: Path | None,
    target: str,
    backend: Backend,
    places: Places,
    as_json: bool,
    **settings: Any,
) -> None:
    """Score a model on labelled images, or what is in PROJECT against what a person drew there.

    With --images and --labels the model segments the images, which are taken to have the µm per
    pixel that it works at, unless --mpp says otherwise. Scores are measured at the resolution of
    the labels.

    With PROJECT and --truth, the objects that qpbridge made for the target (corrected or not) are
    compared with the objects of class CLASS; with --model, what that model finds there is. Only
    annotations that a person reviewed count: those that are locked or have the metadata 'qpbridge
    reviewed', also where nothing is left in them. Where no image has any, it is those with objects
    of that class that a person drew or changed, all of which must be there; where there is no
    annotation around them, the whole image counts. What qpbridge found and a person deleted is not
    seen any more: to score a model, name it by --model.

    Distances are in pixels of the labels. Objects missed, false, merged and split are counts; the
    last line is the mean over images. More scores are in the output of --json. An image of PROJECT
    that fails is listed at the end, and the exit code is 3.
    """
    opened = None
    if project is not None and settings["truth"] is not None:
        opened = open_project(project, backend=backend, places=places)
    found = qpbridge.evaluate(project if opened is None else opened, target=target, **settings)
    failures = found.failed.reasons()
    if as_json:
        images = [{"name": name, **scores} for name, scores in found.images]
        document = {"images": images, "mean": found.mean}
        print_json(document | ({"failed": failures} if failures else {}))
    elif found.images:
        names = [name for name in COLUMNS[target] if name in found.mean]
        rows = [*found.images, ("mean", found.mean)]
        print_table(("Image", *names), [(name, *(s.get(n) for n in names)) for name, s in rows])
        for name in names:
            say(f"{name}: {MEANINGS[name]}")
    if opened is not None:
        exit_with_failures(failures, len(opened.select(settings["images"])))
