"""Bundles that lie are refused in one line, in bounded time and memory, and run nothing."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from models.fuzz_bundles import CONFIG, METADATA, OWN
from torch import nn

import qpbridge
from models import fuzz_bundles
from qpbridge.decode import decoders
from qpbridge.errors import InferenceError, ModelError
from qpbridge.evaluation.folder import score_samples
from qpbridge.evaluation.labelled import Sample
from qpbridge.models import load_bundle
from qpbridge.models.definition import build_network
from qpbridge.models.schema import DECODERS
from qpbridge.models.trust import trust_list


def write(folder: Path, metadata: dict = METADATA, config: dict = CONFIG) -> Path:
    for name, content in (("metadata", metadata), ("inference", config)):
        path = folder / "configs" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "model.pt").write_bytes(fuzz_bundles._weights(None))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "monai.networks.nets.hovernet.os.system",
        "monai.networks.nets.hovernet.torch.load",
        "torch.nn.functional.torch.load",
        "torch.nn.modules.module.torch.save",
        "monai.networks.nets.UNet.forward",
        "monai.networks.nets.unet.Sequence",
        "monai.networks.nets.hovernet.download_url",
        "monai.networks.nets.resnet.get_pretrained_resnet_medicalnet",
        "monai.networks.nets.torchvision_fc.TorchVisionFCModel",
        "monai.networks.nets.MILModel",
        "monai.bundle.ConfigParser",
        "torch.nn.modules..os",
        "builtins.eval",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_nothing_but_networks_is_called(name, nested):
    called = {"_target_": name, "command": "x"}
    definition = {**CONFIG["network_def"], "out_channels": 1, "act": called} if nested else called
    with pytest.raises(ModelError, match="only networks of MONAI and PyTorch"):
        build_network(definition)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pretrained", True),
        ("pretrained_url", "https://example.org/x.pth"),
        ("weights", "DEFAULT"),
        ("checkpoint", "x.pth"),
        ("act", "../../x"),
        ("act", "os.system"),
        ("act", "$print(1)"),
        ("_requires_", "x"),
        ("__class__", "x"),
        ("channels", [4] * 1000),
        ("in_channels", 10**9),
        ("strides", float("nan")),
        ("_mode_", "callable"),
        ("_disabled_", True),
    ],
)
def test_arguments_are_small_plain_data(key, value):
    definition = {**CONFIG["network_def"], "out_channels": 1, key: value}
    with pytest.raises(ModelError) as failure:
        build_network(definition)
    assert key in str(failure.value) or "would run code" in str(failure.value)


@pytest.mark.parametrize("stride", [4096, 30_000])
def test_maps_larger_than_the_machine_are_not_made(tmp_path, stride):
    definition = {**CONFIG["network_def"], "strides": [stride]}
    network = write(tmp_path / "b", OWN, {**CONFIG, "network_def": definition})
    with pytest.raises(ModelError, match=r"GB of memory|maps have the shape"):
        load_bundle(network).network()


def test_what_a_network_would_download_by_itself_is_left_out():
    network = build_network({"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"})
    assert isinstance(network, nn.Module)


def test_remarks_and_saving_of_memory_are_no_harm():
    remarks = {"_desc_": "small", "_disabled_": False, "_mode_": "default"}
    build_network({**CONFIG["network_def"], "out_channels": 1, **remarks})
    swin = {"_target_": "SwinUNETR", "in_channels": 3, "out_channels": 2, "spatial_dims": 2}
    build_network({**swin, "feature_size": 12, "use_checkpoint": True})


@pytest.mark.parametrize("units", [{"channels": [60000, 60000]}, {"num_res_units": 60000}])
def test_networks_larger_than_the_machine_are_not_built(units):
    before = time.process_time()
    with pytest.raises(ModelError, match=r"GB of memory|parts"):
        build_network({**CONFIG["network_def"], "out_channels": 1, **units})
    assert time.process_time() - before < 60


@pytest.mark.parametrize(
    "definition",
    [
        {**CONFIG["network_def"], "channels": [2048] * 40, "strides": [1] * 39},
        {**CONFIG["network_def"], "kernel_size": 4095},
        {"_target_": "torch.nn.Transformer", "num_encoder_layers": 60000},
        {"_target_": "torch.nn.Transformer", "num_encoder_layers": 60000, "d_model": 8},
    ],
    ids=["deep", "wide", "copied", "copied-small"],
)
def test_networks_larger_than_their_weights_are_not_built(tmp_path, definition):
    folder = write(tmp_path / "b", config={**CONFIG, "network_def": definition})
    before = time.process_time()
    with pytest.raises(ModelError, match=r"GB of memory|tensors|parts"):
        load_bundle(folder)
    assert time.process_time() - before < 30


def test_a_bundle_names_no_device(tmp_path):
    layer = {"_target_": "torch.nn.Conv2d", "in_channels": 3, "out_channels": 2, "kernel_size": 1}
    folder = write(tmp_path / "b", config={"network_def": {**layer, "device": "meta"}})
    torch.save(nn.Conv2d(3, 2, 1).state_dict(), folder / "models" / "model.pt")
    with pytest.raises(ModelError, match="names a device"):
        load_bundle(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_only_what_a_network_is_made_of_is_read(tmp_path):
    folder = write(tmp_path / "b")
    bundle, digest = load_bundle(folder), load_bundle(folder).digest()
    for place in ("configs", "models"):
        (folder / place / "older").mkdir()
        (folder / place / "gone").symlink_to("nowhere")
        (folder / place / "endless").symlink_to("/dev/zero")
        os.mkfifo(folder / place / "pipe")
    assert bundle.digest() == digest
    (folder / "models" / "model.pt").write_bytes(b"another")
    assert bundle.digest() != digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("mpp", value) for value in ("abc", 0, float("nan"), -1, True, None, 1e9)),
        *(("stride", value) for value in (0, -1, 1.5, "16", 10**9)),
        *(("turns", value) for value in (0, 3, True, "2")),
        *(("image_type", value) for value in ("MOON", 1, [])),
        ("target", "moons"),
        ("decoder", "os.system"),
        ("halo", -1),
        ("channels", []),
        ("channels", [{"name": 1}]),
        ("channels", [{"name": "a", "activation": "eval"}]),
        ("decode", {"threshold": "x"}),
        ("decode", {"unknown": 1}),
        ("classes", [{"name": "a", "color": [1, 2]}]),
        ("scores", "good"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, field, value):
    folder = write(tmp_path / "b", {**OWN, "qpbridge": {**OWN["qpbridge"], field: value}})
    with pytest.raises(ModelError, match=rf"metadata\.json: qpbridge\.{field}") as failure:
        load_bundle(folder)
    assert "\n" not in str(failure.value)


def test_decoders_take_what_bundles_may_set():
    assert DECODERS.keys() == decoders.DECODERS.keys()
    for name, decoder in DECODERS.items():
        known = inspect.signature(decoders.DECODERS[name]()).parameters.keys() - {"maps", "mpp"}
        assert decoder.settings.keys() == known


def test_a_network_that_answers_nan_fails_and_is_named(tmp_path):
    folder = write(tmp_path / "b")
    path = folder / "models" / "model.pt"
    state = {k: v * torch.nan if v.is_floating_point() else v for k, v in torch.load(path).items()}
    torch.save(state, path)
    network = load_bundle(folder).network()
    with pytest.raises(InferenceError, match="NaN"), torch.inference_mode():
        network(torch.zeros(1, 3, 48, 48, dtype=torch.uint8))
    pixels = np.full((40, 48, 3), 255, np.uint8)
    for score in (
        lambda: score_samples(load_bundle(folder), [Sample("a", pixels, pixels[..., 0], 0.5)]),
        lambda: qpbridge.predict(pixels, mpp=0.5, model=folder, device="cpu"),
    ):
        with pytest.raises(InferenceError, match=rf"{folder}: the network failed on 96 x 96 .*NaN"):
            score()


class Pure(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (0.5 - image.mean(1, keepdim=True))


class Writes(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        marker = torch.from_file("MARKER", shared=True, size=8, dtype=torch.uint8)
        return image[:, :1].sigmoid() + marker.sum() * 0


class Prints(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        print("x")
        return image[:, :1]


class WritesWhenRead(Pure):
    @torch.jit.export
    def __getstate__(self) -> int:
        return 1

    @torch.jit.export
    def __setstate__(self, state: int) -> None:
        torch.from_file("MARKER", shared=True, size=8, dtype=torch.uint8)
        self.training = False


def scripted(folder: Path, network: nn.Module) -> Path:
    write(folder, config={})
    (folder / "models" / "model.pt").unlink()
    torch.jit.script(network).save(folder / "models" / "model.ts")
    return folder


def test_torchscript_needs_trust_once(tmp_path):
    folder = scripted(tmp_path / "b", Pure())
    with pytest.raises(ModelError, match="a program of whoever made it"):
        load_bundle(folder)
    assert not load_bundle(folder, run=False).runs and not trust_list().exists()
    assert load_bundle(folder, trust=True).runs
    assert list(json.loads(trust_list().read_text())) == [str(folder.resolve())]
    bundle = load_bundle(folder)
    bundle.network()
    torch.jit.script(nn.Sequential(Pure())).save(folder / "models" / "model.ts")
    with pytest.raises(ModelError, match="has changed since"):
        load_bundle(folder)
    with pytest.raises(ModelError, match="has changed since"):
        bundle.network()


def test_trusted_torchscript_is_scored_and_cant_be_trained_on(tmp_path):
    bundle = load_bundle(scripted(tmp_path / "b", Pure()), trust=True)  # it has no parameters
    pixels = np.zeros((40, 48, 3), np.uint8)
    assert score_samples(bundle, [Sample("a", pixels, pixels[..., 0], 0.5)])["images"] == 1
    with pytest.raises(ModelError, match=r"inference\.json: no network_def .* not be trained on"):
        _ = bundle.network_definition


@pytest.mark.parametrize("value", [torch.zeros(2, dtype=torch.complex64), "text", None])
def test_weights_that_are_no_real_numbers_are_named(tmp_path, value):
    folder = write(tmp_path / "b")
    path = folder / "models" / "model.pt"
    state = torch.load(path)
    name = next(iter(state))
    torch.save({**state, name: value}, path)
    with pytest.raises(ModelError, match=f"model.pt: '{name}' is no plain tensor of real numbers"):
        load_bundle(folder)


@pytest.mark.parametrize("network", [Writes(), Prints(), WritesWhenRead()])
def test_trusted_torchscript_may_only_compute(tmp_path, monkeypatch, network):
    folder = scripted(tmp_path / "b", network)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="refused, though it is trusted"):
        load_bundle(folder, trust=True)
    assert not Path("MARKER").exists()


def test_weights_come_before_torchscript(tmp_path):
    folder = write(tmp_path / "b")
    (folder / "models" / "model.ts").write_bytes(b"anything")
    assert load_bundle(folder).runs


def doubled(first: str, again: str) -> str:
    """Write lines each of which names the one before many times."""
    lines = (
        f"{c}: &{c} " + again.replace("?", ", ".join([f"*{b}"] * 8))
        for b, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return "\n".join([f"a: &a {first}", *lines])


BOMBS = {
    "aliases": doubled("[x, x, x]", "[?]"),
    "merges": doubled("{x: 1}", "{<<: [?]}"),
    "deep": "[" * 50_000,
    "itself": "a: &a [*a]\n",
    "large": "a: " + "x" * 10_000_000,
}  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="limits of memory are set otherwise there")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(tmp_path, name):
    pytest.importorskip("yaml")
    path = tmp_path / "inference.yaml"
    path.write_text(BOMBS[name])
    code = (
        "import resource, sys, time\nfrom pathlib import Path\n"
        "from qpbridge.models.config import read_document\nfrom qpbridge.errors import ModelError\n"
        "import yaml\nresource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "began = time.process_time()\n"
        "try:\n    read_document(Path(sys.argv[1]))\nexcept ModelError as error:\n"
        "    print(time.process_time() - began, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip
    assert "can't be read as YAML" in done.stdout
    assert float(done.stdout.split()[0]) < 1


def test_zip_files_do_not_grow_or_repeat(tmp_path):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("models/model.pt", bytes(300_000_000))
    with pytest.raises(ModelError, match="unpacked"):
        load_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("configs/metadata.json", "{}")
        archive.writestr("CONFIGS/metadata.json", "{}")
    with pytest.raises(ModelError, match="twice"):
        load_bundle(path)
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(ModelError, match="no MONAI bundle in it"):
        load_bundle(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/configs/metadata.json", "{}")
        archive.writestr("two/configs/metadata.json", "{}")
    with pytest.raises(ModelError, match="2 bundles in it"):
        load_bundle(path)


def test_mutants_are_refused_or_work(tmp_path):
    works, troubles = fuzz_bundles.fuzz(tmp_path, first=0, count=60)
    assert not troubles, "\n".join(map(str, troubles))
    assert 5 < works < 55


@pytest.mark.slow
def test_many_mutants_are_refused_or_work(tmp_path):
    _, troubles = fuzz_bundles.fuzz(tmp_path, first=1000, count=3000)
    assert not troubles, "\n".join(map(str, troubles))
