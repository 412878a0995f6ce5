"""Saying what images are like: stored as QuPath does, refused where it would spoil numbers."""

from __future__ import annotations

import numpy as np
import pytest
from slide_factory import make_slide

import qpbridge
from qpbridge import Edit, ImageType, MeasurementUpdate, RequestError
from qpbridge.objects import MeasurementTable


@pytest.fixture
def project(tmp_path):
    one = make_slide(tmp_path / "one.tif", width=400, height=300, mpp=None)
    two = make_slide(tmp_path / "two.tif", width=400, height=300, mpp=0.5)
    return qpbridge.create_project(
        tmp_path / "p" / "p.qpproj", [one.path, two.path], annotate="full", note=lambda text: None
    )


def measure(entry, name):
    ids = entry.read().objects.ids
    table = MeasurementTable.of({name: np.full(len(ids), 3.0)})
    entry.apply(Edit(measure=[MeasurementUpdate(ids, table)]))


def test_a_pixel_size_is_stored_and_noted(project):
    reports = qpbridge.calibrate(project, mpp=0.25, images="one.tif")
    assert [str(report) for report in reports] == ["one.tif: 0.25 µm/px"]
    again = qpbridge.open_project(project.path)
    assert [entry.server.mpp for entry in again] == [(0.25, 0.25), (0.5, 0.5)]
    assert again[0].read().workflow[-1].script == "setPixelSizeMicrons(0.250000, 0.250000)"
    (run,) = qpbridge.history(again, images="one.tif")[0].runs
    assert (run.what, run.settings["pixelWidthMicrons"]) == ("Set pixel size µm", "0.25")
    assert run.when and "qpbridge version" in run.settings
    (report,) = qpbridge.calibrate(again, mpp=0.25, images="one.tif")
    assert report.status == "read"
    assert len(again[0].read().workflow) == len(project[0].read().workflow)


def test_a_size_is_not_changed_below_measurements_without_a_word(project):
    measure(project[1], "Area µm^2")
    measure(project[0], "Roundness")
    one, two = qpbridge.calibrate(project, mpp=0.25)
    assert (one.status, two.status) == ("written", "failed")
    assert "1 objects have measurements by 0.5 µm/px" in two.message
    assert "measure" in two.message
    assert qpbridge.open_project(project.path)[1].server.mpp == (0.5, 0.5)
    (forced,) = qpbridge.calibrate(project, mpp=0.25, images="two.tif", force=True)
    assert (forced.status, forced.outdated) == ("written", 1)
    assert qpbridge.open_project(project.path)[1].server.mpp == (0.25, 0.25)


def test_type_and_stains(project):
    reports = qpbridge.calibrate(project, image_type="estimate", stains=True)
    assert {report.image_type for report in reports} == {"Brightfield (H&E)"}
    data = project[0].read()
    assert data.image_type is ImageType.BRIGHTFIELD_H_E
    assert data.stains.name == "H&E estimated"
    found = list(reports[0].stains.values())
    np.testing.assert_allclose(found, data.stains.vectors)
    measure(project[0], "Hematoxylin: Mean")
    first, second = qpbridge.calibrate(project, image_type="H-DAB")
    assert (first.outdated, second.outdated) == (1, 0)
    data = project[0].read()
    assert data.image_type is ImageType.BRIGHTFIELD_H_DAB
    assert data.stains.name == "H-DAB default"


def test_what_is_set_is_noted_with_who_and_when_also_beside_a_doubt(project):
    failed, _ = qpbridge.calibrate(project, mpp=0.25, stains=True)
    assert failed.status == "failed"
    (run,) = qpbridge.history(project)[0].runs
    assert run.settings["pixelHeightMicrons"] == "0.25"
    qpbridge.calibrate(project, image_type="H-DAB", images="one.tif")
    run = qpbridge.history(project)[0].runs[-1]
    assert (run.what, run.settings["image type"]) == ("calibrate", "Brightfield (H-DAB)")
    assert run.when and run.command.startswith("qpbridge.calibrate(")


def test_what_makes_no_sense_is_refused(project):
    for wrong in ({}, {"mpp": 0}, {"image_type": "ki67"}, {"stains": 3}):
        with pytest.raises(RequestError):
            qpbridge.calibrate(project, **wrong)
    one, _ = qpbridge.calibrate(project, stains=True)
    assert "no image type yet" in one.message


def test_new_projects_say_it_too(tmp_path):
    slide = make_slide(tmp_path / "one.tif", width=400, height=300, mpp=0.5)
    made = qpbridge.create_project(
        tmp_path / "p" / "p.qpproj", slide.path, mpp=0.3, image_type="estimate"
    )
    assert made[0].server.mpp == (0.3, 0.3)
    assert made[0].read().image_type is ImageType.BRIGHTFIELD_H_E


def test_stains_of_annotations_that_no_image_has_are_refused(project):
    with pytest.raises(qpbridge.SelectionError, match="Tumor"):
        qpbridge.calibrate(project, image_type="H&E", stains=True, within="Tumor")
    assert not any(entry.read().stains for entry in project)
