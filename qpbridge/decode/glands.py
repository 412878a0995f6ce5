"""Maps of a gland network to single glands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qpbridge.decode.instances import Instances
from qpbridge.decode.profiles import decode_profiles


def decode_glands(
    maps: npt.NDArray[np.float32],
    *,
    mpp: float,
    threshold: float = 0.5,
    core_threshold: float = 0.3,
    opening_um: float = 3.0,
    closing_um: float = 3.0,
    min_core_um2: float = 150.0,
    min_area_um2: float = 600.0,
    min_probability: float = 0.6,
    min_lumen_um2: float = 100.0,
) -> Instances:
    """Find glands in maps of foreground, contour and lumen, float32 (3, H, W).

    Large profiles: small gaps in the epithelium are closed, whatever is enclosed belongs to the
    gland, and its lumina are holes. For the parameters see
    `qpbridge.decode.profiles.decode_profiles`.
    """
    return decode_profiles(
        maps,
        mpp=mpp,
        threshold=threshold,
        core_threshold=core_threshold,
        opening_um=opening_um,
        closing_um=closing_um,
        min_core_um2=min_core_um2,
        min_area_um2=min_area_um2,
        min_probability=min_probability,
        min_lumen_um2=min_lumen_um2,
    )
