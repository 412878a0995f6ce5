from __future__ import annotations

import uuid

import numpy as np

from qpbridge.ids import (
    are_among,
    id_text,
    id_texts,
    parse_id,
    parse_ids,
    random_ids,
    repeated,
)


def test_texts_are_those_of_uuids():
    ids = random_ids(50)
    expected = [str(uuid.UUID(bytes=uid.tobytes())) for uid in ids]
    assert [id_text(uid) for uid in ids] == expected
    assert [id_text(uid.tobytes()) for uid in ids] == expected
    assert id_texts(ids).astype(str).tolist() == expected
    assert [parse_id(text.upper()) for text in expected] == [uid.tobytes() for uid in ids]
    texts = np.array([text.encode() for text in expected], "S36").view("V36")
    assert np.array_equal(parse_ids(texts), ids)
    assert all(uuid.UUID(text).version == 4 for text in expected)


def test_what_is_no_id():
    for text in ("", "x" * 36, "1b4e28ba-2fa1-4d2e-883f-0016d3cca42", "é" * 36):
        assert parse_id(text) is None
    for text in (b"x" * 36, b"1b4e28ba_2fa1-4d2e-883f-0016d3cca427"):
        assert parse_ids(np.array([text], "S36").view("V36")) is None


def test_repeated_and_among():
    ids = random_ids(4)
    ids[1] = 0  # ends in zeros, as ids of objects without one do
    ids[3] = ids[0]
    assert repeated(ids, ids[:0]).tolist() == [3]
    assert repeated(ids, ids[1:2]).tolist() == [1, 3]
    assert are_among(ids, ids[:2]).tolist() == [True, True, False, True]
    assert are_among(ids, ids[:0]).tolist() == [False] * 4
    shorter = np.frombuffer(b"\x01" + bytes(15) + b"\x01" + bytes(14) + b"\x01", np.uint8)
    assert not len(repeated(shorter.reshape(2, 16), ids[:0]))
