"""Server builders of every kind: what a project says of an image that it shows otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project.files import digests
from project.suite import discs

from qpbridge.errors import FormatError, ProjectError, SlideError
from qpbridge.project import open_project
from qpbridge.project.embedded.servers import parse_server
from qpbridge.project.interface import Edit


def calibration(x: float, y: float, unit: str = "µm") -> dict[str, Any]:
    sides = {"pixelWidth": x, "pixelHeight": y}
    return {key: {"value": value, "unit": unit} for key, value in sides.items()}


def metadata(width: int, height: int, x: float = 0.25, y: float = 0.5) -> dict[str, Any]:
    return {"width": width, "height": height, "pixelCalibration": calibration(x, y)}


FILE = {"builderType": "uri", "uri": "file:/a.svs", "args": [], "metadata": metadata(300, 200)}
TURN = {"builderType": "rotated", "rotation": "ROTATE_90"}
CROP = {"builderType": "cropped", "region": {"x": 5, "y": 6, "width": 70, "height": 80}}


def nested(*wrappers: dict[str, Any], inner: dict[str, Any] = FILE) -> dict[str, Any]:
    for wrapper in reversed(wrappers):
        inner = {**wrapper, "builder": inner}
    return inner


SAME = (300, 200, (0.25, 0.5))
TURNED = (200, 300, (0.5, 0.25))


@pytest.mark.parametrize(
    ("wrappers", "expected"),
    [
        ((), SAME),
        ((TURN,), TURNED),
        (({"builderType": "rotated", "rotation": "ROTATE_270"},), TURNED),
        (({"builderType": "rotated", "rotation": "ROTATE_180"},), SAME),
        (({"builderType": "rotated", "rotation": "ROTATE_NONE"},), SAME),
        ((TURN, TURN), SAME),
        ((CROP,), (70, 80, (0.25, 0.5))),
        ((TURN, CROP), (80, 70, (0.5, 0.25))),
        ((CROP, TURN), (70, 80, (0.5, 0.25))),
        ((TURN, CROP, TURN), (80, 70, (0.25, 0.5))),
        (({"builderType": "flipped", "flip": "HORIZONTAL"}, TURN), TURNED),
        (({"builderType": "pyramidize"}, TURN), TURNED),
        (({"builderType": "color_deconvolved"}, TURN), TURNED),
        (({"builderType": "channels", "channels": []},), SAME),
        # What is stored outermost counts; QuPath keeps a calibration by hand there.
        (({**TURN, "metadata": metadata(200, 300, 0.4, 0.3)},), (200, 300, (0.4, 0.3))),
        ((TURN, {**CROP, "metadata": metadata(70, 80, 0.4, 0.3)}), (80, 70, (0.3, 0.4))),
        (({**TURN, "metadata": None},), TURNED),
        # What isn't known is not guessed.
        (({"builderType": "affine", "transform": {}},), (None, None, None)),
        (({"builderType": "rotated", "rotation": None},), (None, None, None)),
        (({"builderType": "rotated", "rotation": ["ROTATE_90"]},), (None, None, None)),
        (({"builderType": "cropped", "region": None},), (None, None, (0.25, 0.5))),
        (({"builderType": "novel"},), (None, None, None)),
        (({"builderType": ["novel"]},), (None, None, None)),
        (({"builderType": "novel", "metadata": metadata(9, 8)},), (9, 8, (0.25, 0.5))),
    ],
)
def test_size_and_calibration(wrappers: tuple[dict[str, Any], ...], expected: object) -> None:
    server = parse_server(nested(*wrappers))
    assert (server.width, server.height, server.mpp) == expected
    assert server.uri == "file:/a.svs"
    assert server.wrappers == tuple(str(w["builderType"]) for w in wrappers)


@pytest.mark.parametrize(
    ("builder", "wrappers"),
    [
        ({}, ()),
        ({"builderType": "z_concatenated", "builders": [FILE, FILE]}, ("z_concatenated",)),
        ({"builderType": "sparse", "regions": [], "path": "x"}, ("sparse",)),
        ({"builderType": "rotated", "builder": None}, ("rotated",)),
        ({"builderType": "rotated", "builder": [FILE]}, ("rotated",)),
        ({"builderType": "rotated", "builder": {}}, ("rotated",)),
        ({"builderType": None}, ("None",)),
        ({**FILE, "uri": None}, ()),
        ({**FILE, "uri": 5}, ()),
    ],
)
def test_servers_without_a_file(builder: dict[str, Any], wrappers: tuple[str, ...]) -> None:
    server = parse_server(builder)
    assert (server.uri, server.wrappers) == (None, wrappers)


def test_a_file_server_of_another_kind_is_no_plain_one() -> None:
    server = parse_server({**FILE, "builderType": "uri_of_the_future"})
    assert server.wrappers == ("uri_of_the_future",)


@pytest.mark.parametrize(
    "odd",
    [None, 5, "text", [], {}, True, float("nan"), float("inf"), -1, 0, 10**400, [5], {"a": 1}],
)
def test_odd_values(odd: Any) -> None:
    """Nothing in a builder makes a project unreadable."""
    for key in (*FILE, "builder", "providerClassName"):
        parse_server({**FILE, key: odd})
        parse_server(nested(TURN, inner={**FILE, key: odd}))
    for key in ("width", "height", "pixelCalibration"):
        parse_server({**FILE, "metadata": {**metadata(3, 4), key: odd}})
    for key in ("value", "unit"):
        sides = calibration(1, 1)
        sides["pixelWidth"][key] = odd
        server = parse_server({**FILE, "metadata": {"pixelCalibration": sides}})
        assert server.mpp is None or odd in (5, True)
    for wrapper, key in ((TURN, "rotation"), (CROP, "region")):
        parse_server(nested({**wrapper, key: odd}))
    for key in ("x", "y", "width", "height"):
        region = {**CROP["region"], key: odd}  # type: ignore[dict-item]
        parse_server(nested({**CROP, "region": region}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["builder", "builderType", "uri", "metadata", "region", "args"]),
                inner,
            )
        ),
    )
)
def test_any_builder(builder: Any) -> None:
    if isinstance(builder, dict):
        assert parse_server(builder).builder is builder


class TestHostileProjects:
    """What nobody would write, but a person may be given."""

    def with_image(self, project: Path, **changes: Any) -> None:
        document = json.loads(project.read_text("utf-8"))
        document["images"][0] |= changes
        project.write_text(json.dumps(document), "utf-8")

    @pytest.mark.parametrize(
        "number",
        [
            "../../x",
            "..",
            "/",
            "1/../../x",
            "-1",
            -1,
            2**63,
            10**300,
            1e300,
            7.5,
            "７",
            "",
            " 1",
            {},
        ],
    )
    def test_folder_of_an_image_stays_in_the_project(self, fresh: Path, number: Any) -> None:
        self.with_image(fresh, entryID=number)
        with pytest.raises(FormatError, match=r"project\.qpproj: .*entryID is no number"):
            open_project(fresh, "embedded")

    @pytest.mark.parametrize(
        ("number", "folder"), [("007", "7"), (7.0, "7"), (2**63 - 1, str(2**63 - 1))]
    )
    def test_numbers_that_java_reads_alike(self, fresh: Path, number: Any, folder: str) -> None:
        self.with_image(fresh, entryID=number)
        (entry,) = open_project(fresh, "embedded").images
        assert entry.id == folder

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ('{"images": {"a": 1}}', "no list of images"),
            ('{"images": [null]}', "no list of images"),
            ('{"images": [[]]}', "no list of images"),
            ('{"createTimestamp": 1, "x": ' + "[" * 100_000, "not JSON that makes sense"),
            ('{"x": ' * 100_000, "not JSON that makes sense"),
            ('{"createTimestamp": 1, "x": ' + "[" * 250 + "]" * 250 + "}", "over 200 levels"),
            ('{"createTimestamp": 1, "x": "' + "x" * 11_000_000 + '"}', "11,000,000 characters"),
            ('{"createTimestamp": 1, "' + "x" * 11_000_000 + '": 1}', "11,000,000 characters"),
            ('{"createTimestamp": ' + "1" * 5000 + "}", "not JSON that makes sense"),
        ],
        ids=range(9),
    )
    def test_absurd_files(self, fresh: Path, text: str, error: str) -> None:
        fresh.write_text(text)
        with pytest.raises(FormatError, match=r"project\.qpproj: .*" + error):
            open_project(fresh, "embedded")

    @pytest.mark.parametrize(
        "changes",
        [
            {"serverBuilder": None},
            {"serverBuilder": []},
            {"serverBuilder": {"builderType": "novel"}},
            {"serverBuilder": {"builderType": "uri", "uri": "file:/" + "x" * 5000}},
            {"serverBuilder": {"builderType": "uri", "uri": "file:/a\0b"}},
            {"serverBuilder": {"builderType": "uri", "uri": "file:/\ud800"}},
            {"serverBuilder": {"builderType": "uri", "uri": "https://host/a.svs"}},
            {"serverBuilder": {"builderType": "uri", "uri": "gs://bucket/a.svs"}},
            {"serverBuilder": {"builderType": "uri", "uri": "//"}},
            {"imageName": {"a": [1]}, "description": [], "metadata": [], "tags": {}},
        ],
    )
    def test_odd_images_keep_nobody_from_the_objects(
        self, fresh: Path, changes: dict[str, Any]
    ) -> None:
        self.with_image(fresh, **changes)
        project = open_project(fresh, "embedded")
        (entry,) = project.images
        assert len(entry.read().objects) == 0
        if "serverBuilder" in changes:
            with pytest.raises(SlideError):
                entry.image_path()
        project.relocate()

    def test_data_behind_a_link(self, fresh: Path) -> None:
        """It is read; but whose the folder is that a link leads to, nobody knows."""
        (entry,) = open_project(fresh, "embedded").images
        entry.apply(Edit(add=discs(2)))
        disk = fresh.parent.parent / "disk"
        data = (fresh.parent / "data/1").rename(disk)
        link = fresh.parent / "data/1"
        link.symlink_to(data)
        before = digests(disk)
        (entry,) = open_project(fresh, "embedded").images
        with pytest.raises(ProjectError, match=r"data/1: a link to .*disk; what qpbridge writes"):
            entry.apply(Edit(add=discs(3)))
        assert link.is_symlink()
        assert digests(disk) == before
        assert len(open_project(fresh, "embedded").images[0].read().objects) == 2

    def test_two_images_of_one_id_are_read_only(self, fresh: Path) -> None:
        """They have one file of objects between them, and it is not known whose these are."""
        document = json.loads(fresh.read_text("utf-8"))
        document["images"].append(document["images"][0] | {"imageName": "twin"})
        fresh.write_text(json.dumps(document), "utf-8")
        for entry in open_project(fresh, "embedded").images:
            assert len(entry.read().objects) == 0
            with pytest.raises(ProjectError, match=r"2 images have the entry id 1.*'twin'.*remove"):
                entry.apply(Edit(add=discs(1)))
        assert not (fresh.parent / "data/1/data.qpdata").exists()
