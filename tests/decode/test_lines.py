"""Vessels as lines: what is connected, how long and how wide."""

import numpy as np
import pytest
from skimage.draw import line

from qpbridge.decode.lines import centre_lines, decode_lines


def test_what_is_connected_is_one_object_and_specks_go():
    level = np.zeros((60, 80), np.float32)
    level[10:14] = 0.9
    level[10:50, 30:34] = 0.8
    level[50:52, 70:72] = 1.0
    found = decode_lines(level[None], mpp=1.0, min_area_um2=10)
    assert found.labels.max() == 1 and len(found.probability) == 1
    assert decode_lines(level[None], mpp=1.0, min_area_um2=1).labels.max() == 2
    assert found.probability[0] == pytest.approx(level[found.labels > 0].mean(), rel=1e-5)
    with pytest.raises(ValueError, match="One map"):
        decode_lines(np.zeros((2, 8, 8), np.float32), mpp=1.0)


@pytest.mark.parametrize(
    ("end", "width"), [((60, 10), 5), ((60, 60), 5), ((35, 60), 7), ((10, 90), 9)]
)
def test_length_and_width_of_a_straight_vessel(end, width):
    start = (10, 10)
    distance = np.full((100, 110), np.inf)
    rows, columns = np.indices(distance.shape)
    for row, column in zip(*line(*start, *end), strict=True):
        distance = np.minimum(distance, np.hypot(rows - row, columns - column))
    labels = (distance < width / 2).astype(np.int32) * 7
    length, wide = centre_lines(labels)
    on = length > 0
    expected = np.hypot(end[0] - start[0], end[1] - start[1])
    # the line may end up to half a width before the vessel, and a grid makes slopes longer
    assert expected - width <= length.sum() <= 1.1 * expected + width
    assert np.median(wide[on]) == pytest.approx(width, abs=1.5)
    assert not length[labels == 0].any()


def test_nothing():
    length, width = centre_lines(np.zeros((9, 9), int))
    assert not length.any() and not width.any()
