"""What requests check their values with: they return it in its one form, or raise.

A wrong value is a `RequestError` that names the argument, wherever the request comes from.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Collection, Iterable
from itertools import pairwise
from typing import Any

from qpbridge.errors import RequestError


def names(field: str, value: Any) -> tuple[str, ...]:
    """Take one text or several; None is none. A single text is one name, not its letters."""
    if value is None:
        return ()
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise RequestError(field, value, "a text, or several in a list, was expected")
    found = tuple(given)
    for name in found:
        if not isinstance(name, str) or not name:
            raise RequestError(field, name, "the text of a name was expected")
    return found


def text(field: str, value: Any) -> str:
    """Take a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise RequestError(field, value, "a text was expected")
    return value


def flag(field: str, value: Any) -> bool:
    """Take True or False, and nothing that only looks like it."""
    if not isinstance(value, bool):
        raise RequestError(field, value, "True or False was expected")
    return value


def choice(field: str, value: Any, known: Collection[str]) -> str:
    """Take one of some words."""
    if not isinstance(value, str) or value not in known:
        raise RequestError(field, value, f"expected {' or '.join(map(repr, known))}")
    return value


def choices(field: str, value: Any, known: Collection[str]) -> tuple[str, ...]:
    """Take several of some words, or one; each once."""
    return tuple(dict.fromkeys(choice(field, name, known) for name in names(field, value)))


def number(
    field: str,
    value: Any,
    what: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Take a number from `least` to `most` and larger than `above`; never NaN.

    Parameters
    ----------
    what
        The number and its range in words, for the message.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise RequestError(field, value, f"expected {what}")
    found = float(value)
    if not (least <= found <= most and found > above):
        raise RequestError(field, value, f"expected {what}")
    return found


def whole(field: str, value: Any, least: int, most: int | None = None) -> int:
    """Take a whole number from `least` on, up to `most` where there is one."""
    upto = "on" if most is None else f"to {most}"
    problem = f"expected a whole number from {least} {upto}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise RequestError(field, value, problem)
    found = int(value)
    if found < least or (most is not None and found > most):
        raise RequestError(field, value, problem)
    return found


def lengths(field: str, value: Any) -> tuple[float, ...]:
    """Take lengths in µm, or one: finite, above 0."""
    given = (value,) if isinstance(value, numbers.Real) else value
    if given is None or isinstance(given, str) or not isinstance(given, Iterable):
        raise RequestError(field, value, "expected lengths in µm")
    return tuple(
        number(field, one, "a length in µm, above 0", above=0.0, most=1e9) for one in given
    )


def thresholds(field: str, value: Any) -> tuple[float, ...]:
    """Take one threshold, or three that ascend; none of an empty list or None."""
    expected = "one threshold, or three that ascend, such as 0.2 or (0.2, 0.4, 0.6)"
    given = (value,) if isinstance(value, numbers.Real) else () if value is None else value
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise RequestError(field, value, f"expected {expected}")
    found = tuple(number(field, v, expected, least=-1e9, most=1e9) for v in given)
    if len(found) not in (0, 1, 3) or not all(a < b for a, b in pairwise(found)):
        raise RequestError(field, value, f"expected {expected}")
    return found


def path(field: str, value: Any) -> str:
    """Take the path of a file or folder, as a text or a path object."""
    found = str(os.fspath(value)) if isinstance(value, str | os.PathLike) else ""
    if not found or "\0" in found:  # "" would be this folder, and no system has the other
        raise RequestError(field, value, "a path was expected")
    return found


def paths(field: str, value: Any) -> tuple[str, ...]:
    """Take one path or several."""
    given = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(given, Iterable) or isinstance(given, bytes):
        raise RequestError(field, value, "a path, or several in a list, was expected")
    return tuple(path(field, one) for one in given)


def function(field: str, value: Any) -> None:
    """Refuse what can't be called."""
    if not callable(value):
        raise RequestError(field, value, "a function was expected")


def instance(field: str, value: Any, kind: type, expected: str) -> None:
    """Refuse what is no object of a type, which `expected` calls by its name or origin."""
    if not isinstance(value, kind):
        raise RequestError(field, value, f"{expected} was expected")
