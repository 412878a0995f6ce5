"""Files that lie: a refusal that says where, never a hang, a crash or endless memory."""

from __future__ import annotations

import ast
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import shapely
from project import fuzz, fuzz_json
from project.processes import run_guarded
from project.tables import many_cells

import qpbridge.project
from qpbridge.errors import FormatError
from qpbridge.javastream.build import EMPTY_STREAM, Builder, ClassSpec, Symbols
from qpbridge.javastream.nodes import BASE_HANDLE, MAGIC, OBJECT, REFERENCE, Node
from qpbridge.javastream.stream import parse
from qpbridge.javastream.write import assemble
from qpbridge.project.embedded.qpdata import java_classes
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.embedded.qpdata.write_objects import write_list, write_metadata
from qpbridge.project.interface import Edit, WorkflowStep

# --- mutants ----------------------------------------------------------------------------------


def test_mutants_are_read_or_refused() -> None:
    readable, troubles = fuzz.fuzz(fuzz.samples(), first=0, count=60)
    assert not troubles, "\n".join(map(str, troubles))
    assert 30 < readable < 270  # of 300: neither mild nor deadly


@pytest.mark.parametrize("seed", [100165, 100626])
def test_a_class_below_a_foreign_one(shared: Path, seed: int) -> None:
    name = "v0.3.2/multi/1"
    data = fuzz.golden_samples(shared)[name]
    assert fuzz.check(fuzz.mutant(data, f"{name} {seed}"), seed)


@pytest.mark.slow
def test_many_mutants_of_what_we_write() -> None:
    _, troubles = fuzz.fuzz(fuzz.samples(), first=1000, count=2000)
    assert not troubles, "\n".join(map(str, troubles))


@pytest.mark.slow
def test_many_mutants_of_what_qupath_wrote(shared: Path) -> None:
    _, troubles = fuzz.fuzz(fuzz.golden_samples(shared), first=1000, count=300)
    assert not troubles, "\n".join(map(str, troubles))


def test_the_guard_notices() -> None:
    """That it finds nothing means something."""

    def misbehave(how: str) -> bool:
        if how == "hang":
            while True:
                pass
        if how == "eat":
            return bool(bytearray(1 << 33))
        if how == "crash":
            import ctypes

            ctypes.string_at(0)
        return how == "yes"

    yes, troubles = run_guarded(
        misbehave, ["yes", "no", "eat", "crash", "yes", "hang", "yes"], seconds=0.2
    )
    assert yes == 3
    found = {str(trouble.item): trouble.what for trouble in troubles}
    assert list(found) == ["eat", "crash", "hang"]
    assert "MemoryError" in found["eat"]
    assert "signal 11" in found["crash"]
    assert "TooLongError" in found["hang"]


def test_mutants_of_projects_are_opened_or_refused(tmp_path: Path) -> None:
    opened, troubles = fuzz_json.fuzz(tmp_path, first=0, count=120)
    assert not troubles, "\n".join(map(str, troubles))
    assert 20 < opened < 110


@pytest.mark.slow
def test_many_mutants_of_projects(tmp_path: Path) -> None:
    _, troubles = fuzz_json.fuzz(tmp_path, first=1000, count=3000)
    assert not troubles, "\n".join(map(str, troubles))


# --- made by hand -----------------------------------------------------------------------------


def data_file(write: Callable[[Builder], int]) -> bytes:
    """A data file without anything but objects below the root; `write` returns how many."""
    symbols = Symbols(EMPTY_STREAM, {**java_classes.SPECS, **MORE})
    inner = Builder(symbols)
    builder = Builder(symbols)
    builder.raw(MAGIC)
    builder.block(b"\0\x13Data file version 3")
    builder.begin(java_classes.HIERARCHY)
    builder.begin(java_classes.ROOT)
    for _ in "abc":
        builder.null()
    head = builder.piece()
    count = write(inner)
    builder = Builder(symbols)
    builder.block(struct.pack(">i", count))
    middle = builder.piece()
    end = Builder(symbols)
    end.end()
    end.null()
    return assemble(symbols, [head, middle, inner.piece(), end.piece()])


MORE = {
    "[Ljava.lang.String;": ClassSpec(1, 2),
    "[[F": ClassSpec(1, 2),
    java_classes.AREA: ClassSpec(
        1, 2, None, (*((("I", c)) for c in "ctz"), ("[", "x", "[[F"), ("[", "y", "[[F"))
    ),
}


def shared(builder: Builder, key: str, build: Callable[[Builder], None]) -> None:
    builder.reference(builder.symbols.shared(key, build))


def nothing(builder: Builder) -> None:
    builder.null()


def square(builder: Builder) -> None:
    builder.begin(java_classes.RECTANGLE)
    builder.raw(struct.pack(">2i4di", -1, 0, 0, 9, 0, 9, 0))
    builder.null()


def annotation(
    builder: Builder,
    *,
    metadata: Callable[[Builder], object] | None = None,
    measurements: Callable[[Builder], None] = nothing,
    children: Callable[[Builder], None] | None = None,
    path_class: Callable[[Builder], None] = nothing,
    roi: Callable[[Builder], None] = square,
    end: bool = True,
) -> None:
    builder.begin(f"{java_classes.OBJECTS}PathAnnotationObject")
    builder.null()
    builder.null()
    if metadata is not None:
        metadata(builder)
    measurements(builder)
    builder.block(struct.pack(">i", children is not None))
    if children is not None:
        children(builder)
    if end:
        annotation_end(builder, path_class, roi)


def annotation_end(
    builder: Builder,
    path_class: Callable[[Builder], None] = nothing,
    roi: Callable[[Builder], None] = square,
) -> None:
    path_class(builder)
    roi(builder)
    builder.end()


N = 1_500


def nested_objects(builder: Builder) -> int:
    for _ in range(5 * N):
        annotation(builder, children=lambda _: None, end=False)
    annotation(builder)
    for _ in range(5 * N):
        annotation_end(builder)
    return 1


def nested_lists(builder: Builder) -> int:
    def lists(builder: Builder) -> None:
        for _ in range(5 * N):
            write_list(builder, 1)
        builder.null()
        for _ in range(5 * N):
            builder.end()

    annotation(builder, measurements=lists)
    return 1


def nested_geometries(kind: int, order: str) -> Callable[[Builder], int]:
    def write(builder: Builder) -> int:
        header = struct.pack(order + "BII", order == "<", kind, 1)
        wkb = header * (5 * N) + bytes(shapely.to_wkb(shapely.Point(1, 2)))
        annotation(builder, roi=lambda b: region(b, wkb))
        return 1

    return write


def region(builder: Builder, wkb: bytes) -> None:
    builder.begin(java_classes.GEOMETRY)
    builder.raw(struct.pack(">3i", -1, 0, 0))
    builder.null()
    builder.numbers("B", np.frombuffer(wkb, np.int8))


def one_class_many_times(builder: Builder) -> int:
    """A name of a megabyte for each of many classes, which are all the same text."""

    def path_class(builder: Builder) -> None:
        builder.begin(java_classes.PATH_CLASS)
        builder.null()
        builder.reference(builder.symbols.text("x" * 1_000_000))
        builder.null()

    for _ in range(N):
        annotation(builder, path_class=path_class)
    return N


def one_region_many_times(builder: Builder) -> int:
    def polygon(builder: Builder) -> None:
        builder.begin(java_classes.POLYGON)
        builder.raw(struct.pack(">3i", -1, 0, 0))
        builder.null()
        builder.null()
        for _ in "xy":
            builder.numbers("F", np.arange(300_000))

    for _ in range(N):
        annotation(builder, roi=lambda b: shared(b, "roi", polygon))
    return N


def one_metadata_many_times(builder: Builder) -> int:
    def metadata(builder: Builder) -> None:
        write_metadata(builder, {str(i): "" for i in range(N)})

    for _ in range(N):
        annotation(builder, metadata=lambda b: shared(b, "metadata", metadata))
    return N


def one_list_many_times(builder: Builder) -> int:
    def measurements(builder: Builder) -> None:
        builder.begin(java_classes.MEASUREMENT_LIST)
        write_list(builder, N)
        for i in range(N):
            builder.begin(java_classes.DOUBLE_MEASUREMENT)
            builder.raw(bytes(8))
            builder.text(str(i))
        builder.end()

    for _ in range(N):
        annotation(builder, measurements=lambda b: shared(b, "list", measurements))
    return N


def a_name_for_each(builder: Builder) -> int:
    """The table of measurements would be as wide as it is long."""
    for i in range(3 * N):

        def measurements(builder: Builder, i: int = i) -> None:
            builder.begin(java_classes.MEASUREMENT_LIST)
            write_list(builder, 1)
            builder.begin(java_classes.DOUBLE_MEASUREMENT)
            builder.raw(bytes(8))
            builder.text(str(i))
            builder.end()

        annotation(builder, measurements=measurements)
    return 3 * N


def zigzag(n: int) -> shapely.Polygon:
    """Every edge crosses every other."""
    angle = np.arange(n) * np.pi * (n // 2) / n * 2
    return shapely.Polygon(np.stack([np.cos(angle), np.sin(angle)], 1) * 1000)


def tangled_collection(builder: Builder) -> int:
    geometry = shapely.GeometryCollection([zigzag(20_001), zigzag(20_003)])
    annotation(builder, roi=lambda b: region(b, bytes(shapely.to_wkb(geometry))))
    return 1


def area(builder: Builder, rings: list[np.ndarray]) -> None:
    builder.begin(java_classes.AREA)
    builder.raw(struct.pack(">3i", -1, 0, 0))
    for axis in (0, 1):
        builder.begin_array("[[F", len(rings))
        for ring in rings:
            builder.numbers("F", ring[:, axis])


def tangled_area(builder: Builder) -> int:
    rings = [shapely.get_coordinates(zigzag(20_001))]
    annotation(builder, roi=lambda b: area(b, rings))
    return 1


def nested_area(builder: Builder) -> int:
    rings = [shapely.get_coordinates(shapely.box(i, i, 2 * N - i, 2 * N - i)) for i in range(N)]
    annotation(builder, roi=lambda b: area(b, rings))
    return 1


def class_below_itself(builder: Builder) -> int:
    def path_class(builder: Builder) -> None:
        builder.begin(java_classes.PATH_CLASS)
        builder.null()
        builder.text("Tumor")
        builder.null()

    annotation(builder, path_class=path_class)
    return 1


def close_the_circle(data: bytes) -> bytes:
    """Make the class its own parent."""
    stream = parse(data)
    node = next(
        n
        for n in stream.nodes.values()
        if n.tag == OBJECT and n.desc is not None and n.desc.name == java_classes.PATH_CLASS
    )
    parent = stream.child(node, "parentClass")
    reference = struct.pack(">BI", REFERENCE, BASE_HANDLE + node.handle)
    return data[: parent.start] + reference + data[parent.end :]


REFUSED = {
    "geometries in geometries": nested_geometries(7, ">"),
    "geometries in geometries, little-endian": nested_geometries(7, "<"),
    "polygons in polygons": nested_geometries(6, ">"),
    "lists in lists": nested_lists,
    "a region used by all": one_region_many_times,
    "metadata used by all": one_metadata_many_times,
    "measurements used by all": one_list_many_times,
    "names of measurements": a_name_for_each,
    "a tangled collection": tangled_collection,
    "a tangled area": tangled_area,
    "an area in an area in an area": nested_area,
}


@pytest.mark.parametrize("name", REFUSED)
def test_endless_files_are_refused(name: str) -> None:
    data = data_file(REFUSED[name])

    def check(data: bytes) -> bool:
        with pytest.raises(FormatError) as caught:
            read_image_data(data)
        assert caught.value.offset is not None
        return True

    _, troubles = run_guarded(check, [data])
    assert not troubles, troubles[0].what


READ = {"objects in objects": nested_objects, "a class name used by all": one_class_many_times}


@pytest.mark.parametrize("name", READ)
def test_odd_files_are_read(name: str) -> None:
    data = data_file(READ[name])

    def check(data: bytes) -> bool:
        table = read_image_data(data).objects
        assert len(table) in (N, 5 * N + 1)
        some = table.ids[:: len(table) // 3]
        changed = apply_edit(data, Edit(remove=some, add=many_cells(1)))
        assert len(read_image_data(changed).objects) == len(table) - len(some) + 1
        return True

    _, troubles = run_guarded(check, [data])
    assert not troubles, troubles[0].what


def test_a_class_below_itself_is_refused() -> None:
    data = close_the_circle(data_file(class_below_itself))
    with pytest.raises(FormatError, match="classification"):
        read_image_data(data)


@pytest.mark.parametrize("name", ["nan", "inf", "-inf"])
def test_regions_nowhere_are_refused(name: str) -> None:
    data = data_file(lambda b: annotation(b) or 1)
    number = struct.pack(">d", 9.0)
    assert data.count(number) == 2
    data = data.replace(number, struct.pack(">d", float(name)), 1)
    with pytest.raises(FormatError, match="coordinates that are no numbers") as caught:
        read_image_data(data)
    assert caught.value.offset is not None


def children_that_are_not_counted(builder: Builder) -> int:
    for _ in range(5):
        annotation(builder)
    return 4


def test_children_that_are_not_counted_are_refused() -> None:
    with pytest.raises(FormatError, match="wrong number of children"):
        read_image_data(data_file(children_that_are_not_counted))


def test_a_line_of_one_vertex_is_a_line() -> None:
    def line(builder: Builder) -> None:
        builder.begin(java_classes.POLYLINE)
        builder.raw(struct.pack(">3i", -1, 0, 0))
        for value in (3.0, 4.0):
            builder.numbers("F", [value])

    def write(builder: Builder) -> int:
        for _ in range(5):
            annotation(builder, roi=line)
        return 5

    for geometry in read_image_data(data_file(write)).objects.geometries:
        assert geometry.bounds == (3, 4, 3, 4)


@pytest.mark.parametrize("letter", "DFJL")
def test_a_plane_of_other_numbers_is_refused(letter: str) -> None:
    data = data_file(lambda b: annotation(b) or 1)
    at = data.index(b"I\x00\x01c")
    with pytest.raises(FormatError) as caught:
        read_image_data(data[:at] + letter.encode() + data[at + 1 :])
    assert caught.value.offset is not None


def test_a_history_that_lies_is_not_continued() -> None:
    data = apply_edit(None, Edit(steps=[WorkflowStep("one", "")]))
    count = struct.pack(">2i", 1, 1)
    assert data.count(count) == 1
    lying = data.replace(count, struct.pack(">2i", 1, 2**31 - 1))
    with pytest.raises(FormatError, match="wrong number of steps"):
        apply_edit(lying, Edit(steps=[WorkflowStep("two", "")]))


def test_messages_are_fit_to_be_read() -> None:
    """A name from a file may be long, or change the colours of a terminal."""
    assert len(str(FormatError("x" * 100_000, offset=1))) < 500
    shown = r"a\x1b[31mb\nµ\ud800 (at byte 1)"  # escaped, as everywhere
    assert str(FormatError("a\x1b[31mb\nµ\ud800", offset=1)) == shown


# --- nothing is run ---------------------------------------------------------------------------


def test_no_class_is_ever_made_from_a_stream() -> None:
    """What a stream names is text to us: even well-known gadgets are nodes like any other."""
    names = ("java.lang.Runtime", "os.system", "subprocess.Popen", "builtins.eval", "Form")
    gadgets = {name: ClassSpec(1, 3, None, (("I", "x"),)) for name in names}
    symbols = Symbols(EMPTY_STREAM, {**java_classes.SPECS, **gadgets})
    builder = Builder(symbols)
    builder.raw(MAGIC)
    for name in names:
        builder.begin(name)
        builder.raw(bytes(4))
        builder.text("touch /tmp/owned")
        builder.end()
    before = set(sys.modules)
    nodes = parse(assemble(symbols, [builder.piece()])).contents
    assert [type(node) for node in nodes] == [Node] * len(names)
    assert [node.class_name for node in nodes if isinstance(node, Node)] == list(names)
    assert set(sys.modules) == before


FORBIDDEN = {
    *("pickle", "marshal", "shelve", "dill", "joblib", "jsonpickle", "yaml", "importlib"),
    *("eval", "exec", "compile", "__import__", "globals", "locals", "vars", "import_module"),
}


def test_nothing_in_the_reader_could_make_one() -> None:
    folder = Path(qpbridge.project.__file__).parent
    read = (folder / "embedded", folder / "geojson", folder / "files", folder.parent / "javastream")
    paths = [path for room in read for path in room.rglob("*.py")]
    assert len(paths) > 30
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            used: set[str] = set()
            if isinstance(node, ast.Import):
                used = {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                used = {(node.module or "").split(".")[0], *(name.name for name in node.names)}
            elif isinstance(node, ast.Name):
                used = {node.id}
            assert not used & FORBIDDEN, f"{path.name}:{getattr(node, 'lineno', 0)}"
