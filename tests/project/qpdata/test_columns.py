"""What few objects or images have: missing cores, class probabilities, free properties."""

from __future__ import annotations

import struct
import warnings
from dataclasses import replace

import numpy as np
import pytest
from project.tables import as_dict, by_id, file_of, many_cells, read

from qpbridge.javastream.build import EMPTY_STREAM, Builder, Symbols
from qpbridge.javastream.nodes import MAGIC
from qpbridge.javastream.stream import parse
from qpbridge.javastream.write import assemble
from qpbridge.objects import (
    MeasurementTable,
    ObjectKind,
    ObjectTable,
    RoiKind,
    Shapes,
    concatenate_shapes,
)
from qpbridge.project.embedded.qpdata.data_file import apply_edit
from qpbridge.project.embedded.qpdata.image_level import read_layout, read_objects
from qpbridge.project.embedded.qpdata.java_classes import SPECS
from qpbridge.project.embedded.qpdata.java_values import MAX_VALUES, read_properties
from qpbridge.project.embedded.qpdata.object_parts import read_measurements
from qpbridge.project.embedded.qpdata.write_objects import write_list
from qpbridge.project.interface import Edit


def cores(n: int) -> ObjectTable:
    ellipses = [Shapes.corners(RoiKind.ELLIPSE, 9 * i, 0, 9 * i + 8, 8) for i in range(n)]
    return ObjectTable.new(ObjectKind.TMA_CORE, concatenate_shapes(ellipses))


@pytest.mark.parametrize("n", [3, 500])
def test_missing_cores(n: int) -> None:
    table = replace(cores(n), missing=frozenset(range(0, n, 3)))
    found = read(file_of(table))
    assert found.missing == table.missing
    assert found.take([1, 0, 2]).missing == {1}


def test_most_objects_have_no_probability() -> None:
    table = cores(300)
    assert read(file_of(table)).probability is None
    sure = np.full(300, np.nan)
    sure[7] = 0.25
    np.testing.assert_array_equal(read(file_of(replace(table, probability=sure))).probability, sure)


def test_probabilities_need_a_value_for_each_object() -> None:
    with pytest.raises(ValueError, match="probability"):
        replace(cores(3), probability=np.zeros(2))


def named(n: int) -> ObjectTable:
    """Annotations that a person has named, coloured and described, no two alike."""
    texts = ["", "a", "µ name", "名" * 12, "x" * 36, "\U0001f52c", "y" * 300]
    rows = range(n)
    return replace(
        many_cells(n),
        kind=np.full(n, ObjectKind.ANNOTATION, np.uint8),
        nuclei=None,
        names={i: f"{texts[i % 7]} {i}" if i % 5 else texts[i % 7] for i in rows if i % 11},
        colors={i: (i % 256, 7, 255) for i in rows if i % 3},
        metadata={
            i: {"ANNOTATION_DESCRIPTION": texts[(i + 3) % 7], f"key {i % 2}": str(i)}
            for i in rows
            if i % 4
        },
    )


def test_annotations_that_a_person_described() -> None:
    table = named(600)
    data = file_of(table)
    hierarchy = read_objects(read_layout(data))
    assert sum(len(bulk) for _, bulk in hierarchy.bulks) > 500  # not one by one
    assert by_id(hierarchy.table) == by_id(table)
    removed = table.ids[::3]
    left = read(apply_edit(data, Edit(remove=removed)))
    assert by_id(left) == by_id(table.take(np.arange(600) % 3 > 0))


def test_what_does_not_fit_the_form_is_read_one_by_one() -> None:
    table = named(200)
    known, odd = str(table.uuid(150)).encode(), b"x" * 36  # no UUID: the object has no id
    found = read(file_of(table).replace(known, odd))
    expected = [as_dict(table, row) for row in range(200)]
    assert [as_dict(found, row) for row in range(200)] == expected
    assert (found.ids[:150] == table.ids[:150]).all()
    assert (found.ids[150] != table.ids[150]).any()


def test_objects_carry_what_their_kind_was_measured_for() -> None:
    table = many_cells(30)
    kind = np.where(np.arange(30) < 20, ObjectKind.DETECTION, ObjectKind.TILE).astype(np.uint8)
    values = np.full((30, 4), np.nan)
    values[3, 0], values[25, 1] = 1.5, 2.5
    values[7, 2] = 1e300  # beyond single precision: infinite, as in QuPath
    table = replace(
        table,
        kind=kind,
        nuclei=None,
        measured=MeasurementTable(("of detections", "of tiles", "large", "not computed"), values),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hierarchy = read_objects(read_layout(file_of(table)))
    carried = [
        list(read_measurements(hierarchy.stream, hierarchy.entry(row).measurements))
        for row in range(30)
    ]
    assert carried[:20] == [["of detections", "large", "not computed"]] * 20
    assert carried[20:] == [["of tiles", "not computed"]] * 10
    assert hierarchy.table.measurement("large")[7] == np.inf
    assert np.isnan(hierarchy.table.measurement("not computed")).all()


class TestProperties:
    """Maps in streams, made by hand."""

    @pytest.fixture
    def builder(self) -> Builder:
        builder = Builder(Symbols(EMPTY_STREAM, SPECS))
        builder.raw(MAGIC)
        builder.begin("java.util.HashMap")
        builder.raw(struct.pack(">fi", 0.75, 12))
        builder.block(struct.pack(">2i", 16, 1))
        return builder

    def read(self, builder: Builder) -> dict[str, object]:
        builder.end()
        stream = parse(assemble(builder.symbols, [builder.piece()]))
        (node,) = stream.expand(stream.contents)
        return read_properties(stream, node)

    def test_plain_values(self, builder: Builder) -> None:
        builder.text("none")
        builder.null()
        builder.text("list")
        write_list(builder, 2)
        builder.text("a")
        builder.null()
        builder.end()
        assert self.read(builder) == {"none": None, "list": ["a", None]}

    def test_what_is_not_plain_is_left_out(self, builder: Builder) -> None:
        builder.text("numbers")
        builder.numbers("F", [1, 2])
        builder.text("inside")
        write_list(builder, 1)
        builder.numbers("F", [1, 2])
        builder.end()
        builder.text("seen")
        builder.text("yes")
        assert self.read(builder) == {"seen": "yes"}

    @pytest.mark.parametrize("depth", [10, 100_000])
    def test_lists_in_lists(self, builder: Builder, depth: int) -> None:
        builder.text("deep")
        for _ in range(depth):
            write_list(builder, 1)
        builder.text("end")
        for _ in range(depth):
            builder.end()
        assert list(self.read(builder)) == (["deep"] if depth == 10 else [])

    def test_a_list_that_would_not_fit_into_memory(self, builder: Builder) -> None:
        builder.text("bomb")
        symbol = builder.symbols.text("boom")
        for level in range(10):  # each refers a hundred times to the one before

            def build(one: Builder, last: int = symbol) -> None:
                write_list(one, 100)
                for _ in range(100):
                    one.reference(last)
                one.end()

            symbol = builder.symbols.shared(("level", level), build)
        builder.reference(symbol)
        builder.text("seen")
        builder.text("yes")
        assert MAX_VALUES < 100**3
        assert self.read(builder) == {"seen": "yes"}
