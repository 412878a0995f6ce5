"""New projects, as QuPath would have made them, or none."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from project.files import Trap, digests, png
from project.suite import discs, rectangle

from qpbridge.errors import ProjectError
from qpbridge.objects import ObjectKind
from qpbridge.project import NewImage, create_project, open_project
from qpbridge.project.embedded.servers import BIOFORMATS, OPENSLIDE, parse_server, provider_of
from qpbridge.project.interface import Edit


class TestCreate:
    def test_like_qupath(self, shared: Path, tmp_path: Path) -> None:
        """Key by key what QuPath 0.6 wrote for the same images, but for the form of the URI."""
        images = shared / "qupath/golden/images"
        new = [
            NewImage(
                path=images / "pyramid.tif",
                name="pyramid.tif by default",
                width=2048,
                height=1536,
                mpp=(0.25, 0.25),
                levels=((1, 2048, 1536), (2, 1024, 768), (4, 512, 384)),
                tile=(256, 256),
            ),
            NewImage(
                path=images / "synthetic.svs",
                name="synthetic.svs by default",
                width=1280,
                height=1024,
                mpp=(0.499, 0.499),
                levels=((1, 1280, 1024), (2, 640, 512)),
                magnification=20,
                tile=(256, 256),
            ),
            NewImage(path=images / "he_a.png", name="First image", width=1024, height=768),
            NewImage(
                path=images / "he_c.tif", name="bf other", width=512, height=512, mpp=(0.5, 0.5)
            ),
        ]
        create_project(tmp_path / "p/project.qpproj", new)
        ours = json.loads((tmp_path / "p/project.qpproj").read_text("utf-8"))
        assert [e["entryID"] for e in ours["images"]] == [1, 2, 3, 4]
        assert ours["lastID"] == 4
        golden = shared / "qupath/golden/v0.6.0"

        def of_qupath(case: str, number: int) -> dict[str, Any]:
            text = (golden / case / "project/project.qpproj").read_text("utf-8")
            document: dict[str, Any] = json.loads(text)
            assert list(ours) == list(document)
            found: dict[str, Any] = document["images"][number - 1]
            return found

        theirs = [
            of_qupath("pyramid", 1),
            of_qupath("pyramid", 3),
            of_qupath("multi", 1),
            of_qupath("types", 4),
        ]
        for mine, qupaths in zip(ours["images"], theirs, strict=True):
            for entry in (mine, qupaths):
                uri = entry["serverBuilder"].pop("uri")
                entry["serverBuilder"]["file"] = uri.rsplit("/", 1)[1]
                for key in ("entryID", "randomizedName", "description"):
                    entry.pop(key, None)
            calibration = qupaths["serverBuilder"]["metadata"]["pixelCalibration"]
            calibration["timepoints"] = []
            assert mine | {"metadata": 0, "tags": 0} == qupaths | {"metadata": 0, "tags": 0}
            assert json.dumps(mine["serverBuilder"]) == json.dumps(qupaths["serverBuilder"])

    def test_default_classes_are_qupaths(self, shared: Path, fresh: Path) -> None:
        path = shared / "qupath/real/sbalci_metadata-qupath/classes.json"
        theirs = json.loads(path.read_text("utf-8"))["pathClasses"]
        ours = json.loads((fresh.parent / "classifiers/classes.json").read_text("utf-8"))
        assert ours == {"pathClasses": theirs[:9]}

    def test_all_files(self, tmp_path: Path) -> None:
        image = png(tmp_path / "slide.png", 3000, 1000)
        pixels = np.zeros((1000, 3000, 3), np.uint8)
        project = create_project(tmp_path / "p.qpproj", [replace(image, thumbnail=pixels)])
        assert set(digests(tmp_path)) == {
            "p.qpproj",
            "slide.png",
            "classifiers/classes.json",
            "data/metadata.json",
            "data/1/server.json",
            "data/1/summary.json",
            "data/1/thumbnail.jpg",
        }
        with Image.open(tmp_path / "data/1/thumbnail.jpg") as thumbnail:
            assert (thumbnail.format, thumbnail.size) == ("JPEG", (1000, 333))
        builder = json.loads((tmp_path / "data/1/server.json").read_text("utf-8"))
        assert builder == project.images[0].server.builder
        assert not project.images[0].has_data()

    def test_round_trip(self, tmp_path: Path) -> None:
        one = replace(png(tmp_path / "Größe 5 µm #1.png"), mpp=(0.5, 0.4), magnification=40.0)
        other = replace(png(tmp_path / "two.png", 60, 50), name=one.name)
        create_project(tmp_path / "p" / "project.qpproj", [one, other])
        project = open_project(tmp_path / "p")
        assert [(e.id, e.name) for e in project.images] == [("1", one.name), ("2", one.name)]
        assert [e.image_path() for e in project.images] == [one.path, other.path]
        server = project.images[0].server
        assert (server.width, server.height, server.mpp) == (100, 80, (0.5, 0.4))
        assert (server.provider, server.args) == (BIOFORMATS, ("--series", "0"))
        assert project.images[1].server.mpp is None

    def test_no_metadata_where_it_would_be_guessed(self, tmp_path: Path) -> None:
        image = replace(png(tmp_path / "fluo.png"), is_rgb=False)
        project = create_project(tmp_path / "p.qpproj", [image])
        assert "metadata" not in project.images[0].server.builder

    def test_moves_with_its_images(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        create_project(tmp_path / "a/p/project.qpproj", [png(tmp_path / "a/slide.png")])
        shutil.move(tmp_path / "a", tmp_path / "b")
        entry = open_project(tmp_path / "b/p").images[0]
        assert entry.image_path() == tmp_path / "b/slide.png"

    def test_folder_may_be_called_by_a_number(self, tmp_path: Path) -> None:
        (tmp_path / "2024").mkdir()
        create_project(tmp_path / "2024/project.qpproj", [png(tmp_path / "2024/slide.png")])

    def test_slides_may_be_in_a_folder_called_data(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        create_project(tmp_path / "project.qpproj", [png(tmp_path / "data/slide.png")])

    @pytest.mark.parametrize(
        ("prepare", "error"),
        [
            (lambda f: (f / "project.qpproj").touch(), "there is a project already"),
            (lambda f: (f / "data/1").mkdir(parents=True), "belongs to another project"),
            (
                lambda f: (f / "classifiers").mkdir() or (f / "classifiers/classes.json").touch(),
                "belongs to another project",
            ),
            (lambda f: (f / "data").touch(), "data"),
        ],
    )
    def test_refuses_to_mix(
        self, tmp_path: Path, prepare: Callable[[Path], None], error: str
    ) -> None:
        image = png(tmp_path / "slide.png")
        folder = tmp_path / "p"
        folder.mkdir()
        prepare(folder)
        before = set(folder.rglob("*")), digests(folder)
        with pytest.raises(ProjectError, match=error):
            create_project(folder / "project.qpproj", [image])
        assert (set(folder.rglob("*")), digests(folder)) == before

    def test_refuses_a_slide_given_twice(self, tmp_path: Path) -> None:
        image = png(tmp_path / "slide.png")
        (tmp_path / "link.png").symlink_to(image.path)
        again = replace(image, path=tmp_path / "link.png", name="link.png")
        with pytest.raises(ProjectError, match="given twice"):
            create_project(tmp_path / "p/project.qpproj", [image, again])
        assert not (tmp_path / "p").exists()

    def test_refuses_another_ending(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectError, match=r"ends in \.qpproj"):
            create_project(tmp_path / "project.json", [])

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
    def test_failure_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        image = png(tmp_path / "slide.png")
        trap = Trap(("open", "replace", "fsync", "mkdir"), error)
        with monkeypatch.context() as context:
            trap.set(context)
            create_project(tmp_path / "counted/project.qpproj", [image])
            steps = trap.count
            failed = 0
            for step in range(1, steps + 1):
                trap.count, trap.at = 0, step
                folder = tmp_path / f"p{step}"
                try:
                    create_project(folder / "project.qpproj", [image])
                except (ProjectError, KeyboardInterrupt):
                    failed += 1
                    trap.at = -1
                    if folder.exists():  # interrupted when all was done
                        assert isinstance(error, KeyboardInterrupt)
                        assert len(open_project(folder).images) == 1
                        assert set(digests(folder)) == set(digests(tmp_path / "counted"))
        assert failed > 15


class TestServers:
    def test_wrapped(self) -> None:
        inner = {
            "builderType": "uri",
            "providerClassName": OPENSLIDE,
            "uri": "file:/a.svs",
            "args": ["--no-crop"],
            "metadata": {"width": 100, "height": 50},
        }
        cropped = {"builderType": "cropped", "region": {}, "builder": inner}
        rotated = {
            "builderType": "rotated",
            "rotation": "ROTATE_90",
            "builder": cropped,
            "metadata": {
                "width": 50,
                "height": 100,
                "pixelCalibration": {
                    "pixelWidth": {"value": 0.5, "unit": "µm"},
                    "pixelHeight": {"value": 0.25, "unit": "µm"},
                },
            },
        }
        server = parse_server(rotated)
        assert server.wrappers == ("rotated", "cropped")
        assert (server.uri, server.provider, server.args) == (
            "file:/a.svs",
            OPENSLIDE,
            ("--no-crop",),
        )
        assert (server.width, server.height, server.mpp) == (50, 100, (0.5, 0.25))
        assert parse_server(cropped).width is None
        assert server.builder is rotated

    @pytest.mark.parametrize(
        ("value", "unit"), [(0.0, "µm"), (-1, "µm"), (float("nan"), "µm"), ("1", "µm"), (1.0, "px")]
    )
    def test_no_pixel_size(self, value: object, unit: str) -> None:
        good = {"value": 0.5, "unit": "µm"}
        bad = {"value": value, "unit": unit}
        for pair in ((good, bad), (bad, good)):
            calibration = dict(zip(("pixelWidth", "pixelHeight"), pair, strict=True))
            assert parse_server({"metadata": {"pixelCalibration": calibration}}).mpp is None

    @pytest.mark.parametrize("builder", [{}, {"uri": 5}, {"metadata": []}, {"args": "x"}])
    def test_odd_builders(self, builder: dict[str, object]) -> None:
        server = parse_server(builder)
        assert (server.uri, server.args, server.width, server.mpp) == (None, (), None, None)

    def test_reader_of_each_kind_of_file(self, tmp_path: Path) -> None:
        pixels = np.zeros((64, 64, 3), np.uint8)
        tifffile.imwrite(tmp_path / "tiled.tif", pixels, tile=(32, 32), photometric="rgb")
        tifffile.imwrite(tmp_path / "plain.tif", pixels, photometric="rgb")
        tifffile.imwrite(tmp_path / "a.ome.tif", pixels, tile=(32, 32), photometric="rgb")
        (tmp_path / "broken.tif").write_bytes(b"II*")
        expected = {
            "tiled.tif": OPENSLIDE,
            "plain.tif": BIOFORMATS,
            "a.ome.tif": BIOFORMATS,
            "broken.tif": BIOFORMATS,
            "a.SVS": OPENSLIDE,
            "a.ndpi": OPENSLIDE,
            "a.png": BIOFORMATS,
            "a.jpg": BIOFORMATS,
        }
        assert {name: provider_of(tmp_path / name) for name in expected} == expected


def test_detections_and_regions_at_creation(fresh: Path) -> None:
    """Annotations are added to a new project like to any other."""
    entry = open_project(fresh).images[0]
    region = rectangle(0, 0, 100, 80)
    entry.apply(Edit(add=region))
    entry.apply(Edit(add=discs(2), add_below=np.repeat(region.ids, 2, axis=0)))
    summary = json.loads((fresh.parent / "data/1/summary.json").read_text("utf-8"))
    assert summary["hierarchy"]["objectTypeCounts"] == {
        "Root objects": 1,
        "Annotations": 1,
        "Detections": 2,
    }
    assert entry.read().objects.kind[0] == ObjectKind.ANNOTATION
