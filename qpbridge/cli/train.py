"""``qpbridge train``: labelled images in, a model bundle out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from qpbridge.cli.options import device_option, json_option
from qpbridge.cli.output import print_json
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP

NAMES = ("aji", "pq", "f1", "dice")


@click.command()
@click.option(
    "--target",
    type=click.Choice(["nuclei"]),
    default="nuclei",
    show_default=True,
    help="What the model is to find.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    required=True,
    help="Folder with images/ and labels/ to train on (may be repeated); "
    "with --recipe, the folder that holds the recipe's folders.",
)
@click.option(
    "--validation",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    multiple=True,
    help="Folder to score the finished model on, never trained on (may be repeated).",
)
@click.option(
    "--mpp",
    type=click.FloatRange(MIN_MPP, MAX_MPP),
    help="µm per pixel of the images.  [default: estimated from the size of their nuclei]",
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
def train(
    target: str,
    data: tuple[Path, ...],
    validation: tuple[Path, ...],
    mpp: float | None,
    recipe: Path | None,
    output: Path,
    minutes: float | None,
    steps: int | None,
    seed: int,
    batch_size: int,
    device: str,
    work: Path | None,
    restart: bool,
    as_json: bool,
) -> None:
    """Train a model on labelled images and write it as a bundle.

    A folder of data holds images/ (RGB) and labels/ (PNG, 0 is background, every other value one
    nucleus) with the same file stems. A run that was stopped goes on when started again with the
    same options.
    """
    from qpbridge.evaluate.labelled import DataSource
    from qpbridge.models.network import choose_device
    from qpbridge.train.build import train_bundle
    from qpbridge.train.loop import TrainConfig
    from qpbridge.train.recipe import Recipe, read_recipe

    if (minutes is None) == (steps is None):
        raise click.UsageError("Give either --minutes or --steps.")
    if recipe is not None:
        if validation or mpp is not None or len(data) != 1:
            raise click.UsageError(
                "--recipe takes one --data (the folder that its folders are in), "
                "and neither --validation nor --mpp."
            )
        plan = read_recipe(recipe, data[0])
    else:
        plan = Recipe(
            mpp=0.5,
            train=tuple(DataSource(folder, mpp) for folder in data),
            validation=tuple(DataSource(folder, mpp) for folder in validation),
        )
    work = work or output.with_name(output.name + ".training")
    if restart:
        for name in ("checkpoint.pt", "curve.csv"):
            (work / name).unlink(missing_ok=True)

    def progress(row: Mapping[str, float]) -> None:
        parts = (
            f"{name} {row[name]:.3f}" for name in ("total", "foreground", "distance", "offset")
        )
        click.echo(
            f"step {row['step']:.0f}  {row['minutes']:.1f} min  {'  '.join(parts)}", err=True
        )

    config = TrainConfig(plan.network, minutes=minutes, steps=steps, seed=seed, batch=batch_size)
    bundle = train_bundle(
        plan, config, output, work=work, device=str(choose_device(device)), progress=progress
    )
    if as_json:
        print_json({"bundle": str(bundle.path), "scores": bundle.scores})
        return
    click.echo(f"{target} model written: {bundle.path}")
    for title, scores in bundle.scores.items():
        values = "  ".join(f"{name} {scores[name]:.3f}" for name in NAMES)
        click.echo(f"{title} ({scores['images']} images, {scores['objects']} nuclei): {values}")
