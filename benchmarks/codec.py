"""How fast data.qpdata is written and read: ``python benchmarks/codec.py [--objects N]``.

Polygons of 20 points (or 12 to 40 with --varied) with 10 measurements, as a segmentation makes
them; prints one JSON document. Times are the best of --repeat, in seconds; memory in MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes, offsets
from qpbridge.project.embedded.java_stream import parse
from qpbridge.project.embedded.qpdata import apply_edit, read_image_data
from qpbridge.project.model import Edit

T = TypeVar("T")


def polygons(n: int, varied: bool) -> Shapes:
    generator = np.random.default_rng(0)
    vertices = generator.integers(12, 41, n) if varied else np.full(n, 20)
    rings = offsets(vertices + 1)
    owner = np.repeat(np.arange(n), vertices + 1)
    angle = 2 * np.pi * (np.arange(rings[-1]) - rings[owner]) / vertices[owner]
    center = generator.uniform(0, 50_000, (n, 2))
    xy = center[owner] + 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Shapes.from_rings(xy, rings)


def best(repeat: int, call: Callable[[], T]) -> tuple[float, float, T]:
    """Wall and processor time of the fastest call, and its result."""
    times = []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(times)
    return round(wall, 3), round(cpu, 3), result


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=50_000)
    arguments.add_argument("--varied", action="store_true", help="12 to 40 points, not 20")
    arguments.add_argument("--repeat", type=int, default=5)
    given = arguments.parse_args()
    n = given.objects
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        polygons(n, given.varied),
        path_class=PathClass(("Tumor",), (200, 0, 0)),
        measurement_names=[f"Measurement {i}" for i in range(10)],
        measurements=np.random.default_rng(1).random((n, 10)),
    )
    before = peak_mb()
    report: dict[str, object] = {"objects": n, "varied": given.varied}
    *times, data = best(given.repeat, lambda: apply_edit(None, Edit(add=table)))
    timings = {"write": times}
    for name, call in {
        "parse": lambda: parse(data),
        "read": lambda: read_image_data(data),
        "remove": lambda: apply_edit(data, Edit(remove=table.ids)),
        "replace": lambda: apply_edit(data, Edit(remove=table.ids, add=table)),
    }.items():
        wall, cpu, _ = best(given.repeat, call)
        timings[name] = [wall, cpu]
    for name, (wall, cpu) in timings.items():
        report[name] = {"wall_s": wall, "cpu_s": cpu}
    report["peak_mb"] = peak_mb()
    report["file_mb"] = round(len(data) / 1e6, 1)
    report["peak_mb_before"] = before
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
