"""URIs of every form."""

from __future__ import annotations

import os
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.errors import SlideError
from qpbridge.project.uris import path_from_uri, uri_from_path

POSIX, WINDOWS = PurePosixPath, PureWindowsPath


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/p/a.svs", POSIX("/p/a.svs")),
        ("file:///p/a.svs", POSIX("/p/a.svs")),
        ("file://localhost/p/a.svs", POSIX("/p/a.svs")),
        ("FILE:/p/a.svs", POSIX("/p/a.svs")),
        ("file://host/share/a.svs", WINDOWS("//host/share/a.svs")),
        ("file:////host/share/a.svs", WINDOWS("//host/share/a.svs")),
        ("file:/C:/p/a.svs", WINDOWS("C:/p/a.svs")),
        ("file:///C:/p/a.svs", WINDOWS("C:/p/a.svs")),
        ("file://C:/p/a.svs", WINDOWS("C:/p/a.svs")),
        ("file:C:/p/a.svs", WINDOWS("C:/p/a.svs")),
        ("file:/p/two%20words.svs", POSIX("/p/two words.svs")),
        ("file:/p/two words.svs", POSIX("/p/two words.svs")),
        ("file:/p/%C5%9EUBAT.svs", POSIX("/p/ŞUBAT.svs")),
        ("file:/p/ŞUBAT 名.svs", POSIX("/p/ŞUBAT 名.svs")),
        ("file:/D:/QuPath%20(Annotated)/a.svs", WINDOWS("D:/QuPath (Annotated)/a.svs")),
        ("file:/p/a#1?.svs", POSIX("/p/a#1?.svs")),
        ("file:/p/100%.svs", POSIX("/p/100%.svs")),
        ("file:/p/a+b.svs", POSIX("/p/a+b.svs")),
        ("file:/p/c:d.svs", POSIX("/p/c:d.svs")),
        ("/p/50%20.svs", POSIX("/p/50%20.svs")),
        ("slides/a.svs", POSIX("slides/a.svs")),
        (r"C:\p\a.svs", WINDOWS("C:/p/a.svs")),
        ("C:/p/a.svs", WINDOWS("C:/p/a.svs")),
        (r"\\host\share\a.svs", WINDOWS("//host/share/a.svs")),
        (r"slides\a.svs", WINDOWS("slides/a.svs")),
    ],
)
def test_path_from_uri(uri: str, path: PurePosixPath | PureWindowsPath) -> None:
    found = path_from_uri(uri)
    assert (type(found), found) == (type(path), path)


@pytest.mark.parametrize("uri", ["https://host/a.svs", "omero:iid=3", "s3://bucket/a.svs"])
def test_only_files_have_paths(uri: str) -> None:
    with pytest.raises(SlideError, match="only images in files"):
        path_from_uri(uri)


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (POSIX("/p/a.svs"), "file:/p/a.svs"),
        (POSIX("/p/two words (1).svs"), "file:/p/two%20words%20(1).svs"),
        (POSIX("/p/50%#?.svs"), "file:/p/50%25%23%3F.svs"),
        (POSIX("/p/Ş.svs"), "file:/p/%C5%9E.svs"),
        (WINDOWS("C:/p/a.svs"), "file:/C:/p/a.svs"),
        (WINDOWS("//host/share/a.svs"), "file:////host/share/a.svs"),
    ],
)
def test_uri_from_path(path: PurePosixPath | PureWindowsPath, uri: str) -> None:
    assert uri_from_path(path) == uri
    assert path_from_uri(uri) == path


def test_uri_of_a_relative_path_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="absolute"):
        uri_from_path(POSIX("a.svs"))


part = st.text(st.characters(exclude_characters="/\\:\0", exclude_categories=["Cs"]), min_size=1)
parts = st.lists(part.filter(lambda p: p not in (".", "..")), min_size=1, max_size=4)


@given(parts)
def test_posix_round_trip(names: list[str]) -> None:
    path = POSIX("/", *names)
    assert path_from_uri(uri_from_path(path)) == path


@given(st.sampled_from(["C:/", "//host/share/"]), parts)
def test_windows_round_trip(root: str, names: list[str]) -> None:
    path = WINDOWS(root + "/".join(names))
    assert path_from_uri(uri_from_path(path)) == path


@pytest.mark.skipif(os.name == "nt", reason="names are bytes only on POSIX")
def test_names_that_are_no_text() -> None:
    path = POSIX(os.fsdecode(b"/p/M\xfcller.svs"))
    assert uri_from_path(path) == "file:/p/M%FCller.svs"
    assert path_from_uri(uri_from_path(path)) == path
