"""OME-Zarr, of the versions 0.4 and 0.5."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from slide_factory import halve, nuclei_at_random, paint

from qpbridge.cli import main
from qpbridge.errors import SlideError
from qpbridge.project import open_project
from qpbridge.slides import open_server, open_slide


@pytest.fixture(scope="module")
def pixels():
    nuclei = nuclei_at_random(500, 400, radius=9, spacing=40, seed=1)
    return paint(500, 400, nuclei, seed=1)


def write(
    path: Path,
    pixels: np.ndarray,
    version: str = "0.5",
    *,
    axes: str = "tczyx",
    unit: str | None = "micrometer",
    mpp: float = 0.5,
    levels: int = 3,
    **attributes: object,
) -> Path:
    """Write RGB (h, w, 3) as an OME-Zarr."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets, level = [], pixels
    for i in range(levels):
        shaped = level.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        for at, axis in enumerate(axes):
            if axis in "tz":
                shaped = np.expand_dims(shaped, at)
        chunks = tuple(64 if axis in "yx" else 1 for axis in axes)
        group.create_array(str(i), data=shaped, chunks=chunks)
        scale = [mpp * 2**i if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(i), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
        level = halve(level)
    named = [{"name": axis, "type": "space" if axis in "zyx" else "other"} for axis in axes]
    for axis in named:
        if unit is not None and axis["type"] == "space":
            axis["unit"] = unit
    ome = {"multiscales": [{"version": version, "axes": named, "datasets": datasets}], **attributes}
    group.attrs.update(ome if version == "0.4" else {"ome": {"version": version, **ome}})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["tczyx", "cyx", "yxc"])
def test_pixels_levels_and_pixel_size(tmp_path, pixels, version, axes):
    path = write(tmp_path / "a.ome.zarr", pixels, version, axes=axes)
    with open_slide(path) as slide:
        assert (slide.format, slide.mpp) == ("ome-zarr", (0.5, 0.5))
        assert [(v.downsample, v.width, v.height) for v in slide.levels] == [
            (1, 500, 400),
            (2, 250, 200),
            (4, 125, 100),
        ]
        np.testing.assert_array_equal(slide.read(50, 60, 200, 100, 1), pixels[60:160, 50:250])
        np.testing.assert_array_equal(slide.read(10, 0, 20, 30, 2), halve(pixels)[:30, 10:30])


@pytest.mark.parametrize("inside", [".zattrs", "zarr.json"])
def test_a_file_of_attributes_means_its_folder(tmp_path, pixels, inside):
    path = write(tmp_path / "a.zarr", pixels, "0.4" if inside == ".zattrs" else "0.5")
    with open_slide(path / inside) as slide:
        assert slide.width == 500


@pytest.mark.parametrize(
    ("unit", "mpp", "expected"),
    [("nanometer", 250.0, 0.25), ("millimeter", 0.001, 1.0), ("angstrom", 2500.0, 0.25)],
)
def test_units_of_length(tmp_path, pixels, unit, mpp, expected):
    with open_slide(write(tmp_path / "a.zarr", pixels, unit=unit, mpp=mpp)) as slide:
        assert slide.mpp == pytest.approx((expected, expected))


@pytest.mark.parametrize(("unit", "mpp"), [(None, 0.5), ("parsec", 1.0), ("micrometer", 0.0)])
def test_an_unknown_pixel_size_is_unknown(tmp_path, pixels, unit, mpp):
    with open_slide(write(tmp_path / "a.zarr", pixels, unit=unit, mpp=mpp)) as slide:
        assert slide.mpp is None


def test_one_of_several_images(tmp_path, pixels):
    group = zarr.open_group(str(tmp_path / "several.zarr"), mode="w")
    group.attrs["ome"] = {"bioformats2raw.layout": 3}
    write(tmp_path / "several.zarr" / "0", pixels)
    write(tmp_path / "several.zarr" / "1", pixels[:100, :200])
    with open_slide(tmp_path / "several.zarr") as slide:
        assert (slide.width, slide.height, slide.series) == (pixels.shape[1], pixels.shape[0], 0)
        assert len(slide.images) == 2
    with open_slide(tmp_path / "several.zarr", series=1) as slide:
        assert (slide.width, slide.height) == (200, 100)
    with pytest.raises(SlideError, match="no image 2"):
        open_slide(tmp_path / "several.zarr", series=2)


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"plate": {"wells": []}}, "plate"),
        ({"multiscales": []}, "without an image"),
        ({"omero": {"channels": [{"color": "0000FF"}, {"color": "00FF00"}]}}, "colours"),
    ],
)
def test_what_is_no_brightfield_image_is_refused(tmp_path, pixels, attributes, said):
    path = write(tmp_path / "a.zarr", pixels, **attributes)
    with pytest.raises(SlideError, match=rf"a\.zarr: .*{said}"):
        open_slide(path)


@pytest.mark.parametrize("change", ["uint16", "gray", "level gone", "level outside", "chunk"])
def test_what_is_broken_is_refused_by_name(tmp_path, pixels, change):
    if change == "uint16":
        path = write(tmp_path / "a.zarr", pixels.astype(np.uint16))
    elif change == "gray":
        path = write(tmp_path / "a.zarr", pixels[..., :1])
    else:
        path = write(tmp_path / "a.zarr", pixels, "0.4")
    if change == "level gone":
        (path / "1" / ".zarray").unlink()
    elif change == "level outside":
        text = (path / ".zattrs").read_text().replace('"path": "1"', '"path": "../b.zarr/1"')
        (path / ".zattrs").write_text(text)
        write(tmp_path / "b.zarr", pixels, "0.4")
    elif change == "chunk":
        next(p for p in (path / "0").rglob("*") if p.is_file() and p.name[0] != ".").write_bytes(
            b"no chunk"
        )
    with pytest.raises(SlideError, match=r"a\.zarr"), open_slide(path) as slide:
        slide.read(0, 0, slide.width, slide.height, 1)


def test_a_folder_that_is_no_zarr_is_refused(tmp_path):
    with pytest.raises(SlideError, match="can't be read"):
        open_slide(tmp_path)


def test_a_project_can_be_made_and_segmented(tmp_path, pixels):
    path = write(tmp_path / "a.ome.zarr", pixels)
    project = tmp_path / "p" / "project.qpproj"
    for command in (["create", project, path, "--annotate-full"], ["segment", project]):
        done = CliRunner().invoke(main, [str(word) for word in command])
        assert done.exit_code == 0, done.output
    entry = open_project(project).images[0]
    assert entry.server.provider.endswith("BioFormatsServerBuilder")
    assert len(entry.read().objects) > 50
    with open_server(entry.image_path(), entry.server) as slide:
        assert slide.mpp == (0.5, 0.5)


def claim(path: Path, **values: object) -> None:
    """Change what the first level says of itself."""
    file = path / "0" / ".zarray"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


LIES = {
    "hollow": lambda z: claim(z, shape=[3, 2**20, 2**20], chunks=[1, 4096, 4096]),
    "huge": lambda z: claim(z, shape=[3, 2**31, 2**31]),
    "crumbs": lambda z: claim(z, shape=[3, 10**5, 10**5], chunks=[1, 1, 1]),
    "chunk": lambda z: claim(z, chunks=[3, 2 * 10**5, 2 * 10**5]),
    "empty": lambda z: claim(z, chunks=[3, 0, 64]),
    "bomb": lambda z: bomb(z),
    "attributes": lambda z: (z / ".zattrs").write_text('{"a": "' + "x" * 2**25 + '"}'),
    "pipe": lambda z: replaced(z / "0" / "0.0.0", os.mkfifo),
    "pipe of attributes": lambda z: replaced(z / ".zattrs", os.mkfifo),
    "endless": lambda z: replaced(z / "0" / "0.0.0", lambda f: f.symlink_to("/dev/zero")),
}


def bomb(path: Path) -> None:
    claim(path, compressor={"id": "zlib", "level": 1})
    (path / "0" / "0.0.0").write_bytes(zlib.compress(bytes(2**29), 1))


def replaced(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes and devices there")
@pytest.mark.parametrize("lie", LIES)
def test_an_image_that_lies_is_refused_at_once(tmp_path, pixels, lie):
    path = write(tmp_path / "a.zarr", pixels, "0.4", axes="cyx", levels=1)
    LIES[lie](path)
    code = (
        "import re, sys\nfrom pathlib import Path\nfrom qpbridge.slides import open_slide\n"
        "from qpbridge.errors import SlideError\n"
        "try:\n    with open_slide(Path(sys.argv[1])) as slide:\n"
        "        slide.thumbnail(100, 100)\n"
        "except SlideError as error:\n    print(error)\n"
        "status = Path('/proc/self/status')\n"
        "if status.exists():\n"
        "    assert int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) < 400_000\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "a.zarr" in done.stdout and done.stdout.count("\n") == 1
