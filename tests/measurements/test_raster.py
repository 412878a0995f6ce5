"""Which pixels Java 2D fills, against Java itself.

`java_fills.json` has polygons, some with a hole, and what Java 17 filled of each: `Path2D.Float`,
even-odd, `Graphics2D.translate(-x, -y)` and `fill` with its usual hints, in a `TYPE_BYTE_GRAY`
picture of the window's size; as QuPath's `BufferedImageTools.createShapeMask` does.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from qpbridge.measurements.raster import covered_pixels, filled_pixels
from qpbridge.objects import Shapes, concatenate_shapes

SIZE = (60, 64)


@pytest.fixture(scope="module")
def filled() -> tuple[Shapes, np.ndarray]:
    """Polygons, and bool (n, height, width) what Java filled of each."""
    cases = json.loads(Path(__file__).with_name("java_fills.json").read_text())
    polygons = [shapely.Polygon(case["rings"][0], case["rings"][1:]) for case in cases]
    masks = np.zeros((len(cases), *SIZE), bool)
    for mask, case in zip(masks, cases, strict=True):
        x, y, width, height = case["window"]
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(case["mask"]), np.uint8))
        mask[y : y + height, x : x + width] = bits[: width * height].reshape(height, width)
    single = shapely.transform(polygons, lambda xy: xy.astype(np.float32).astype(np.float64))
    return Shapes.from_geometries(single), masks


def drawn(owner: np.ndarray, pixel: np.ndarray, n: int, size: tuple[int, int]) -> np.ndarray:
    out = np.zeros((n, size[0] * size[1]), bool)
    out[owner, pixel] = True
    return out.reshape(n, *size)


def test_fills_are_javas(filled) -> None:
    shapes, masks = filled
    found = drawn(*filled_pixels(shapes, SIZE), len(shapes), SIZE)
    np.testing.assert_array_equal(found, masks)
    centres = drawn(*covered_pixels(shapes, SIZE), len(shapes), SIZE)
    assert (centres != masks).sum() > masks.sum() / 10  # the rule for intensities is another


def test_a_fill_does_not_depend_on_the_window(filled) -> None:
    shapes, masks = filled
    for x, y, size in ((20, 18, (25, 22)), (-7, -3, (70, 80)), (31, 0, (60, 9))):
        found = drawn(*filled_pixels(shapes, size, (x, y)), len(shapes), size)
        wide = np.pad(masks, ((0, 0), (100, 100), (100, 100)))
        expected = wide[:, 100 + y : 100 + y + size[0], 100 + x : 100 + x + size[1]]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("downsample", [0.7, 1.0, 2.0, 2.37])
@pytest.mark.parametrize("origin", [(0, 0), (5.5, 7.25), (-3.3, 2), (12, 9)])
def test_corners_decide_on_any_grid(filled, downsample, origin) -> None:
    shapes, _ = filled
    size = (22, 27)
    found = drawn(*filled_pixels(shapes, size, origin, downsample), len(shapes), size)
    row, column = np.indices(size).reshape(2, -1)
    corners = shapely.points((np.column_stack([column, row]) + origin) * downsample)
    for mask, geometry in zip(found, shapes.geometries, strict=True):
        clear = shapely.distance(geometry.boundary, corners) > 0.05 * downsample
        inside = shapely.contains(geometry, corners)
        np.testing.assert_array_equal(mask.ravel()[clear], inside[clear])


def test_corners_decide_at_any_resolution() -> None:
    boxes = Shapes.from_geometries([shapely.box(4, 4, 12, 10), shapely.box(3.9, 4.1, 11.9, 10.1)])
    found = drawn(*filled_pixels(boxes, (8, 8), downsample=2), 2, (8, 8))
    assert np.argwhere(found[0]).tolist() == [[y, x] for y in (2, 3, 4) for x in (2, 3, 4, 5)]
    assert np.argwhere(found[1]).tolist() == [[y, x] for y in (3, 4, 5) for x in (2, 3, 4, 5)]
    for n in (0, 3):
        nothing = filled_pixels(Shapes.empty(n), (8, 8))
        assert [len(part) for part in nothing] == [0, 0]
    mixed = concatenate_shapes([Shapes.empty(1), boxes, Shapes.empty(1)])
    owner, pixel = filled_pixels(mixed, (8, 8), downsample=2)
    np.testing.assert_array_equal(drawn(owner - 1, pixel, 2, (8, 8)), found)
