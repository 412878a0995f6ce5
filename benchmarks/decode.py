"""Time the way from a network's maps to measured nuclei, and print JSON.

python benchmarks/decode.py [--threads N] [--runs K] SLIDE

The maps are those of nuclei_he in the middle of the slide, set side by side to one tile of 2048 x
2048 pixels. Without --threads the times are those of one core (the thread's own, so other work on
the machine matters little); with it, N threads work at once and the time is that of the clock.
For comparison, scikit-image measures the same labels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from skimage.measure import regionprops_table

from qpbridge.decode.nuclei import decode_nuclei
from qpbridge.decode.polygons import instances_to_polygons, round_rings
from qpbridge.measurements.color import H_E, deconvolve
from qpbridge.measurements.intensity import stains_of_shapes
from qpbridge.measurements.shape import shape_measurements
from qpbridge.models.bundle import load_bundle
from qpbridge.objects import Shapes
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides.slide import open_slide

SIDE = 2048
CORE = 832
PROPERTIES = (
    *("area", "perimeter", "solidity", "feret_diameter_max", "eccentricity"),
    *("intensity_mean", "intensity_min", "intensity_max", "intensity_std"),
)


def middle_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (SIDE, SIDE, 3), what the middle of a slide looks like, and its maps."""
    bundle = load_bundle("nuclei_he")
    network = TargetNetwork(bundle, "cpu")
    with open_slide(path) as slide:
        assert slide.mpp is not None
        downsample = slide.snap(bundle.mpp / slide.mpp[0])
        size = [int(s / downsample) for s in (slide.height, slide.width)]
        height, width = (min(s, SIDE) for s in size)
        top, left = ((s - SIDE) // 2 if s > SIDE else 0 for s in size)
        pixels = np.zeros((SIDE + CORE, SIDE + CORE, 3), np.uint8)
        maps = np.zeros((4, SIDE + CORE, SIDE + CORE), np.float32)
        halo, side = bundle.halo, CORE + 2 * bundle.halo
        inner = slice(halo, halo + CORE)
        for y in range(0, height, CORE):
            for x in range(0, width, CORE):
                tile = slide.read(left + x - halo, top + y - halo, side, side, downsample)
                place = (slice(y, y + CORE), slice(x, x + CORE))
                pixels[place] = tile[inner, inner]
                maps[:, *place] = network(tile[None])[0][:, inner, inner]
    rows, columns = np.arange(SIDE) % height, np.arange(SIDE) % width
    return pixels[np.ix_(rows, columns)], maps[:, rows[:, None], columns]


def seconds(stage: Callable[[], object], threads: int, runs: int) -> float:
    """Time a stage: what one thread needs for one run, or many threads on average."""
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            began = time.perf_counter()
            for done in [pool.submit(stage) for _ in range(threads * runs)]:
                done.result()
            return (time.perf_counter() - began) / (threads * runs)
    spent = []
    for _ in range(runs):
        began = time.thread_time()
        stage()
        spent.append(time.thread_time() - began)
    return float(np.median(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--threads", type=int, default=0, help="work at once; 0: time one core")
    parser.add_argument("--runs", type=int, default=9, help="of each stage (and thread)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pixels, maps = middle_of(arguments.slide)
    bundle = load_bundle("nuclei_he")

    def outline() -> Shapes:
        rings = instances_to_polygons(seen.labels, seen.level, seen.threshold)
        rounded = round_rings(rings.coords, rings.offsets)
        return Shapes.from_rings(rounded.coords, rounded.offsets)

    def everything() -> None:
        nonlocal seen
        seen = decode_nuclei(maps, **bundle.decode)
        shapes = outline()
        shape_measurements(shapes, (bundle.mpp, bundle.mpp))
        stains_of_shapes(pixels, H_E, shapes)

    seen = decode_nuclei(maps, **bundle.decode)
    shapes = outline()
    stains = np.moveaxis(deconvolve(pixels, H_E), 0, 2)
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: decode_nuclei(maps, **bundle.decode),
        "outlines": outline,
        # anew from the coordinates: geometries are kept once they are made
        "shape": lambda: shape_measurements(
            Shapes.from_rings(shapes.coords, shapes.rings), (bundle.mpp, bundle.mpp)
        ),
        "intensity": lambda: stains_of_shapes(pixels, H_E, shapes),
        "all": everything,
    }
    spent = {
        name: seconds(stage, arguments.threads, arguments.runs) for name, stage in stages.items()
    }
    spent["scikit-image regionprops_table"] = seconds(
        lambda: regionprops_table(seen.labels, stains, PROPERTIES), arguments.threads, 1
    )
    megapixels = SIDE**2 / 1e6
    result = {
        "slide": arguments.slide.name,
        "threads": arguments.threads or "one core",
        "megapixels": megapixels,
        "nuclei": len(shapes),
        "nuclei_per_mm2": round(len(shapes) / (megapixels * bundle.mpp**2)),
        "nuclei_per_s": {name: round(len(shapes) / s) for name, s in spent.items()},
        "ms_per_megapixel": {name: round(s * 1e3 / megapixels, 2) for name, s in spent.items()},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
