"""Measure the scores of a model again, and write them into its metadata and README.

python benchmarks/scores.py BUNDLE --data ROOT [--recipe FILE] [--device cpu]

On the validation sets of the recipe that it was trained by (docs/recipe.toml), whose folders are in
ROOT. A model that is calibrated is calibrated anew, on the same images.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from qpbridge.models import load_bundle
from qpbridge.training.build import load_groups, score_bundle
from qpbridge.training.recipe import read_recipe

SHOWN = ("aji", "pq", "f1", "dice", "auc")
"""Scores that are printed."""


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--recipe", type=click.Path(path_type=Path, exists=True))
@click.option("--device", default="cpu", show_default=True)
def main(model: Path, data: Path, recipe: Path | None, device: str) -> None:
    """Score MODEL, the folder of a bundle."""
    plan = read_recipe(recipe or model / "docs" / "recipe.toml", data)
    _, validation = load_groups(replace(plan, train=(), holdout=0.0), seed=0)
    if not validation:
        raise click.ClickException("The recipe names no images to validate on.")
    bundle = load_bundle(model)
    calibrated = bundle.calibration is not None
    score_bundle(bundle, validation, bundle.network(device), calibrated=calibrated)
    for title, now in load_bundle(model).scores.items():
        then = bundle.scores.get(title, {})
        shown = [
            f"{key} {then.get(key, float('nan')):.3f} -> {now[key]:.3f}"
            for key in SHOWN
            if key in now
        ]
        click.echo(f"{title}: {', '.join(shown)}")


if __name__ == "__main__":
    main()
