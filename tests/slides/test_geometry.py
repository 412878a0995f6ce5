"""Coordinates of QuPath's servers: cropped, turned and flipped are followed, others refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slide_factory import make_slide

from qpbridge.errors import SlideError
from qpbridge.project.embedded.servers import parse_server
from qpbridge.project.interface import Server
from qpbridge.slides import Slide, geometry, open_server, open_slide
from qpbridge.slides.geometry import check_followed

WIDTH, HEIGHT = 317, 211
OPENSLIDE = "qupath.lib.images.servers.openslide.OpenslideServerBuilder"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("geometry") / "a.tif"
    return make_slide(path, width=WIDTH, height=HEIGHT, levels=2, lossless=True).path


@pytest.fixture(scope="module")
def pixels(path: Path) -> npt.NDArray[np.uint8]:
    with open_slide(path) as slide:
        return slide.read(0, 0, WIDTH, HEIGHT, 1)


def server(
    *wrappers: dict[str, Any],
    size: tuple[int | None, int | None] = (None, None),
    args: tuple[str, ...] = (),
    provider: str = OPENSLIDE,
) -> Server:
    """Describe a server as a project does; the wrappers outermost first."""
    builder: dict[str, Any] = {"builderType": "uri", "uri": "file:/a.tif", "args": list(args)}
    for wrapper in reversed(wrappers):
        builder = {**wrapper, "builder": builder}
    names = tuple(str(wrapper["builderType"]) for wrapper in wrappers)
    return Server("file:/a.tif", provider, args, names, *size, None, builder)


def rotation(name: str) -> dict[str, Any]:
    return {"builderType": "rotated", "rotation": name}


def crop(x: int, y: int, width: int, height: int) -> dict[str, Any]:
    region = {"x": x, "y": y, "width": width, "height": height, "z": 0, "t": 0}
    return {"builderType": "cropped", "region": region}


def whole(slide: Slide) -> npt.NDArray[np.uint8]:
    return slide.read(0, 0, slide.width, slide.height, 1)


def test_plain(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with open_server(path, server(size=(WIDTH, HEIGHT))) as slide:
        np.testing.assert_array_equal(whole(slide), pixels)


@pytest.mark.parametrize(
    ("name", "turns"),
    [("ROTATE_NONE", 0), ("ROTATE_90", 1), ("ROTATE_180", 2), ("ROTATE_270", 3)],
)
def test_rotations_are_clockwise(
    path: Path, pixels: npt.NDArray[np.uint8], name: str, turns: int
) -> None:
    with open_server(path, server(rotation(name))) as slide:
        expected = np.rot90(pixels, -turns)
        assert (slide.height, slide.width) == expected.shape[:2]
        np.testing.assert_array_equal(whole(slide), expected)
        level = slide.levels[1]
        assert (level.width > level.height) == (turns % 2 == 0)


@pytest.mark.parametrize(
    ("name", "axes"), [("NONE", ()), ("HORIZONTAL", (1,)), ("VERTICAL", (0,)), ("BOTH", (0, 1))]
)
def test_flips(path: Path, pixels: npt.NDArray[np.uint8], name: str, axes: tuple[int, ...]) -> None:
    with open_server(path, server({"builderType": "flipped", "flip": name})) as slide:
        np.testing.assert_array_equal(whole(slide), np.flip(pixels, axes))


def test_crops_and_rotations_in_their_order(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    part = crop(40, 30, 101, 75)
    turn = rotation("ROTATE_90")
    with open_server(path, server(part)) as slide:
        np.testing.assert_array_equal(whole(slide), pixels[30:105, 40:141])
    with open_server(path, server(turn, part)) as slide:
        np.testing.assert_array_equal(whole(slide), np.rot90(pixels[30:105, 40:141], -1))
    with open_server(path, server(part, turn)) as slide:
        np.testing.assert_array_equal(whole(slide), np.rot90(pixels, -1)[30:105, 40:141])
    both = server(crop(5, 6, 20, 30), rotation("ROTATE_270"), part, turn)
    with open_server(path, both) as slide:
        inner = np.rot90(pixels, -1)[30:105, 40:141]
        np.testing.assert_array_equal(whole(slide), np.rot90(inner, -3)[6:36, 5:25])


@settings(max_examples=60, deadline=None)
@given(
    turns=st.integers(0, 3),
    flip_x=st.booleans(),
    flip_y=st.booleans(),
    downsample=st.sampled_from([0.8, 1, 1.7, 2, 3.1]),
)
def test_turned_slides_resample_like_turned_images(
    tmp_path_factory: pytest.TempPathFactory,
    turns: int,
    flip_x: bool,
    flip_y: bool,
    downsample: float,
) -> None:
    """A slide in any position reads as an image that was saved in that position."""
    folder = tmp_path_factory.getbasetemp()
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    turned = np.rot90(pixels, -turns)
    turned = turned[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    first = make_slide(folder / "first.png", pixels=pixels)
    second = make_slide(folder / "second.png", pixels=np.ascontiguousarray(turned))
    with open_slide(first.path) as a, open_slide(second.path) as b:
        slide = a.rotated(turns).flipped(x=flip_x, y=flip_y)
        assert (slide.width, slide.height) == (b.width, b.height)
        box = (-3, 5, 160, 120, downsample)
        difference = np.abs(slide.read(*box).astype(int) - b.read(*box))
        # Sums are taken in another order, which can change a rounding.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.02


def steps(draw: st.DrawFn, width: int, height: int) -> list[dict[str, Any]]:
    """Draw wrappers of a server, innermost first; crops fit into what is there by then."""
    wrappers = []
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["cropped", "rotated", "flipped", "pyramidize"]))
        if kind == "cropped":
            x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
            width, height = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
            wrappers.append(crop(x, y, width, height))
        elif kind == "rotated":
            turn = draw(st.integers(0, 3))
            wrappers.append(
                rotation(("ROTATE_NONE", "ROTATE_90", "ROTATE_180", "ROTATE_270")[turn])
            )
            width, height = (height, width) if turn % 2 else (width, height)
        elif kind == "flipped":
            flip = draw(st.sampled_from(["NONE", "HORIZONTAL", "VERTICAL", "BOTH"]))
            wrappers.append({"builderType": "flipped", "flip": flip})
        else:
            wrappers.append({"builderType": "pyramidize"})
    return wrappers


def shown(pixels: npt.NDArray[np.uint8], wrapper: dict[str, Any]) -> npt.NDArray[np.uint8]:
    """Do to an image in memory what a wrapper does to a server."""
    if "region" in wrapper:
        x, y, w, h = (wrapper["region"][key] for key in ("x", "y", "width", "height"))
        return pixels[y : y + h, x : x + w]
    if "rotation" in wrapper:
        clockwise = {"E": 0, "90": 1, "180": 2, "270": 3}
        turns = clockwise[wrapper["rotation"].removeprefix("ROTATE_").removeprefix("NON")]
        return np.rot90(pixels, turns, axes=(1, 0))
    if wrapper.get("flip") in ("HORIZONTAL", "BOTH"):
        pixels = np.fliplr(pixels)
    if wrapper.get("flip") in ("VERTICAL", "BOTH"):
        pixels = np.flipud(pixels)
    return pixels


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_nesting(path: Path, pixels: npt.NDArray[np.uint8], data: st.DataObject) -> None:
    """A pixel of the server is the pixel that plain array operations bring there."""
    wrappers = data.draw(st.composite(steps)(WIDTH, HEIGHT))
    expected = pixels
    for wrapper in wrappers:
        expected = shown(expected, wrapper)
    described = parse_server(server(*reversed(wrappers)).builder)
    assert described.wrappers == tuple(w["builderType"] for w in reversed(wrappers))
    with open_server(path, described) as slide:
        height, width = expected.shape[:2]
        assert (slide.width, slide.height) == (width, height)
        x = data.draw(st.integers(0, width - 1))
        y = data.draw(st.integers(0, height - 1))
        np.testing.assert_array_equal(slide.read(x, y, 1, 1, 1)[0, 0], expected[y, x])
        np.testing.assert_array_equal(whole(slide), expected)


def test_calibration_turns_along(tmp_path: Path) -> None:
    import tifffile

    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    path = tmp_path / "unequal.ome.tif"
    pixels = np.zeros((40, 60, 3), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", ome=True, metadata=metadata)
    with open_slide(path) as slide:
        assert slide.mpp == (0.25, 0.5)
        assert slide.rotated(1).mpp == (0.5, 0.25)
        assert slide.rotated(2).mpp == (0.25, 0.5)


@pytest.mark.parametrize(
    "wrapper",
    [
        {"builderType": "affine", "transform": {}},
        {"builderType": "color_deconvolved"},
        {"builderType": "rotated", "rotation": "ROTATE_45"},
        {"builderType": "rotated"},
        {"builderType": "rotated", "rotation": ["ROTATE_90"]},
        {"builderType": "flipped"},
        {"builderType": "flipped", "flip": {}},
        {"builderType": "cropped"},
        {"builderType": "cropped", "region": None},
        {"builderType": "cropped", "region": {"x": 1, "y": 2, "width": 3}},
        {"builderType": "cropped", "region": {"x": 1, "y": 2, "width": 3, "height": 0}},
        {"builderType": "cropped", "region": {"x": 1, "y": 2, "width": 3, "height": "4"}},
        {"builderType": "cropped", "region": {"x": 0.5, "y": 2, "width": 3, "height": 4}},
        {"builderType": "cropped", "region": {"x": float("nan"), "y": 0, "width": 3, "height": 4}},
        {"builderType": "cropped", "region": {"x": 1, "y": 2, "width": 3, "height": 4, "z": 1}},
        {"builderType": "channels", "channels": []},
        {"builderType": "color", "transforms": []},
        {"builderType": "normalized"},
        {"builderType": "sliced", "zStart": 0, "zEnd": 1},
        {"builderType": "sparse"},
        {"builderType": "swapRedBlue"},
        {"builderType": "typeConvert"},
        {"builderType": "z_concatenated"},
        {"builderType": "z_projected", "projection": "MAX"},
        {"builderType": "something_new"},
    ],
)
def test_what_is_not_followed_is_refused(path: Path, wrapper: dict[str, Any]) -> None:
    name = wrapper["builderType"]
    with pytest.raises(SlideError, match=rf"a\.tif: .*'{name}'.*, which is not supported; export"):
        open_server(path, server(crop(0, 0, 10, 10), wrapper))


def test_size_must_be_that_of_the_project(path: Path) -> None:
    with pytest.raises(SlideError, match=r"has 317 x 211 pixels, the project says 317 x 212"):
        open_server(path, server(size=(317, 212)))
    open_server(path, server(crop(1, 2, 30, 40), size=(30, 40))).close()
    open_server(path, server(crop(1, 2, 30, 40), size=(WIDTH, HEIGHT))).close()
    with pytest.raises(SlideError, match="reaches beyond"):
        open_server(path, server(crop(300, 2, 30, 40)))


def test_a_file_server_of_an_unknown_kind_is_refused(path: Path) -> None:
    """It has the URI of a file, but who knows what it does with the pixels?"""
    described = parse_server({"builderType": "novel", "uri": "file:/a.tif"})
    with pytest.raises(SlideError, match="'novel', which is not supported"):
        open_server(path, described)
    with pytest.raises(SlideError, match="'novel', which is not supported"):
        check_followed(path, described)


def test_only_openslide_crops_to_bounds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def open_spied(path: Path, *, crop_bounds: bool, series: int) -> Slide:
        asked.append(crop_bounds)
        return open_slide(path, crop_bounds=crop_bounds, series=series)

    monkeypatch.setattr(geometry, "open_slide", open_spied)
    bioformats = "qupath.lib.images.servers.bioformats.BioFormatsServerBuilder"
    for provider, args in (
        (OPENSLIDE, ()),
        (OPENSLIDE, ("--no-crop",)),
        (bioformats, ("--series", "0")),
        ("qupath.imagej.images.servers.ImageJServerBuilder", ()),
        ("", ()),
    ):
        open_server(path, server(provider=provider, args=args)).close()
    assert asked == [True, False, False, False, True]


def test_arguments(path: Path) -> None:
    open_server(path, server(args=("--series", "0"))).close()
    with pytest.raises(SlideError, match="there is no image 1"):
        open_server(path, server(args=("--series", "1")))
    with pytest.raises(SlideError, match="is no number"):
        open_server(path, server(args=("--series", "first")))
    for args in (("--series=1",), ("-s", "1"), ("-s=1",), ("--name", "x", "--series", "1")):
        with pytest.raises(SlideError, match="there is no image 1"):
            open_server(path, server(args=args))
    for args in (("--name", "Series 1"), ("-n=x",)):
        with pytest.raises(SlideError, match="by --name, which is not supported; add the image"):
            open_server(path, server(args=args))
    open_server(path, server(args=("--bfOptions", "a=b", "name"))).close()
    with pytest.raises(SlideError, match="--dims is not supported"):
        open_server(path, server(args=("--dims", "XYCZT")))
