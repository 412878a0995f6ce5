"""Slides: files in, calibrated RGB pixels out."""

from qpbridge.slides.calibration import downsample_for, pixel_size
from qpbridge.slides.geometry import open_server
from qpbridge.slides.slide import Level, Slide, open_slide

__all__ = ["Level", "Slide", "downsample_for", "open_server", "open_slide", "pixel_size"]
