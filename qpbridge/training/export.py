"""Write a trained network as a MONAI bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

from qpbridge.errors import QpbridgeError
from qpbridge.evaluation.labelled import MPP_RANGE, DataSource
from qpbridge.models.bundle import Bundle, load_bundle
from qpbridge.project.files.atomic import atomic_file
from qpbridge.project.files.compressed import atomic_text
from qpbridge.training.readme import readme
from qpbridge.training.recipe import Recipe

OWN_FACTS = ("commercial_use", "notice", "limits", "image_type", "nominal_mpp", "nucleus_um2")
"""Of a recipe's section ``about``, what goes into the section ``qpbridge`` of the metadata."""


def write_bundle(
    folder: Path,
    network: nn.Module,
    recipe: Recipe,
    *,
    training: Mapping[str, Any],
    scores: Mapping[str, Any],
    calibration: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, inference configuration, metadata, and a README made of it.

    Weights are stored as float16, statistics of batch norms as float32. Other files that are there
    already (LICENSE, say) are left alone.

    Parameters
    ----------
    folder
        The bundle; its name is the model's name.
    network
        In evaluation mode, as `qpbridge.training.loop.train` returns it.
    recipe
        What it was trained with.
    training
        How: steps, minutes, hardware, seed.
    scores
        By data set.
    calibration
        What a probability of an object is worth, and how that was found, if it was.
    """
    halo = receptive_reach(network, recipe.stride)
    for part in ("configs", "models", "docs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    state = {
        name: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for name, value in network.cpu().state_dict().items()
    }
    state = {name: value.contiguous() for name, value in state.items()}
    with atomic_file(folder / "models" / "model.pt") as file:
        torch.save(state, file)
    _write_json(folder / "configs" / "inference.json", inference_config(recipe))
    facts = metadata(recipe, halo, training, scores)
    if calibration is not None:
        facts["qpbridge"]["calibration"] = dict(calibration)
    _write_json(folder / "configs" / "metadata.json", facts)
    write_readme(load_bundle(folder))


def write_scores(
    bundle: Bundle, scores: Mapping[str, Any], calibration: Mapping[str, Any] | None = None
) -> None:
    """Write what a model was measured to be worth into its metadata and README.

    Parameters
    ----------
    bundle
        The model.
    scores
        By data set.
    calibration
        As for `write_bundle`; None: it has none any more.
    """
    own = {**bundle.uncalibrated().metadata["qpbridge"], "scores": dict(scores)}
    if calibration is not None:
        own["calibration"] = dict(calibration)
    path = bundle.path / "configs" / "metadata.json"
    _write_json(path, {**bundle.metadata, "qpbridge": own})
    write_readme(load_bundle(bundle.path))


def write_readme(bundle: Bundle) -> None:
    """Write docs/README.md from a bundle's metadata."""
    docs = bundle.path / "docs"
    text = readme(bundle, curve=(docs / "curve.png").is_file())
    with atomic_text(docs / "README.md", ".md") as file:
        file.write(text)


def receptive_reach(network: nn.Module, stride: int) -> int:
    """Return how far around a pixel the network looks, in pixels, a multiple of its stride.

    Measured: the pixels of a random image that have a gradient on the maps in its middle. With
    that many pixels around a tile, its maps don't depend on where the tile lies.

    Raises
    ------
    QpbridgeError
        If it looks further than 1000 pixels: such a network is not for tiles.
    """
    middle = stride * 16
    while middle < 1000 + stride:
        image = torch.rand(1, 3, 2 * middle, 2 * middle, requires_grad=True)
        patch = network.cpu()(image)[:, :, middle : middle + stride, middle : middle + stride]
        (gradient,) = torch.autograd.grad((patch * torch.rand_like(patch)).sum(), image)
        seen = gradient.abs().sum((0, 1, 2)).nonzero()
        reach = max(middle - int(seen.min()), int(seen.max()) - middle - stride + 1)
        if reach < middle - stride:
            return -(-reach // stride) * stride
        middle *= 2
    raise QpbridgeError("The network looks at the whole image; a tile needs a limited view.")


def metadata(
    recipe: Recipe,
    halo: int,
    training: Mapping[str, Any],
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the metadata, in MONAI's schema, with our section ``qpbridge``."""
    about = dict(recipe.about)
    own = {key: about.pop(key) for key in OWN_FACTS if key in about}
    stride = recipe.stride
    task = recipe.task
    size = [f"{stride}*n", f"{stride}*n"]
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": "0.1.0",
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {},
        "task": f"Segmentation of {task.target}",
        **about,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "RGB",
                    "modality": "brightfield",
                    "num_channels": 3,
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {"0": "1 - R/255", "1": "1 - G/255", "2": "1 - B/255"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(task.channels),
                    "spatial_shape": size,
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": {str(i): name for i, name in enumerate(task.names)},
                }
            },
        },
        "qpbridge": {
            "target": task.target,
            "decoder": recipe.decoder,
            "mpp": recipe.mpp,
            "halo": halo,
            "stride": stride,
            "channels": [dict(channel) for channel in task.channels],
            **({"turns": recipe.turns} if recipe.turns > 1 else {}),
            "decode": dict(recipe.decode),
            **own,
            "data": {
                "train": [_describe(source) for source in recipe.train],
                "validation": [_describe(source) for source in recipe.validation],
                "holdout": recipe.holdout,
            },
            "training": dict(training),
            "scores": dict(scores),
        },
    }


def inference_config(recipe: Recipe) -> dict[str, Any]:
    """Make the configuration for ``monai.bundle``: from an RGB file to raw maps, without us."""
    return {
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "imports": ["$import torch"],
        "network_def": recipe.network_definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "reader": "PILReader"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "image",
                    "a_min": 255.0,
                    "a_max": 0.0,
                    "b_min": 0.0,
                    "b_max": 1.0,
                },
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [512, 512],
            "sw_batch_size": 4,
            "overlap": 0.25,
        },
    }


def _describe(source: DataSource) -> dict[str, Any]:
    return {
        "folder": source.folder.name,
        **({} if source.truth is None else {"truth": source.truth}),
        "pattern": source.pattern,
        "mpp": source.mpp,
        **({"mpp_range": list(source.mpp_range)} if source.mpp_range != MPP_RANGE else {}),
        "weight": source.weight,
        **({"synthetic": source.synthetic} if source.synthetic else {}),
        **dict(source.about),
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with atomic_text(path, ".json") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
