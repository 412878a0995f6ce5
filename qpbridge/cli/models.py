"""``qpbridge models``: what networks there are, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import qpbridge
from qpbridge.cli.options import (
    folders_options,
    json_option,
    model_mpp_option,
    pixel_size_option,
    trust_option,
)
from qpbridge.cli.output import print_json, print_table, say
from qpbridge.cli.wording import Command
from qpbridge.errors import ModelError
from qpbridge.hierarchy.provenance import TARGETS
from qpbridge.models.bundle import Bundle
from qpbridge.training.readme import SCORES

SHOWN = {
    "nuclei": ("aji", "pq"),
    "glands": ("object_f1", "object_dice", "object_hausdorff"),
    "vessels": ("pq", "dice"),
}

README_BYTES = 200_000
"""What is shown of a bundle's own description."""


@click.group()
def models() -> None:
    """List and describe the models."""


@models.command("list", cls=Command)
@json_option
def list_models(as_json: bool) -> None:
    """List the models that come with qpbridge."""
    bundles = qpbridge.list_models()
    if as_json:
        print_json(
            {
                "models": [
                    {
                        "name": b.name,
                        "target": b.target,
                        "version": b.version,
                        "mpp": b.mpp,
                        "license": b.license,
                        "commercial_use": b.commercial_use,
                        "notice": b.notice,
                        "trained_on": trained_on(b),
                        "scores": b.scores,
                        "path": str(b.path),
                    }
                    for b in bundles
                ]
            }
        )
        return
    rows = [
        (
            b.name,
            b.target,
            b.mpp,
            "; ".join(trained_on(b)),
            b.license,
            ", ".join(best_scores(b)),
        )
        for b in bundles
    ]
    columns = ("Model", "Target", "µm/px", "Trained on", "Licence", "Validation scores")
    print_table(columns, rows)
    for bundle in bundles:
        if bundle.notice:
            say(f"{bundle.name}: {bundle.notice}")


def trained_on(bundle: Bundle) -> list[str]:
    """Name the data sets that a model was trained on."""
    sources = bundle.data.get("train", ())
    return [str(source.get("title", source.get("folder", ""))) for source in sources]


def best_scores(bundle: Bundle) -> list[str]:
    """Name the scores that matter for a target, on its first validation set."""
    first: Mapping[str, float] = next(iter(bundle.scores.values()), {})
    wanted = ("auc",) if bundle.decoder == "lines" else SHOWN[bundle.target]
    return [f"{SCORES[key]} {first[key]:.3g}" for key in wanted if first.get(key) is not None]


_target_option = click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="What a bundle from elsewhere finds, if it doesn't say.",
)


@models.command("show", cls=Command)
@click.argument("name")
@_target_option
@model_mpp_option
@trust_option
@json_option
def show_model(
    name: str, target: str | None, model_mpp: float | None, trust: bool, as_json: bool
) -> None:
    """Describe the model NAME (or the bundle at a path): data, licences, scores."""
    bundle = qpbridge.load_bundle(name, target=target, mpp=model_mpp, trust=trust, run=False)
    if as_json:
        print_json({"name": bundle.name, "path": str(bundle.path), **bundle.metadata})
        return
    readme = bundle.path / "docs" / "README.md"
    text = _beginning(readme) if readme.is_file() else str(bundle.metadata)
    for line in text.splitlines():
        say(line)


@models.command("compare", cls=Command)
@click.argument("first")
@click.argument("second")
@folders_options(required=True)
@pixel_size_option("µm per pixel of the images.  [default: that of FIRST]")
@_target_option
@model_mpp_option
@trust_option
@json_option
def compare_models(
    first: str,
    second: str,
    image_folder: Path,
    label_folder: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    """Score the models FIRST and SECOND on the same labelled images, side by side.

    Both are names or paths of bundles. Differences are paired by image; their 95 % intervals are
    made by bootstrap over the images, and are empty where these are fewer than six.
    """
    found = qpbridge.compare_models(
        first, second, image_folder=image_folder, label_folder=label_folder, **settings
    )
    if as_json:
        print_json(
            {
                "first": dict(found.first.images),
                "second": dict(found.second.images),
                "differences": {
                    name: {**d._asdict(), "beyond_chance": d.beyond_chance}
                    for name, d in found.differences.items()
                },
            }
        )
        return
    print_table(
        ("Score", first, second, "Difference", "95 % interval", "More than chance"),
        [
            (
                name,
                d.before,
                d.after,
                d.after - d.before,
                "" if math.isnan(d.low) else f"{d.low:+.3f} to {d.high:+.3f}",
                "" if math.isnan(d.low) else "yes" if d.beyond_chance else "no",
            )
            for name, d in found.differences.items()
        ],
        f"Means over {len(found.first.images)} images",
    )


def _beginning(readme: Path) -> str:
    try:
        with readme.open("rb") as file:
            text = file.read(README_BYTES).decode("utf-8", "replace")
            return f"{text} ... (the rest is in {readme})" if file.read(1) else text
    except OSError as error:
        raise ModelError(f"{readme}: can't be read ({error.strerror or error}).") from error
