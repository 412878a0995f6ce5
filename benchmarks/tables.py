"""How fast a table of a project is written: ``python benchmarks/tables.py [--objects N]``.

A project of --images images, each with nuclei of 20 points and 20 measurements in 100 annotations,
is exported as one CSV file. Prints one JSON document: seconds, and the peak of memory in MB, each
step in a process of its own.
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
from PIL import Image

from qpbridge.objects import (
    ObjectKind,
    ObjectTable,
    PathClass,
    RoiKind,
    Shapes,
    concatenate_shapes,
    offsets,
)
from qpbridge.project import NewImage, create_project, open_project
from qpbridge.project.interface import Edit

SIDE = 5000
"""Pixels of an annotation, of which there are 10 x 10."""


def nuclei(n: int, seed: int) -> ObjectTable:
    generator = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 21)
    ring = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centers = generator.uniform(0, 10 * SIDE, (n, 1, 2))
    return ObjectTable.new(
        ObjectKind.DETECTION,
        Shapes.from_rings((centers + ring).reshape(-1, 2), offsets(np.full(n, 21))),
        path_class=PathClass(("Nucleus",), (110, 60, 160)),
        measurement_names=[f"Measurement {i}" for i in range(20)],
        measurements=generator.random((n, 20)) * 100,
    )


def make(path: Path, n: int, images: int) -> None:
    slides = []
    for i in range(images):
        slide = path.parent.parent / f"slide {i}.png"
        Image.new("RGB", (100, 80)).save(slide)
        slides.append(NewImage(path=slide, name=slide.name, width=100, height=80))
    create_project(path, slides)
    for i, entry in enumerate(open_project(path, "embedded").images):
        boxes = [
            Shapes.corners(RoiKind.RECTANGLE, x * SIDE, y * SIDE, (x + 1) * SIDE, (y + 1) * SIDE)
            for x, y in np.ndindex(10, 10)
        ]
        drawn = ObjectTable.new(ObjectKind.ANNOTATION, concatenate_shapes(boxes))
        entry.apply(Edit(add=drawn))
        entry.apply(Edit(add=nuclei(n, i)))


def export(path: Path, output: Path, rows: str) -> dict[str, float]:
    from qpbridge.tables.cohort import write_table

    before, start = peak_mb(), time.perf_counter()
    n, _ = write_table(open_project(path, "embedded").images, output, output.suffix[1:], rows)
    return {
        "rows": n,
        "wall_s": round(time.perf_counter() - start, 2),
        "peak_mb": peak_mb(),
        "before_mb": before,
        "file_mb": round(output.stat().st_size / 1e6, 1),
    }


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--objects", type=int, default=50_000, help="in each image")
    arguments.add_argument("--images", type=int, default=2)
    arguments.add_argument("--format", choices=["csv", "parquet"], default="csv")
    given = arguments.parse_args()
    report: dict[str, object] = {"objects": given.objects, "images": given.images}
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "project" / "project.qpproj"
        with processes.Pool(1) as pool:
            pool.apply(make, (path, given.objects, given.images))
        for rows in ("objects", "regions", "images"):
            with processes.Pool(1) as pool:
                output = Path(temporary) / f"{rows}.{given.format}"
                report[rows] = pool.apply(export, (path, output, rows))
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
