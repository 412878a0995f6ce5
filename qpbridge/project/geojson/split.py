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


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes; none: the end."""


class Feature(NamedTuple):
    """A feature as decoded from JSON, and where it begins in the text, in bytes."""

    value: Mapping[str, Any]
    offset: int


LEGACY = "cp1252"
"""What QuPath wrote on most Windows machines, before it wrote UTF-8 everywhere."""


class FeatureText:
    """The text of a file, from which its features come one after the other.

    They come in the order of the text; what is nested in a feature stays there. A bare geometry
    comes as a feature that has nothing else.

    Parameters
    ----------
    source
        The bytes: of a FeatureCollection, a list (also of lists), one feature or geometry.
    encoding
        Of the text; None: UTF-8, UTF-16 or UTF-32, with or without byte order mark, or else that of
        Windows where there is a byte that isn't UTF-8 and nothing before was more than ASCII.

    Raises
    ------
    FormatError
        While the features come, if the text is not JSON, or not GeoJSON: says where.
    """

    def __init__(self, source: Readable, encoding: str | None = None) -> None:
        self._window = _Window(source, encoding)

    def __iter__(self) -> Iterator[Feature]:
        yield from _features(self._window, 0)
        if self._window.peek():
            raise self._window.error("not JSON: something follows after the end")

    @property
    def encoding(self) -> str:
        """Of the text, by Python's name, as far as the features have come."""
        return self._window.encoding


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

    def __init__(self, source: Readable, encoding: str | None) -> None:
        self._source = source
        self._text = ""
        self._at = 0
        self._ended = False
        self._given = encoding
        self._all_ascii = True
        self._decode_as(encoding or "utf-8")
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
        if self._ascii:
            return (end - start) * self._width
        return len(self._text[start:end].encode(self.encoding, "replace"))

    def _more(self, size: int) -> bool:
        """Let the window go on from the present position; False at the end of the text."""
        if self._ended:
            return False
        data = b""
        while len(data) < size and (piece := self._source.read(size - len(data))):
            data += piece
        self._ended = len(data) < size
        if not self._read and self._given is None:
            self._decode_as(_encoding_of(data))
        new = self._decoded(data)
        if not self._read and new.startswith("\ufeff"):
            new = new[1:]
            self.offset = len("\ufeff".encode(self.encoding))
        self._read += len(data)
        self._line += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + new
        self._at = 0
        self._ascii = self._text.isascii()
        self._all_ascii &= self._ascii
        return True

    def _decode_as(self, encoding: str) -> None:
        self.encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._width = len("a".encode(encoding))

    def _decoded(self, data: bytes) -> str:
        """Decode what was read, at the first byte that isn't UTF-8 perhaps as older text."""
        held, _ = self._decoder.getstate()
        try:
            return self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            whole = held + data
            at = self._read - len(held) + error.start
            older = self.encoding == "utf-8" and self._given is None and self._all_ascii
            if not (older and whole[: error.start].isascii()):
                raise FormatError(f"not text in {self.encoding.upper()}", offset=at) from error
            try:
                text = whole.decode(LEGACY)
            except UnicodeDecodeError as also:
                raise FormatError(
                    "text neither in UTF-8 nor in Windows-1252; `encoding` says in which it is",
                    offset=self._read - len(held) + also.start,
                ) from also
            self._decode_as(LEGACY)
            return text


def _encoding_of(head: bytes) -> str:
    """Tell UTF-16 and UTF-32 from the rest: by their mark, or by the zeros beside ASCII."""
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if head.startswith(mark):
            return encoding
    return _BY_ZEROS.get("".join("a" if byte else "0" for byte in head[:4]), "utf-8")


_BY_ZEROS = {
    "a000": "utf-32-le",
    "000a": "utf-32-be",
    "a0a0": "utf-16-le",
    "0a0a": "utf-16-be",
}
"""Which of the first four bytes are zero, in text that begins with ASCII."""
