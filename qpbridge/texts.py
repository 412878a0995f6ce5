"""Names from files and people: as they are compared, and as they are printed."""

from __future__ import annotations

import unicodedata


def same_name(text: str) -> str:
    """Write a name in the form in which names are compared (NFC): é may be one character or two.

    What macOS hands out is taken apart, what is typed is not. Names are stored as they come.
    """
    return unicodedata.normalize("NFC", text)


def printable(text: str, *, lines: bool = False, most: int = 0) -> str:
    """Make what a file says fit for a terminal: characters that would steer it come escaped.

    Parameters
    ----------
    text
        Whatever it is.
    lines
        Whether it may go over several lines; else ends of lines are escaped too.
    most
        Characters that are kept; 0: all.
    """
    if most and len(text) > most:
        text = f"{text[:most]} ..."
    if text.isprintable():
        return text
    return "".join(c if _is_harmless(c, lines) else _escaped(c) for c in text)


def _is_harmless(char: str, lines: bool) -> bool:
    # Spaces of all scripts count as not printable, and joiners as control characters.
    return (
        char.isprintable()
        or unicodedata.category(char) in ("Zs", "Cn", "Co")
        or char in "\u00ad\u200c\u200d"
        or (lines and char == "\n")
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
