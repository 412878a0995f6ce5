"""QuPath projects through QuPath itself: the same as without it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from project.files import digests, png
from project.suite import ProjectSuite, discs

from qpbridge.errors import ProjectError
from qpbridge.objects import ImageType, ObjectKind, ObjectTable, PathClass, Plane, Shapes
from qpbridge.project import Project, create_project, open_project, paquo_backend
from qpbridge.project.embedded.qpproj import EmbeddedProject
from qpbridge.project.interface import AnnotationUpdate, Edit, ImageData
from qpbridge.project.paquo_backend import PaquoProject, find_qupath, start_qupath

needs_qupath = pytest.mark.skipif(
    find_qupath() is None, reason="paquo finds no QuPath on this machine"
)


def as_of_this_qupath(path: Path) -> Path:
    """Let a project be written by the QuPath that is here, which may be older than 0.6."""
    document = json.loads(path.read_text("utf-8"))
    document["version"] = start_qupath().version
    path.write_text(json.dumps(document), "utf-8")
    return path


def assert_same(found: ImageData, expected: ImageData) -> None:
    for name in ("image_type", "workflow", "properties"):
        assert getattr(found, name) == getattr(expected, name)
    assert (found.stains is None) == (expected.stains is None)
    if found.stains is not None and expected.stains is not None:
        # Every QuPath makes their length 1 once more.
        np.testing.assert_allclose(found.stains.vectors, expected.stains.vectors, rtol=1e-7)
        assert replace(found.stains, vectors=()) == replace(expected.stains, vectors=())
    assert (found.tma_grid is None) == (expected.tma_grid is None)
    if found.tma_grid is not None and expected.tma_grid is not None:
        np.testing.assert_array_equal(found.tma_grid.cores, expected.tma_grid.cores)
    for field in fields(ObjectTable):
        ours, theirs = (getattr(d.objects, field.name) for d in (found, expected))
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs, err_msg=field.name)
        elif isinstance(theirs, Shapes):
            for part in fields(Shapes):
                a, b = getattr(ours, part.name), getattr(theirs, part.name)
                np.testing.assert_array_equal(a, b, err_msg=part.name)
        else:
            assert ours == theirs, field.name


@pytest.mark.qupath
@needs_qupath
class TestPaquo(ProjectSuite):
    def open(self, path: Path) -> Project:
        return open_project(path, backend="paquo")

    @pytest.fixture
    def fresh(self, fresh: Path) -> Path:
        return as_of_this_qupath(fresh)


@pytest.mark.qupath
@needs_qupath
class TestWithQuPath:
    @pytest.fixture
    def fresh(self, fresh: Path) -> Path:
        return as_of_this_qupath(fresh)

    def test_auto_uses_it(self, fresh: Path) -> None:
        assert isinstance(open_project(fresh), PaquoProject)
        assert not isinstance(open_project(fresh, "embedded"), PaquoProject)

    @pytest.mark.parametrize("version", ["v0.3.2", "v0.5.1", "v0.6.0"])
    def test_reads_golden_files_like_the_codec(
        self, shared: Path, tmp_path: Path, version: str
    ) -> None:
        if version.removeprefix("v") > start_qupath().version:
            pytest.skip("these are of a newer QuPath")
        copy = tmp_path / version
        shutil.copytree(shared / "qupath/golden" / version, copy)
        before = digests(copy)
        objects = 0
        for path in sorted(copy.rglob("*.qpproj")):
            project, same = PaquoProject(path), EmbeddedProject(path)
            for entry, expected in zip(project.images, same.images, strict=True):
                data = entry.read()
                assert_same(data, expected.read())
                objects += len(data.objects)
        assert objects > 50
        assert digests(copy) == before

    def test_edits_what_old_files_have_no_id_for(self, shared: Path, tmp_path: Path) -> None:
        shutil.copytree(shared / "qupath/golden/v0.3.2/cells/project", tmp_path / "p")
        entry = open_project(tmp_path / "p", "paquo").images[0]
        data = entry.read()
        annotation = int(np.argmax(data.objects.kind == ObjectKind.ANNOTATION))
        uid = data.objects.ids[annotation]
        added = discs(2)
        update = AnnotationUpdate({"made by": "qpbridge"}, {"Nuclei: Count": 2.0})
        below = np.stack([uid, uid])
        edit = Edit(add=added, add_below=below, update={uid.tobytes(): update})
        entry.apply(edit, data.state)
        found = entry.read().objects
        assert len(found) == len(data.objects) + 2
        (row,) = np.flatnonzero((found.ids == uid).all(axis=1))
        assert found.measurement("Nuclei: Count")[row] == 2
        assert (found.parent[np.isin(found.ids, added.ids).all(axis=1)] == row).all()

    def test_keeps_what_paquo_alone_would_lose(self, tmp_path: Path) -> None:
        path = tmp_path / "a lab. of dots.v2" / "my.project.qpproj"
        image = png(tmp_path / "slide.png")
        create_project(path, [image])
        image.path.unlink()  # paquo skips saving where the image is missing
        bow_tie = shapely.Polygon([(10.123, 10), (30, 30), (30, 10), (10, 30.987)])
        cell = shapely.Point(50, 50).buffer(8, quad_segs=4)
        table = ObjectTable.new(
            ObjectKind.ANNOTATION,
            Shapes.from_geometries([bow_tie, shapely.box(0, 0, 9, 9), cell]),
            plane=Plane(-1, 2, 1),
            path_class=PathClass(("Tumor", "Positive", "Odd one"), (1, 2, 3)),
            measurement_names=["whole", "tiny"],
            measurements=[[1, 1e-300], [2**53 + 1.0, np.nan], [np.inf, 0.25]],
        )
        kinds = [ObjectKind.ANNOTATION, ObjectKind.TILE, ObjectKind.CELL]
        table = replace(
            table,
            kind=np.array(kinds, np.uint8),
            nuclei=Shapes.from_geometries([shapely.Polygon(), shapely.Polygon(), cell.buffer(-4)]),
            names={0: "bow tie"},
            metadata={0: {"made by": "ünit test"}},
        )
        edit = Edit(add=table, image_type=ImageType.BRIGHTFIELD_H_E)
        open_project(as_of_this_qupath(path), "paquo").images[0].apply(edit)
        by_codec = open_project(path, "embedded").images[0].read()
        assert_same(open_project(path, "paquo").images[0].read(), by_codec)
        found = by_codec.objects
        np.testing.assert_array_equal(found.ids, table.ids)
        np.testing.assert_array_equal(found.kind, table.kind)
        np.testing.assert_array_equal(found.measurements, table.measurements)
        np.testing.assert_allclose(found.shapes.coords, table.shapes.coords, rtol=1e-6)
        assert found.path_class(0) == PathClass(("Tumor", "Positive", "Odd one"), (1, 2, 3))
        assert (found.names, found.metadata) == (table.names, table.metadata)

    def test_colors_stay_in_their_project(self, tmp_path: Path) -> None:
        paths = [tmp_path / name / "project.qpproj" for name in "ab"]
        colors = [(250, 0, 1), (0, 250, 1)]
        for path, color in zip(paths, colors, strict=True):
            create_project(path, [png(tmp_path / f"{path.parent.name}.png")])
            added = discs(1, path_class=PathClass(("Ours alone",), color))
            open_project(as_of_this_qupath(path), "paquo").images[0].apply(Edit(add=added))
        for path, color in zip(paths, colors, strict=True):
            (path.parent / "classifiers/classes.json").unlink()  # so that the file itself tells
            for backend in ("embedded", "paquo"):
                found = open_project(path, backend).images[0].read().objects
                assert found.path_class(0).color == color

    def test_what_qupath_refuses(self, fresh: Path) -> None:
        entry = open_project(fresh, "paquo").images[0]
        entry.apply(Edit(add=discs(2)))
        (file,) = fresh.parent.rglob("data.qpdata")
        known, foreign = b"workflow.Workflow", b"workflow.Workfl0w"
        assert known in file.read_bytes()
        file.write_bytes(file.read_bytes().replace(known, foreign))
        before = digests(fresh.parent)
        for refused in (entry.read, lambda: entry.apply(Edit(add=discs(1)))):
            with pytest.raises(ProjectError, match=r"data\.qpdata: QuPath .*Workfl0w.*embedded"):
                refused()
        assert digests(fresh.parent) == before
        assert len(open_project(fresh, "embedded").images[0].read().objects) == 2

    def test_a_project_of_a_newer_qupath(self, fresh: Path) -> None:
        fresh.write_text(json.dumps({**json.loads(fresh.read_text("utf-8")), "version": "7.1.0"}))
        with pytest.raises(ProjectError, match=r"by QuPath 7\.1\.0.*install.*embedded"):
            open_project(fresh, "paquo")
        assert not isinstance(open_project(fresh), PaquoProject)


class TestWithoutFittingQuPath:
    @pytest.fixture
    def pretend(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Iterator[Callable[[str | None], None]]:
        """Let a QuPath of some version be found, or none."""

        def found(version: str | None) -> None:
            folder = None if version is None else tmp_path / f"QuPath-{version}"
            if folder is not None:
                folder.mkdir()
                (folder / f"qupath-core-{version}.jar").touch()
                (folder / "qupath-core-processing-0.6.0.jar").touch()
            for module in (paquo_backend, "qpbridge.project"):
                target = module if isinstance(module, str) else module.__name__
                monkeypatch.setattr(
                    f"{target}.find_qupath", lambda: None if folder is None else str(folder)
                )

        start_qupath.cache_clear()
        yield found
        start_qupath.cache_clear()

    def test_none(self, fresh: Path, pretend: Callable[[str | None], None]) -> None:
        pretend(None)
        with pytest.raises(ProjectError, match=r"no QuPath was found; install QuPath.*embedded"):
            open_project(fresh, backend="paquo")
        assert not isinstance(open_project(fresh), PaquoProject)

    @pytest.mark.parametrize(
        ("version", "fault"), [("0.3.2", "too old"), ("0.8.0-rc1", "too new"), ("1.0.0", "too new")]
    )
    def test_one_that_does_not_fit(
        self,
        fresh: Path,
        pretend: Callable[[str | None], None],
        caplog: pytest.LogCaptureFixture,
        version: str,
        fault: str,
    ) -> None:
        pretend(version)
        message = rf"QuPath {version} in .* is {fault} .*0\.4 to 0\.7.*embedded"
        with pytest.raises(ProjectError, match=message):
            open_project(fresh, backend="paquo")
        assert not caplog.records
        assert not isinstance(open_project(fresh), PaquoProject)
        assert fault in caplog.text
