"""Time reading a slide tile by tile, natively and through tiffslide's read_region; print JSON.

python benchmarks/reading.py [--tile N] [--threads N] SLIDE
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tiffslide import TiffSlide

from qpbridge.slides.slide import open_slide

Box = tuple[int, int, int, int]


def timed(read: Callable[[Box], np.ndarray], boxes: list[Box], threads: int) -> tuple[float, float]:
    """Megapixels per second, and per second of processors' time."""
    began, spent = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        pixels = sum(part[..., 0].size for part in pool.map(read, boxes))
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    return pixels / seconds / 1e6, pixels / spent / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    side = arguments.tile
    with open_slide(arguments.slide) as slide, TiffSlide(arguments.slide) as reference:
        boxes = [
            (x, y, min(side, slide.width - x), min(side, slide.height - y))
            for y in range(0, slide.height, side)
            for x in range(0, slide.width, side)
        ]

        def native(box: Box) -> np.ndarray:
            return slide.read(*box, 1.0)

        def read_region(box: Box) -> np.ndarray:
            return np.asarray(reference.read_region(box[:2], 0, box[2:]).convert("RGB"))

        results = {}
        for name, read in (("native", native), ("read_region", read_region)):
            speed, per_cpu = timed(read, boxes, arguments.threads)
            results[name] = {"mpix_per_s": speed, "mpix_per_cpu_s": per_cpu}
        result = {
            "slide": arguments.slide.name,
            "tile": side,
            "threads": arguments.threads,
            **results,
            "identical": all(np.array_equal(native(box), read_region(box)) for box in boxes[:20]),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
