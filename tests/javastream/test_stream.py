"""The Java stream codec: lossless, right about handles, and not to be harmed by any bytes."""

from __future__ import annotations

import gc
import random
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpbridge.errors import FormatError
from qpbridge.javastream.build import (
    EMPTY_STREAM,
    Builder,
    ClassSpec,
    Content,
    Span,
    Symbols,
)
from qpbridge.javastream.nodes import MAGIC
from qpbridge.javastream.stream import parse
from qpbridge.javastream.text import decode_text, encode_text
from qpbridge.javastream.write import assemble
from qpbridge.project.embedded.qpdata.java_classes import SPECS


def golden_files(shared: Path) -> list[Path]:
    files = sorted((shared / "qupath" / "golden").glob("*/*/project/data/*/data.qpdata"))
    assert len(files) > 70
    return files


def build(write: Callable[[Builder], None], specs: dict[str, ClassSpec] | None = None) -> bytes:
    """A stream of what `write` writes."""
    symbols = Symbols(EMPTY_STREAM, SPECS | (specs or {}))
    builder = Builder(symbols)
    builder.raw(MAGIC)
    write(builder)
    return assemble(symbols, [builder.piece()])


def test_unchanged_streams_are_byte_identical(shared: Path) -> None:
    for path in golden_files(shared):
        data = path.read_bytes()
        stream = parse(data)
        assert assemble(Symbols(stream, {}), [Span(0, len(data))]) == data
        pieces = [Span(c.start, c.end) for c in stream.contents]
        assert assemble(Symbols(stream, {}), [Span(0, 4), *pieces]) == data


def test_contents_can_be_reordered_and_put_back(shared: Path) -> None:
    """Every class, text and shared list changes its place, and all handles change."""

    def reversed_contents(data: bytes) -> bytes:
        stream = parse(data)
        pieces: list[Content] = [Span(c.start, c.end) for c in stream.contents]
        return assemble(Symbols(stream, {}), [Span(0, 4), *reversed(pieces)])

    for path in golden_files(shared):
        data = path.read_bytes()
        changed = reversed_contents(data)
        assert changed != data
        assert parse(changed).handle_count == parse(data).handle_count
        assert reversed_contents(changed) == data


def test_bulks_are_what_single_objects_would_be(shared: Path) -> None:
    bulky = 0
    for path in golden_files(shared):
        data = path.read_bytes()
        fast, slow = parse(data), parse(data, bulk=False)
        bulky += len(fast.bulks)
        assert fast.handle_count == slow.handle_count
        assert (fast.reference_places == slow.reference_places).all()
        assert (fast.handle_places == slow.handle_places).all()
        for handle in range(slow.handle_count):
            one, other = fast.node(handle), slow.node(handle)
            assert (one.tag, one.start, one.end) == (other.tag, other.start, other.end)
            assert (one.value, one.class_name) == (other.value, other.class_name)
            assert one.handle == other.handle == handle
    assert bulky > 10


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_modified_utf8_round_trip(text: str) -> None:
    units = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    assert decode_text(encode_text(text)) == units
    assert b"\0" not in encode_text(text)


def test_modified_utf8_is_javas() -> None:
    assert encode_text("a\0µ名") == b"a\xc0\x80\xc2\xb5\xe5\x90\x8d"
    assert encode_text("😀") == b"\xed\xa0\xbd\xed\xb8\x80"


def test_long_texts() -> None:
    text = "µ" * 40_000
    stream = parse(build(lambda b: b.text(text)))
    assert stream.text(stream.expand(stream.contents)[0]) == text


def test_deep_nesting_needs_no_recursion() -> None:
    depth = 20_000

    def nested(builder: Builder) -> None:
        for _ in range(depth):
            builder.begin("java.util.ArrayList")
            builder.raw(struct.pack(">i", 1))
            builder.block(struct.pack(">i", 1))
        builder.null()
        for _ in range(depth):
            builder.end()

    data = build(nested)
    stream = parse(data)
    assert stream.handle_count == depth + 1
    assert assemble(Symbols(stream, {}), [Span(0, len(data))]) == data


def test_values_are_read_by_name() -> None:
    spec = ClassSpec(
        7, 2, None, (("D", "x"), ("I", "n"), ("L", "name", "Ljava/lang/String;"), ("[", "v", "[F"))
    )

    def one(builder: Builder) -> None:
        builder.begin("Thing")
        builder.raw(struct.pack(">di", 2.5, -3))
        builder.text("µ")
        builder.numbers("F", [1.5, 2.5])

    stream = parse(build(one, {"Thing": spec}))
    (node,) = stream.expand(stream.contents)
    assert stream.number(node, "x") == 2.5
    assert stream.number(node, "n") == -3
    assert stream.text(stream.child(node, "name")) == "µ"
    assert stream.array(stream.child(node, "v")).tolist() == [1.5, 2.5]
    for broken in (
        lambda: stream.number(node, "name"),
        lambda: stream.child(node, "x"),
        lambda: stream.number(node, "missing"),
        lambda: stream.array(stream.child(node, "name")),
        lambda: stream.text(node),
    ):
        with pytest.raises(FormatError):
            broken()


def test_a_class_goes_where_it_is_first_needed() -> None:
    """Without the object that brought the class and the shared text, the next one brings them."""

    def two(builder: Builder) -> None:
        for value in (1.0, 2.0):
            builder.begin("qupath.lib.measurements.DoubleMeasurement")
            builder.raw(struct.pack(">d", value))
            builder.reference(builder.symbols.text("name"))

    data = build(two)
    stream = parse(data, bulk=False)
    first, second = stream.expand(stream.contents)
    out = assemble(Symbols(stream, {}), [Span(0, 4), Span(second.start, second.end)])
    again = parse(out)
    (node,) = again.expand(again.contents)
    assert again.number(node, "value") == 2.0
    assert again.text(again.child(node, "name")) == "name"
    assert len(out) == first.end
    swapped = assemble(
        Symbols(stream, {}),
        [Span(0, 4), Span(second.start, second.end), Span(first.start, first.end)],
    )
    assert len(swapped) == len(data)
    values = [parse(swapped).number(n, "value") for n in parse(swapped, bulk=False).contents]  # type: ignore[arg-type]
    assert values == [2.0, 1.0]


STRING_CLASS = b"\x72\x00\x01A" + bytes(8)
BROKEN = {
    "empty": b"",
    "not a stream": b"PK\x03\x04",
    "just the magic's half": MAGIC[:2],
    "unknown tag": MAGIC + b"\x42",
    "end mark at the top": MAGIC + b"\x78",
    "reset": MAGIC + b"\x79",
    "exception": MAGIC + b"\x7b\x70",
    "reference to nothing": MAGIC + b"\x71\x00\x7e\x00\x00",
    "reference below the base": MAGIC + b"\x74\x00\x00\x71\x00\x00\x00\x00",
    "text too long": MAGIC + b"\x74\xff\xffabc",
    "long text of negative length": MAGIC + b"\x7c" + b"\xff" * 8,
    "huge long text": MAGIC + b"\x7c\x7f" + b"\xff" * 7,
    "block of negative length": MAGIC + b"\x7a\xff\xff\xff\xff",
    "huge block": MAGIC + b"\x7a\x7f\xff\xff\xff",
    "class of an object is null": MAGIC + b"\x73\x70",
    "class of an object is a text": MAGIC + b"\x74\x00\x00\x73\x71\x00\x7e\x00\x00",
    "huge array": MAGIC
    + b"\x75\x72\x00\x02[D"
    + bytes(8)
    + b"\x02\x00\x00\x78\x70\x7f\xff\xff\xff",
    "negative array": MAGIC
    + b"\x75\x72\x00\x02[D"
    + bytes(8)
    + b"\x02\x00\x00\x78\x70\xff\xff\xff\xff",
    "array of objects too long": MAGIC
    + b"\x75\x72\x00\x02[L"
    + bytes(8)
    + b"\x02\x00\x00\x78\x70\x00\xff\xff\xff\x70",
    "array of a class that is none": MAGIC
    + b"\x75"
    + STRING_CLASS
    + b"\x02\x00\x00\x78\x70"
    + bytes(4),
    "field of unknown type": MAGIC + b"\x73" + STRING_CLASS + b"\x02\x00\x01Q\x00\x01a\x78\x70",
    "field without type": MAGIC + b"\x73" + STRING_CLASS + b"\x02\x00\x01L\x00\x01a\x70\x78\x70",
    "class that is its own parent": MAGIC
    + b"\x73"
    + STRING_CLASS
    + b"\x02\x00\x00\x78\x71\x00\x7e\x00\x00",
    "old externalizable": MAGIC + b"\x73" + STRING_CLASS + b"\x04\x00\x00\x78\x70",
    "fields without serializable": MAGIC
    + b"\x73"
    + STRING_CLASS
    + b"\x00\x00\x01I\x00\x01a\x78\x70"
    + bytes(4),
    "enum without name": MAGIC + b"\x7e" + STRING_CLASS + b"\x12\x00\x00\x78\x70\x70",
    "proxy with many interfaces": MAGIC + b"\x73\x7d\x7f\xff\xff\xff",
}


BROKEN |= {
    "enum named by itself": MAGIC
    + b"\x7e"
    + STRING_CLASS
    + b"\x12\x00\x00\x78\x70\x71\x00\x7e\x00\x01",
    "field whose type is a class": MAGIC
    + b"\x73"
    + STRING_CLASS
    + b"\x02\x00\x01L\x00\x01a\x71\x00\x7e\x00\x00\x78\x70\x70",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_streams_are_refused(name: str) -> None:
    with pytest.raises(FormatError) as info:
        parse(BROKEN[name])
    assert info.value.offset is not None
    assert 0 <= info.value.offset <= len(BROKEN[name])


def test_too_many_superclasses() -> None:
    specs = {f"C{i}": ClassSpec(1, 2, f"C{i + 1}") for i in range(100)} | {"C100": ClassSpec(1, 2)}
    with pytest.raises(FormatError, match="superclasses"):
        parse(build(lambda b: b.begin("C0"), specs))


def test_rare_contents_survive() -> None:
    """Proxy classes, class objects and enums: nothing QuPath writes, but legal."""
    proxy = b"\x73\x7d\x00\x00\x00\x01\x00\x01X\x78\x70"
    class_object = b"\x76" + STRING_CLASS + b"\x02\x00\x00\x78\x70"
    data = MAGIC + proxy + class_object + b"\x71\x00\x7e\x00\x03"
    stream = parse(data)
    assert stream.handle_count == 4
    assert assemble(Symbols(stream, {}), [Span(0, len(data))]) == data


def test_truncated_and_garbled_streams_fail_cleanly(shared: Path) -> None:
    generator = random.Random(1)
    for path in golden_files(shared)[::10]:
        data = path.read_bytes()
        for end in range(0, len(data), 97):
            try_parse(data[:end])
        for _ in range(20):
            broken = bytearray(data)
            for _ in range(generator.randint(1, 4)):
                broken[generator.randrange(len(broken))] = generator.randrange(256)
            try_parse(bytes(broken))


def try_parse(data: bytes) -> None:
    try:
        stream = parse(data)
    except FormatError as error:
        assert error.offset is not None
        return
    # What parses can be written again as it is.
    assert assemble(Symbols(stream, {}), [Span(0, len(data))]) == data


def test_hostile_streams_cost_no_more_than_their_size() -> None:
    """Nothing but the smallest contents: bounded time and memory."""
    for content in (b"\x70", b"\x77\x00", b"\x74\x00\x00"):
        data = MAGIC + content * (60_000 // len(content))
        tracemalloc.start()
        began = time.perf_counter()
        parse(data)
        assert time.perf_counter() - began < 10
        assert tracemalloc.get_traced_memory()[1] < 1000 * len(data)
        tracemalloc.stop()


def test_numbers_in_handles_beyond_16_bits() -> None:
    """More than 65,536 handles: the references keep their targets."""

    def many(builder: Builder) -> None:
        for i in range(70_000):
            builder.text(str(i))
        last = builder.symbols.text("shared")
        for _ in range(3):
            builder.reference(last)

    stream = parse(build(many))
    contents = stream.expand(stream.contents)
    assert [stream.text(n) for n in contents[-3:]] == ["shared"] * 3
    assert np.array_equal([stream.text(n) for n in contents[:-3]], [str(i) for i in range(70_000)])


def test_a_last_array_that_is_too_long_is_refused_in_bulk_too() -> None:
    spec = ClassSpec(1, 2, None, (("D", "x"), ("[", "v", "[D")))

    def four(builder: Builder) -> None:
        for _ in range(4):
            builder.begin("Thing")
            builder.raw(struct.pack(">d", 2.5))
            builder.numbers("D", range(10))

    data = build(four, {"Thing": spec})
    assert sum(len(bulk) for bulk in parse(data).bulks) == 2
    at = data.rindex(struct.pack(">i", 10))
    for bulk in (True, False):
        with pytest.raises(FormatError) as caught:
            parse(data[:at] + struct.pack(">i", 11) + data[at + 4 :], bulk=bulk)
        assert caught.value.offset is not None


def test_what_was_parsed_goes_without_a_collection(shared: Path) -> None:
    """A table of many images would keep files in memory, or take most of its time collecting."""

    data = golden_files(shared)[0].read_bytes()
    gc.collect()
    gc.disable()
    try:
        before = sys.getrefcount(data)
        stream = parse(data)
        assert sys.getrefcount(data) > before
        del stream
        assert sys.getrefcount(data) == before
    finally:
        gc.enable()
