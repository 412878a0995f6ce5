"""Maps of a network for vessels in sections to single profiles."""

from __future__ import annotations

import functools

from qpbridge.decode.profiles import decode_profiles

decode_vessels = functools.partial(
    decode_profiles,
    threshold=0.5,
    core_threshold=0.2,
    opening_um=1.0,
    closing_um=1.0,
    min_core_um2=10.0,
    min_area_um2=25.0,
    min_probability=0.6,
    min_lumen_um2=10.0,
)
"""Find vessels in maps of foreground, contour and lumen, float32 (3, H, W).

Profiles from capillaries on; collapsed ones have no lumen. For the parameters see
`qpbridge.decode.profiles.decode_profiles`.
"""
