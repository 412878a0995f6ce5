"""QuPath projects without QuPath: opened, made, and changed without harm."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from project.suite import ProjectSuite, discs, rectangle

from qpbridge.errors import FormatError, ProjectError, SlideError
from qpbridge.objects import ObjectKind, PathClass
from qpbridge.project import NewImage, Project, create_project, open_project
from qpbridge.project.colors import default_color, pack_argb, unpack_argb
from qpbridge.project.embedded import qpproj
from qpbridge.project.embedded.servers import BIOFORMATS, OPENSLIDE, parse_server, provider_of
from qpbridge.project.model import Edit, ImageType
from qpbridge.project.safety import LOCK_NAME

VERSIONS = ("v0.3.2", "v0.5.1", "v0.6.0")


def png(path: Path, width: int = 100, height: int = 80) -> NewImage:
    Image.new("RGB", (width, height), (230, 200, 220)).save(path)
    return NewImage(path=path, name=path.name, width=width, height=height)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    path = tmp_path / "lab" / "project.qpproj"
    create_project(path, [png(tmp_path / "slide.png")])
    return path


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


class TestEmbedded(ProjectSuite):
    def open(self, path: Path) -> Project:
        return open_project(path, backend="embedded")

    @pytest.fixture
    def fresh(self, fresh: Path) -> Path:
        return fresh


class TestGolden:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_reading_changes_nothing(self, shared: Path, tmp_path: Path, version: str) -> None:
        copy = tmp_path / version
        shutil.copytree(shared / "qupath/golden" / version, copy)
        before = digests(copy)
        times = {p: p.stat().st_mtime_ns for p in copy.rglob("*")}
        opened = 0
        for path in sorted(copy.rglob("*.qpproj")):
            for entry in open_project(path).images:
                entry.read()
                entry.has_data()
                with pytest.raises(SlideError):
                    entry.image_path()  # the images are elsewhere
            opened += 1
        assert opened > 10
        assert digests(copy) == before
        assert {p: p.stat().st_mtime_ns for p in copy.rglob("*")} == times

    @pytest.mark.parametrize("version", VERSIONS)
    def test_says_what_qupath_says(self, shared: Path, version: str) -> None:
        for folder in sorted((shared / "qupath/golden" / version).iterdir()):
            dump = json.loads((folder / "dump.json").read_text("utf-8"))
            project = open_project(folder / "project")
            assert project.version == dump["version"]
            assert project.version == version[1:]
            if (folder / "project/classifiers/classes.json").exists():
                expected = [
                    (tuple(c["names"]), unpack_argb(c["color"])) for c in dump["pathClasses"]
                ]
                assert [(c.names, c.color) for c in project.classes] == expected
            assert len(project.images) == len(dump["images"])
            for entry, truth in zip(project.images, dump["images"], strict=True):
                assert entry.id == truth["id"]
                assert entry.name == truth["imageName"]
                assert entry.description == truth["description"]
                assert entry.metadata == truth["metadata"]
                assert list(entry.tags) == truth.get("tags", [])
                assert [entry.server.uri] == truth["uris"]
                assert entry.has_data() == truth["hasImageData"]

    def test_finds_images_that_moved_along(self, shared: Path, tmp_path: Path) -> None:
        golden = shared / "qupath/golden"
        shutil.copytree(golden / "v0.6.0/pyramid/project", tmp_path / "v/pyramid/project")
        (tmp_path / "images").mkdir()
        for name in ("pyramid.tif", "synthetic.svs", "he_a.png"):
            (tmp_path / "images" / name).touch()
        # In the project: /data/qupath-golden/{v0.6.0/pyramid/project,images}.
        project = open_project(tmp_path / "v/pyramid/project")
        assert {e.image_path().parent for e in project.images} == {tmp_path / "images"}

    def test_projects_of_real_labs(self, shared: Path) -> None:
        """Hundreds of images on Windows drives."""
        real = shared / "qupath/real"
        sizes = {}
        for path in real.rglob("*.qpproj"):
            project = open_project(path)
            sizes[path.parent.name] = len(project.images)
            assert len({e.id for e in project.images}) == len(project.images)
            for entry in project.images:
                assert entry.server.mpp is not None
                assert 0.1 < entry.server.mpp[0] < 1
                with pytest.raises(SlideError, match="none of the places"):
                    entry.image_path()
        assert sorted(sizes.values()) == [107, 434]

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("case", ["basic", "attrs", "cells", "tma", "multi", "workflow"])
    def test_changes_leave_the_rest(
        self, shared: Path, tmp_path: Path, version: str, case: str
    ) -> None:
        shutil.copytree(shared / "qupath/golden" / version / case / "project", tmp_path / "p")
        entry = open_project(tmp_path / "p").images[0]
        before, old = entry.read(), digests(tmp_path / "p")
        added = discs(3, path_class=PathClass(("Nucleus",)))
        entry.apply(Edit(add=added), before.state)
        new = digests(tmp_path / "p")
        changed = {n for n in new if new[n] != old.get(n)}
        data = f"data/{entry.id}/data.qpdata"
        assert changed == {
            data,
            f"{data}.bkp",
            f"data/{entry.id}/summary.json",
            "classifiers/classes.json",
        }
        assert new[f"{data}.bkp"] == old[data]
        entry.apply(Edit(remove=added.ids))
        after = entry.read()
        np.testing.assert_array_equal(after.objects.kind, before.objects.kind)
        np.testing.assert_array_equal(after.objects.shapes.coords, before.objects.shapes.coords)
        np.testing.assert_array_equal(after.objects.measurements, before.objects.measurements)
        assert after.stains == before.stains
        assert after.workflow == before.workflow

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("case", ["basic", "cells", "tma", "multi", "planes"])
    def test_summary_is_qupaths(
        self, shared: Path, tmp_path: Path, version: str, case: str
    ) -> None:
        shutil.copytree(shared / "qupath/golden" / version / case / "project", tmp_path / "p")
        for entry in open_project(tmp_path / "p").images:
            path = tmp_path / "p/data" / entry.id / "summary.json"
            theirs = json.loads(path.read_text("utf-8"))
            added = discs(1)
            entry.apply(Edit(add=added))
            entry.apply(Edit(remove=added.ids))
            ours = json.loads(path.read_text("utf-8"))
            assert ours.pop("timestamp") > theirs.pop("timestamp") - 10**12
            assert list(ours) == list(theirs)
            if case == "planes":  # QuPath's slip: it may write sizeZ as sizeT
                assert ours["server"].pop("sizeT") == 2
                theirs["server"].pop("sizeT")
            assert ours == theirs


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
        real = {name: getattr(os, name) for name in ("open", "replace", "fsync", "mkdir")}
        count, at = 0, -1

        def trapped(name: str) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                count += 1
                if count == at:
                    raise error
                return real[name](*args, **kwargs)

            return call

        with monkeypatch.context() as context:
            for name in real:
                context.setattr(os, name, trapped(name))
            create_project(tmp_path / "counted/project.qpproj", [image])
            steps = count
            failed = 0
            for step in range(1, steps + 1):
                count, at = 0, step
                folder = tmp_path / f"p{step}"
                try:
                    create_project(folder / "project.qpproj", [image])
                except (ProjectError, KeyboardInterrupt):
                    failed += 1
                    at = -1
                    if folder.exists():  # interrupted when all was done
                        assert isinstance(error, KeyboardInterrupt)
                        assert len(open_project(folder).images) == 1
                        assert set(digests(folder)) == set(digests(tmp_path / "counted"))
        assert failed > 15


class TestOpen:
    def test_folder_with_one_project(self, fresh: Path) -> None:
        assert open_project(fresh.parent).path == fresh
        assert open_project(str(fresh)).path == fresh

    @pytest.mark.parametrize(
        ("name", "error"),
        [
            ("lab/projekt.qpproj", r"no such project; did you mean .*project\.qpproj\?"),
            ("lab/project", r"no such project; did you mean .*project\.qpproj\?"),
            ("nowhere/project.qpproj", "no such project; check the path"),
            ("empty", "no QuPath project"),
            ("lab/data/1/server.json", "no list of images"),
            ("slide.png", "not a QuPath project"),
            ("objects.geojson", "no list of images"),
        ],
    )
    def test_what_is_no_project(self, fresh: Path, name: str, error: str) -> None:
        folder = fresh.parent.parent
        (folder / "empty").mkdir()
        (folder / "objects.geojson").write_text('{"type":"FeatureCollection","features":[]}')
        with pytest.raises(ProjectError, match=error) as caught:
            open_project(folder / name)
        assert str(folder / name) in str(caught.value)

    def test_several_projects(self, fresh: Path) -> None:
        shutil.copy(fresh, fresh.with_name("project-1.qpproj"))
        with pytest.raises(ProjectError, match=r"several projects.*project-1.*project\.qpproj"):
            open_project(fresh.parent)

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "null", '"text"', '{"images": 5}', '{"images": [5]}', "\xff" * 9, "{}"],
    )
    def test_broken_project_file(self, fresh: Path, text: str) -> None:
        fresh.write_bytes(text.encode("latin-1"))
        with pytest.raises(ProjectError, match=r"project\.qpproj.*not a QuPath project"):
            open_project(fresh)

    def test_cut_off_anywhere(self, fresh: Path) -> None:
        whole = fresh.read_bytes()
        for end in range(0, len(whole), 97):
            fresh.write_bytes(whole[:end])
            with pytest.raises(ProjectError):
                open_project(fresh)

    def test_no_paquo_yet(self, fresh: Path) -> None:
        with pytest.raises(ProjectError, match="paquo is not available"):
            open_project(fresh, backend="paquo")

    def test_reads_leniently(self, fresh: Path) -> None:
        fresh.write_text(
            """{"createTimestamp": 1, "images": [
            {"serverBuilder": {"builderType": "uri", "uri": "file:/p/a%20b.svs",
              "metadata": {"width": 10, "pixelCalibration": {"pixelWidth": {"value": NaN}}}}},
            {"entryID": 7.0, "imageName": null, "serverBuilder": {"builderType": "novel"},
             "metadata": {"n": 5, "t": "text"}, "tags": ["x", 3], "description": "d", "new": {}},
            {"entryID": "8", "imageName": "eight", "metadata": null}]}""",
            "utf-8-sig",
        )
        first, second, third = open_project(fresh).images
        assert (first.id, first.name, first.server.mpp) == ("0", "a b.svs", None)
        assert (first.server.width, first.server.height) == (10, None)
        assert (second.id, second.name, second.description) == ("7", "image 7", "d")
        assert second.metadata == {"n": "5", "t": "text"}
        assert second.tags == ("x", "3")
        assert second.server.wrappers == ("novel",)
        assert (third.id, third.name, third.metadata) == ("8", "eight", {})
        with pytest.raises(SlideError, match="'image 7' is not one file"):
            second.image_path()
        assert len(third.read().objects) == 0

    @pytest.mark.parametrize("number", ["../1", "1/../..", None, -1, [], True, 10**30, "NaN"])
    def test_folder_of_an_image_is_a_number(self, fresh: Path, number: object) -> None:
        document = json.loads(fresh.read_text("utf-8"))
        document["images"][0]["entryID"] = float("nan") if number == "NaN" else number
        fresh.write_text(json.dumps(document))
        with pytest.raises(FormatError, match="entryID"):
            open_project(fresh)

    def test_no_images(self, fresh: Path) -> None:
        fresh.write_text('{"version": "0.6.0", "createTimestamp": 1}')
        assert open_project(fresh).images == ()


class TestClasses:
    def path(self, project: Path) -> Path:
        return project.parent / "classifiers/classes.json"

    def test_reads_leniently(self, fresh: Path) -> None:
        self.path(fresh).write_text(
            json.dumps(
                {
                    "pathClasses": [
                        {"name": "Tumor: Positive", "color": -377282},
                        {"name": "No colour"},
                        {"name": "Null", "color": None},
                        {"name": "Unclassified"},
                        {"name": None},
                        {},
                    ]
                }
            )
        )
        found = open_project(fresh).classes
        assert [(c.names, c.color) for c in found] == [
            (("Tumor", "Positive"), (250, 62, 62)),
            (("No colour",), None),
            (("Null",), None),
        ]

    def test_keeps_what_it_does_not_know(self, fresh: Path) -> None:
        known = {"pathClasses": [{"name": "Tumor", "note": "mine"}], "extra": [1]}
        self.path(fresh).write_text(json.dumps(known))
        open_project(fresh).add_classes([PathClass(("New",), (1, 2, 3))])
        document = json.loads(self.path(fresh).read_text("utf-8"))
        new = {"name": "New", "color": pack_argb((1, 2, 3))}
        assert document == {"pathClasses": [*known["pathClasses"], new], "extra": [1]}

    def test_missing_list(self, fresh: Path) -> None:
        shutil.rmtree(fresh.parent / "classifiers")
        project = open_project(fresh)
        assert project.classes == ()
        project.add_classes([PathClass(("Tumor",))])
        assert open_project(fresh).classes[0].color == (200, 0, 0)

    @pytest.mark.parametrize("text", ["{", "[]", '{"pathClasses": 5}', '{"pathClasses": [5]}'])
    def test_broken_list(self, fresh: Path, text: str) -> None:
        self.path(fresh).write_text(text)
        with pytest.raises(FormatError, match=r"classes\.json: .*delete it"):
            open_project(fresh)
        assert self.path(fresh).read_text() == text

    def test_colors_of_the_list_win(self, fresh: Path) -> None:
        green = PathClass(("Mine",), (0, 255, 0))
        project = open_project(fresh)
        project.add_classes([green])
        red = PathClass(("Mine",), (255, 0, 0))
        entry = project.images[0]
        entry.apply(Edit(add=discs(1, path_class=red)))
        assert open_project(fresh).images[0].read().objects.classes[0].color == (0, 255, 0)
        assert open_project(fresh).classes[-1].color == (0, 255, 0)

    @pytest.mark.parametrize(
        ("names", "color"),
        [
            (["Tumor"], (200, 0, 0)),
            (["Positive"], (250, 62, 62)),
            (["Tumor", "Positive"], (200, 50, 50)),
            (["Stroma", "Negative"], (187, 250, 187)),
            (["No colour given"], (158, 114, 205)),  # as QuPath drew it
            (["Unset colour"], (245, 198, 255)),
        ],
    )
    def test_default_colors(self, names: list[str], color: tuple[int, int, int]) -> None:
        assert default_color(names) == color

    def test_packed_colors(self) -> None:
        assert pack_argb((200, 0, 0)) == -3670016
        for color in ((0, 0, 0), (255, 255, 255), (1, 2, 3)):
            assert unpack_argb(pack_argb(color)) == color


class TestWriting:
    @pytest.fixture
    def saved(self, fresh: Path) -> Path:
        """A project with something to lose."""
        entry = open_project(fresh).images[0]
        entry.apply(Edit(add=rectangle(0, 0, 10, 10)))
        entry.apply(Edit(add=discs(2), image_type=ImageType.BRIGHTFIELD_H_E))
        return fresh

    def test_backup_is_the_version_before(self, saved: Path) -> None:
        folder = saved.parent / "data/1"
        before = (folder / "data.qpdata").read_bytes()
        open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert (folder / "data.qpdata.bkp").read_bytes() == before
        assert (folder / "data.qpdata").read_bytes() != before

    def test_falls_back_to_the_backup(self, saved: Path) -> None:
        folder = saved.parent / "data/1"
        (folder / "data.qpdata").replace(folder / "data.qpdata.bkp")
        entry = open_project(saved).images[0]
        assert entry.has_data()
        data = entry.read()
        assert len(data.objects) == 3
        entry.apply(Edit(add=discs(1)), data.state)
        assert len(entry.read().objects) == 4
        assert (folder / "data.qpdata.bkp").exists()

    def test_remembers_the_entry(self, saved: Path) -> None:
        data = (saved.parent / "data/1/data.qpdata").read_bytes()
        assert f"{saved}::1".encode() in data

    def test_nothing_to_do_writes_nothing(self, saved: Path) -> None:
        before = digests(saved.parent)
        open_project(saved).images[0].apply(Edit())
        assert digests(saved.parent) == before

    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"\xac\xed\x00\x05", None])
    def test_broken_data(self, saved: Path, damage: bytes | None) -> None:
        path = saved.parent / "data/1/data.qpdata"
        path.write_bytes(path.read_bytes()[:-200] if damage is None else damage)
        before = digests(saved.parent)
        entry = open_project(saved).images[0]
        with pytest.raises(FormatError, match=r"data\.qpdata: .*data\.qpdata\.bkp beside it"):
            entry.read()
        with pytest.raises(FormatError, match=r"data\.qpdata"):
            entry.apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    def test_saved_by_qupath_at_the_last_moment(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """QuPath knows no lock: it may save while the new data is being made."""
        path = saved.parent / "data/1/data.qpdata"
        real = qpproj.apply_edit

        def slow(data: bytes | None, edit: Edit, **options: Any) -> bytes:
            path.write_bytes(path.read_bytes() + b"saved by QuPath")
            return real(data, edit, **options)

        monkeypatch.setattr(qpproj, "apply_edit", slow)
        with pytest.raises(ProjectError, match="saved by another program"):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert path.read_bytes().endswith(b"saved by QuPath")

    def test_never_writes_what_it_cannot_read(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = digests(saved.parent)
        monkeypatch.setattr(qpproj, "apply_edit", lambda data, edit, **options: data[:-100])
        with pytest.raises(FormatError):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    def test_respects_the_lock(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (saved.parent / LOCK_NAME).write_text(
            json.dumps(
                {"pid": 1, "host": "elsewhere", "numbering": 0, "started": None, "time": "noon"}
            )
        )
        monkeypatch.setattr(qpproj, "lock", lambda folder: qpproj_lock(folder, wait=0))
        before = digests(saved.parent)
        with pytest.raises(ProjectError, match="process 1 on elsewhere since noon"):
            open_project(saved).images[0].apply(Edit(add=discs(1)))
        assert digests(saved.parent) == before

    @pytest.mark.parametrize(
        "error",
        [OSError(errno.ENOSPC, "full"), OSError(errno.EROFS, "read-only"), KeyboardInterrupt()],
        ids=["full", "read-only", "interrupt"],
    )
    def test_any_failure_leaves_the_old_or_the_new(
        self, saved: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        folder = saved.parent
        data = "data/1/data.qpdata"
        edit = Edit(add=discs(1, path_class=PathClass(("Brand new",))))
        before = digests(folder)
        shutil.copytree(folder, folder.with_name("kept"))
        names = ("open", "replace", "fsync", "link", "mkdir", "chmod")
        real = {name: getattr(os, name) for name in names}
        count, at = 0, 1
        failed = 0
        while True:
            with monkeypatch.context() as context:
                count = 0

                def trapped(name: str, at: int = at) -> Callable[..., Any]:
                    def call(*args: Any, **kwargs: Any) -> Any:
                        nonlocal count
                        count += 1
                        if count == at:
                            raise error
                        return real[name](*args, **kwargs)

                    return call

                for name in names:
                    context.setattr(os, name, trapped(name))
                try:
                    open_project(saved).images[0].apply(edit)
                    outcome = "done"
                except ProjectError as caught:
                    outcome = str(caught)
                except KeyboardInterrupt:
                    outcome = "interrupted"
            after = digests(folder)
            if outcome == "done" or after != before:
                assert set(after) == set(before)
                assert {n for n in after if after[n] != before[n]} == {
                    data,
                    f"{data}.bkp",
                    "data/1/summary.json",
                    "classifiers/classes.json",
                }
                assert len(open_project(saved).images[0].read().objects) == 4
                assert outcome in ("done", "interrupted")
                shutil.rmtree(folder)
                shutil.copytree(folder.with_name("kept"), folder)
            else:
                failed += 1
                assert outcome == "interrupted" or str(folder) in outcome
            if count < at:
                break
            at += 1
        assert failed > 10


qpproj_lock = qpproj.lock


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
