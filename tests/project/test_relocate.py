"""Noting in a project where its images are now: found, written, and nothing else touched."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project.files import digests, png

from qpbridge.errors import (
    ChangedMeanwhileError,
    FormatError,
    ProjectError,
    SelectionError,
)
from qpbridge.project import Places, Project, create_project, open_project
from qpbridge.project.embedded import qpproj
from qpbridge.project.embedded.json_edit import find_values, replace_values
from qpbridge.project.uris import path_from_uri, uri_from_path

keys = st.sampled_from(["uri", "a", 'q"\\', "ü", "images", ""])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
)


def uris_of(value: Any, place: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], Any]:
    found = {}
    items = enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, dict):
        items = value.items()
    for key, inner in items:
        if key == "uri" and not isinstance(inner, dict | list):
            found[(*place, key)] = inner
        found |= uris_of(inner, (*place, key))
    return found


class TestText:
    @given(documents, st.sampled_from([None, 0, 2]), st.booleans())
    def test_finds_what_a_parser_finds(
        self, document: Any, indent: int | None, ascii_only: bool
    ) -> None:
        text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
        spans = find_values(text, "uri")
        found = {place: json.loads(text[start:end]) for place, (start, end) in spans.items()}
        assert repr(found) == repr(uris_of(document))  # NaN is not equal to itself
        new = {place: f"new {i} ü" for i, place in enumerate(spans)}
        changed = replace_values(text, spans, new)
        assert uris_of(json.loads(changed)) == new
        back = replace_values(text, spans, {})
        assert back == text

    @pytest.mark.parametrize(
        "text", ['{"uri": 1, "uri": 2}', '{"a": [{"uri": "x"}], "a": [{"uri": "y"}]}']
    )
    def test_keys_given_twice(self, text: str) -> None:
        with pytest.raises(FormatError, match="key 'uri' twice"):
            find_values(text, "uri")


def wrapped(uri: str) -> dict[str, Any]:
    """Make one builder of each way to hold others."""

    def file() -> dict[str, Any]:
        return {"builderType": "uri", "uri": uri, "args": [], "metadata": {"uri": uri}}

    return {
        "builderType": "rotated",
        "builder": {"builderType": "channels", "builder": file(), "channels": [file()]},
        "extra": {"builderType": "z_concatenated", "builders": [file(), file()]},
        "manager": {"builderType": "sparse", "regions": [{"builder": file()}]},
    }


class Lab:
    """Three slides and a project, made on another machine: ``/old/p`` and ``/old/slides``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slides = folder / "slides"
        self.slides.mkdir()
        images = [png(self.slides / name) for name in ("a.png", "b é.png", "c.png")]
        self.path = folder / "p" / "project.qpproj"
        create_project(self.path, images)

    def rewrite(self, change: Any = lambda document: None) -> None:
        document = json.loads(self.path.read_text("utf-8"))
        change(document)
        self.path.write_text(json.dumps(document, indent=2, ensure_ascii=False), "utf-8")

    def come_from(self, root: str) -> Lab:
        """Let the project say that all was in a place of another machine."""
        here = uri_from_path(self.folder)
        for file in (self.path, *self.path.parent.glob("data/*/server.json")):
            file.write_text(file.read_text("utf-8").replace(here, root), "utf-8")
        return self

    def open(self, *moved: str, search: tuple[Path, ...] = ()) -> Project:
        return open_project(self.path, "embedded", places=Places.parse(moved, search))

    def stored(self) -> list[Any]:
        document = json.loads(self.path.read_text("utf-8"))
        return [document["uri"], *(i["serverBuilder"].get("uri") for i in document["images"])]

    def present(self) -> list[str]:
        names = (self.path, *(self.slides / n for n in ("a.png", "b é.png", "c.png")))
        return [uri_from_path(name) for name in names]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


class TestRelocate:
    def test_nothing_to_do(self, lab: Lab) -> None:
        before = digests(lab.folder)
        result = lab.open().relocate()
        assert (result.moved, result.missing, result.changes) == ((), (), False)
        assert digests(lab.folder) == before

    @pytest.mark.parametrize(
        "root", ["file:/old", "file:///D:/old", "file:/D:/old", "file:////nas/share/old"]
    )
    def test_moved_along(self, lab: Lab, root: str) -> None:
        before = lab.path.read_text("utf-8")
        project = lab.come_from(root).open()
        result = project.relocate()
        assert [image.new for image in result.moved] == lab.present()[1:]
        assert [image.id for image in result.moved] == ["1", "2", "3"]
        assert result.missing == ()
        assert lab.path.read_text("utf-8") == before
        assert [e.server.uri for e in project.images] == lab.present()[1:]
        assert not lab.open().relocate().changes

    @pytest.mark.parametrize("way", ["relocate", "search"])
    def test_moved_apart(self, lab: Lab, way: str) -> None:
        lab.come_from("file:/I:/old")
        there = lab.folder / "nas/x"
        shutil.copytree(lab.slides, there)
        shutil.rmtree(lab.slides)
        lab.slides = there
        if way == "relocate":
            project = lab.open(rf"i:\OLD\slides={there}")
        else:
            project = lab.open(search=(lab.folder / "nas",))
        assert project.relocate().missing == ()
        assert lab.stored() == lab.present()

    def test_all_else_stays_to_the_letter(self, lab: Lab) -> None:
        lab.come_from("file:/old")
        text = lab.path.read_text("utf-8")
        odd = (
            '"version": "0.6.0",\r\n\t"x": [1.0, 1, 1e3, 123456789012345678901, NaN, -Infinity,'
            ' "\\u003d \\ud83d\\ude00 \\/"], "uri2": "file:/old/slides/a.png",'
        )
        text = text.replace('"version": "0.6.0",', odd)
        text = text.replace('"metadata": {},', '"metadata": {"uri": "file:/old/slides/a.png"},', 1)
        for start in ("", "\ufeff"):
            lab.path.write_bytes((start + text).encode())
            lab.open().relocate()
            expected = text.replace('"uri": "file:/old/p', f'"uri": "{uri_from_path(lab.folder)}/p')
            for name in ("a.png", "b%20%C3%A9.png", "c.png"):
                new = f'"uri": "{uri_from_path(lab.slides)}/{name}",\n        "args"'
                expected = expected.replace(
                    f'"uri": "file:/old/slides/{name}",\n        "args"', new
                )
            assert lab.path.read_bytes() == (start + expected).encode()
            assert lab.path.read_bytes().count(b"file:/old") == 2

    def test_keeps_a_backup_as_qupath_does(self, lab: Lab) -> None:
        old = lab.come_from("file:/old").path.read_bytes()
        before = set(digests(lab.folder))
        lab.open().relocate()
        assert (lab.path.parent / "project.qpproj.backup").read_bytes() == old
        assert set(digests(lab.folder)) - before == {"p/project.qpproj.backup"}

    def test_copies_of_the_servers(self, lab: Lab) -> None:
        """QuPath changes server.json along; a broken one stays as it is."""
        lab.come_from("file:/old")
        copies = [lab.path.parent / f"data/{i}/server.json" for i in (1, 2, 3)]
        before = copies[0].read_text("utf-8")
        copies[1].write_text("broken")
        copies[2].unlink()
        lab.open().relocate()
        assert copies[0].read_text("utf-8") == before.replace(
            "file:/old", uri_from_path(lab.folder)
        )
        assert copies[1].read_text() == "broken"
        assert not copies[2].exists()

    def test_builders_in_builders(self, lab: Lab) -> None:
        old = "file:/D:/x/slides/a.png"

        def change(document: Any) -> None:
            document["images"][0]["serverBuilder"] = wrapped(old)

        lab.rewrite(change)
        places = f"D:/x/slides={lab.slides}"
        result = lab.open(places).relocate(["1"])
        assert len(result.moved) == 5
        document = json.loads(lab.path.read_text("utf-8"))
        expected = json.loads(
            json.dumps(wrapped(lab.present()[1])).replace(
                f'"metadata": {{"uri": "{lab.present()[1]}"}}', f'"metadata": {{"uri": "{old}"}}'
            )
        )
        assert document["images"][0]["serverBuilder"] == expected

    def test_dry_run_writes_nothing(self, lab: Lab) -> None:
        lab.come_from("file:/old")
        before = digests(lab.folder)
        result = lab.open().relocate(dry_run=True)
        assert len(result.moved) == 3
        assert digests(lab.folder) == before

    def test_one_image(self, lab: Lab) -> None:
        """The others stay findable by the project's old place, so that one stays too."""
        lab.come_from("file:/old")
        project = lab.open()
        result = project.relocate(["c.png"])
        assert [image.name for image in result.moved] == ["c.png"]
        assert result.project_now == result.project_then == "file:/old/p/project.qpproj"
        old = [f"file:/old/slides/{name}" for name in ("a.png", "b%20%C3%A9.png")]
        assert lab.stored() == ["file:/old/p/project.qpproj", *old, lab.present()[3]]
        assert all(entry.image_path().exists() for entry in project.images)
        assert lab.open().relocate().missing == ()
        assert lab.stored() == lab.present()
        with pytest.raises(SelectionError, match="no image 'd'"):
            lab.open().relocate(["d"])

    def test_qupaths_rule_survives(self, lab: Lab) -> None:
        """What is missing now may be copied to its place beside the moved project later."""
        lab.come_from("file:/old")
        (lab.slides / "a.png").rename(lab.folder / "later.png")
        result = lab.open().relocate()
        assert [(number, name) for number, name, _ in result.missing] == [("1", "a.png")]
        assert lab.stored()[0] == "file:/old/p/project.qpproj"
        assert lab.stored()[2:] == lab.present()[2:]
        (lab.folder / "later.png").rename(lab.slides / "a.png")
        assert lab.open().relocate().missing == ()
        assert lab.stored() == lab.present()

    def test_what_can_not_follow_the_project_holds_nothing_up(self, lab: Lab) -> None:
        """From another drive no way leads to the image, whatever the project's old place was."""
        lab.come_from("file:/old")
        text = lab.path.read_text("utf-8").replace("file:/old/slides/a.png", "file:/E:/a.png")
        lab.path.write_text(text, "utf-8")
        (lab.slides / "a.png").unlink()
        assert len(lab.open().relocate().missing) == 1
        assert lab.stored() == [lab.present()[0], "file:/E:/a.png", *lab.present()[2:]]

    def test_images_that_are_in_no_file(self, lab: Lab) -> None:
        def change(document: Any) -> None:
            for entry, uri in zip(document["images"], ("omero:3", "", 5), strict=True):
                entry["serverBuilder"]["uri"] = uri

        lab.rewrite(change)
        before = lab.path.read_bytes()
        result = lab.open().relocate()
        assert (result.moved, result.missing) == ((), ())
        assert lab.path.read_bytes() == before

    @pytest.mark.parametrize("value", ["absent", None, 5, "https://host/project.qpproj"])
    def test_project_without_a_place(self, lab: Lab, value: Any) -> None:
        def change(document: Any) -> None:
            document.pop("uri")
            if value != "absent":
                document["uri"] = value

        lab.rewrite(change)
        lab.open().relocate()
        assert lab.stored() == lab.present()

    def test_project_whose_place_is_nonsense(self, lab: Lab) -> None:
        lab.rewrite(lambda document: document.update(uri={"uri": [1]}))
        before = lab.path.read_bytes()
        assert not lab.open().relocate().changes
        assert lab.path.read_bytes() == before

    def test_other_changes_are_kept(self, lab: Lab) -> None:
        """What was saved since the project was opened counts, not what was read then."""
        project = lab.come_from("file:/old").open()
        lab.rewrite(lambda document: document["images"].pop(0))
        result = project.relocate()
        assert [image.id for image in result.moved] == ["2", "3"]
        assert [entry.id for entry in project.images] == ["2", "3"]
        assert lab.stored() == [lab.present()[0], *lab.present()[2:]]

    def test_saved_at_that_moment(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        project = lab.come_from("file:/old").open()
        real = qpproj.replace_files

        def replace_files(*args: Any, **kwargs: Any) -> None:
            lab.path.write_bytes(lab.path.read_bytes() + b"\n")
            real(*args, **kwargs)

        monkeypatch.setattr(qpproj, "replace_files", replace_files)
        expected = lab.path.read_bytes() + b"\n"
        with pytest.raises(ChangedMeanwhileError, match="meanwhile; nothing was changed; close"):
            project.relocate()
        assert lab.path.read_bytes() == expected
        assert not list(lab.folder.rglob("*.backup"))

    def test_can_not_be_written(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        project = lab.come_from("file:/old").open()
        before = digests(lab.folder)
        monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(ProjectError, match="disk is full"):
            project.relocate()
        assert digests(lab.folder) == before

    def test_keys_given_twice(self, lab: Lab) -> None:
        text = lab.come_from("file:/old").path.read_text("utf-8")
        lab.path.write_text(text.replace('"uri"', '"uri": 1, "uri"', 1), "utf-8")
        with pytest.raises(FormatError, match=r"project\.qpproj: not clear.*'uri' twice"):
            lab.open().relocate()

    def test_links_stay(self, lab: Lab) -> None:
        """Neither is a linked image replaced by its target, nor a linked project file."""
        lab.come_from("file:/old")
        disk = lab.folder / "disk"
        lab.slides.rename(disk)
        lab.slides.symlink_to(disk)
        real = lab.path.rename(lab.folder / "real.qpproj")
        lab.path.symlink_to(real)
        lab.open().relocate()
        assert lab.path.is_symlink()
        assert lab.stored() == lab.present()

    def test_real_projects(self, shared: Path, tmp_path: Path) -> None:
        """Hundreds of images on Windows drives, found below one folder here."""
        for number, path in enumerate(sorted(shared.glob("qupath/real/*/project.qpproj"))):
            folder = tmp_path / str(number)
            folder.mkdir()
            shutil.copy(path, folder)
            lab = folder / "project.qpproj"
            lab.chmod(0o644)
            project = open_project(lab, "embedded")
            stored = [path_from_uri(entry.server.uri or "") for entry in project.images]
            for image in stored:
                there = folder / "disk" / image.drive[0] / image.relative_to(image.anchor)
                there.parent.mkdir(parents=True, exist_ok=True)
                there.touch()
            drives = {image.drive for image in stored}
            by_drive = [rf"{d.lower()}\={folder / 'disk' / d[0]}" for d in drives]
            before = lab.read_text("utf-8")
            results = []
            for places in (
                Places.parse(by_drive),
                Places.parse([], [folder / "disk"]),
            ):
                lab.write_text(before, "utf-8")
                project = open_project(lab, "embedded", places=places)
                result = project.relocate()
                assert (len(result.moved), result.missing) == (len(stored), ())
                assert all(entry.image_path().is_file() for entry in project.images)
                results.append(lab.read_text("utf-8"))
            assert results[0] == results[1]
            changed = sum(
                a != b for a, b in zip(before.split("\n"), results[0].split("\n"), strict=True)
            )
            assert changed == len(stored) + 1


class TestSeveralProjects:
    """A folder may hold several; they share data and classes."""

    def test_one_by_name(self, lab: Lab) -> None:
        lab.come_from("file:/old")
        other = lab.path.with_name("project-1.qpproj")
        shutil.copy(lab.path, other)
        before = other.read_bytes()
        lab.open().relocate()
        assert other.read_bytes() == before
        assert lab.stored() == lab.present()
        open_project(other, "embedded").relocate()
        assert json.loads(other.read_text("utf-8"))["uri"] == uri_from_path(other)

    def test_a_second_one_would_mix_its_data(self, lab: Lab) -> None:
        image = png(lab.folder / "d.png")
        with pytest.raises(ProjectError, match="belongs to another project, whose files would mix"):
            create_project(lab.path.with_name("project-1.qpproj"), [image])
