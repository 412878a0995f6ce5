"""``qpbridge doctor``: what is installed, what is seen, and whether it works."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import click
import numpy as np
import torch

import qpbridge
from qpbridge.cli.options import json_option
from qpbridge.cli.output import print_json
from qpbridge.cli.wording import Command
from qpbridge.engine.tiles.network import TargetNetwork
from qpbridge.models.bundle import find_bundles, load_bundle
from qpbridge.project.paquo_backend import find_qupath

_PACKAGES = ("torch", "monai", "paquo", "shapely", "geojson", "tiffslide", "tifffile", "numpy")


@click.command(cls=Command)
@json_option
def doctor(as_json: bool) -> None:
    """Show what qpbridge finds on this machine, and test that it can segment."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        sys.exit(1)


def examine() -> dict[str, Any]:
    """Look at everything, and return it as a JSON document."""
    tests = {path.name: self_test(path.name) for path in find_bundles()}
    return {
        "ok": bool(tests) and all(result == "ok" for result in tests.values()),
        "qpbridge": qpbridge.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "qupath": find_qupath(),
        "models": tests,
    }


def self_test(model: str) -> str:
    """Run a model on a drawn nucleus; return ``ok``, or what went wrong.

    A model of nuclei has to find it; of others it is asked only that it draws its maps.
    """
    side = 128
    y, x = np.mgrid[:side, :side]
    image = np.full((side, side, 3), (235, 205, 220), np.uint8)
    image[np.hypot(x - side / 2, y - side / 2) < 8] = (85, 50, 125)
    try:
        bundle = load_bundle(model)
        maps = TargetNetwork(bundle, "auto")(image[None])
    except Exception as error:  # noqa: BLE001 (whatever it is, it belongs in the report)
        return f"{type(error).__name__}: {error}"
    if bundle.target != "nuclei":
        drawn = maps.shape[1] == len(bundle.channels) and bool(np.isfinite(maps).all())
        return "ok" if drawn else f"maps of the shape {maps.shape} instead of {bundle.channels}"
    inside, outside = maps[0, 0, side // 2, side // 2], maps[0, 0, 8, 8]
    return "ok" if inside > 0.5 > outside else f"no nucleus found where one is: {inside:.2f}"


def _print(report: dict[str, Any]) -> None:
    click.echo(f"qpbridge {report['qpbridge']}, Python {report['python']}, {report['platform']}")
    click.echo(", ".join(f"{name} {number}" for name, number in report["packages"].items()))
    click.echo(f"Processors: {report['cpus']}; GPUs: {', '.join(report['gpus']) or 'none'}")
    click.echo(f"QuPath for paquo: {report['qupath'] or 'none found (not needed)'}")
    for name, result in report["models"].items():
        click.echo(f"Model {name}: {result}")
    if not report["models"]:
        click.echo("No models found: install qpbridge again")
