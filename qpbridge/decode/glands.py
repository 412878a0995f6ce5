"""Maps of a gland network to single glands."""

from __future__ import annotations

import functools

from qpbridge.decode.profiles import decode_profiles

decode_glands = functools.partial(
    decode_profiles,
    threshold=0.5,
    core_threshold=0.3,
    opening_um=3.0,
    closing_um=3.0,
    min_core_um2=150.0,
    min_area_um2=600.0,
    min_probability=0.6,
    min_lumen_um2=100.0,
)
"""Find glands in maps of foreground, contour and lumen, float32 (3, H, W).

Large profiles: small gaps in the epithelium are closed, whatever is enclosed belongs to the gland,
and its lumina are holes. For the parameters see `qpbridge.decode.profiles.decode_profiles`.
"""
