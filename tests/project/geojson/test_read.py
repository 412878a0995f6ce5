"""GeoJSON of every dialect, in every packing, and broken in every way."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import gzip
import io
import json
import math
import uuid
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpbridge.errors import FormatError, ProjectError
from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    RoiKind,
)
from qpbridge.project.geojson.read import Salvage, salvage_geojson
from qpbridge.project.geojson.write import read_geojson, write_geojson

SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0], [0, 0]]
TRIANGLE = [[10, 20], [30.5, 20], [20, 40.25], [10, 20]]
POLYGON = {"type": "Polygon", "coordinates": [TRIANGLE]}


def read(tmp_path: Path, document: object) -> ObjectTable:
    path = tmp_path / "objects.geojson"
    path.write_text(json.dumps(document), "utf-8")
    return read_geojson(path)


def feature(geometry: object = None, **properties: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry or POLYGON, "properties": properties}


class TestDialects:
    @pytest.mark.parametrize(
        "document",
        [
            {"type": "FeatureCollection", "features": [feature()]},
            [feature()],
            [[feature()], []],
            feature(),
            POLYGON,
            [POLYGON],
            {"type": "Feature", "geometry": POLYGON},
            {"type": "Feature", "geometry": POLYGON, "properties": None},
        ],
    )
    def test_containers(self, tmp_path: Path, document: object) -> None:
        table = read(tmp_path, document)
        assert table.kind.tolist() == [ObjectKind.ANNOTATION]
        assert table.geometries[0].equals(shapely.Polygon(TRIANGLE))

    @pytest.mark.parametrize(
        ("properties", "identity", "kind"),
        [
            ({"objectType": "detection"}, None, ObjectKind.DETECTION),
            ({"object_type": "cell"}, None, ObjectKind.CELL),
            ({"object_type": "tma_core"}, None, ObjectKind.TMA_CORE),
            ({"objectType": "tmaCore"}, None, ObjectKind.TMA_CORE),
            ({"type": "tile"}, None, ObjectKind.TILE),
            ({"objectType": "nonsense"}, "PathCellObject", ObjectKind.ANNOTATION),
            ({}, "PathDetectionObject", ObjectKind.DETECTION),
            ({}, "PathAnnotationObject", ObjectKind.ANNOTATION),
            ({}, 17, ObjectKind.ANNOTATION),
        ],
    )
    def test_types(
        self, tmp_path: Path, properties: dict[str, object], identity: object, kind: ObjectKind
    ) -> None:
        table = read(tmp_path, {**feature(**properties), "id": identity})
        assert table.kind.tolist() == [kind]

    @pytest.mark.parametrize(
        ("classification", "names", "color"),
        [
            ("Tumor: Positive", ("Tumor", "Positive"), None),
            (None, None, None),
            ("", None, None),
            ({}, None, None),
            ({"name": "Tumor"}, ("Tumor",), None),
            ({"name": "A: B", "color": None}, ("A", "B"), None),
            ({"name": "A", "color": []}, ("A",), None),
            ({"name": "A", "color": [1, 2, 3]}, ("A",), (1, 2, 3)),
            ({"name": "A", "color": [1, 2, 3, 128]}, ("A",), (1, 2, 3)),
            ({"name": "A", "colorRGB": -377282}, ("A",), (250, 62, 62)),
            ({"names": ["A", "B", "C"], "color": [1, 2, 3]}, ("A", "B", "C"), (1, 2, 3)),
            (
                {"name": "B", "colorRGB": -1, "parentClass": {"name": "A", "colorRGB": 0}},
                ("A", "B"),
                (255, 255, 255),
            ),
        ],
    )
    def test_classes(
        self,
        tmp_path: Path,
        classification: object,
        names: tuple[str, ...] | None,
        color: tuple[int, int, int] | None,
    ) -> None:
        found = read(tmp_path, feature(classification=classification)).path_class(0)
        assert (found and found.names) == names
        assert (found and found.color) == color

    @pytest.mark.parametrize(
        "measurements",
        [
            {"a": 1.5, "b": "NaN", "c": "Infinity", "d": "-inf", "e": None},
            [
                {"name": "a", "value": 1.5},
                {"name": "b", "value": math.nan},
                {"name": "c", "value": math.inf},
                {"name": "d", "value": -math.inf},
                {"name": "e"},
            ],
        ],
    )
    def test_measurements(self, tmp_path: Path, measurements: object) -> None:
        table = read(tmp_path, feature(measurements=measurements))
        assert table.measurement_names == ("a", "b", "c", "d", "e")
        np.testing.assert_array_equal(
            table.measurements, [[1.5, math.nan, math.inf, -math.inf, math.nan]]
        )

    def test_measurements_of_different_names(self, tmp_path: Path) -> None:
        table = read(
            tmp_path,
            [feature(measurements={"b": 1}), feature(), feature(measurements={"a": 2, "b": 3})],
        )
        assert table.measurement_names == ("b", "a")
        np.testing.assert_array_equal(
            table.measurements, [[1, math.nan], [math.nan, math.nan], [3, 2]]
        )

    @pytest.mark.parametrize(
        ("geometry", "roi"),
        [
            ({"type": "Point", "coordinates": [1, 2]}, RoiKind.POINTS),
            ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, RoiKind.POINTS),
            ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, RoiKind.LINE),
            ({"type": "LineString", "coordinates": [[1, 2], [3, 4], [5, 7]]}, RoiKind.POLYLINE),
            ({"type": "MultiLineString", "coordinates": [TRIANGLE, SQUARE]}, RoiKind.LINES),
            ({"type": "Polygon", "coordinates": [SQUARE]}, RoiKind.RECTANGLE),
            ({"type": "Polygon", "coordinates": [SQUARE[::-1]]}, RoiKind.RECTANGLE),
            (POLYGON, RoiKind.POLYGON),
            ({**POLYGON, "isEllipse": True}, RoiKind.ELLIPSE),
            (
                {"type": "Polygon", "coordinates": [SQUARE, [[1, 1], [2, 1], [2, 2], [1, 1]]]},
                RoiKind.GEOMETRY,
            ),
            ({"type": "MultiPolygon", "coordinates": [[SQUARE], [TRIANGLE]]}, RoiKind.GEOMETRY),
            ({"type": "MultiPolygon", "coordinates": [[TRIANGLE]]}, RoiKind.POLYGON),
            ({"type": "Polygon", "coordinates": [[[*p, 7] for p in TRIANGLE]]}, RoiKind.POLYGON),
        ],
    )
    def test_geometries(self, tmp_path: Path, geometry: dict[str, object], roi: RoiKind) -> None:
        table = read(tmp_path, [feature(), feature(geometry), feature(POLYGON)])
        assert table.shapes.roi.tolist() == [RoiKind.POLYGON, roi, RoiKind.POLYGON]
        assert table.geometries[2].equals(shapely.Polygon(TRIANGLE))
        if roi is not RoiKind.ELLIPSE:
            truth = shapely.force_2d(shapely.geometry.shape(geometry))
            assert shapely.equals(table.geometries[1], truth)

    def test_plane_and_the_rest(self, tmp_path: Path) -> None:
        table = read(
            tmp_path,
            {
                **feature(
                    {**POLYGON, "plane": {"z": 2}},
                    objectType="cell",
                    name=5,
                    color=-377282,
                    isLocked=True,
                    metadata={"a": "b", "n": 1.5, "list": []},
                ),
                "nucleusGeometry": POLYGON,
                "id": "11223344-5566-4600-8000-000000030d42",
            },
        )
        assert table.plane.tolist() == [[-1, 2, 0]]
        assert (table.names[0], table.colors[0]) == ("5", (250, 62, 62))
        assert table.metadata[0] == {"a": "b", "n": "1.5"}
        assert table.locked.all()
        assert str(table.uuid(0)) == "11223344-5566-4600-8000-000000030d42"
        assert table.nuclei is not None
        assert table.nuclei.geometries[0].equals(shapely.Polygon(TRIANGLE))


FULL: dict[str, Any] = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "11223344-5566-4500-8000-0000000493e2",
            "geometry": {**POLYGON, "plane": {"c": 0, "z": 1, "t": 2}, "isEllipse": True},
            "nucleusGeometry": {"type": "MultiPolygon", "coordinates": [[TRIANGLE], [SQUARE]]},
            "properties": {
                "objectType": "cell",
                "name": "x",
                "color": [1, 2, 3],
                "classification": {"names": ["a", "b"], "color": [1, 2, 3]},
                "isLocked": True,
                "measurements": {"a": 1, "b": "NaN"},
                "metadata": {"k": "v"},
                "childObjects": [feature({"type": "LineString", "coordinates": TRIANGLE})],
            },
        },
        feature(
            {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]},
            measurements=[{"name": "q", "value": 2}],
            classification={"name": "x", "colorRGB": -3, "parentClass": {"name": "y"}},
        ),
    ],
}
ODD = (None, True, 5, -1, 1e308, 10**30, "", "NaN", [], [[]], [1], {}, {"a": 1}, math.nan, "Point")


def places(node: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    return [here, *(place for key in keys for place in places(node[key], (*here, key)))]


@given(st.lists(st.tuples(st.sampled_from(places(FULL)[1:]), st.sampled_from(ODD)), max_size=2))
@settings(max_examples=200, deadline=None)
def test_odd_values_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[tuple[Any, ...], Any]]
) -> None:
    """Never another error than ours, and what is read can be written."""
    document = copy.deepcopy(FULL)
    for place, value in changes:
        node: Any = document
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = value
        except (KeyError, TypeError, IndexError):
            pass  # the other change took it away
    path = tmp_path_factory.getbasetemp() / "odd.geojson"
    path.write_text(json.dumps(document))
    try:
        table = read_geojson(path)
    except FormatError:
        return
    if (np.abs(table.shapes.coords) < 1e12).all():
        write_geojson(dataclasses.replace(table, nuclei=None), path)
        assert len(read_geojson(path)) == len(table)


SEEDS = [json.dumps(FULL).encode(), json.dumps(FULL, indent=1).encode("utf-8-sig")]


def golden_files() -> list[Path]:
    folder = Path(__file__).parents[4] / "shared/qupath/golden"
    return [p for p in sorted(folder.glob("*/*/objects-*json")) if p.stat().st_size < 60_000]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_mutated_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes cut off, changed, doubled: never another error than ours, never another kind of end."""
    sources = [*SEEDS, *golden_files()]
    seed = data.draw(st.sampled_from(sources))
    content = seed if isinstance(seed, bytes) else seed.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        to = min(at + data.draw(st.sampled_from([0, 1, 1, 10, 10**6])), len(content))
        new = data.draw(
            st.sampled_from([b"", b"[", b"]", b"}", b'"', b",", b"-", b"9e999", b"\xff"])
        )
        content = content[:at] + new + content[to:]
    packing = data.draw(st.sampled_from(["", "gz", "zip"]))
    if packing == "gz":
        content = gzip.compress(content)
    elif packing == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.json", content)
        content = packed.getvalue()
    if packing and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content) - 1))
        content = content[:at] + bytes([data.draw(st.integers(0, 255))]) + content[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "mutated.geojson"
    path.write_bytes(content)
    try:
        table = read_geojson(path)
    except FormatError:
        table = None
    try:
        found = salvage_geojson(path)
    except FormatError:
        assert table is None  # what is fine as a whole is fine in its parts
        return
    if table is not None and (np.abs(table.shapes.coords) < 1e12).all():
        assert len(found.objects) + found.left_out.count == len(table)
    write_geojson(found.objects, path)
    assert len(read_geojson(path)) == len(found.objects)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=4)
    | st.sampled_from(["Feature", "FeatureCollection", "Polygon", "MultiPolygon", "detection"])
    | st.just(TRIANGLE),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "features", "geometry", "coordinates", "properties", "id", "plane"),
                    *("nucleusGeometry", "measurements", "classification", "childObjects", "name"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.lists(json_values, max_size=3), st.lists(json_values, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, geometries: list[Any], others: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.geojson"
    made: list[Any] = [{"type": "Feature", "geometry": g, "properties": g} for g in geometries]
    made += [{"type": "Polygon", "coordinates": g} for g in geometries]
    for document in (made, [*made, *others], others):
        path.write_text(json.dumps(document), "utf-8", "replace")
        for reader in (read_geojson, salvage_geojson):
            with contextlib.suppress(FormatError):
                reader(path)


class TestSalvage:
    def salvage(self, tmp_path: Path, *features: object) -> Salvage:
        path = tmp_path / "objects.geojson"
        path.write_text(json.dumps(features), "utf-8")
        return salvage_geojson(path)

    def test_what_is_fine_is_just_rounded(self, tmp_path: Path) -> None:
        near = [[x + 0.001, y - 0.001] for x, y in TRIANGLE]
        found = self.salvage(tmp_path, feature({"type": "Polygon", "coordinates": [near]}))
        assert found.objects.shapes.coords.tolist() == TRIANGLE
        assert (found.repaired.count, found.left_out.count) == (0, 0)

    def test_repaired_and_left_out_are_told(self, tmp_path: Path) -> None:
        bow_tie = [[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]
        cell = {**feature(objectType="cell"), "nucleusGeometry": POLYGON}
        flat = {"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [0, 0], [0, 0]]]}
        parent = feature({"type": "Polygon", "coordinates": 5}, childObjects=[feature(name="x")])
        features = [
            feature({"type": "Polygon", "coordinates": [bow_tie]}),
            feature({"type": "Polygon", "coordinates": [TRIANGLE[:3]]}),
            {**feature(flat), "id": "flat one"},
            cell,
            {**cell, "nucleusGeometry": {"type": "Polygon", "coordinates": [bow_tie]}},
            {**cell, "nucleusGeometry": flat},
            {**cell, "nucleusGeometry": {"type": "Polygon", "coordinates": [[[1, None]] * 4]}},
            feature({"type": "Point", "coordinates": [1e13, 0]}),
            parent,
            {**feature(), "geometry": None},
            feature(measurements={"a": "many", "b": 1}),
            feature(measurements={"a": 2, "b": 1}),
            {"type": "Feature", "geometry": POLYGON, "properties": [1]},
        ]
        found = self.salvage(tmp_path, *features)
        text = json.dumps(features).encode()
        assert [(p.source.number, p.what) for p in found.repaired.first] == [
            (1, "had an outline that crosses or touches itself"),
            (2, "had an open outline"),
            (5, "had an outline that crosses or touches itself"),
            (6, "lost a nucleus that has no area"),
            (7, "lost a nucleus that has a position that is not two numbers: [1, None]"),
        ]
        assert [p.source.number for p in found.left_out.first] == [3, 8, 9, 11, 12, 14]
        for problem, word in zip(
            found.left_out.first,
            ("no area", "beyond", "without coordinates", "no geometry", "no number", "no object"),
            strict=True,
        ):
            assert word in problem.what
            assert text[problem.source.offset :].startswith(b'{"type": "Feature"')
        assert str(found.left_out.first[0]).startswith("object 3 ('flat one') at byte ")
        table = found.objects
        assert table.kind.tolist() == [0, 0, 2, 2, 2, 2, 0, 0]
        assert (table.parent == -1).all()
        assert list(table.names.values()) == ["x"]
        assert shapely.is_valid(table.geometries).all()
        assert table.geometries[0].area == 50
        assert table.nuclei is not None
        assert [n is not None for n in table.nuclei.geometries] == [0, 0, 1, 1, 0, 0, 0, 0]
        assert table.measurement("a")[-1] == 2
        assert not found.has_id.any()

    def test_the_only_nucleus_is_not_lost_without_a_word(self, tmp_path: Path) -> None:
        short = {"type": "Polygon", "coordinates": [[[25, 25], [30, 25], [25, 25]]]}
        cell = {**feature(objectType="cell"), "nucleusGeometry": short}
        found = self.salvage(tmp_path, cell)
        assert found.objects.nuclei is None
        (problem,) = found.repaired.first
        assert problem.what.startswith("lost a nucleus that ")

    def test_what_is_left_out_leaves_no_measurement_behind(self, tmp_path: Path) -> None:
        found = self.salvage(
            tmp_path,
            {**feature(measurements={"gone": 1}), "geometry": None},
            feature(objectType="detection", measurements={"a": 1, "not computed": "NaN"}),
            {**feature(measurements={"a": 3, "also gone": 2}), "geometry": None},
            feature(POLYGON | {"coordinates": 5}, measurements={"gone too": 1}),
        )
        assert found.objects.measurement_names == ("a", "not computed")
        assert found.objects.measurements[:, 0].tolist() == [1]

    def test_many_are_counted_and_the_first_named(self, tmp_path: Path) -> None:
        found = self.salvage(tmp_path, *[{**feature(), "geometry": None}] * 250)
        assert found.left_out.count == 250
        assert [p.source.number for p in found.left_out.first] == list(range(1, 101))
        assert len(found.objects) == 0

    def test_ids_are_known_from_made_up_ones(self, tmp_path: Path) -> None:
        given_ids = [str(uuid.UUID(int=7)), "PathCellObject", None, str(uuid.UUID(int=0)), "1" * 36]
        given_ids += ["11 2233-5566-4600-8000-00000003 0d42-", str(uuid.uuid4()).upper()]
        found = self.salvage(tmp_path, *[{**feature(), "id": i} for i in given_ids])
        assert found.has_id.tolist() == [True, False, False, False, False, False, True]
        assert [str(found.objects.uuid(i)) for i in (0, 6)] == [
            given_ids[0],
            str(given_ids[6]).lower(),
        ]

    def test_across_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qpbridge.project.geojson.read.BATCH", 3)
        items = [
            feature(name=i, classification=f"C{i % 5}", childObjects=[feature(name=f"{i} child")])
            for i in range(20)
        ]
        broken = {**feature(), "geometry": None}
        found = self.salvage(tmp_path, *[x for item in items for x in (item, broken)])
        table = found.objects
        assert list(table.names.values()) == [t for i in range(20) for t in (f"{i}", f"{i} child")]
        assert table.parent.tolist() == [p for i in range(20) for p in (-1, 2 * i)]
        assert [str(table.path_class(2 * i)) for i in range(20)] == [f"C{i % 5}" for i in range(20)]
        assert [p.source.number for p in found.left_out.first] == list(range(3, 61, 3))


class TestFiles:
    def test_zip_is_read_entry_by_entry(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("one.geojson", json.dumps([feature(), feature()]))
            archive.writestr("notes.txt", "not JSON")
            archive.writestr("two.json", json.dumps(feature()))
        assert len(read_geojson(path)) == 3

    def test_names_in_a_zip_lead_nowhere(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        folder.mkdir()
        path = folder / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("../up.geojson", "/tmp/absolute.geojson", "C:\\x\\windows.json"):
                archive.writestr(name, json.dumps(feature()))
        before = sorted(tmp_path.rglob("*"))
        assert len(read_geojson(path)) == 3
        assert sorted(tmp_path.rglob("*")) == before

    def test_what_macos_adds_to_a_zip_is_left_out(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(feature()))
            archive.writestr("__MACOSX/._a.geojson", b"\0\5\x16\7")
            archive.writestr("._b.json", b"\0\5\x16\7")
            archive.mkdir("folder.json")
        assert len(read_geojson(path)) == 1

    def test_unusual_packing_in_a_zip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a.geojson", json.dumps(feature()))
        with pytest.raises(FormatError, match="unusual method; pack it with deflate"):
            read_geojson(path)

    def test_locked_zip(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(feature()))
        data = bytearray(path.read_bytes())
        data[6] |= 1  # says that it is encrypted
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
        with pytest.raises(FormatError, match="can't be opened"):
            read_geojson(path)

    def test_a_zip_whose_contents_are_nowhere(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(feature()))
        data = bytearray(path.read_bytes())
        end = data.index(b"PK\5\6")
        data[end + 16 : end + 20] = b"\xff\xff\xff\x7f"  # where the list of entries begins
        path.write_bytes(data)
        with pytest.raises(FormatError, match="archive"):
            read_geojson(path)

    def test_a_damaged_zip_entry(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.geojson", json.dumps(feature()))
        path.write_bytes(path.read_bytes().replace(b"Polygon", b"polygon"))
        with pytest.raises(FormatError, match="damaged or cut off"):
            read_geojson(path)

    def test_several_entries_share_the_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qpbridge.project.geojson.unpack.MAX_SMALL", 1 << 20)
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for i in range(12):
                archive.writestr(f"{i}.geojson", b"[" + b" " * 100_000 + b"]")
        with pytest.raises(FormatError, match="suspicious"):
            read_geojson(path)

    def test_measurements_that_are_no_table(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("qpbridge.project.geojson.features.MAX_CELLS", 1_000)
        with pytest.raises(FormatError, match="50 different measurements"):
            read(tmp_path, [feature(measurements={str(i): i}) for i in range(50)])

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "a.geojson"
        path.write_text(json.dumps(feature()), "utf-8-sig")
        assert len(read_geojson(path)) == 1

    @pytest.mark.parametrize("packing", ["gz", "zip"])
    def test_bombs(self, tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qpbridge.project.geojson.unpack.MAX_SMALL", 1 << 20)
        text = b"[" + b" " * (8 << 20) + b"]"
        path = tmp_path / f"a.{packing}"
        if packing == "gz":
            path.write_bytes(gzip.compress(text))
        else:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.geojson", text)
        with pytest.raises(FormatError, match="suspicious"):
            read_geojson(path)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00\xff\xfe",
            b"{",
            b"[1]",
            b"3",
            b"{}",
            b'{"type":"FeatureCollection"}',
            b'{"type":"Topology"}',
            gzip.compress(b"[]", mtime=0)[:-6],
            b"PK\x03\x04 not a zip",
            b"[" * 100_000,
            b"[" * 900 + b"]" * 900 + b"x",
            b"[" + b"9" * 5000 + b"]",
        ],
    )
    def test_not_geojson(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "a.geojson"
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"a\.geojson"):
            read_geojson(path)

    def test_empty_archive(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("readme.txt", "hello")
        with pytest.raises(FormatError, match=r"without a \.geojson"):
            read_geojson(tmp_path / "a.zip")

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectError, match="can't be read"):
            read_geojson(tmp_path / "a.geojson")

    @pytest.mark.parametrize(
        ("broken", "what"),
        [
            (feature({"type": "GeometryCollection", "geometries": []}), "GeometryCollection"),
            (feature({"type": "Polygon"}), "without coordinates"),
            (feature({"type": "Polygon", "coordinates": [TRIANGLE[:3]]}), "not closed"),
            (feature({"type": "Polygon", "coordinates": [SQUARE[:2]]}), "too few vertices"),
            (feature({"type": "Polygon", "coordinates": [[]]}), "too few vertices"),
            (feature({"type": "Polygon", "coordinates": [[*TRIANGLE[:3], [1, 1]]]}), "not closed"),
            (feature({"type": "Polygon", "coordinates": [["a", "b", "c", "d"]]}), "position"),
            (feature({"type": "Polygon", "coordinates": [[[1], [2], [3], [1]]]}), "position"),
            (feature({"type": "Polygon", "coordinates": [5]}), "broken"),
            (feature({"type": "LineString", "coordinates": [[1, 1]]}), "too few vertices"),
            (feature({"type": "Point", "coordinates": [None, 1]}), "position"),
            (feature({"type": "Point", "coordinates": [10**400, 1]}), "position"),
            (feature(measurements={"a": "many"}), "no number"),
            (feature(measurements={"a": [1, 2]}), "no number"),
            (feature(measurements=[1]), "broken"),
            (feature(classification=5), "broken"),
            (feature(classification={"name": ": "}), "class without a name"),
            (feature(measurements=[{"a": 1}]), "measurement, one without a name"),
            (feature(classification=[1]), "class, neither text nor object: "),
            (feature(color=[300, 0, 0]), "colour"),
            (feature(color=[1, 2, "a"]), "colour that is no number"),
            (feature({**POLYGON, "plane": {"z": "a"}}), "plane that is no number"),
            (feature({**POLYGON, "plane": {"z": float("nan")}}), "plane that is no number"),
            (feature({**POLYGON, "plane": {"z": 2**40}}), "plane that no image has"),
            (feature([1]), "geometry that is no object"),
            ({"type": "Feature", "geometry": None}, "no geometry"),
            ({"type": "Feature", "geometry": POLYGON, "properties": [1]}, "properties"),
        ],
    )
    def test_broken_features_are_named(
        self, tmp_path: Path, broken: dict[str, object], what: str
    ) -> None:
        with pytest.raises(FormatError, match=what) as caught:
            read(tmp_path, [feature(), broken])
        assert "object 2" in str(caught.value)
        assert "objects.geojson" in str(caught.value)
        assert "Error" not in str(caught.value)


def test_an_entry_without_a_name_is_passed_over(tmp_path):
    path = tmp_path / "objects.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), "x")
    with pytest.raises(FormatError, match="without a"):
        list(read_geojson(path))
