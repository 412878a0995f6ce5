"""How fast ``qpbridge measure`` is: ``python benchmarks/measure.py [--nuclei N]``.

A project with one image of nuclei of 20 vertices at 8,000 per mm², with nineteen measurements as a
run writes them, ring-shaped glands, and two regions; measured from start to end, with reading,
writing, check and backup: first without options, then with distances, density, smoothing,
morphometry and all gradings. Each in a process of its own; prints one JSON document: seconds by the
clock and of processors, the peak of memory in MB, and megabytes of the file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import shapely
from PIL import Image
from spatial import DENSITY, MPP, glands, nuclei

from qpbridge.engine.measuring.job import measure_project
from qpbridge.engine.measuring.request import MeasureRequest, Surroundings
from qpbridge.hierarchy.provenance import mint_ids, storable
from qpbridge.measurements.grading import SYSTEMS
from qpbridge.measurements.intensity import intensity_names
from qpbridge.measurements.names import PROBABILITY
from qpbridge.measurements.shape import shape_names
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes, offsets
from qpbridge.project import NewImage, create_project, open_project
from qpbridge.project.interface import Edit

REQUESTS = {
    "without options": MeasureRequest(),
    "with everything": MeasureRequest(
        surroundings=Surroundings(30, (50,), (25,), distances=True),
        morphometry=True,
        grading=tuple(SYSTEMS),
        reference="Normal",
    ),
}


def make(folder: Path, n: int) -> Path:
    """Make the project."""
    side = float(np.sqrt(n / DENSITY) * 1000 / MPP)
    slide, path = folder / "slide.png", folder / "project" / "project.qpproj"
    Image.new("RGB", (100, 80)).save(slide)
    size = int(side) + 1
    create_project(
        path, [NewImage(path=slide, name="slide", width=size, height=size, mpp=(MPP, MPP))]
    )
    regions = ObjectTable.new(
        ObjectKind.ANNOTATION,
        Shapes.from_geometries(
            [shapely.box(0, 0, side * 0.8, side), shapely.box(side * 0.8, 0, side, side)]
        ),
    ).replace(
        classes=(PathClass(("Tumor",)), PathClass(("Normal",))),
        class_index=np.array([0, 1], np.int32),
    )
    names = (PROBABILITY, *shape_names((MPP, MPP)), *intensity_names(["Hematoxylin", "Eosin"]))
    shapes = nuclei(n, side)
    shapes = Shapes.from_rings(storable(shapes.coords), offsets(np.full(n, 21)))
    table = ObjectTable.new(
        ObjectKind.DETECTION,
        shapes,
        path_class=PathClass(("Nucleus",)),
        measurement_names=names,
        measurements=np.random.default_rng(3).random((n, len(names))),
    )
    table = table.replace(ids=mint_ids(table, "nuclei", np.zeros((0, 16), np.uint8)))
    rings = Shapes.from_geometries(shapely.transform(glands(side), storable))
    found = ObjectTable.new(ObjectKind.ANNOTATION, rings, path_class=PathClass(("Gland",)))
    found = found.replace(ids=mint_ids(found, "glands", np.zeros((0, 16), np.uint8)))
    entry = open_project(path, "embedded").images[0]
    entry.apply(Edit(add=regions))
    right = shapes.centroids()[:, 0] > side * 0.8
    entry.apply(Edit(add=table, add_below=regions.ids[right.astype(int)]))
    entry.apply(Edit(add=found, add_below=regions.ids[np.zeros(len(found), int)]))
    return path


def measure(path: Path, which: str, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """Measure the project, and tell what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    (report,) = measure_project(open_project(path, "embedded"), REQUESTS[which])
    assert report.status == "written", report.message
    results.put(
        {
            "wall_s": round(time.perf_counter() - wall, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "counts": dict(report.counts),
            "file_mb": (path.parent / "data" / "1" / "data.qpdata").stat().st_size // 2**20,
        }
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nuclei", type=int, default=500_000)
    n = arguments.parse_args().nuclei
    spawn = multiprocessing.get_context("spawn")
    report: dict[str, object] = {"nuclei": n}
    with tempfile.TemporaryDirectory() as folder:
        for which in REQUESTS:
            (Path(folder) / which).mkdir()
            results = spawn.Queue()
            maker = spawn.Process(target=_put, args=(Path(folder) / which, n, results))
            maker.start()
            path = results.get()
            maker.join()
            runner = spawn.Process(target=measure, args=(path, which, results))
            runner.start()
            report[which] = results.get()
            runner.join()
    print(json.dumps(report, indent=2))


def _put(folder: Path, n: int, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    results.put(make(folder, n))


if __name__ == "__main__":
    main()
