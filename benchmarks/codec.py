"""How fast data.qpdata is written and read: ``python benchmarks/codec.py [--objects N]``.

Polygons of 20 points (or 12 to 40 with --varied) with 10 measurements, as a segmentation makes
them; prints one JSON document. Times are the best of --repeat, in seconds. Each stage has a process
of its own, so that its peak of memory, in MB, is its own too; `before_mb` is what its input takes.

``write`` and ``read`` are the codec alone, from and to arrays; ``save`` and ``open`` go through a
project on disk, with lock, check of what was written, and backup.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qpbridge.javastream.stream import parse
from qpbridge.objects import ObjectKind, ObjectTable, PathClass, Shapes, offsets
from qpbridge.project import NewImage, create_project, open_project
from qpbridge.project.embedded.qpdata.data_file import apply_edit, read_image_data
from qpbridge.project.interface import Edit


def polygons(n: int, varied: bool) -> Shapes:
    generator = np.random.default_rng(0)
    vertices = generator.integers(12, 41, n) if varied else np.full(n, 20)
    rings = offsets(vertices + 1)
    owner = np.repeat(np.arange(n), vertices + 1)
    angle = 2 * np.pi * (np.arange(rings[-1]) - rings[owner]) / vertices[owner]
    center = generator.uniform(0, 50_000, (n, 2))
    xy = center[owner] + 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Shapes.from_rings(xy, rings)


def objects(n: int, varied: bool) -> ObjectTable:
    return ObjectTable.new(
        ObjectKind.DETECTION,
        polygons(n, varied),
        path_class=PathClass(("Tumor",), (200, 0, 0)),
        measurement_names=[f"Measurement {i}" for i in range(10)],
        measurements=np.random.default_rng(1).random((n, 10)),
    )


def project_in(folder: Path) -> Path:
    """Make a project with one image."""
    slide, path = folder / "slide.png", folder / "project" / "project.qpproj"
    Image.new("RGB", (100, 80)).save(slide)
    create_project(path, [NewImage(path=slide, name=slide.name, width=100, height=80)])
    return path


def make(folder: Path, n: int, varied: bool) -> Path:
    """Make the file that is to be read."""
    path = project_in(folder)
    open_project(path, "embedded").images[0].apply(Edit(add=objects(n, varied)))
    return path.parent / "data" / "1" / "data.qpdata"


def task(stage: str, folder: Path, n: int, varied: bool) -> Callable[[], Any]:
    """Get ready for a stage; return what is to be timed."""
    if stage in ("write", "save"):
        table = objects(n, varied)
        if stage == "write":
            return lambda: apply_edit(None, Edit(add=table))

        def save() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as fresh:
                open_project(project_in(Path(fresh)), "embedded").images[0].apply(Edit(add=table))

        return save
    project = folder / "project" / "project.qpproj"
    if stage == "open":
        return lambda: open_project(project, "embedded").images[0].read()
    data = (project.parent / "data" / "1" / "data.qpdata").read_bytes()
    if stage == "parse":
        return lambda: parse(data)
    if stage == "read":
        return lambda: read_image_data(data)
    found = read_image_data(data).objects
    if stage == "remove":
        return lambda: apply_edit(data, Edit(remove=found.ids))
    return lambda: apply_edit(data, Edit(remove=found.ids, add=found))


def run(stage: str, folder: Path, n: int, varied: bool, repeat: int) -> dict[str, float]:
    call = task(stage, folder, n, varied)
    before, times = peak_mb(), []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = min(times)
    return {
        "wall_s": round(wall, 3),
        "cpu_s": round(cpu, 3),
        "peak_mb": peak_mb(),
        "before_mb": before,
    }


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=50_000)
    arguments.add_argument("--varied", action="store_true", help="12 to 40 points, not 20")
    arguments.add_argument("--repeat", type=int, default=5)
    given = arguments.parse_args()
    report: dict[str, object] = {"objects": given.objects, "varied": given.varied}
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with processes.Pool(1) as pool:  # a process inherits the peak of the one that starts it
            data = pool.apply(make, (folder, given.objects, given.varied))
        for stage in ("write", "parse", "read", "save", "open", "remove", "replace"):
            with processes.Pool(1) as pool:
                how = (stage, folder, given.objects, given.varied, given.repeat)
                report[stage] = pool.apply(run, how)
        report["file_mb"] = round(data.stat().st_size / 1e6, 1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
