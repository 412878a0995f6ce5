"""From the text of a GeoJSON file to its features, one after the other, without the whole tree."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from qpbridge.errors import FormatError

GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
)
"""The types of geometry that QuPath has a region of interest for."""

WINDOW = 4 << 20
"""Bytes that are read at a time."""

MAX_VALUE = 256 << 20
"""Characters that one feature may have, with all that is nested in it: it is held as a whole."""

MAX_DEPTH = 20
"""Lists within lists around features."""

_SPACE = re.compile(r"[ \t\n\r]*")
_NEAR_END = 16
"""Characters from the end within which a fault may be just the cut of a number or a word."""


class Source(Protocol):
    """What bytes are read from."""

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none: the end."""


class Feature(NamedTuple):
    """A feature as decoded from JSON, and where it begins in the text, in bytes."""

    value: Mapping[str, Any]
    offset: int


def split_features(source: Source) -> Iterator[Feature]:
    """Find the features of a FeatureCollection, a list (also of lists), one feature or geometry.

    Parameters
    ----------
    source
        UTF-8 text, with or without byte order mark.

    Yields
    ------
    feature
        In the order of the text. What is nested in a feature stays there. A bare geometry comes as
        a feature that has nothing else.

    Raises
    ------
    FormatError
        If the text is not JSON, or not GeoJSON: says where.
    """
    window = _Window(source)
    yield from _features(window, 0)
    if window.peek():
        raise window.error("not JSON: something follows after the end")


def features_in(node: Any, offset: int = 0) -> Iterator[Feature]:
    """Find the features in what is decoded already, which begins at `offset`.

    Raises
    ------
    FormatError
        If it is not GeoJSON.
    """
    if isinstance(node, list):
        for item in node:
            yield from features_in(item, offset)
        return
    kind = str(node.get("type")) if isinstance(node, dict) else ""
    if kind == "Feature":
        yield Feature(node, offset)
    elif kind == "FeatureCollection" and isinstance(node.get("features"), list):
        yield from features_in(node["features"], offset)
    elif kind in GEOMETRIES:
        yield Feature({"type": "Feature", "geometry": node}, offset)
    else:
        raise FormatError(
            "not GeoJSON: no FeatureCollection, Feature or geometry", offset=offset or None
        )


def _features(window: _Window, depth: int) -> Iterator[Feature]:
    if window.peek() == "[":
        yield from _listed(window, depth + 1)
    elif window.peek() == "{" and depth == 0:
        yield from _collected(window)
    else:
        offset = window.offset
        yield from features_in(window.value(), offset)


def _listed(window: _Window, depth: int) -> Iterator[Feature]:
    """Find the features in a list."""
    if depth > MAX_DEPTH:
        raise window.error("nested too deeply")
    for _ in window.items("[", "]"):
        if window.peek() == "{":
            offset = window.offset
            value = window.value()
            if value.get("type") == "Feature":  # as nearly all are
                yield Feature(value, offset)
            else:
                yield from features_in(value, offset)
        else:
            yield from _features(window, depth)


def _collected(window: _Window) -> Iterator[Feature]:
    """Find the features in an object: its own, or it is one itself."""
    offset = window.offset
    members: dict[str, Any] = {}
    streamed = False
    for _ in window.items("{", "}"):
        if window.peek() != '"':
            raise window.error("not JSON, or cut off: a key was expected")
        key = window.value()
        window.expect(":")
        if (
            key == "features"
            and members.get("type", "FeatureCollection") == "FeatureCollection"
            and window.peek() == "["
        ):
            yield from _listed(window, 1)
            streamed = True
        else:
            members[key] = window.value()
    if streamed:
        if members.get("type") != "FeatureCollection":
            raise FormatError("not GeoJSON: features, but no FeatureCollection", offset=offset)
    else:
        yield from features_in(members, offset)


class _Window:
    """A stretch of the text that moves on."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._text = ""
        self._at = 0
        self._ended = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
        self._ascii = True
        self._read = 0
        self._line = 1
        self.offset = 0  # of the present position, in bytes

    def error(self, message: str, at: int | None = None) -> FormatError:
        """Make an error that says where: at the present position, or another one in the window."""
        at = self._at if at is None else at
        line = self._line + self._text.count("\n", 0, at)
        offset = self.offset + self._bytes(self._at, at)
        return FormatError(f"{message}, in line {line}", offset=offset)

    def peek(self) -> str:
        """Return the next character that is no space; "" at the end."""
        while True:
            char = self._text[self._at : self._at + 1]
            if char > " ":
                return char
            self._move(_SPACE.match(self._text, self._at).end())  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(WINDOW):
                return ""

    def expect(self, char: str) -> None:
        """Move on over a character."""
        if self.peek() != char:
            raise self.error(f"not JSON, or cut off: {char!r} was expected")
        self._move(self._at + 1)

    def items(self, begin: str, end: str) -> Iterator[None]:
        """Move on from item to item of a list or an object, and over its end."""
        self.expect(begin)
        if self.peek() != end:
            yield
            while self.peek() == ",":
                self._move(self._at + 1)
                yield
        self.expect(end)

    def value(self) -> Any:
        """Decode the value that is next, and move on over it."""
        self.peek()
        size = WINDOW
        while True:
            try:
                value, end = self._scan(self._text, self._at)
                # A number may go on behind the end of the window: 1 with .5, or with e-5.
                if end + 2 < len(self._text) or self._ended or self._text[end - 1] in '"]}':
                    self._move(end)
                    return value
            except StopIteration as stop:
                at, what = int(stop.value), "Expecting value"
                if self._is_fault(at):
                    raise self._not_json(what, at) from None
            except json.JSONDecodeError as error:
                if self._is_fault(error.pos) and not error.msg.startswith("Unterminated string"):
                    raise self._not_json(error.msg, error.pos) from error
                if self._ended:
                    raise self._not_json(error.msg, error.pos) from error
            except RecursionError as error:
                raise self.error("nested too deeply") from error
            except ValueError as error:
                raise self.error(f"not JSON that makes sense: {error}") from error
            if len(self._text) - self._at > MAX_VALUE:
                raise self.error(
                    f"a feature of more than {MAX_VALUE:,} characters; export objects "
                    "side by side, not nested"
                )
            self._more(size)
            size *= 2

    def _is_fault(self, at: int) -> bool:
        return self._ended or at < len(self._text) - _NEAR_END

    def _not_json(self, what: str, at: int) -> FormatError:
        return self.error(f"not JSON, or cut off: {what}", at)

    def _move(self, to: int) -> None:
        self.offset += self._bytes(self._at, to)
        self._at = to

    def _bytes(self, start: int, end: int) -> int:
        return end - start if self._ascii else len(self._text[start:end].encode())

    def _more(self, size: int) -> bool:
        """Let the window go on from the present position; False at the end of the text."""
        if self._ended:
            return False
        data = b""
        while len(data) < size and (piece := self._source.read(size - len(data))):
            data += piece
        self._ended = len(data) < size
        try:
            new = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            held = len(error.object) - len(data)
            raise FormatError(
                "not text in UTF-8", offset=self._read - held + error.start
            ) from error
        if not self._read and new.startswith("\ufeff"):
            new = new[1:]
            self.offset = 3
        self._read += len(data)
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + new
        self._at = 0
        self._ascii = self._text.isascii()
        return True
