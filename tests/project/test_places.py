"""Images of projects that moved: found again, or missed clearly."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.errors import MissingImageError, RequestError, SlideError
from qpbridge.project.places import Places, locate
from qpbridge.project.uris import uri_from_path

POSIX, WINDOWS = PurePosixPath, PureWindowsPath


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


class TestLocate:
    @pytest.fixture
    def moved(self, tmp_path: Path) -> Path:
        """A folder that came from another machine: lab/projects/one, lab/slides."""
        for name in ("lab/projects/one/project.qpproj", "lab/slides/a b.svs"):
            path = tmp_path / name
            path.parent.mkdir(parents=True)
            path.touch()
        return tmp_path / "lab"

    def test_stored_path_comes_first(self, moved: Path) -> None:
        beside = moved / "projects/one/a b.svs"
        beside.touch()
        slide = moved / "slides/a b.svs"
        found = locate(uri_from_path(slide), moved / "projects/one/project.qpproj", None)
        assert found == slide

    @pytest.mark.parametrize(
        ("image", "project"),
        [
            ("file:/old/slides/a%20b.svs", "file:/old/projects/one/project.qpproj"),
            ("file:/D:/lab/slides/a%20b.svs", "file:/D:/lab/projects/one/project.qpproj"),
            ("file:///D:/Lab/slides/a b.svs", "file:/d:/lab/projects/one/project.qpproj"),
            (r"D:\lab\slides\a b.svs", "file:/D:/lab/projects/one/project.qpproj"),
            ("file:////nas/p/slides/a%20b.svs", "file://nas/p/projects/one/project.qpproj"),
        ],
    )
    def test_moved_together(self, moved: Path, image: str, project: str) -> None:
        found = locate(image, moved / "projects/one/project.qpproj", project)
        assert found == moved / "slides/a b.svs"

    def test_below_the_project(self, moved: Path) -> None:
        slide = moved / "projects/one/images/a.svs"
        slide.parent.mkdir()
        slide.touch()
        project = moved / "projects/one/project.qpproj"
        assert locate("file:/old/images/a.svs", project, "file:/old/project.qpproj") == slide

    @pytest.mark.parametrize("then", [None, "file:/E:/p/project.qpproj", "file:/p/project.qpproj"])
    def test_beside_the_project(self, moved: Path, then: str | None) -> None:
        slide = moved / "projects/one/a.svs"
        slide.touch()
        project = moved / "projects/one/project.qpproj"
        assert locate("file:/D:/elsewhere/a.svs", project, then) == slide

    def test_relative_path_is_relative_to_the_project(self, moved: Path) -> None:
        project = moved / "projects/one/project.qpproj"
        assert locate("../../slides/a b.svs", project, None).samefile(moved / "slides/a b.svs")

    def test_error_names_all_places(self, moved: Path) -> None:
        project = moved / "projects/one/project.qpproj"
        with pytest.raises(SlideError) as caught:
            locate("file:/old/x/missing.svs", project, "file:/old/projects/one/project.qpproj")
        message = str(caught.value)
        for place in (
            "/old/x/missing.svs",
            moved / "x/missing.svs",
            project.parent / "missing.svs",
        ):
            assert str(place) in message

    @pytest.mark.parametrize("then", ["https://host/project.qpproj", "omero:3", ""])
    def test_a_project_that_was_in_no_file(self, moved: Path, then: str) -> None:
        with pytest.raises(MissingImageError):
            locate("file:/old/a.svs", moved / "projects/one/project.qpproj", then)

    @pytest.mark.parametrize("uri", ["", "file:", "file:/", "file:///C:/"])
    def test_no_name_is_no_image(self, moved: Path, uri: str) -> None:
        """The project's own folder, or the root, must not pass for an image."""
        with pytest.raises(SlideError, match="names no file"):
            locate(uri, moved / "projects/one/project.qpproj", None)

    def test_order(self, tmp_path: Path) -> None:
        """What the user says first, then stored, moved along, searched, beside the project."""
        project = tmp_path / "new/p/project.qpproj"
        places = Places.parse([f"{tmp_path}/old={tmp_path}"], [tmp_path / ""])
        uri = uri_from_path(tmp_path / "old/s/a.svs")
        then = uri_from_path(tmp_path / "old/p/project.qpproj")
        order = ["s/a.svs", "old/s/a.svs", "new/s/a.svs", "t/s/a.svs", "new/p/a.svs"]
        search = Places(search=(tmp_path / "t",))
        for name in order:
            touch(tmp_path / name)
        both = Places(places.moved, search.search)
        for name in order:
            assert locate(uri, project, then, both) == tmp_path / name
            (tmp_path / name).unlink()
            both = Places(places.moved, search.search)  # what was searched is remembered
        with pytest.raises(MissingImageError) as caught:
            locate(uri, project, then, both)
        assert caught.value.tried == (
            *(tmp_path / name for name in order[:3]),
            tmp_path / "t",
            tmp_path / "new/p/a.svs",
        )


class TestMoved:
    @pytest.mark.parametrize(
        ("old", "stored", "rest"),
        [
            (r"D:\slides", WINDOWS("D:/slides/x/a.svs"), "x/a.svs"),
            ("D:/slides", WINDOWS("D:/slides/x/a.svs"), "x/a.svs"),
            ("d:/SLIDES/", WINDOWS("D:/slides/X/a.SVS"), "X/a.SVS"),
            ("D:", WINDOWS("D:/slides/a.svs"), "slides/a.svs"),
            ("D:\\", WINDOWS("D:/slides/a.svs"), "slides/a.svs"),
            (r"\\server\share\x", WINDOWS("//SERVER/share/x/a.svs"), "a.svs"),
            ("//server/share", WINDOWS("//server/share/x/a.svs"), "x/a.svs"),
            (r"\\server\share\\", WINDOWS("//server/share/x/a.svs"), "x/a.svs"),
            ("file://server/share/x", WINDOWS("//server/share/x/a.svs"), "a.svs"),
            ("file:///D:/two%20words", WINDOWS("D:/Two words/a.svs"), "a.svs"),
            ("/old/slides", POSIX("/old/slides/x/a.svs"), "x/a.svs"),
            ("file:/old/slides", POSIX("/old/slides/a.svs"), "a.svs"),
            ("/", POSIX("/old/a.svs"), "old/a.svs"),
            ("/old/slides/a.svs", POSIX("/old/slides/a.svs"), ""),
            ("/Mu\u0308ller", POSIX("/M\u00fcller/a.svs"), "a.svs"),
        ],
    )
    def test_what_is_below_the_old_place(
        self, tmp_path: Path, old: str, stored: PurePosixPath, rest: str
    ) -> None:
        assert Places.parse([f"{old}={tmp_path}"]).moved_to(stored) == [tmp_path / rest]

    @pytest.mark.parametrize(
        ("old", "stored"),
        [
            ("/old/sli", POSIX("/old/slides/a.svs")),
            ("/old/slides/x", POSIX("/old/slides/a.svs")),
            ("/Old", POSIX("/old/a.svs")),
            ("/", WINDOWS("//server/share/a.svs")),
            ("/old", WINDOWS("D:/old/a.svs")),
            ("D:/", POSIX("/D:/a.svs")),
            ("E:/", WINDOWS("D:/a.svs")),
        ],
    )
    def test_what_is_not(self, tmp_path: Path, old: str, stored: PurePosixPath) -> None:
        assert Places.parse([f"{old}={tmp_path}"]).moved_to(stored) == []

    def test_the_longest_old_place_counts(self, tmp_path: Path) -> None:
        for name in "abc":
            (tmp_path / name).mkdir()
        pairs = [("D:/", "a"), ("D:/slides", "b"), ("D:/slides", "c"), ("D:/slides/other", "a")]
        places = Places.parse([f"{old}={tmp_path / new}" for old, new in pairs])
        # One old place that was split: both are looked at, in the order given.
        expected = [tmp_path / "b/x.svs", tmp_path / "c/x.svs"]
        assert places.moved_to(WINDOWS("D:/slides/x.svs")) == expected
        assert places.moved_to(WINDOWS("D:/x.svs")) == [tmp_path / "a/x.svs"]

    def test_equals_signs_in_names(self, tmp_path: Path) -> None:
        new = tmp_path / "n=1"
        new.mkdir()
        places = Places.parse([f"/old/k=v={new}"])
        assert places.moved_to(POSIX("/old/k=v/a.svs")) == [new / "a.svs"]

    def test_new_place_may_be_relative(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "new").mkdir()
        monkeypatch.chdir(tmp_path)
        assert Places.parse(["/old=new"]).moved_to(POSIX("/old/a")) == [tmp_path / "new/a"]

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("nothing", "give the old place, '=' and the new place"),
            ("=/tmp", "give the old place"),
            ("D:/slides=", "give the old place"),
            ("D:/slides=/no/such/folder", "new place /no/such/folder does not exist"),
            ("D:/a=b=/no/such/folder", "does not exist"),
            ("slides=/", "old place slides is no full path"),
            (r"slides\x=/", "is no full path"),
        ],
    )
    def test_nonsense(self, text: str, error: str) -> None:
        with pytest.raises(RequestError, match=error) as caught:
            Places.parse([text])
        assert (caught.value.field, caught.value.value) == ("moved", text)

    def test_old_place_on_the_web(self) -> None:
        with pytest.raises(SlideError, match="only images in files"):
            Places.parse(["https://host/x=/"])

    names = st.lists(st.sampled_from(["a", "B", "ä", "x y", "1"]), min_size=1, max_size=5)

    @given(names, names, st.sampled_from(["/", "C:/", "//server/share/"]))
    def test_any_prefix(self, before: list[str], after: list[str], root: str) -> None:
        flavour = POSIX if root == "/" else WINDOWS
        old, new = flavour(root, *before), Path("/new")
        assert Places(((old, new),)).moved_to(old.joinpath(*after)) == [new.joinpath(*after)]


class TestSearch:
    def test_finds_by_name(self, tmp_path: Path) -> None:
        slide = touch(tmp_path / "x/y/Slide 1.SVS")
        places = Places.parse([], [tmp_path])
        assert places.find(WINDOWS("D:/q/slide 1.svs")) == slide
        assert places.find(POSIX("/q/Slide 1.SVS")) == slide
        assert places.find(POSIX("/q/slide 1.svs")) is None
        assert places.find(POSIX("/q/other.svs")) is None

    def test_accents_however_written(self, tmp_path: Path) -> None:
        slide = touch(tmp_path / unicodedata.normalize("NFD", "Müller.svs"))
        stored = POSIX("/q", unicodedata.normalize("NFC", "Müller.svs"))
        assert Places.parse([], [tmp_path]).find(stored) == slide

    def test_the_longest_common_tail_counts(self, tmp_path: Path) -> None:
        for name in ("a/1.svs", "b/1.svs", "c/b/1.svs", "c/x/1.svs"):
            touch(tmp_path / name)
        places = Places.parse([], [tmp_path])
        assert places.find(WINDOWS("D:/q/A/1.svs")) == tmp_path / "a/1.svs"
        assert places.find(POSIX("/q/c/b/1.svs")) == tmp_path / "c/b/1.svs"
        with pytest.raises(MissingImageError) as caught:
            places.find(POSIX("/q/b/1.svs"))
        assert set(caught.value.candidates) == {tmp_path / "b/1.svs", tmp_path / "c/b/1.svs"}

    def test_several_of_a_name(self, tmp_path: Path) -> None:
        first, second = touch(tmp_path / "s/a/1.svs"), touch(tmp_path / "s/b/1.svs")
        places = Places.parse([], [tmp_path / "s"])
        with pytest.raises(MissingImageError, match="several files have this name") as caught:
            locate("file:/D:/q/1.svs", tmp_path / "p/project.qpproj", None, places)
        assert caught.value.uri == "file:/D:/q/1.svs"
        assert str(first) in str(caught.value)
        assert str(second) in str(caught.value)

    def test_several_folders_that_overlap(self, tmp_path: Path) -> None:
        slide = touch(tmp_path / "a/b/1.svs")
        places = Places.parse([], [tmp_path / "a/b", tmp_path, tmp_path / "a"])
        assert places.find(POSIX("/q/1.svs")) == slide

    def test_links_in_circles(self, tmp_path: Path) -> None:
        slide = touch(tmp_path / "real/1.svs")
        (tmp_path / "real/up").symlink_to(tmp_path)
        (tmp_path / "real/self").symlink_to(tmp_path / "real")
        (tmp_path / "other").symlink_to(tmp_path / "real")
        (tmp_path / "2.svs").symlink_to(tmp_path / "nowhere")
        found = Places.parse([], [tmp_path]).find(POSIX("/q/1.svs"))
        assert found is not None
        assert found.samefile(slide)
        assert Places.parse([], [tmp_path]).find(POSIX("/q/2.svs")) is None

    def test_links_lead_to_slides(self, tmp_path: Path) -> None:
        slide = touch(tmp_path / "disk/1.svs")
        (tmp_path / "s").mkdir()
        (tmp_path / "s/link").symlink_to(tmp_path / "disk")
        (tmp_path / "s/1.svs").symlink_to(slide)
        found = Places.parse([], [tmp_path / "s"]).find(POSIX("/q/1.svs"))
        assert found is not None
        assert found.samefile(slide)

    def test_folders_that_can_not_be_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slide = touch(tmp_path / "b/1.svs")
        touch(tmp_path / "a/1.svs")
        real = os.scandir

        def scandir(path: str) -> object:
            if os.fspath(path) == str(tmp_path / "a"):
                raise PermissionError(13, "denied")
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)
        assert Places.parse([], [tmp_path]).find(POSIX("/q/1.svs")) == slide

    def test_folders_are_read_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for i in range(20):
            touch(tmp_path / f"s/{i}/{i}.svs")
        looked = []
        real = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: looked.append(path) or real(path))
        places = Places.parse([], [tmp_path / "s"])
        for i in range(20):
            assert places.find(WINDOWS(f"D:/{i}.svs")) == tmp_path / f"s/{i}/{i}.svs"
        assert len(looked) == 21

    def test_a_zarr_is_an_image(self, tmp_path: Path) -> None:
        touch(tmp_path / "a.ome.zarr/0/0.0.svs")
        places = Places.parse([], [tmp_path])
        assert places.find(POSIX("/q/a.ome.zarr")) == tmp_path / "a.ome.zarr"
        assert places.find(POSIX("/q/0.0.svs")) is None

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match=r"`search` .*nowhere': no such folder"):
            Places.parse([], [tmp_path / "nowhere"])
