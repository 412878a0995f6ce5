"""How fast nuclei are measured: ``python benchmarks/spatial.py [--nuclei N]``.

Nuclei of 20 vertices at 8,000 per mm² with ten measurements to be smoothed, ring-shaped glands, and
two annotations with outlines of 100,000 vertices. The texture is measured in one tile that holds
5,000 nuclei, and its time is given for these. Prints one JSON document: seconds of each function,
by the clock and of processors, and how much the peak of the process's memory, in MB, has risen by
then.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import shapely

from qpbridge.measurements import delaunay, distances, moments, spatial, texture
from qpbridge.measurements.raster import covered_pixels
from qpbridge.objects import MeasurementTable, Shapes, offsets

MPP = 0.5
DENSITY = 8_000
"""Nuclei per mm²."""

T = TypeVar("T")


def peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def nuclei(n: int, side: float) -> Shapes:
    """Draw ellipses of 20 vertices in a square of some pixels."""
    generator = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([np.cos(angle) * 8, np.sin(angle) * 5], axis=1)
    turn = generator.uniform(0, np.pi, n)
    matrix = np.stack([np.cos(turn), np.sin(turn), -np.sin(turn), np.cos(turn)], axis=1)
    xy = ring @ matrix.reshape(n, 2, 2) + generator.uniform(0, side, (n, 1, 2))
    closed = np.concatenate([xy, xy[:, :1]], axis=1).reshape(-1, 2)
    return Shapes.from_rings(closed, offsets(np.full(n, 21)))


def annotation(x: float, y: float, radius: float) -> shapely.Polygon:
    generator = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    walk = np.cumsum(generator.normal(0, radius / 1000, len(angle)))
    walk -= np.linspace(0, walk[-1], len(walk))
    away = radius + walk + generator.normal(0, 0.5, len(angle))
    return shapely.Polygon(np.stack([x + away * np.cos(angle), y + away * np.sin(angle)], axis=1))


def glands(side: float) -> np.ndarray:
    step = 200
    centers = np.stack(np.meshgrid(*2 * [np.arange(step / 2, side, step)]), axis=-1).reshape(-1, 2)
    points = shapely.points(centers)
    lumen = shapely.buffer(points, 30, quad_segs=12)
    return np.asarray(shapely.difference(shapely.buffer(points, 85, quad_segs=16), lumen))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--nuclei", type=int, default=500_000)
    n = arguments.parse_args().nuclei
    side = np.sqrt(n / DENSITY) * 1000 / MPP
    shapes, mpp = nuclei(n, side), (MPP, MPP)
    geometries = shapes.geometries
    rings = glands(side)
    regions = {
        "Tumor": np.array([annotation(side / 2, side / 2, side / 3)]),
        "Stroma": np.array([annotation(side / 4, side / 4, side / 5)]),
    }
    given = MeasurementTable.of(
        {f"Measurement {i}": np.random.default_rng(i).random(n) for i in range(10)}
    )
    tile = np.random.default_rng(2).normal(0.5, 0.3, (2048, 2048)).astype(np.float32)
    few = nuclei(5_000, 2048)

    before = peak_mb()
    steps: dict[str, dict[str, float]] = {}

    def timed(name: str, call: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        steps[name] = {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
            "peak_mb_above": peak_mb() - before,
        }
        return result

    found = timed("moments", lambda: moments.moment_measurements(geometries, mpp))
    orientation = found[moments.ORIENTATION]
    points = timed("centroids", lambda: Shapes.from_geometries(geometries).centroids() * mpp)
    edges = timed("Delaunay edges", lambda: delaunay.delaunay_edges(points))
    timed("Delaunay measurements", lambda: delaunay.delaunay_measurements(points, edges))
    timed("clusters", lambda: delaunay.cluster_measurements(points, edges, given))
    timed("nearest neighbor", lambda: spatial.nearest_neighbor(points))
    timed(
        "local density 25, 50, 100 µm",
        lambda: [spatial.local_density(points, radius) for radius in (25, 50, 100)],
    )
    timed("smoothed 25 µm", lambda: spatial.smoothed(points, given, MPP))
    timed("orientation entropy 50 µm", lambda: spatial.orientation_entropy(points, orientation, 50))
    timed("annotations", lambda: distances.annotation_distances(points, regions, mpp))
    timed("glands", lambda: distances.structure_relations("glands", points, rings, mpp))
    total = {k: round(sum(step[k] for step in steps.values()), 1) for k in ("wall_s", "cpu_s")}

    def textures() -> None:
        owner, pixel = covered_pixels(few, tile.shape)
        texture.haralick_features(tile, owner, pixel, len(few))
        texture.chromatin_heterogeneity(tile, owner, pixel, len(few))

    timed("texture of 5,000", textures)
    report = {
        "nuclei": n,
        "glands": len(rings),
        "steps": steps,
        "all_but_texture": total,
        "before_mb": before,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
