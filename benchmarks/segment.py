"""Time `qpbridge segment` end to end on a slide, and print JSON.

python benchmarks/segment.py [--repeat R C] SLIDE [OPTIONS OF qpbridge segment...]

The slide is set R x C times side by side into one tiled TIFF (1 x 1: used as it is), a project
with one annotation of the whole image is made around it, and segmented in a process of its own,
whose peak memory is measured. Pixels are counted once each, at the model's resolution; halos and
glass count for nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from qpbridge.slides.slide import open_slide


def mosaic(source: Path, target: Path, rows: int, columns: int) -> None:
    """Write the slide many times over, as a tiled JPEG TIFF that keeps the pixel size."""
    with open_slide(source) as slide:
        pixels = slide.read(0, 0, slide.width, slide.height, 1.0)
        assert slide.mpp is not None
        per_cm = tuple(1e4 / v for v in slide.mpp)
    height, width = (s // 16 * 16 for s in pixels.shape[:2])
    pixels = pixels[:height, :width]

    def tiles() -> object:
        for y in range(0, rows * height, 256):
            for x in range(0, columns * width, 256):
                inside = np.ix_(
                    np.arange(y, min(y + 256, rows * height)) % height,
                    np.arange(x, min(x + 256, columns * width)) % width,
                )
                tile = np.full((256, 256, 3), 255, np.uint8)
                part = pixels[inside]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile

    tifffile.imwrite(
        target,
        tiles(),
        shape=(rows * height, columns * width, 3),
        dtype=np.uint8,
        tile=(256, 256),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 90},
        resolution=per_cm,
        resolutionunit="CENTIMETER",
        bigtiff=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path, help="before it, the other options")
    parser.add_argument("--repeat", type=int, nargs=2, default=(1, 1), metavar=("R", "C"))
    parser.add_argument("options", nargs=argparse.REMAINDER, help="of qpbridge segment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        slide = arguments.slide
        if tuple(arguments.repeat) != (1, 1):
            slide = Path(scratch) / "mosaic.tif"
            mosaic(arguments.slide, slide, *arguments.repeat)
        project = Path(scratch) / "project" / "project.qpproj"
        command = [sys.executable, "-m", "qpbridge"]
        create = [*command, "create", str(project), str(slide), "--annotate-full"]
        subprocess.run(create, check=True, stdout=subprocess.DEVNULL)
        began = time.perf_counter()
        segment = [*command, "segment", str(project), "--json", *arguments.options]
        done = subprocess.run(segment, check=True, stdout=subprocess.PIPE, text=True)
        wall = time.perf_counter() - began
        document = json.loads(done.stdout)
        (report,) = document["images"]
        area = sum(r["measurements"]["Evaluated area µm^2"] for r in report["regions"])
        megapixels = area / document["model"]["mpp"] ** 2 / 1e6
        data = next(project.parent.rglob("data.qpdata"))
        result = {
            "slide": arguments.slide.name,
            "repeat": list(arguments.repeat),
            "cpus": len(os.sched_getaffinity(0)),
            "mm2": area / 1e6,
            "megapixels": megapixels,
            "nuclei": report["found"],
            "seconds": report["seconds"],
            "seconds_with_start": wall,
            "mpix_per_s": megapixels / report["seconds"],
            "mm2_per_s": area / 1e6 / report["seconds"],
            "data_mb": data.stat().st_size / 1e6,
            # of all child processes the largest: that is the segmentation
            "peak_gb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6,
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
