"""Pixel sizes as others write them."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from qpbridge.slides import open_slide

PIXELS = np.full((64, 64, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Aperio Image Library v10\r\n64x64 (64x64) JPEG|AppMag = 20|MPP = 0.4990", 0.499),
        ("Aperio Image Library v10\r\n64x64 (64x64) JPEG|AppMag = 20|MPP = 0,5", 0.5),
        ("scanner of nobody|MPP=0.25|broken", 0.25),
        ("scanner of nobody|MPP = none", None),
        ("Aperio Image Library v10\r\n64x64 (64x64) JPEG|AppMag = 20|MPP = 0", None),
    ],
)
def test_mpp_in_descriptions(tmp_path, description, expected):
    path = tmp_path / "a.svs"
    tifffile.imwrite(
        path, PIXELS, tile=(64, 64), description=description, metadata=None, photometric="rgb",
        resolutionunit="NONE",
    )  # fmt: skip
    with open_slide(path) as slide:
        assert slide.mpp == (None if expected is None else pytest.approx((expected, expected)))


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("micron", 0.5),
        ("um", 0.5),
        ("\\u00B5m", 0.5),
        ("mm", 500),
        ("inch", 12_700),
        ("pixel", None),
    ],
)
def test_units_of_imagej(tmp_path, unit, expected):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(2, 2), metadata={"unit": unit})
    with open_slide(path) as slide:
        assert slide.mpp == (None if expected is None else pytest.approx((expected, expected)))
        assert bool(slide.mpp_from) == (expected is not None)


@pytest.mark.parametrize(
    ("unit", "size", "expected"),
    [("Å", 5000, 0.5), ("in", 1e-5, 0.254), ("nm", 250, 0.25), ("parsec", 1, None)],
)
def test_units_of_ome(tmp_path, unit, size, expected):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit,
                "PhysicalSizeY": size, "PhysicalSizeYUnit": unit}  # fmt: skip
    tifffile.imwrite(path, PIXELS, photometric="rgb", metadata=metadata)
    with open_slide(path) as slide:
        assert slide.mpp == (None if expected is None else pytest.approx((expected, expected)))
