"""Which pixel size holds, and which are impossible."""

from __future__ import annotations

import pytest

from qpbridge.errors import PixelSizeError, RequestError
from qpbridge.slides.calibration import downsample_for, pixel_size

PROJECT, SLIDE = (0.25, 0.26), (0.5, 0.5)


def test_order_of_precedence() -> None:
    assert pixel_size("a", PROJECT, SLIDE, 0.3) == (0.3, 0.3)
    assert pixel_size("a", PROJECT, SLIDE) == PROJECT
    assert pixel_size("a", None, SLIDE) == SLIDE


def test_unknown() -> None:
    with pytest.raises(PixelSizeError, match=r"a\.svs: the pixel size is unknown; .*`mpp`"):
        pixel_size("a.svs", None, None)


@pytest.mark.parametrize("value", [0.009, 20.1, 264.6, 0.0, -1.0, float("nan")])
def test_absurd(value: float) -> None:
    with pytest.raises(PixelSizeError, match=r"a\.svs: the image file says .*`mpp`"):
        pixel_size("a.svs", None, (value, 0.5))
    with pytest.raises(PixelSizeError, match=r"a\.svs: the project says .*`mpp`"):
        pixel_size("a.svs", (0.5, value), SLIDE)
    with pytest.raises(RequestError, match=r"`mpp` .*: expected µm per pixel"):
        pixel_size("a.svs", PROJECT, SLIDE, value)


def test_the_user_overrides_what_is_absurd() -> None:
    assert pixel_size("a", (1e3, 1e3), None, 0.25) == (0.25, 0.25)


def test_downsample() -> None:
    assert downsample_for((0.25, 0.25), 0.5) == pytest.approx(2)
    assert downsample_for((0.25, 1.0), 0.5) == pytest.approx(1)
