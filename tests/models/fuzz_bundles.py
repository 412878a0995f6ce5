"""Bundles that lie: mutants of configuration, weights and archives, and what must hold for each.

A mutant is named by a number, and the same at every run. By hand, for hours::

    PYTHONPATH=.:tests python -m models.fuzz_bundles FOLDER FIRST COUNT
"""

from __future__ import annotations

import copy
import io
import json
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from project.processes import Trouble, run_guarded

from qpbridge.errors import ModelError
from qpbridge.models import load_bundle

METADATA: dict[str, Any] = {
    "version": "0.3.0",
    "description": "Nuclei",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 3, "spatial_shape": [32, 32], "mpp": 0.5}},
        "outputs": {"pred": {"num_channels": 1, "channel_def": {"0": "nucleus"}}},
    },
}
OWN = {
    **METADATA,
    "qpbridge": {
        **{"target": "nuclei", "decoder": "semantic", "mpp": 0.5, "halo": 16, "stride": 16},
        **{"channels": [{"name": "a", "scale": 2.0}], "decode": {"threshold": 0.5}, "turns": 1},
        **{"image_type": "OTHER", "classes": [], "scores": {"x": {"aji": 0.5}}, "notice": ""},
    },
}
CONFIG: dict[str, Any] = {
    "out": 1,
    "network_def": {
        **{"_target_": "monai.networks.nets.UNet", "spatial_dims": 2, "in_channels": 3},
        **{"out_channels": "@out", "channels": [4, 8], "strides": [2], "num_res_units": 1},
        **{"act": ["RELU", {"inplace": True}], "norm": "BATCH"},
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32]},
    "preprocessing": {
        "transforms": [
            {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
            {"_target_": "NormalizeIntensityd", "subtrahend": [0.5] * 3, "divisor": [0.5] * 3},
        ]
    },
}
MARKER = "fuzz-was-here"
CODE = f"touch {MARKER}"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 16, 10**6, 2**31, 2**63, 10**30, 0.0, 0.5, -0.5),
    *(float("nan"), float("inf"), "", "abc", "0.5", "\ud800", "\x1b[2J", "x" * 5000, [], {}),
    *([1, 2], [[[]]], [0, 0, 0], [65536] * 4, [4096, 4096], {"a": 1}, {"_target_": "UNet"}),
    *("@network_def", "@", "%x", "$1", f"$__import__('os').system('{CODE}')", "@inferer#roi_size"),
    {"_target_": "os.system", "command": CODE},
    {"_target_": "monai.networks.nets.hovernet.os.system", "command": CODE},
    {"_target_": "torch.nn.functional.torch.load", "f": "x"},
    {"_target_": "torch.nn.ReLU"},
)
TARGETS = (
    *(
        "os.system",
        "monai.networks.nets.hovernet.os.makedirs",
        "torch.nn.Conv2d",
        "torch.nn.Module",
    ),
    *("BasicUNet", "DenseNet121", "SegResNet", "AttentionUnet", "HoVerNet", "torch.nn.Sequential"),
    *("monai.networks.nets.MILModel", "EfficientNetBN", "FlexibleUNet", "ViT", "", "UNet.forward"),
)
KEYS = ("pretrained", "weights", "url", "_mode_", "__class__", "dropout", "kernel_size", "qpbridge")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """List all values in a tree, as what they are in and their key there."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def _change(tree: dict[str, Any], choose: random.Random) -> None:
    places = _places(tree)
    if not places:
        return
    inside, key = choose.choice(places)
    way = choose.randrange(6)
    if way == 0:
        del inside[key]
    elif way == 1 and isinstance(inside, dict):
        inside[choose.choice(KEYS)] = copy.deepcopy(choose.choice(VALUES))
    elif way == 2 and isinstance(tree.get("network_def"), dict):
        tree["network_def"]["_target_"] = choose.choice(TARGETS)
    elif way == 3:
        other, name = choose.choice(places)
        inside[key] = copy.deepcopy(other[name])
    else:
        inside[key] = copy.deepcopy(choose.choice(VALUES))


def _break(data: bytes, choose: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(choose.randint(1, 6)):
        out[choose.randrange(len(out))] = choose.choice((0, 255, choose.randrange(256)))
    return bytes(out[: choose.randrange(len(out))] if choose.random() < 0.2 else out)


def _weights(choose: random.Random | None) -> bytes:
    """Write weights; as they should be, if there is nothing to choose with."""
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    state: Any = UNet(2, 3, 1, (4, 8), (2,), num_res_units=1, norm="BATCH", act="RELU").state_dict()
    name = choose.choice(list(state)) if choose else ""
    way = choose.randrange(8) if choose else -1
    if choose is None:
        pass
    elif way == 0:
        state[name] = torch.zeros(1).expand(10**10)
    elif way == 1:
        state[name] = state[name] * torch.nan
    elif way == 2:
        state[name] = choose.choice((None, "text", [1], torch.zeros(3, 3), torch.Size((1,))))
    elif way == 3:
        state = choose.choice(([], {1: torch.zeros(1)}, {"model": state}, print))
    elif way == 4:
        state[name] = torch.sparse_coo_tensor([[0]], [1.0], (10**9,), check_invariants=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return _break(buffer.getvalue(), choose) if choose and way > 5 else buffer.getvalue()


def write_mutant(folder: Path, seed: int) -> Path:
    """Write one mutant; returns its path, a folder or a zip file."""
    choose = random.Random(seed)
    metadata = copy.deepcopy(choose.choice((METADATA, OWN)))
    config = copy.deepcopy(CONFIG)
    weights = _weights(choose if choose.random() < 0.3 else None)
    kind = choose.randrange(4)
    for _ in range(choose.randint(1, 3) if kind else 0):
        _change(choose.choice((metadata, config)), choose)
    texts = [json.dumps(metadata).encode(), json.dumps(config).encode()]
    if kind == 1 and choose.random() < 0.3:
        texts = [_break(text, choose) for text in texts]
    files = dict(
        zip(
            ("configs/metadata.json", "configs/inference.json", "models/model.pt"),
            (*texts, weights),
            strict=True,
        )
    )
    if kind != 3:
        for name, content in files.items():
            path = folder / "bundle" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return folder / "bundle"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", choose.choice((0, 8))) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        if choose.random() < 0.3:
            odd = choose.choice(("../evil", "/evil", "configs", "CONFIGS/metadata.json", "a\0b"))
            archive.writestr(odd, bytes(choose.choice((1, 3_000_000))))
    path = folder / "bundle.zip"
    data = packed.getvalue()
    path.write_bytes(_break(data, choose) if choose.random() < 0.7 else data)
    return path


def check(folder: Path, seed: int) -> bool:
    """Load a mutant and run it; returns whether it works.

    Anything but a `ModelError` of one line raises, and so does a trace of code that ran.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = write_mutant(folder, seed)
    try:
        bundle = load_bundle(path)
        size = bundle.stride * max(1, 32 // bundle.stride)
        with torch.inference_mode():
            maps = bundle.network()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
        assert maps.shape == (1, len(bundle.channels), size, size)
        assert bool(torch.isfinite(maps).all())
        assert bundle.classes is not None and bundle.image_type and bundle.decode["mpp"] > 0
    except ModelError as error:
        assert len(str(error)) < 1000 and str(error).isprintable(), f"unreadable: {error!r}"
        return False
    finally:
        assert not Path(MARKER).exists(), "it ran code"
    return True


def fuzz(folder: Path, first: int, count: int) -> tuple[int, list[Trouble]]:
    """Check `count` mutants; returns how many work, and the troubles."""
    # before any child: what is imported, and how many threads, is no matter of a bundle
    import monai.networks.nets  # noqa: F401

    torch.set_num_threads(1)
    one: Callable[[int], bool] = lambda seed: check(folder / "mutant", seed)  # noqa: E731
    return run_guarded(one, range(first, first + count), seconds=60)


def main() -> None:
    """Check mutants, and print those in trouble."""
    folder, first, count = sys.argv[1:]
    works, troubles = fuzz(Path(folder), int(first), int(count))
    for trouble in troubles:
        print(trouble)
    print(f"{count} mutants, {works} work, {len(troubles)} in trouble")


if __name__ == "__main__":
    main()
