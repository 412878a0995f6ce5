"""Files of tables: read back to the letter, streamed, whole or not there."""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
import tempfile
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.errors import FormatError, MissingExtraError, QpbridgeError
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.interface import ImageEntry
from qpbridge.tables import writers
from qpbridge.tables.cohort import write_table
from qpbridge.tables.column_types import clean


def detections(measurements: Any, measured=("m",), **columns: Any) -> ObjectTable:
    rows = np.asarray(measurements, float).reshape(-1, len(measured))
    geometries = [shapely.box(i, 0, i + 2, 2) for i in range(len(rows))]
    return ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_geometries(geometries),
        measurement_names=measured,
        measurements=rows,
    ).replace(**columns)


class Entry:
    """An image of a project, as far as tables ask for it."""

    def __init__(self, name: str, *tables: ObjectTable | Exception, mpp=(0.5, 0.5)) -> None:
        self.name, self.id, self.tables = name, "1", list(tables)
        self.server = SimpleNamespace(mpp=mpp, width=1000, height=1000, uri=None)

    def read(self) -> Any:
        table = self.tables.pop(0) if len(self.tables) > 1 else self.tables[0]
        if isinstance(table, Exception):
            raise table
        return SimpleNamespace(objects=table)


ImageEntry.register(Entry)


def lines(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


text = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(text, text, st.floats(), st.floats(width=32)), min_size=1, max_size=5),
    st.lists(text, min_size=2, max_size=2, unique=True),
    st.sampled_from([".csv", ".tsv"]),
)
def test_everything_comes_back(rows, names, ending):
    """Texts with separators, quotes and line breaks; numbers with all their digits."""
    names = list(dict.fromkeys(clean(f"m {name}") for name in names))
    classes = tuple(PathClass((name,)) for _, name, *_ in rows)
    table = detections(
        [values[: len(names)] for _, _, *values in rows],
        names,
        names={i: name for i, (name, *_) in enumerate(rows)},
        classes=classes,
        class_index=np.arange(len(rows), dtype=np.int32),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"table{ending}"
        assert write_table([Entry("a, b", table)], path, "csv") == (len(rows), {})
        found = lines(path, "\t" if ending == ".tsv" else ",")
        frame = pd.read_csv(path, sep="\t" if ending == ".tsv" else ",")
    assert len(frame) == len(found) == len(rows)
    for row, (name, path_class, *values) in zip(found, rows, strict=True):
        assert row["Image"] == "a, b"
        assert (row["Name"], row["Classification"]) == (clean(name), clean(path_class))
        for column, value in zip(names, values, strict=False):
            read = float(row[column])
            assert read == value or (math.isnan(value) and row[column] == "NaN")


def test_columns_are_the_union_in_order_of_appearance(tmp_path):
    entries = [
        Entry("a", detections([[1, 2]], ("x", "y"))),
        Entry("empty", detections(np.zeros((0, 1)), ("x",))),
        Entry("b", detections([[3, np.nan], [4, 5]], ("z", "y")), mpp=None),
    ]
    n, failures = write_table(entries, tmp_path / "t.csv", "csv")
    assert (n, failures) == (3, {})
    header, *rows = (tmp_path / "t.csv").read_text("utf-8").splitlines()
    assert header.endswith("ROI,Centroid X µm,Centroid Y µm,x,y,Centroid X px,Centroid Y px,z")
    tails = [row.split("Polygon,")[1] for row in rows]
    assert tails == ["0.5,0.5,1.0,2.0,,,", ",,,NaN,1.0,1.0,3.0", ",,,5.0,2.0,1.0,4.0"]


def test_one_image_in_memory_at_a_time(tmp_path):
    """Reading an image, all that was read before is gone."""
    alive: list[weakref.ref[Any]] = []

    class Counting(Entry):
        def read(self) -> Any:
            assert not [ref for ref in alive if ref() is not None]
            table = detections(np.ones((5, 1)))
            alive.append(weakref.ref(table))
            return SimpleNamespace(objects=table)

    entries: Any = [Counting(str(i), detections([1])) for i in range(4)]
    assert write_table(entries, tmp_path / "t.csv", "csv") == (20, {})
    assert len(alive) == 8


@pytest.mark.parametrize(
    ("name", "separator"), [("t.tsv.gz", "\t"), ("t.TSV", "\t"), ("t.tsv.csv", ","), ("t", ",")]
)
def test_the_name_of_the_file_says_what_separates(tmp_path, name, separator):
    write_table([Entry("a", detections([1]))], tmp_path / name, "csv")
    packed = (tmp_path / name).read_bytes()
    header = gzip.decompress(packed) if name.endswith(".gz") else packed
    assert header.decode().startswith(f"Image{separator}Object ID")


def test_rows_are_turned_into_text_in_chunks(tmp_path, monkeypatch):
    table = detections(np.arange(50.0))
    write_table([Entry("a", table)], tmp_path / "whole.csv", "csv")
    monkeypatch.setattr(writers, "CHUNK", 7)
    write_table([Entry("a", table)], tmp_path / "chunks.csv", "csv")
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "chunks.csv").read_bytes()


def test_what_fails_is_named_and_left_out(tmp_path):
    other = detections([[1, 2]], ("x", "new"))
    entries = [
        Entry("broken", FormatError("lies")),
        Entry("good", detections([1], ("x",))),
        Entry("saved meanwhile", detections([1], ("x",)), other),
        Entry("gone meanwhile", detections([1], ("x",)), QpbridgeError("gone")),
    ]
    n, failures = write_table(entries, tmp_path / "t.csv", "csv")
    assert n == 1
    assert failures == {
        "broken": "lies",
        "saved meanwhile": "it was saved while it was exported; run again",
        "gone meanwhile": "gone",
    }
    assert [row["Image"] for row in lines(tmp_path / "t.csv")] == ["good"]
    n, failures = write_table(entries[:1], tmp_path / "none.csv", "csv")
    assert (n, list(failures)) == (0, ["broken"])
    assert not (tmp_path / "none.csv").exists()


def test_an_export_that_breaks_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("before")
    entries = [Entry("a", detections([1])), Entry("b", detections([1]), MemoryError())]
    with pytest.raises(MemoryError):
        write_table(entries, path, "csv")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_column_of_texts_here_and_of_numbers_there(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    entries = [
        Entry("a", detections([1.5], ("score",))),
        Entry("b", detections([[2]], ("x",), metadata={0: {"score": "high"}})),
    ]
    assert write_table(entries, path, ending[1:]) == (2, {})
    if ending == ".csv":
        found = [row["score"] for row in lines(path)]
    else:
        found = pd.read_parquet(path)["score"].tolist()
    assert found == ["1.5", "high"]


def test_parquet(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    a = detections([[1.5, np.nan], [np.nan, 3]], ("x", "y"), names={1: "é"})
    shapes = Shapes.from_geometries([shapely.box(0, 0, 4, 4)])
    drawn = ObjectTable.new(ObjectKind.ANNOTATION, shapes)
    entries = [Entry("a", a), Entry("b", drawn)]
    assert write_table(entries, tmp_path / "t.parquet", "parquet") == (3, {})
    file = parquet.ParquetFile(tmp_path / "t.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [2, 1]
    table = file.read().to_pydict()
    write_table(entries, tmp_path / "t.csv", "csv")
    assert list(table) == list(lines(tmp_path / "t.csv")[0])
    assert table["Object ID"] == [str(a.uuid(0)), str(a.uuid(1)), str(drawn.uuid(0))]
    assert table["Name"] == [None, "é", None]
    assert table["Area µm^2"] == [None, None, 4]
    assert table["x"][0] == 1.5
    assert math.isnan(table["x"][1])
    assert table["x"][2] is None


def test_parquet_without_pyarrow_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*pip install 'qpbridge\[tables\]'"):
        write_table([Entry("a", detections([1]))], tmp_path / "t.parquet", "parquet")
    assert not list(tmp_path.iterdir())


def test_cells_of_a_cohort_read_as_pandas_writes_them(tmp_path):
    """An independent writer: pandas, from the data frame of the same objects."""
    table = detections(np.random.default_rng(0).normal(size=(40, 3)) * 1e5, ("x", "y", "z"))
    write_table([Entry("a", table)], tmp_path / "t.csv", "csv")
    frame = table.to_pandas(image=Entry("a", table)).drop(columns="Parent ID")
    expected = io.StringIO()
    frame.to_csv(expected, index=False, lineterminator="\n")
    assert (tmp_path / "t.csv").read_text("utf-8") == expected.getvalue()
