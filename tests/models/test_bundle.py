"""Bundles: the ones that come along work, and broken ones say what is wrong."""

import json
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from qpbridge.errors import ModelError
from qpbridge.models import find_bundles, load_bundle
from qpbridge.models.definition import build_network
from qpbridge.models.network import MapNetwork


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("nuclei_he")


@pytest.fixture(scope="module")
def network(bundle):
    return bundle.network()


@pytest.fixture(scope="module")
def tissue():
    """Coarse purple blobs on pink with noise, (512, 512, 3): enough for maps full of structure."""
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.random((32, 32)), np.ones((16, 16))) > 0.7
    colour = np.where(coarse[..., None], (110, 70, 150), (225, 180, 210))
    return np.clip(colour + rng.normal(0, 12, (512, 512, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle.path, tmp_path / "mine")


def run(network, image):
    with torch.inference_mode():
        return network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0].numpy()


def test_the_models_that_come_along_say_what_they_are(bundle):
    assert bundle.path in find_bundles()
    assert (bundle.name, bundle.target, bundle.mpp) == ("nuclei_he", "nuclei", 0.5)
    assert bundle.channels == ("foreground", "distance", "offset_x", "offset_y")
    assert bundle.halo % bundle.stride == 0 and bundle.decode["mpp"] == bundle.mpp
    assert bundle.commercial_use and "CC BY 4.0" in bundle.license
    aji = [scores["aji"] for scores in bundle.scores.values()]  # breast first, then other organs
    assert 0.65 < aji[0] < 1 and all(0.45 < score < 1 for score in aji)
    trained = bundle.metadata["qpbridge"]["data"]["train"]
    assert all(source["licence"] and source["citation"] for source in trained)
    assert (bundle.path / "LICENSE").is_file() and (bundle.path / "docs" / "README.md").is_file()


def test_it_is_small_and_given_in_final_units(bundle, network, tissue):
    assert 0.4e6 < sum(p.numel() for p in network.parameters()) < 3e6
    assert (bundle.path / "models" / "model.pt").stat().st_size < 8e6
    maps = run(network, tissue)
    assert maps.shape == (4, 512, 512) and maps.dtype == np.float32
    assert maps[0].min() >= 0 and maps[0].max() <= 1
    empty = run(network, np.full((128, 128, 3), 245, np.uint8))
    assert empty[0, 32:-32, 32:-32].max() < 0.1


def test_maps_do_not_depend_on_the_tile(bundle, network, tissue):
    """A tile with its halo gives what the whole image gives there, wherever it lies."""
    whole, halo, core = run(network, tissue), bundle.halo, 128
    for top, left in ((128, 128), (160, 208), (256, 144)):
        part = run(
            network, tissue[top - halo : top + core + halo, left - halo : left + core + halo]
        )
        inner = part[:, halo:-halo, halo:-halo]
        difference = np.abs(inner - whole[:, top : top + core, left : left + core])
        assert difference[:2].max() < 1e-3 and difference[2:].max() < 1e-2  # pixels


@pytest.fixture
def exact(bundle, monkeypatch):
    """The network in 32 bits, whatever the hardware."""
    monkeypatch.setattr("qpbridge.models.network.half_precision", lambda device: None)
    return bundle.network()


def test_half_precision_changes_no_score(network, exact, tissue):
    half, full = run(network, tissue), run(exact, tissue)
    assert np.abs(half[0] - full[0]).mean() < 2e-3
    assert ((half[0] > 0.5) != (full[0] > 0.5)).mean() < 2e-3


@pytest.mark.parametrize("turns", [2, 4])
def test_turned_views_are_averaged_and_directions_turned_back(bundle, exact, tissue, turns):
    channels = [{"name": name, "scale": 2.0} for name in bundle.channels]
    once, turned = (MapNetwork(exact.network, channels, turns=n) for n in (1, turns))
    square = torch.from_numpy(tissue).permute(2, 0, 1)[None]

    def back(maps):
        """Turn maps back by a quarter, pixels and directions."""
        maps = torch.rot90(maps, -1, (2, 3))
        return torch.cat([maps[:, :2], -maps[:, 3:], maps[:, 2:3]], 1)

    with torch.inference_mode():
        assert turned(square[..., :256]).shape == (1, 4, 512, 256)
        views = []
        for k in range(0, 4, 4 // turns):
            view = once(torch.rot90(square, k, (2, 3)))
            for _ in range(k):
                view = back(view)
            views.append(view)
        maps = turned(square)
        assert torch.allclose(maps, torch.stack(views).mean(0), atol=1e-4)
        if turns == 4:  # then nothing depends on how the image lies
            assert torch.allclose(maps, back(turned(torch.rot90(square, 1, (2, 3)))), atol=1e-4)


def test_monai_runs_the_same_network_from_the_configuration(bundle, exact, tissue):
    parser = ConfigParser()
    parser.read_config(bundle.path / "configs" / "inference.json")
    plain = parser.get_parsed_content("network_def").eval()
    state = torch.load(bundle.path / "models" / "model.pt", weights_only=True)
    plain.load_state_dict({name: value.float() for name, value in state.items()})
    image = tissue  # one window of the inferer
    with torch.inference_mode():
        scaled = 1 - torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255
        raw = parser.get_parsed_content("inferer")(scaled, plain)[0]
    maps = run(exact, image)
    assert np.abs(raw[0].sigmoid().numpy() - maps[0]).max() < 1e-3
    assert np.abs(raw[2:].numpy() * 8 - maps[2:]).max() < 1e-2
    metadata = bundle.metadata["network_data_format"]
    assert metadata["outputs"]["pred"]["num_channels"] == len(bundle.channels) == len(raw)


def test_a_bundle_can_be_anywhere(copy):
    bundle = load_bundle(copy)
    assert (bundle.name, bundle.path) == ("mine", copy)
    assert copy in find_bundles(copy.parent)


def test_unknown_models_are_answered_with_the_known_ones():
    with pytest.raises(ModelError, match=r"no model 'nuclei_xyz'.*nuclei_he"):
        load_bundle("nuclei_xyz")


@pytest.mark.parametrize("content", ["{", "[]", '{"version": "1"}', '{"qpbridge": {"mpp": 1}}'])
def test_broken_metadata_is_named(copy, content):
    (copy / "configs" / "metadata.json").write_text(content)
    with pytest.raises(ModelError, match=r"metadata\.json"):
        load_bundle(copy)


def test_broken_weights_are_named(copy):
    weights = copy / "models" / "model.pt"
    bundle = load_bundle(copy)
    whole = weights.read_bytes()
    for broken in (b"", b"PK not weights", whole[: len(whole) // 2]):
        weights.write_bytes(broken)
        with pytest.raises(ModelError, match=r"model\.pt"):
            bundle.network()
    weights.unlink()
    with pytest.raises(ModelError, match=r"model\.pt: missing"):
        bundle.network()


def test_weights_of_another_network_are_named(copy):
    config = copy / "configs" / "inference.json"
    content = json.loads(config.read_text())
    content["network_def"]["channels"][0] += 8
    config.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"model\.pt: not of the network"):
        load_bundle(copy).network()
    config.write_text("{}")
    with pytest.raises(ModelError, match=r"inference\.json"):
        load_bundle(copy).network()


def test_weights_are_never_unpickled_freely(copy):
    torch.save({"x": build_network}, copy / "models" / "model.pt")
    with pytest.raises(ModelError, match=r"model\.pt"):
        load_bundle(copy).network()
