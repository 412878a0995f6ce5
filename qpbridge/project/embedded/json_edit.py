"""Changing single values in the text of a JSON file, so that all else stays to the letter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from qpbridge.errors import FormatError

Place = tuple[str | int, ...]
"""Where a value is: keys and indices from the outermost value inwards."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]+')


def find_values(text: str, key: str) -> dict[Place, tuple[int, int]]:
    """Find every plain value (text, number, null ...) of a key.

    Parameters
    ----------
    text
        Valid JSON.
    key
        Of objects at any depth.

    Returns
    -------
    spans
        Where each value begins and ends in the text, by its place in the document.

    Raises
    ------
    FormatError
        If an object has the key twice, so that it isn't clear which one counts.
    """
    spans: dict[Place, tuple[int, int]] = {}
    place: list[str | int] = []
    is_key = False  # whether the next text is a key
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "{[":
            place.append("" if sign == "{" else 0)
            is_key = sign == "{"
        elif sign in "}]":
            place.pop()
            is_key = False
        elif sign == ",":
            last = place[-1]
            is_key = isinstance(last, str)
            if isinstance(last, int):
                place[-1] = last + 1
        elif sign == ":":
            is_key = False
        elif is_key:
            place[-1] = json.loads(sign)
        elif place and place[-1] == key:
            where = tuple(place)
            if where in spans:
                raise FormatError(f"not clear: an object in it has the key {key!r} twice")
            spans[where] = token.span()
    return spans


def replace_values(
    text: str, spans: Mapping[Place, tuple[int, int]], values: Mapping[Place, str | float]
) -> str:
    """Put new texts or numbers in the place of values found by `find_values`."""
    parts, done = [], 0
    for start, end, value in sorted((*spans[place], value) for place, value in values.items()):
        parts += [text[done:start], json.dumps(value, ensure_ascii=False)]
        done = end
    return "".join([*parts, text[done:]])
