"""Models from elsewhere on a project."""

import zipfile

import numpy as np
import pytest
import torch
from cli_helpers import nuclei_of
from models.test_foreign import HOVER_OUTPUTS, Hover, Level, write
from PIL import Image


class Spots(Hover):
    """As `Hover`, for purple nuclei."""

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        dark = (image[:, :1] < 0.6).float()[:, :, 20:-20, 20:-20]
        zero = torch.zeros_like(dark)
        return {
            "np": torch.cat([20 - 40 * dark, 40 * dark - 20], 1),
            "hv": torch.cat([zero, zero], 1),
            "tp": torch.cat([20 - 40 * dark, 40 * dark - 20, zero - 20], 1),
        }


@pytest.fixture
def hover(tmp_path):
    folder = write(tmp_path / "spots", outputs=HOVER_OUTPUTS, script=Spots(), metadata={"mpp": 0.5})
    path = tmp_path / "spots.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


def test_a_hover_net_in_a_zip_finds_nuclei_with_their_types(qpbridge, project, hover, truth):
    qpbridge("segment", project, "--model", hover, code=1)
    assert "--trust" in qpbridge.stderr
    report = qpbridge.json("segment", project, "--model", hover, "--trust")
    assert report["target"] == "nuclei" and report["images"][0]["found"] > 30
    found = nuclei_of(project)
    assert {str(found.path_class(row)) for row in range(len(found))} == {"Tumor"}
    again = qpbridge.json("segment", project, "--model", hover)["images"][0]
    assert again["replaced"] == again["found"] == len(found)
    assert "Tumor" in qpbridge("models", "show", hover)
    assert np.isfinite(found.measurement("Detection probability")).all()


def test_a_semantic_network_finds_glands_when_told_so(qpbridge, project, tmp_path):
    folder = write(tmp_path / "dark", script=Level())
    qpbridge("segment", project, "--model", folder, "--target", "glands", "--trust", code=1)
    assert "--model-mpp" in qpbridge.stderr
    arguments = ("--model", folder, "--target", "glands", "--model-mpp", 0.5)
    report = qpbridge.json("segment", project, *arguments)
    assert report["target"] == "glands" and report["images"][0]["status"] == "written"


def test_models_from_elsewhere_are_compared_when_told_what_they_need(qpbridge, tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    dark = np.zeros((128, 128), np.uint8)
    dark[30:90, 30:90] = 1
    Image.fromarray(dark).save(tmp_path / "labels" / "a.png")
    Image.fromarray(np.repeat(255 - 200 * dark[..., None], 3, 2)).save(
        tmp_path / "images" / "a.png"
    )
    folder = write(tmp_path / "dark", script=Level())
    asked = ["models", "compare", folder, folder]
    asked += ["--images", tmp_path / "images", "--labels", tmp_path / "labels"]
    for option, value in (("--trust", ()), ("--model-mpp", (0.5,))):
        qpbridge(*asked, code=1)
        assert option in qpbridge.stderr
        asked += [option, *value]
    found = qpbridge.json(*asked, "--target", "glands")
    assert found["first"] == found["second"]
    assert found["first"]["a"]["object_dice"] > 0.9


def test_what_a_long_description_leaves_out_is_told(qpbridge, tmp_path):
    folder = write(tmp_path / "talks", script=Level())
    readme = folder / "docs" / "README.md"
    readme.parent.mkdir()
    readme.write_text("a word [/] \x1b\n" * 20_000)
    shown = qpbridge("models", "show", folder, "--model-mpp", 0.5)
    assert len(shown) < 300_000 and "\x1b" not in shown
    assert shown.endswith(f" ... (the rest is in {readme})\n")
