"""Ids of objects: UUIDs (RFC 9562), sixteen bytes each, rows of an array uint8 (n, 16)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IdArray = npt.NDArray[np.uint8]

_HYPHENS = [8, 13, 18, 23]
_DIGITS = [i for i in range(36) if i not in _HYPHENS]
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_VALUE = np.full(256, 255, np.uint8)
_VALUE[_HEX] = np.arange(16)
_VALUE[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


def random_ids(n: int) -> IdArray:
    """Make `n` random (version 4) UUIDs, uint8 (n, 16)."""
    drawn = np.frombuffer(np.random.default_rng().bytes(16 * n), np.uint8)
    return as_version(drawn.reshape(n, 16), 4)


def as_version(ids: IdArray, version: int) -> IdArray:
    """Copy ids (n, 16), and set the bits that say which version of UUID they are."""
    ids = ids.copy()
    ids[:, 6] = (ids[:, 6] & 0x0F) | version << 4
    ids[:, 8] = (ids[:, 8] & 0x3F) | 0x80
    return ids


def id_text(uid: bytes | IdArray) -> str:
    """Write one id, ``"1b4e28ba-2fa1-4d2e-883f-0016d3cca427"``."""
    text = uid.hex() if isinstance(uid, bytes) else uid.tobytes().hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_texts(ids: IdArray) -> npt.NDArray[np.bytes_]:
    """Write many ids, uint8 (n, 16), as ASCII bytes (n,) of 36 characters."""
    out = np.full((len(ids), 36), ord("-"), np.uint8)
    out[:, _DIGITS[::2]] = _HEX[ids >> 4]
    out[:, _DIGITS[1::2]] = _HEX[ids & 15]
    return out.view("S36").ravel()


def parse_id(text: str) -> bytes | None:
    """Read one id; None if it is something else."""
    try:
        uid = bytes.fromhex(text.replace("-", ""))  # several times as fast as uuid.UUID
    except ValueError:
        return None
    return uid if len(uid) == 16 else None


def parse_ids(texts: npt.NDArray[np.void]) -> IdArray | None:
    """Read many ids, texts of 36 bytes (n,), into uint8 (n, 16); None if one is something else."""
    characters = texts.view(np.uint8).reshape(len(texts), 36)
    digits = _VALUE[characters[:, _DIGITS]]
    if (characters[:, _HYPHENS] != ord("-")).any() or (digits == 255).any():
        return None
    return (digits[:, 0::2] << 4 | digits[:, 1::2]).astype(np.uint8)


def id_keys(ids: IdArray) -> npt.NDArray[np.bytes_]:
    """View ids (n, 16) as values (n,) that can be compared, sorted and searched."""
    return np.ascontiguousarray(ids).view("S16").ravel()


def are_among(ids: IdArray, others: IdArray) -> npt.NDArray[np.bool_]:
    """Tell which ids (n, 16) are among others (m, 16), bool (n,)."""
    return np.isin(id_keys(ids), id_keys(others))


def repeated(ids: IdArray, taken: IdArray) -> npt.NDArray[np.intp]:
    """Find the rows of `ids` (n, 16) that are in `taken` (m, 16), or in an earlier row."""
    _, first = np.unique(id_keys(np.concatenate([taken, ids])), return_index=True)
    again = np.ones(len(taken) + len(ids), bool)
    again[first] = False
    return np.flatnonzero(again[len(taken) :])
