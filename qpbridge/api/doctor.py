"""What is installed, what is seen on this machine, and whether it works."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import TypedDict

import numpy as np
import torch

from qpbridge._version import __version__
from qpbridge.models.bundle import find_bundles, load_bundle
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.processors import usable_processors
from qpbridge.project.paquo_backend import find_qupath

_PACKAGES = ("torch", "monai", "paquo", "shapely", "geojson", "tiffslide", "tifffile", "numpy")


class Examination(TypedDict):
    """What was found; `models` says ``ok`` of each, or what went wrong."""

    ok: bool
    qpbridge: str
    python: str
    platform: str
    cpus: int | None
    packages: dict[str, str]
    gpus: list[str]
    qupath: str | None
    models: dict[str, str]


def doctor() -> Examination:
    """Look at everything that qpbridge needs, and run each of its models once.

    Returns
    -------
    Examination
        A dictionary; its key ``ok`` says whether every model works.

    Examples
    --------
    >>> qpbridge.doctor()["ok"]
    True
    """
    tests = {path.name: self_test(path.name) for path in find_bundles()}
    return {
        "ok": bool(tests) and all(result == "ok" for result in tests.values()),
        "qpbridge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": usable_processors(),
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
