"""How fast GeoJSON is written, read and imported: ``benchmarks/geojson.py [--objects N]``.

Polygons of 20 points with 10 measurements, as a segmentation makes them; they are imported into an
image that has 3,000 annotations. Every step runs in a
process of its own, so that its peak memory is its own; prints one JSON document, seconds and MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
from codec import polygons

from qpbridge.engine.importing import plan_import
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.geojson.read import salvage_geojson
from qpbridge.project.geojson.write import read_geojson, write_geojson
from qpbridge.project.interface import Edit, WorkflowStep

NAMES = {"plain": "objects.geojson", "gz": "objects.geojson.gz", "zip": "objects.zip"}


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def nuclei(n: int) -> ObjectTable:
    return ObjectTable.new(
        ObjectKind.DETECTION,
        polygons(n, varied=False),
        path_class=PathClass(("Tumor",), (200, 0, 0)),
        measurement_names=[f"Measurement {i}" for i in range(10)],
        measurements=np.random.default_rng(1).random((n, 10)),
    )


def annotations() -> ObjectTable:
    """Draw thousands of discs, nested and overlapping."""
    generator = np.random.default_rng(0)
    centers = shapely.points(generator.uniform(0, 50_000, (3_000, 2)))
    discs = shapely.buffer(centers, generator.uniform(50, 2_000, 3_000), quad_segs=32)
    return ObjectTable.new(ObjectKind.ANNOTATION, Shapes.from_geometries(discs))


def import_into(data: bytes, path: Path) -> bytes:
    """Do all of an import but reading and writing the data file."""
    existing = read_image_data(data).objects
    edit, _ = plan_import(existing, salvage_geojson(path).objects, WorkflowStep("import", "//"))
    assert edit is not None
    return apply_edit(data, edit)


def measured(call: Callable[[], object]) -> dict[str, float]:
    """Time a call, and see what it adds to the memory in use before."""
    before = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {
        "wall_s": round(time.perf_counter() - wall, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        "peak_mb": peak_mb(),
        "peak_mb_before": before,
    }


def step(name: str, n: int, folder: Path) -> dict[str, float]:
    action, _, packing = name.partition(" ")
    path = folder / NAMES[packing]
    if action == "read":
        return measured(lambda: read_geojson(path))
    if action == "import":
        drawn = apply_edit(None, Edit(add=annotations()))
        return measured(lambda: import_into(drawn, path))
    table = nuclei(n)
    result = measured(lambda: write_geojson(table, path))
    return result | {"file_mb": round(path.stat().st_size / 1e6, 1)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=100_000)
    arguments.add_argument("--packings", nargs="+", choices=NAMES, default=["plain", "gz"])
    arguments.add_argument("--step", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.step:
        print(json.dumps(step(given.step[0], given.objects, Path(given.step[1]))))
        return
    report: dict[str, object] = {"objects": given.objects}
    with tempfile.TemporaryDirectory() as folder:
        for packing in given.packings:
            for action in ("write", "read", "import"):
                name = f"{action} {packing}"
                command = [sys.executable, __file__, "--objects", str(given.objects)]
                done = subprocess.run(
                    [*command, "--step", name, folder], check=True, capture_output=True
                )
                report[name] = json.loads(done.stdout)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
