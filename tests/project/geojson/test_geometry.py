"""Outlines that lie: read, repaired, or left out, soon and in little memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from project.geojson import fuzz_geometry


def test_mutants_are_used_or_refused(tmp_path: Path) -> None:
    readable, troubles = fuzz_geometry.fuzz(tmp_path, first=0, count=60)
    assert not troubles, "\n".join(map(str, troubles))
    assert readable > 40


@pytest.mark.slow
def test_many_mutants_are_used_or_refused(tmp_path: Path) -> None:
    _, troubles = fuzz_geometry.fuzz(tmp_path, first=1000, count=3000)
    assert not troubles, "\n".join(map(str, troubles))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_reading_of_many_tangled_outlines_can_be_stopped(tmp_path: Path, number: int) -> None:
    rings = np.random.default_rng(0).random((3000, 60, 2)) * 1000
    path = tmp_path / "a.geojson"
    outlines = [{"type": "Polygon", "coordinates": [[*r, r[0]]]} for r in rings.round(2).tolist()]
    path.write_text(json.dumps([{"type": "Feature", "geometry": g} for g in outlines]))
    code = (
        "import signal, sys\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"  # a shell may have them ignored
        "    signal.signal(number, signal.default_int_handler)\n"
        "from qpbridge.project.geojson.read import salvage_geojson\n"
        "print('begun', flush=True)\n"
        "while True: salvage_geojson(sys.argv[1])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        time.sleep(2)
        process.send_signal(number)
        try:
            assert process.wait(20) != 0
        finally:
            process.kill()
