"""A model that does not fit an image: wrong scale, unknown scale, another stain."""

from __future__ import annotations

import numpy as np
import pytest
from cli_helpers import nuclei_of, objects_of
from PIL import Image
from slide_factory import make_slide

from qpbridge import ImageType, open_project
from qpbridge.engine.segmenting import fit
from qpbridge.objects import Shapes
from qpbridge.prediction.scale import ScaleEstimate


@pytest.fixture
def estimates(monkeypatch):
    """Let the pixels tell 0.5 µm, within 0.4 and 0.6, whatever they are."""
    calls = []

    def estimate(slide, area, network):
        calls.append(area.bounds)
        return ScaleEstimate(0.5, 0.4, 0.6, 100)

    monkeypatch.setattr(fit, "estimate_scale", estimate)
    return calls


def make(tmp_path, qpbridge, mpp, *options):
    slide = make_slide(tmp_path / f"{mpp}.tif", width=400, height=300, mpp=mpp)
    path = tmp_path / f"p{mpp}" / "p.qpproj"
    qpbridge("create", path, slide.path, "--annotate-full", *options)
    return path


def test_an_unknown_pixel_size_is_estimated(tmp_path, qpbridge, estimates):
    path = make(tmp_path, qpbridge, None)
    for options in ((), ("--dry-run",), ("--target", "glands")):
        (report,) = qpbridge.json("segment", path, *options, code=3)["images"]
        assert report["estimated_mpp"] == [0.5, 0.4, 0.6]
        assert "a pixel has about 0.5 µm (0.4 to 0.6)" in report["message"]
        assert "0.25 at 40x" not in report["message"]
    assert estimates == 3 * [(0, 0, 400, 300)]
    assert not nuclei_of(path)


def test_an_image_that_is_far_too_coarse_is_refused(tmp_path, qpbridge, estimates):
    path = make(tmp_path, qpbridge, 1.6)
    for options in ((), ("--dry-run",)):
        (report,) = qpbridge.json("segment", path, *options, code=3)["images"]
        assert "nuclei_he works at 0.5 µm/px" in report["message"]
        assert report["estimated_mpp"] == [0.5, 0.4, 0.6]
    assert not nuclei_of(path)
    qpbridge("segment", path, "--force")
    qpbridge("segment", path, "--mpp", 0.5)
    assert nuclei_of(path)


def test_nuclei_far_too_large_stop_a_run_before_anything_is_replaced(tmp_path, qpbridge, estimates):
    path = make(tmp_path, qpbridge, 0.5)
    qpbridge("segment", path)
    before = objects_of(path)
    assert not estimates
    (report,) = qpbridge.json("segment", path, "--mpp", 1.0, code=3)["images"]
    assert "µm² are usual" in report["message"] and "--force" in report["message"]
    assert report["estimated_mpp"] == [0.5, 0.4, 0.6]
    np.testing.assert_array_equal(objects_of(path).ids, before.ids)
    (forced,) = qpbridge.json("segment", path, "--mpp", 1.0, "--force")["images"]
    assert forced["found"] > 0


def squares(side, n=30):
    boxes = [[(0, 0), (side, 0), (side, side), (0, side), (0, 0)]] * n
    return Shapes.from_rings(
        np.array(boxes, float).reshape(-1, 2), np.arange(0, 5 * n + 1, 5, dtype=np.int64)
    )


@pytest.mark.parametrize(
    ("side", "told", "ends"),
    [
        (9.4, None, "fits"),  # 22 µm² at 0.5 µm/px
        (20, 0.5, "fits"),  # large nuclei, and the scale is right all the same
        (20, 0.3, "doubtful"),
        (20, 0.2, "wrong"),
        (4, 1.1, "wrong"),
        (20, "few", "fits"),
    ],
)
def test_unusual_sizes_are_looked_into(side, told, ends):
    asked = []

    def estimate():
        asked.append(1)
        if told == "few":
            return ScaleEstimate(0.1, 0.05, 0.2, 4)
        return ScaleEstimate(told, told, told, 90)

    check = fit.SizeCheck("a", (0.5, 0.5), 22.0, estimate)
    check.see(squares(side, 10))
    assert check.wants_more
    check.finish()
    assert not asked
    check.see(squares(side, 30))
    if ends == "wrong":
        with pytest.raises(fit.ScaleError, match=f"about {told:g} µm"):
            check.finish()
    else:
        check.finish()
        assert bool(check.warnings) == (ends == "doubtful")
    assert len(asked) == (told is not None)


@pytest.mark.parametrize(
    ("mpp", "told", "ends"),
    [
        (0.06, ScaleEstimate(0.25, 0.17, 0.37, 90), "wrong"),  # shown at a quarter: nothing found
        (1.0, ScaleEstimate(0.25, 0.17, 0.37, 90), "wrong"),
        (1.0, ScaleEstimate(0.45, 0.2, 1.01, 90), "fits"),  # its bounds leave room
        (0.1, ScaleEstimate(1.8, 1.3, 2.6, 88), "fits"),  # grain, not nuclei: muscle at 0.16 µm
        (0.1, ScaleEstimate(0.25, 0.17, 0.37, 19), "fits"),
        (0.1, None, "fits"),
        (0.16, ScaleEstimate(0.5, 0.3, 0.7, 90), "fits"),  # so slides are scanned: not asked
    ],
)
def test_unusual_scales_are_asked_for_whatever_is_found(mpp, told, ends):
    check = fit.SizeCheck("a", (mpp, mpp), 22.0, lambda: told)
    if ends == "wrong":
        with pytest.raises(fit.ScaleError, match="only 0 nuclei were found"):
            check.finish()
    else:
        check.finish()
        assert not check.warnings


@pytest.mark.parametrize(
    ("factor", "ends"), [(1.9, "doubtful"), (1 / 1.7, "doubtful"), (2, "wrong")]
)
def test_small_or_large_nuclei_at_the_right_scale_stop_nothing(factor, ends):
    told = ScaleEstimate(0.25 * factor, 0.2 * factor, 0.35 * factor, 300)
    check = fit.SizeCheck("a", (0.25, 0.25), 22.0, lambda: told)
    if ends == "wrong":
        with pytest.raises(fit.ScaleError):
            check.see(squares(8, 400))
    else:
        check.see(squares(8, 400))
        assert check.warnings


def test_a_model_for_other_stains_stops_later(tmp_path, qpbridge, estimates):
    path = make(tmp_path, qpbridge, 0.5)
    options = ("segment", path, "--mpp", 1.0, "--image-type")
    (report,) = qpbridge.json(*options, "h-dab")["images"]
    assert report["found"] and any("by their size" in text for text in report["warnings"])
    (report,) = qpbridge.json(*options, "h&e", code=3)["images"]
    assert report["status"] == "failed"


def test_the_type_of_an_image_comes_from_its_pixels(tmp_path, qpbridge):
    path = make(tmp_path, qpbridge, 0.5)
    (report,) = qpbridge.json("segment", path)["images"]
    assert (report["image_type"], report["image_type_from"]) == ("BRIGHTFIELD_H_E", "pixels")
    assert report["warnings"] == []
    assert open_project(path)[0].read().image_type is ImageType.BRIGHTFIELD_H_E
    (report,) = qpbridge.json("segment", path)["images"]
    assert report["image_type_from"] == "project"


def test_what_is_in_doubt_is_not_written(tmp_path, qpbridge):
    grey = np.random.default_rng(0).integers(150, 170, (200, 200, 1), np.uint8).repeat(3, axis=2)
    Image.fromarray(grey).save(tmp_path / "a.png")
    path = tmp_path / "p" / "p.qpproj"
    qpbridge("create", path, tmp_path / "a.png", "--annotate-full", "--mpp", 0.5)
    (report,) = qpbridge.json("segment", path)["images"]
    assert report["image_type_from"] == ""
    assert any("in doubt" in text for text in report["warnings"])
    assert open_project(path)[0].read().image_type is ImageType.UNSET


def test_a_model_for_other_stains_is_warned_of(tmp_path, qpbridge):
    path = make(tmp_path, qpbridge, 0.5)
    (report,) = qpbridge.json("segment", path, "--image-type", "h-dab")["images"]
    assert (
        "nuclei_he was made for Brightfield (H&E), and this image is Brightfield (H-DAB)"
        in (report["warnings"][0])
    )
    data = open_project(path)[0].read()
    assert data.image_type is ImageType.BRIGHTFIELD_H_DAB
    assert "DAB: Mean" in data.objects.measurement_names
    qpbridge("segment", path, "--model", "vessels_retina", "--dry-run")
    assert "vessels_retina was made for" in qpbridge.stderr
