"""``qpbridge models``: what networks there are, and what is known of them."""

from __future__ import annotations

import click

from qpbridge.cli.options import json_option
from qpbridge.cli.output import print_json, print_table
from qpbridge.models.bundle import find_bundles, load_bundle


@click.group()
def models() -> None:
    """List and describe the models."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models that come with qpbridge."""
    bundles = [load_bundle(path) for path in find_bundles()]
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
                        "path": str(b.path),
                    }
                    for b in bundles
                ]
            }
        )
        return
    rows = [(b.name, b.target, b.version, b.mpp, b.license) for b in bundles]
    print_table(("Model", "Target", "Version", "µm/px", "Licence"), rows)


@models.command("show")
@click.argument("name")
@json_option
def show_model(name: str, as_json: bool) -> None:
    """Describe the model NAME (or the bundle at a path): data, licences, scores."""
    bundle = load_bundle(name)
    if as_json:
        print_json({"name": bundle.name, "path": str(bundle.path), **bundle.metadata})
        return
    readme = bundle.path / "docs" / "README.md"
    click.echo(readme.read_text("utf-8") if readme.is_file() else bundle.metadata)
