"""Which of a network's maps is the foreground."""

import numpy as np
import pytest

from qpbridge.decode.decoders import DECODERS, decode, foreground

MAPS = {"nuclei": 4, "glands": 3, "vessels": 3, "lines": 1, "hover": 5, "semantic": 1}


@pytest.mark.parametrize(("name", "count"), [*MAPS.items(), ("semantic", 3), ("semantic", 2)])
def test_it_is_what_the_decoder_takes(name, count):
    assert MAPS.keys() == DECODERS.keys()
    maps = np.random.default_rng(0).random((count, 40, 30), np.float32)
    assert (foreground(name, maps) == decode(name, maps, mpp=0.5).level).all()
