"""Modified UTF-8, in which Java writes text."""

from __future__ import annotations

import numpy as np


def decode_text(raw: bytes) -> str:
    """Decode modified UTF-8 (NUL as C0 80, supplementary characters as two surrogates).

    Raises
    ------
    UnicodeDecodeError
        If it is not.
    """
    if raw.isascii():
        return raw.decode("ascii")
    if max(raw) >= 0xF0:
        raise UnicodeDecodeError("mutf-8", raw, 0, len(raw), "four-byte sequence")
    text = raw.replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def encode_text(text: str) -> bytes:
    """Encode modified UTF-8."""
    if text.isascii():
        return text.encode("ascii").replace(b"\0", b"\xc0\x80")
    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), "<u2")
    halves = "".join(map(chr, units))
    return halves.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")
