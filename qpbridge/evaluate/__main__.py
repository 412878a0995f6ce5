"""Print the scores of a model on a labelled folder: ``python -m qpbridge.evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from qpbridge.errors import QpbridgeError
from qpbridge.evaluate.folder import score_folder
from qpbridge.models import load_bundle
from qpbridge.slides.calibration import MAX_MPP, MIN_MPP


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model", default="nuclei_he", show_default=True, help="Name or path of a bundle.")
@click.option("--mpp", type=click.FloatRange(MIN_MPP, MAX_MPP), help="µm per pixel of the images.")
@click.option("--pattern", default="*", show_default=True, help="Stems, joined by '|'.")
def main(folder: Path, model: str, mpp: float | None, pattern: str) -> None:
    """Score a model on FOLDER, which holds images/ and labels/; prints JSON."""
    try:
        scores = score_folder(load_bundle(model), folder, mpp, pattern)
    except QpbridgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
