"""Time `qpbridge segment` end to end on a slide, and print JSON.

python benchmarks/segment.py [--repeat R C] [--hovernet] SLIDE [OPTIONS OF qpbridge segment...]

The slide is set R x C times side by side into one tiled pyramidal TIFF (1 x 1: used as it is), a
project with one annotation of the whole image is made around it, and segmented in a process of its
own, whose peak memory is measured. Pixels are counted once each, at the model's resolution; halos
count for nothing. Beside it the network alone, in the same tiles and threads: what the run could
reach at best; and, on demand, MONAI's HoVer-Net (random weights, which take as long).
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from monai.networks.nets.hovernet import HoVerNet

from qpbridge.models.bundle import load_bundle
from qpbridge.prediction.tiles.network import TargetNetwork
from qpbridge.slides.slide import Slide, open_slide

TILE = 2048
LEVELS = 4


def mosaic(source: Path, target: Path, rows: int, columns: int) -> None:
    """Write the slide many times over, as a tiled pyramidal JPEG TIFF that keeps the pixel size."""
    with open_slide(source) as slide, tifffile.TiffWriter(target, bigtiff=True) as writer:
        assert slide.mpp is not None
        for level in range(LEVELS):
            scale = 2**level
            side = tuple(v // 16 // scale * 16 for v in (slide.height, slide.width))
            pixels = slide.read(0, 0, side[1], side[0], float(scale))
            writer.write(
                _tiles(pixels, rows, columns),
                shape=(rows * side[0], columns * side[1], 3),
                dtype=np.uint8,
                tile=(256, 256),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 90},
                resolution=tuple(1e4 / v / scale for v in slide.mpp),
                resolutionunit="CENTIMETER",
                subifds=LEVELS - 1 if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
            )


def _tiles(pixels: np.ndarray, rows: int, columns: int) -> Iterator[np.ndarray]:
    height, width = pixels.shape[:2]
    for y in range(0, rows * height, 256):
        for x in range(0, columns * width, 256):
            part = pixels[
                np.ix_(
                    np.arange(y, min(y + 256, rows * height)) % height,
                    np.arange(x, min(x + 256, columns * width)) % width,
                )
            ]
            tile = np.full((256, 256, 3), 255, np.uint8)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile


def network_alone(slide: Slide, model: str, *, batches: int = 4) -> float:
    """Pixels per second, in millions, that all threads take through the network."""
    network = TargetNetwork(load_bundle(model), "auto")
    pixels = slide.read(0, 0, TILE, TILE, 1.0)[None].repeat(network.batch_size, axis=0)
    with network.threads(1000, None) as threads:
        return _speed(lambda: network(pixels), threads.network, batches, pixels)


def hovernet_alone(slide: Slide, *, side: int = 256) -> float:
    """Pixels per second, in millions, of MONAI's HoVer-Net, all processors for one batch."""
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = HoVerNet(mode=HoVerNet.Mode.FAST).eval().to(where)
    pixels = slide.read(0, 0, side, side, 1.0)[None]
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(where).float() / 255

    def run() -> None:
        with torch.inference_mode():
            network(batch)["nucleus_prediction"].cpu()

    return _speed(run, 1, 2, pixels)


def _speed(run: Callable[[], Any], threads: int, batches: int, pixels: np.ndarray) -> float:
    run()
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run) for _ in range(batches * threads)]:
            done.result()
    seconds = time.perf_counter() - began
    return batches * threads * pixels[..., 0].size / seconds / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slide", type=Path, help="before it, the other options")
    parser.add_argument("--repeat", type=int, nargs=2, default=(1, 1), metavar=("R", "C"))
    parser.add_argument("--hovernet", action="store_true")
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
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        document = json.loads(done.stdout)
        (report,) = document["images"]
        area = sum(r["measurements"]["Evaluated area µm^2"] for r in report["regions"])
        megapixels = area / document["model"]["mpp"] ** 2 / 1e6
        data = next(project.parent.rglob("data.qpdata"))
        with open_slide(slide) as opened:
            alone = network_alone(opened, document["model"]["name"])
            ceiling = alone * megapixels / report["megapixels"]
            result = {
                "slide": arguments.slide.name,
                "pixels": [opened.width, opened.height],
                "cpus": len(os.sched_getaffinity(0)),
                "gpus": torch.cuda.device_count(),
                "mm2": area / 1e6,
                "megapixels": megapixels,
                "nuclei": report["found"],
                "seconds": report["seconds"],
                "seconds_with_start": wall,
                "mpix_per_s": megapixels / report["seconds"],
                "mm2_per_s": area / 1e6 / report["seconds"],
                "stages": report["stages"],
                "bottleneck": report["bottleneck"],
                "network_alone_mpix_per_s": alone,
                "network_alone_without_halos_mpix_per_s": ceiling,
                "share_of_network_alone": megapixels / report["seconds"] / ceiling,
                "data_mb": data.stat().st_size / 1e6,
                "peak_gb": peak,
            }
            if arguments.hovernet:
                result["hovernet_alone_mpix_per_s"] = hovernet_alone(opened)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
