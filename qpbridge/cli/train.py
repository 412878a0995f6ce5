"""``qpbridge train``: labelled images in, a model bundle out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.cli.options import device_option, json_option, pixel_size_option
from qpbridge.cli.output import print_json, say
from qpbridge.cli.wording import Command
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.training.readme import tell_gain

NAMES = ("aji", "pq", "f1", "dice", "auc", "sensitivity", "specificity")
ROW_START = ("step", "minutes", "learning_rate")


@click.command(cls=Command)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="nuclei",
    show_default=True,
    help="What the model is to find.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    required=True,
    help="Folder with images/ and labels/, or project (.qpproj), to train on (may be repeated); "
    "with --recipe, the folder that holds the recipe's folders.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="Folder or project to choose and score the model on, never trained on (may be repeated).  "
    "[default: a fifth of the patients of --data]",
)
@pixel_size_option(
    "µm per pixel of the images.  [default: nuclei: estimated from their size; glands and "
    "vessels: as the model's]"
)
@click.option(
    "--patient",
    metavar="REGEX",
    help="Finds the patient in a file name, as its first group: '^(\\d+)_'.  [default: as a CSV "
    "file in the folder says (columns name and patient), or each image is a patient]",
)
@click.option(
    "--truth",
    metavar="CLASS",
    help="Of projects: class of the objects to learn, in the annotations that a person reviewed.  "
    "[default: Nucleus, Gland or Vessel]",
)
@click.option(
    "--init",
    metavar="BUNDLE",
    help="Name or path of a model to begin with: its weights, µm per pixel and decoder settings.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file that names data, split, licences and decoder settings, in place of "
    "--validation and --mpp; see docs/recipe.toml of the models that come with qpbridge.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder of the bundle to write; its name is the model's name.",
)
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="Time to train.")
@click.option("--steps", type=click.IntRange(min=1), help="Steps to train, instead of --minutes.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@device_option
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for checkpoints and the learning curve.  [default: OUTPUT.training]",
)
@click.option("--restart", is_flag=True, help="Forget the checkpoint of a run that was stopped.")
@json_option
def train(target: str, as_json: bool, **settings: Any) -> None:
    """Train a model on labelled images and write it as a bundle.

    A folder of data holds images/ (RGB) and labels/ (PNG or TIFF, 0 is background, every other
    value one object) with the same file stems. Of a project, the annotations are learned from that
    a person reviewed: correct in QuPath what was found in a few regions, all of it, lock these
    annotations, and train on that. Where none is locked, it is those with objects of the class
    --truth that a person drew or changed. With --init the score before the first step is told as
    well, and whether what was gained is more than chance. A run that was stopped goes on when
    started again with the same options.
    """
    bundle = qpbridge.train(target=target, progress=_say, **settings)
    gain = bundle.training.get("init", {}).get("gain", {})
    if as_json:
        document = {"bundle": str(bundle.path), "scores": bundle.scores}
        print_json(document | ({"gain": gain} if gain else {}))
        return
    say(f"{target} model written: {bundle.path}")
    if not bundle.scores:
        say("There were no images to validate on: how good it is was not measured")
    for title, scores in bundle.scores.items():
        values = "  ".join(f"{name} {scores[name]:.3f}" for name in NAMES if name in scores)
        many = f", {scores['objects']} {target}" if "objects" in scores else ""
        say(f"{title} ({scores['images']} images{many}): {values}")
        if title in gain:
            say(f"  {tell_gain(gain[title])}")


def _say(row: Mapping[str, float]) -> None:
    """Print a row of the learning curve."""
    parts = (f"{k} {v:.3f}" for k, v in row.items() if k not in ROW_START)
    click.echo(f"step {row['step']:.0f}  {row['minutes']:.1f} min  {'  '.join(parts)}", err=True)
