"""How fast nuclei grow into cells: ``python benchmarks/cells.py [--objects N] [--expansion µm]``.

Ellipses of 24 vertices, 11 µm apart on average at 0.25 µm per pixel, as in dense tissue; prints one
JSON document. Times are of one core, in seconds, the best of --repeat.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import shapely

from qpbridge.measurements.expansion import expand_nuclei
from qpbridge.objects import GeometryArray


def dense(n: int) -> GeometryArray:
    generator = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    grid = np.stack(np.divmod(np.arange(n), side), axis=1) * 44.0
    center = grid + generator.uniform(-6, 6, (n, 2))
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    longer = generator.uniform(12, 17, (n, 1))
    x, y = longer * np.cos(turn), longer * generator.uniform(0.6, 1, (n, 1)) * np.sin(turn)
    angle = generator.uniform(0, np.pi, (n, 1))
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(
        shapely.polygons(np.stack([c * x - s * y, s * x + c * y], 2) + center[:, None])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--expansion", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    nuclei = dense(options.objects)
    times = []
    for _ in range(options.repeat):
        start = time.process_time()
        cells = expand_nuclei(nuclei, (0.25, 0.25), options.expansion)
        times.append(time.process_time() - start)
    found = {
        "objects": options.objects,
        "seconds": round(min(times), 3),
        "per_second": round(options.objects / min(times)),
        "vertices": round(float(shapely.get_num_coordinates(cells).mean()), 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
