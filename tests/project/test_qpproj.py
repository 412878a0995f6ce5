"""QuPath projects without QuPath: opened, made, and changed without harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from project.files import digests
from project.suite import ProjectSuite, discs

from qpbridge.errors import FormatError, ProjectError, SlideError
from qpbridge.objects import PathClass
from qpbridge.project import Project, open_project, paquo_backend
from qpbridge.project.colors import default_color, pack_argb, unpack_argb
from qpbridge.project.interface import Edit

VERSIONS = ("v0.3.2", "v0.5.1", "v0.6.0")


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
            assert project.metadata == dump.get("projectMetadata", {})
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

    def test_paquo_without_a_qupath(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(paquo_backend, "find_qupath", lambda: None)
        paquo_backend.start_qupath.cache_clear()
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
                        {"name": " : "},
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

    def test_broken_notes_on_the_project(self, fresh: Path) -> None:
        path = fresh.parent / "data" / "metadata.json"
        path.write_text("{")
        with pytest.raises(FormatError, match=r"metadata\.json: .*delete it"):
            open_project(fresh)
        path.write_text('{"grant": "A-1", "year": 2026}')
        assert open_project(fresh).metadata == {"grant": "A-1", "year": "2026"}
        path.unlink()
        assert open_project(fresh).metadata == {}

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
