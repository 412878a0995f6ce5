"""The nuclei target: a bundle's network and decoder, bound to a device and a tile plan."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import shapely
import torch

from qpbridge.decode.nuclei import decode_nuclei
from qpbridge.decode.polygons import instances_to_polygons, round_rings
from qpbridge.engine.merge import Found
from qpbridge.engine.plan import TilePlan
from qpbridge.engine.provenance import storable
from qpbridge.engine.run import MERGE_MARGIN, Maps, Pixels, core_depth
from qpbridge.errors import ModelError
from qpbridge.measure.color import deconvolve
from qpbridge.measure.intensity import intensity_measurements
from qpbridge.measure.shape import shape_measurements
from qpbridge.models.bundle import Bundle
from qpbridge.objects import Shapes
from qpbridge.project.model import Stains

PROBABILITY = "Detection probability"


def choose_device(name: str) -> torch.device:
    """Turn the user's word for a device into one.

    Raises
    ------
    ModelError
        If it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"--device {name}: not available here; use 'cpu' or 'auto'") from error
    return device
