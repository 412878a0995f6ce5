"""Features out of text that comes in pieces: the same as from the whole tree, in less memory."""

from __future__ import annotations

import codecs
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.errors import FormatError
from qpbridge.project.geojson import split as geojson_split
from qpbridge.project.geojson.split import MAX_DEPTH, FeatureText, features_in

POINT = {"type": "Point", "coordinates": [1.5, -2e3]}


def feature(**properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": POINT, "properties": properties}


def split(text: str | bytes, size: int = 5) -> list[tuple[Any, int]]:
    """Split text of which a few bytes are read at a time."""
    data = text if isinstance(text, bytes) else text.encode()
    with mock.patch.object(geojson_split, "WINDOW", size):
        return list(FeatureText(io.BytesIO(data)))


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("]},{[")
)
properties = st.dictionaries(
    st.text(max_size=3),
    st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    max_size=3,
)
features = st.one_of(properties.map(lambda p: feature(**p)), st.just(POINT))


@st.composite
def collections(draw: st.DrawFn) -> dict[str, object]:
    items = [("type", "FeatureCollection"), ("features", draw(st.lists(features, max_size=4)))]
    items += draw(st.dictionaries(st.sampled_from(["crs", "name", "é"]), scalars)).items()
    return dict(draw(st.permutations(items)))


documents = st.one_of(
    features,
    collections(),
    st.recursive(features | collections(), lambda inner: st.lists(inner, max_size=3), max_leaves=6),
)


@given(
    documents,
    st.integers(4, 30),
    st.sampled_from([None, 2]),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_equals_the_whole_tree(
    document: Any, size: int, indent: int | None, plain: bool, encoding: str
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=not plain)
    data = text.encode(encoding)
    found = split(data, size)
    expected = [value for value, _ in features_in(json.loads(text))]
    assert json.dumps([value for value, _ in found]) == json.dumps(expected)  # NaN equals NaN
    for _, offset in found:
        assert data[offset : offset + 1] == b"{"


@given(documents, st.data())
def test_cut_off_is_never_taken_for_whole(document: Any, data: st.DataObject) -> None:
    text = json.dumps(document)
    end = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(FormatError, match=r"not JSON|not GeoJSON"):
        split(text[:end], data.draw(st.integers(4, 20)))


@given(
    st.recursive(
        scalars | st.sampled_from(["Feature", "FeatureCollection", "Point"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "features", "geometry", "x"]), inner, max_size=3
            )
        ),
        max_leaves=10,
    ),
    st.integers(4, 20),
)
def test_any_json_is_split_or_refused(document: Any, size: int) -> None:
    text = json.dumps(document)
    try:
        expected = [value for value, _ in features_in(document)]
    except FormatError:
        with pytest.raises(FormatError, match="not GeoJSON"):
            split(text, size)
        return
    try:
        found = [value for value, _ in split(text, size)]
    except FormatError as error:  # a Feature that has a list of features besides
        assert "features, but no FeatureCollection" in error.message
        return
    assert json.dumps(found) == json.dumps(expected)


def test_offsets_are_bytes_also_behind_other_scripts() -> None:
    data = json.dumps([feature(name="名" * 50), feature(), feature()], ensure_ascii=False).encode()
    offsets = [offset for _, offset in split("\ufeff".encode() + data)]
    assert offsets == [i + 3 for i in range(len(data)) if data[i:].startswith(b'{"type": "F')]


@pytest.mark.parametrize(
    ("text", "message", "offset"),
    [
        ("", "no FeatureCollection|Expecting value", 0),
        ('[{"type": "Point"},\n {"type": nothing}]', "in line 2", 30),
        ("[1", "no FeatureCollection", 1),
        ('[{"type":"Point"} {"type":"Point"}]', "']' was expected, in line 1", 18),
        ('[{"type":"Point"}] x', "something follows", 19),
        ('{"type":"Feature",}', "a key was expected", 18),
        ('{"type" "Feature"}', "':' was expected", 8),
        ('{"features":[]}', "features, but no FeatureCollection", None),
        ('{"features":[],"type":"Feature"}', "features, but no FeatureCollection", None),
        ("[" * (MAX_DEPTH + 2), "nested too deeply", MAX_DEPTH),
        ('{"a":' + "[" * 100_000, "nested too deeply", 5),
        ('[{"type":"Point", "a": "' + "x" * 100, "Unterminated string", 23),
        ("[" + "9" * 5000 + "]", "not JSON that makes sense", 1),
    ],
)
@pytest.mark.parametrize("size", [4, 1 << 20])
def test_errors_say_where(text: str, message: str, offset: int | None, size: int) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        split(text, size)
    if offset:
        assert caught.value.offset == offset


def test_text_that_is_not_utf_8() -> None:
    with pytest.raises(FormatError, match="UTF-8") as caught:
        split('[{"type":"Point","x":"é"}, "'.encode() + "é".encode("latin-1") + b'"]', 4)
    assert caught.value.offset == 29
    with pytest.raises(FormatError, match="UTF-16"):
        split(codecs.BOM_UTF16_LE + "[]".encode("utf-16-le") + b"\0\xd8")


class Endless:
    """Text that is made while it is read, and never whole."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces

    def read(self, size: int) -> bytes:
        return next(self.pieces, b"")


SMALL = 1 << 16


def peak_of(pieces: Iterator[bytes]) -> tuple[int, int]:
    """Count features, and see how much memory that takes."""
    tracemalloc.start()
    try:
        with mock.patch.object(geojson_split, "WINDOW", SMALL):
            count = sum(1 for _ in FeatureText(Endless(pieces)))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_text() -> None:
    piece = (json.dumps(feature(name="x" * 400)) + ",\n").encode() * 20

    def many() -> Iterator[bytes]:
        yield b'{"type":"FeatureCollection","features":['
        yield from [piece] * 200
        yield json.dumps(feature()).encode() + b"]}"

    count, peak = peak_of(many())
    assert count == 4_001
    assert peak < 10 * SMALL < 200 * len(piece) / 2


def test_spaces_take_no_memory() -> None:
    def spaces() -> Iterator[bytes]:
        yield b"["
        yield from [b" \n" * 50_000] * 100
        yield b"]"

    count, peak = peak_of(spaces())
    assert count == 0
    assert peak < 10 * SMALL


def test_a_feature_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson_split, "MAX_VALUE", 1 << 18)

    def endless() -> Iterator[bytes]:
        yield b'[{"type":"Feature","geometry":['
        while True:
            yield b"[[]],[[]]," * 1000

    with pytest.raises(FormatError, match="a feature of more than 262,144 characters"):
        peak_of(endless())


def test_a_fault_is_told_before_the_rest_is_read() -> None:
    def broken() -> Iterator[bytes]:
        yield b'[{"type":"Feature",!'
        yield b" " * 100
        raise AssertionError("read on behind the fault")

    with (
        mock.patch.object(geojson_split, "WINDOW", 60),
        pytest.raises(FormatError, match="in line 1") as caught,
    ):
        list(FeatureText(Endless(broken())))
    assert caught.value.offset == 19
