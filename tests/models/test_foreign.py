"""Bundles from elsewhere: what they are understood as, and why others are refused."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from qpbridge.decode.decoders import decode
from qpbridge.errors import ModelError
from qpbridge.models import load_bundle

NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": "@classes",
    "channels": [4, 8],
    "strides": [2],
}
SCALE = {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255,
         "b_min": 0, "b_max": 1}  # fmt: skip


class Hover(nn.Module):
    """Draws the maps of a HoVer-Net for dark discs: output 20 pixels smaller on each side."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        dark = (image.mean(1, keepdim=True) < 0.5).float()[:, :, 20:-20, 20:-20]
        zero = torch.zeros_like(dark)
        left = image[:, :1, 20:-20, 20:-20] * 0 - 20
        return {
            "np": torch.cat([20 - 40 * dark, 40 * dark - 20], 1),
            "hv": torch.cat([zero, zero], 1),
            "tp": torch.cat([20 - 40 * dark, 40 * dark - 20, left], 1),
        }


class Level(nn.Module):
    """A semantic network: logit of being dark."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 20 * (0.5 - image.mean(1, keepdim=True))


def write(folder, *, outputs=None, config=None, metadata=None, network=None, script=None):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    outputs = outputs or {"pred": {"channel_def": {"0": "background", "1": "nucleus"}}}
    about = {
        "version": "0.3.0",
        "description": "Nuclei",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 3, "spatial_shape": [64, 64]}},
            "outputs": outputs,
        },
        **(metadata or {}),
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(about))
    content = {"classes": 2, "network_def": NETWORK, "preprocessing": {"transforms": [SCALE]}}
    (folder / "configs" / "inference.json").write_text(json.dumps({**content, **(config or {})}))
    if script is not None:
        torch.jit.script(script).save(folder / "models" / "model.ts")
    elif network is not None:
        torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def unet(classes=2):
    torch.manual_seed(0)
    return UNet(2, 3, classes, (4, 8), (2,)).eval()


HOVER_OUTPUTS = {
    "nucleus_prediction": {"num_channels": 2},
    "horizontal_vertical": {"num_channels": 2},
    "type_prediction": {"channel_def": {"0": "background", "1": "Tumor", "2": "immune_cells"}},
}


def test_a_semantic_network_with_weights(tmp_path):
    network = unet(3)
    channel_def = {"0": "background", "1": "gland_lumen", "2": "Stroma"}
    folder = write(
        tmp_path / "mine",
        network=network,
        config={"classes": 3},
        outputs={"pred": {"channel_def": channel_def}},
    )
    bundle = load_bundle(folder, target="nuclei", mpp=0.5)
    assert (bundle.decoder, bundle.mpp, bundle.version) == ("semantic", 0.5, "0.3.0")
    assert [str(c) for c in bundle.classes] == ["Gland lumen", "Stroma"]
    assert bundle.classes[1].color == (150, 200, 150)
    step, halo = bundle.stride, bundle.halo
    rgb = torch.randint(0, 256, (1, 3, 3 * step, 2 * step), dtype=torch.uint8)
    with torch.inference_mode():
        maps = bundle.network()(rgb)
        assert maps.shape == (1, 3, 3 * step, 2 * step)
        assert torch.allclose(maps.sum(1), torch.ones(1), atol=1e-5)
        # the window in the middle of the picture, run by hand
        window = rgb[:, :, step - 8 : step + 56, step - 8 :].float() / 255
        expected = network(nn.functional.pad(window, (0, 8, 0, 0), "replicate")).softmax(1)
        assert torch.allclose(
            maps[:, :, step : 2 * step, step:], expected[..., 8:56, 8:56], atol=1e-5
        )
        # what is far away doesn't matter
        other = rgb.clone()
        other[:, :, : step - halo // 4] = 0
        again = bundle.network()(other)
        assert torch.equal(maps[:, :, 2 * step :], again[:, :, 2 * step :])


def test_a_hover_net_as_torchscript_in_a_zip(tmp_path):
    folder = write(tmp_path / "hover", outputs=HOVER_OUTPUTS, script=Hover())
    path = tmp_path / "hover.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, f"anything/{file.relative_to(folder)}")
    bundle = load_bundle(path, trust=True)
    assert (bundle.target, bundle.decoder, bundle.mpp) == ("nuclei", "hover", 0.25)
    assert "0.25 is assumed" in bundle.notice
    assert [str(c) for c in bundle.classes] == ["Tumor", "Immune cells"]
    assert bundle.stride == bundle.halo == 24
    picture = np.full((240, 240, 3), 255, np.uint8)
    rows, columns = np.indices((240, 240))
    for y, x in ((50, 50), (120, 150), (201, 96)):
        picture[np.hypot(rows - y, columns - x) < 12] = 0
    with torch.inference_mode():
        maps = bundle.network()(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].numpy()
    found = decode(bundle.decoder, maps, **bundle.decode)
    assert found.labels.max() == 3 and found.classes.tolist() == [0, 0, 0]
    dark = picture[..., 0] == 0
    assert ((found.labels > 0) == dark).mean() > 0.99


def test_one_map_is_a_probability_after_a_sigmoid(tmp_path):
    bundle = load_bundle(write(tmp_path / "level", script=Level()), mpp=0.5, trust=True)
    assert bundle.classes == ()
    with torch.inference_mode():
        maps = bundle.network()(torch.tensor([0, 255]).repeat(24).float().expand(1, 3, 48, 48))
    assert maps.shape == (1, 1, 48, 48)
    assert maps[0, 0, 0, :2].tolist() == pytest.approx([1, 0], abs=1e-4)


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [
        ([], 1.0),
        ([SCALE], 1.0),
        ([{**SCALE, "b_min": -1}], 1.0),
        ([{"_target_": "NormalizeIntensityd", "subtrahend": [255.0], "divisor": 255.0}], 0.0),
        ([SCALE, {"_target_": "NormalizeIntensityd", "subtrahend": [0.5, 0.5, 0.5],
                  "divisor": [0.5, 0.5, 0.5]}], 1.0),
    ],
)  # fmt: skip
def test_pixels_are_scaled_as_the_bundle_says(tmp_path, transforms, expected):
    class Same(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.logit(image[:, :1].clamp(1e-6, 1 - 1e-6) * 0.9) * 1.0

    config = {"preprocessing": {"transforms": transforms}}
    bundle = load_bundle(
        write(tmp_path / "same", script=Same(), config=config), mpp=0.5, trust=True
    )
    with torch.inference_mode():
        white = bundle.network()(torch.full((1, 3, 48, 48), 255, dtype=torch.uint8))
    assert float(white.mean()) == pytest.approx(0.9 * expected, abs=0.01)


def test_checkpoints_keep_weights_under_a_key(tmp_path):
    network = unet()
    folder = write(tmp_path / "wrapped")
    wrapped = {"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}
    torch.save(wrapped, folder / "models" / "model.pt")
    assert load_bundle(folder, mpp=0.5).decoder == "semantic"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mpp": None}, "`model_mpp`"),
        ({"metadata": {"network_data_format": {}}}, "what the network expects"),
        (
            {"metadata": {"network_data_format": {"inputs": {"a": {"num_channels": 1}},
                                                  "outputs": {"pred": {}}}}},
            "takes 1 channels",
        ),
        ({"config": {"inferer": {"roi_size": [64, 64, 64]}}}, "a square in two dimensions"),
        (
            {"config": {"preprocessing": {"transforms": [{"_target_": "ScaleIntensityd"}]}}},
            "scales each image by itself",
        ),
        ({"config": {"network_def": {"_target_": "os.system", "command": "x"}}}, "os.system"),
        (
            {"config": {"network_def": {**NETWORK, "channels": "$__import__('os').abort()"}}},
            "would run code",
        ),
        ({"config": {"network_def": {**NETWORK, "_mode_": "debug"}}}, "_mode_"),
        ({"config": {"network_def": {**NETWORK, "strides": "many"}}}, "can't be built"),
        ({"config": {"network_def": None}}, "no network_def"),
        ({"config": {"classes": 5}}, "not of the network"),
        ({"metadata": {"description": "something"},
          "outputs": {"pred": {"channel_def": {"0": "x"}}}}, "`target`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_reason(tmp_path, changes, reason):
    mpp = changes.pop("mpp", 0.5)
    folder = write(tmp_path / "mine", network=unet(), **changes)
    with pytest.raises(ModelError, match=reason):
        load_bundle(folder, mpp=mpp)


def test_code_in_weights_is_not_run(tmp_path):
    folder = write(tmp_path / "mine")
    torch.save(unet(), folder / "models" / "model.pt")
    with pytest.raises(ModelError, match="would run code"):
        load_bundle(folder, mpp=0.5)
    (folder / "models" / "model.pt").unlink()
    with pytest.raises(ModelError, match="missing"):
        load_bundle(folder, mpp=0.5)
    (folder / "models" / "model.ts").write_bytes(b"no script")
    with pytest.raises(ModelError, match="no TorchScript"):
        load_bundle(folder, mpp=0.5, trust=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil", "out of the bundle"),
        ("/evil", "out of the bundle"),
        ("", "out of the bundle"),
        ("readme", "no MONAI bundle"),
    ],
)
def test_zip_files_stay_in_their_folder(tmp_path, name, reason):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), "x")
    with pytest.raises(ModelError, match=reason):
        load_bundle(path)
    assert not (tmp_path / "evil").exists()
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError, match="can't be unpacked"):
        load_bundle(path)


def test_a_bundle_in_yaml(tmp_path):
    yaml = pytest.importorskip("yaml")
    folder = write(tmp_path / "mine", network=unet())
    config = folder / "configs" / "inference.json"
    content = json.loads(config.read_text())
    config.with_suffix(".yaml").write_text(yaml.safe_dump(content))
    config.unlink()
    assert load_bundle(folder, mpp=0.5).decoder == "semantic"
    config.with_suffix(".yaml").write_text("a: [")
    with pytest.raises(ModelError, match=r"inference\.yaml"):
        load_bundle(folder, mpp=0.5)


@pytest.mark.slow
def test_monais_own_hover_net(tmp_path):
    from monai.networks.nets import HoVerNet

    definition = {"_target_": "HoVerNet", "mode": "fast", "in_channels": 3, "out_classes": 5}
    folder = write(
        tmp_path / "hover",
        network=HoVerNet(mode="fast", in_channels=3, out_classes=5),
        outputs=HOVER_OUTPUTS,
        config={"network_def": definition, "inferer": {"roi_size": "@patch"}, "patch": 256},
    )
    bundle = load_bundle(folder)
    assert (bundle.stride, bundle.decoder, len(bundle.classes)) == (164, "hover", 4)
    with torch.inference_mode():
        maps = bundle.network()(torch.zeros(1, 3, 328, 164, dtype=torch.uint8))
    assert maps.shape == (1, 8, 328, 164)
    shutil.rmtree(folder)
