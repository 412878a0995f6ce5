"""``qpbridge evaluate``: how well a model, or a person's corrections, agree with the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from qpbridge.cli.options import (
    backend_option,
    image_option,
    json_option,
    model_mpp_option,
    places_options,
)
from qpbridge.cli.output import print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.errors import ModelError
from qpbridge.evaluation.folder import score_each
from qpbridge.evaluation.labelled import load_pairs
from qpbridge.evaluation.predict import WITH_HOLES
from qpbridge.evaluation.reviewed import load_reviewed
from qpbridge.evaluation.scores import MEANINGS, image_scores, mean_scores
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.models.bundle import DEFAULT_MODELS, load_bundle
from qpbridge.project import Backend, Places, open_project
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "nuclei": ("aji", "pq", "dq", "sq", "dice", "missed", "false", "merged", "split"),
    "glands": ("object_f1", "object_dice", "object_hausdorff", "pq", "dice", "merged", "split"),
    "vessels": ("pq", "object_f1", "dice", "auc", "sensitivity", "specificity"),
}
"""The scores of each target that a table shows, where they were measured; JSON has all."""


@click.command(cls=Command)
@click.argument("project", required=False, type=click.Path(path_type=Path))
@click.option("--target", type=click.Choice(TARGETS), required=True, help="What was looked for.")
@click.option(
    "--images",
    "images_folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of images.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of their labels (PNG or TIFF of the same names; 0 is background, every other "
    "value one object; vessels may be one mask).",
)
@click.option(
    "--truth",
    metavar="CLASS",
    help="With PROJECT: class of the objects, drawn by a person, that are the truth.",
)
@image_option
@click.option("--model", metavar="BUNDLE", help="Name or path of a model.  [default: the target's]")
@model_mpp_option
@click.option(
    "--mpp",
    type=click.FloatRange(MIN_MPP, MAX_MPP),
    metavar="F",
    help="µm per pixel of the images; with PROJECT, at which to compare.  [default: the model's]",
)
@backend_option
@places_options
@json_option
def evaluate(
    project: Path | None,
    target: str,
    images_folder: Path | None,
    labels: Path | None,
    truth: str | None,
    images: tuple[str, ...],
    model: str | None,
    model_mpp: float | None,
    mpp: float | None,
    backend: Backend,
    places: Places,
    as_json: bool,
) -> None:
    """Score a model on labelled images, or what is in PROJECT against what a person drew there.

    With --images and --labels the model segments the images, which are taken to have the µm per
    pixel that it works at, unless --mpp says otherwise. Scores are measured at the resolution of
    the labels.

    With PROJECT and --truth, the objects that qpbridge made for the target (corrected or not) are
    compared with the objects of class CLASS; with --model, what that model finds there is. Only
    the annotations around objects of that class count, all of which must be drawn there; where
    there is no annotation around them, the whole image does.

    Distances are in pixels of the labels. Objects missed, false, merged and split are counts; the
    last line is the mean over images. More scores are in the output of --json.
    """
    if (project is None) == (images_folder is None):
        raise click.UsageError("Give either --images and --labels, or a project and --truth.")
    if (images_folder is None) != (labels is None) or (project is None) != (truth is None):
        raise click.UsageError("--images needs --labels, and a project needs --truth.")
    if images and project is None:
        raise click.UsageError("--image chooses images of a project; there is none.")
    bundle = load_bundle(model or DEFAULT_MODELS[target], target=target, mpp=model_mpp)
    if bundle.target != target:
        raise ModelError(f"--model {bundle.name}: finds {bundle.target}, not {target}")
    if project is None:
        assert images_folder is not None and labels is not None
        rows = score_each(bundle, load_pairs(images_folder, labels, mpp or bundle.mpp))
    else:
        assert truth is not None
        areas = load_reviewed(
            open_project(project, backend=backend, places=places),
            truth,
            target,
            mpp=mpp or bundle.mpp,
            images=images,
            filled=bundle.decoder not in WITH_HOLES,
            nominal_mpp=bundle.mpp if bundle.nominal_mpp else None,
        )
        if model is not None:
            rows = score_each(bundle, (area.sample for area in areas))
        else:
            rows = [
                (a.sample.name, image_scores(a.sample.labels, a.found, known=a.sample.known))
                for a in areas
            ]
    mean = mean_scores(scores for _, scores in rows)
    if as_json:
        print_json({"images": [{"name": name, **s} for name, s in rows], "mean": mean})
        return
    names = [name for name in COLUMNS[target] if name in mean]
    table = [(name, *(scores.get(n) for n in names)) for name, scores in [*rows, ("mean", mean)]]
    print_table(("Image", *names), table)
    for name in names:
        say(f"{name}: {MEANINGS[name]}")
