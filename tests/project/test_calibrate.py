"""Pixel size, image type and stains are stored where QuPath stores them, and nothing else moves."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

from qpbridge import Edit, ImageType, ProjectError, Stains, open_project
from qpbridge.measurements.color import H_DAB, H_E

VERSIONS = ("v0.3.2", "v0.5.1", "v0.6.0")


@pytest.fixture(params=VERSIONS)
def golden(shared, tmp_path, request):
    source = shared / "qupath" / "golden" / request.param / "types" / "project"
    return shutil.copytree(source, tmp_path / "p", copy_function=shutil.copyfile)


def numbers_of(text):
    return re.sub(r'("value": ?)[\d.]+(,\s*"unit": ?)"[^"]*"', r"\1N\2U", text)


def test_a_pixel_size_changes_nothing_else_in_the_project(golden):
    path = next(golden.glob("*.qpproj"))
    before = path.read_text("utf-8")
    project = open_project(path, "embedded")
    one, other = project[0].id, project[1]
    project.set_pixel_size([one], 0.4321)
    again = open_project(path, "embedded")
    assert again[0].server.mpp == project[0].server.mpp == (0.4321, 0.4321)
    assert again[1].server.mpp == other.server.mpp
    after = path.read_text("utf-8")
    changed = [a for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert changed and all(re.search(r'"(value|unit)"', line) for line in changed)
    assert path.with_name(path.name + ".backup").read_text("utf-8") == before
    copy = golden / "data" / one / "server.json"
    if copy.exists():
        found = json.loads(copy.read_text("utf-8"))
        inner = found.get("builder", found)
        size = inner["metadata"]["pixelCalibration"]
        assert size["pixelWidth"] == size["pixelHeight"] == {"value": 0.4321, "unit": "µm"}


def test_of_a_wrapped_server_it_is_the_outermost_that_says_it(tmp_path, golden):
    path = next(golden.glob("*.qpproj"))
    document = json.loads(path.read_text("utf-8"))
    entry = document["images"][0]
    inner = entry["serverBuilder"]
    wrapper = {"builderType": "rotated", "rotation": "ROTATE_90", "builder": inner}
    for metadata in ({}, {"metadata": inner["metadata"]}):
        entry["serverBuilder"] = {**wrapper, **metadata}
        path.write_text(json.dumps(document), "utf-8")
        project = open_project(path, "embedded")
        project.set_pixel_size([project[0].id], 0.3)
        assert open_project(path, "embedded")[0].server.mpp == (0.3, 0.3)
        stored = json.loads(path.read_text("utf-8"))["images"][0]["serverBuilder"]
        inside = stored["builder"]["metadata"]["pixelCalibration"]["pixelWidth"]["value"]
        assert (inside == 0.3) == (not metadata)


def test_an_image_that_qupath_has_not_looked_at_is_refused(golden):
    path = next(golden.glob("*.qpproj"))
    document = json.loads(path.read_text("utf-8"))
    del document["images"][0]["serverBuilder"]["metadata"]
    path.write_text(json.dumps(document), "utf-8")
    before = path.read_bytes()
    project = open_project(path, "embedded")
    with pytest.raises(ProjectError, match="open it there once"):
        project.set_pixel_size([entry.id for entry in project], 0.3)
    assert path.read_bytes() == before


def entries(golden):
    return open_project(next(golden.glob("*.qpproj")), "embedded").images


def test_a_type_is_set_anew_only_where_that_is_wanted(golden):
    typed = [e for e in entries(golden) if e.read().image_type is not ImageType.UNSET]
    assert len({e.read().image_type for e in typed}) > 2
    for entry in typed:
        before = entry.read()
        for wanted in (ImageType.BRIGHTFIELD_H_DAB, ImageType.BRIGHTFIELD_H_E, ImageType.OTHER):
            entry.apply(Edit(image_type=wanted))
            assert entry.read().image_type is before.image_type
    for wanted, stains in (
        (ImageType.BRIGHTFIELD_H_DAB, H_DAB),
        (ImageType.BRIGHTFIELD_H_E, H_E),
        (ImageType.FLUORESCENCE, None),
    ):
        for entry in typed:
            before = entry.read()
            entry.apply(Edit(image_type=wanted, retype=True))
            after = entry.read()
            assert after.image_type is wanted
            if before.image_type is wanted:
                assert after.stains == before.stains
            elif stains is None:
                assert after.stains is None
            else:
                assert after.stains is not None
                assert after.stains.stain_names == stains.stain_names
                np.testing.assert_allclose(after.stains.vectors, stains.vectors)
            assert after.workflow == before.workflow
            np.testing.assert_array_equal(after.objects.ids, before.objects.ids)


def test_stains_are_stored_with_all_digits(golden):
    entry = next(e for e in entries(golden) if e.read().stains is not None)
    vectors = np.array([[0.7123456789012345, 0.6, 0.3], [1e-7, 0.4, 0.8]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stains = Stains(
        'a "b"', ("Hematoxylin", "DAB"), tuple(map(tuple, vectors)), (241.0, 240.5, 255.0)
    )
    entry.apply(Edit(stains=stains))
    found = entry.read().stains
    assert found is not None
    assert (found.stain_names, found.background) == (stains.stain_names, stains.background)
    np.testing.assert_allclose(found.vectors, vectors, rtol=1e-12)
